"""Structured logging of every process: JSON lines, or readable ones on a terminal."""

import logging
import sys
from typing import Annotated

import structlog
from pydantic import AfterValidator


def _check_level(text: str) -> str:
    if text.upper() not in logging.getLevelNamesMapping():
        raise ValueError(f"{text!r} is no log level: use DEBUG, INFO, WARNING or ERROR")
    return text


LogLevel = Annotated[str, AfterValidator(_check_level)]
"""Name of a level, in letters of either case."""


def configure_logging(level: str = "INFO") -> None:
    """Send structlog to standard error. ERROR means that a person must act."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer()
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
