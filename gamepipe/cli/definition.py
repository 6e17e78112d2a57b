"""Commands about pipeline files; they need no server."""

from pathlib import Path
from typing import Annotated

import typer

from gamepipe.cli import show
from gamepipe.cli.failure import CommandFailed, ExitStatus
from gamepipe.cli.option import read_file
from gamepipe.definition import parse_pipeline, pipeline_schema
from gamepipe.model.errors import InvalidPipeline
from gamepipe.model.gpu import ALL
from gamepipe.model.spec import GpuRequest


def validate(
    file: Annotated[Path, typer.Argument(help="Pipeline file; - is standard input.")],
) -> None:
    """Check a pipeline file; every mistake is shown with its place and what would be right."""
    try:
        spec = parse_pipeline(read_file(file), file=str(file))
    except InvalidPipeline as error:
        for mistake in error.mistakes:
            show.errors.print(str(mistake), markup=False)
        count = len(error.mistakes)
        raise CommandFailed(
            f"{count} mistake{'s' if count != 1 else ''} in {file}", ExitStatus.USAGE
        ) from error
    summary = f"{spec.name!r}, {len(spec.steps)} steps{_gpus(spec.resources.gpu)}"
    show.console.print(f"{file} is right: {summary}", markup=False)


def _gpus(request: GpuRequest) -> str:
    """What it asks for, be it stated or reserved by its containers."""
    if request.is_empty:
        return ""
    if not request.count:
        return ", a share of one GPU"
    count = "all" if request.count == ALL else request.count
    return f", {count} GPU{'' if count == 1 else 's'}"


def schema() -> None:
    """Print the JSON Schema of pipeline files, for completion in editors."""
    show.print_json(pipeline_schema())
