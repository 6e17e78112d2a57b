"""Options and arguments that several commands share."""

import re
from pathlib import Path
from typing import Annotated

import typer

from gamepipe.cli.failure import CommandFailed, ExitStatus
from gamepipe.cli.show import OutputFormat

Url = Annotated[
    str, typer.Option("--url", envvar="GAMEPIPE_URL", help="Address of the gateway's REST API.")
]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", envvar="GAMEPIPE_TOKEN_FILE", help="Bearer token for it."),
]
Output = Annotated[OutputFormat, typer.Option("--output", "-o", help="table or json.")]
PipelineId = Annotated[str, typer.Argument(help="Id of the pipeline.")]
Arg = Annotated[list[str], typer.Option(help="NAME=VALUE, repeated.")]
Env = Annotated[list[str], typer.Option(help="NAME=VALUE; the value is kept secret.")]
Secret = Annotated[list[str], typer.Option(help="NAME=VALUE; kept secret.")]

FILE_BYTES = 1 << 20
"""Of a pipeline file; one byte more is read, and makes it too large."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_id(kind: str, text: str) -> str:
    """An id, so that it can stand in a path. Raises `CommandFailed` for what is none."""
    if _ID.fullmatch(text):
        return text
    raise CommandFailed(
        f"{text!r} is no {kind} id: use letters, digits, `.`, `_` and `-`, beginning with a letter "
        "or digit",
        ExitStatus.USAGE,
    )


def parse_pairs(pairs: list[str], flag: str) -> dict[str, str]:
    """`NAME=VALUE` texts of a repeated option."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise CommandFailed(f"{flag} {name!r} is no NAME=VALUE", ExitStatus.USAGE)
        found[name] = value
    return found


def read_file(path: Path) -> str | bytes:
    """Content of a pipeline file, of a too large one only the beginning; `-` is standard input.

    Raises `CommandFailed`.
    """
    try:
        if str(path) == "-":
            return typer.get_binary_stream("stdin").read(FILE_BYTES + 1)
        with path.open("rb") as file:
            return file.read(FILE_BYTES + 1)
    except OSError as error:
        raise CommandFailed(f"cannot read {path}: {error.strerror}", ExitStatus.USAGE) from error


def make_folder(path: Path) -> None:
    """A data directory that can be written to. Raises `CommandFailed`."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = "it is no folder" if path.exists() else error.strerror
        raise CommandFailed(
            f"cannot keep data in {path}: {problem}; choose another --data-dir", ExitStatus.USAGE
        ) from error
