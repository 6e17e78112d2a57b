"""Options and arguments that several commands share."""

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


def parse_pairs(pairs: list[str], flag: str) -> dict[str, str]:
    """`NAME=VALUE` texts of a repeated option."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise CommandFailed(f"{flag} {name!r} is no NAME=VALUE", ExitStatus.USAGE)
        found[name] = value
    return found


def read_file(path: Path) -> str:
    """Text of a pipeline file; `-` is standard input. Raises `CommandFailed`."""
    try:
        return (
            typer.get_text_stream("stdin").read() if str(path) == "-" else path.read_text("utf-8")
        )
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"cannot read {path}: {error}", ExitStatus.USAGE) from error
