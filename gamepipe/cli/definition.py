"""Commands about pipeline files; they need no server."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gamepipe.cli import show
from gamepipe.cli.failure import ExitStatus, wrong_file
from gamepipe.cli.option import Output, read_file
from gamepipe.cli.show import OutputFormat
from gamepipe.definition import parse_pipeline, pipeline_schema
from gamepipe.model.errors import InvalidPipeline
from gamepipe.model.gpu import ALL
from gamepipe.model.spec import GpuRequest


def validate(
    file: Annotated[Path, typer.Argument(help="Pipeline file; - is standard input.")],
    output: Output = OutputFormat.TABLE,
) -> None:
    """Check a pipeline file; every mistake is shown with its place and what would be right."""
    try:
        spec = parse_pipeline(read_file(file), file=str(file))
    except InvalidPipeline as error:
        if output is not OutputFormat.JSON:
            raise wrong_file(str(file), error.mistakes) from error
        mistakes = [asdict(mistake) for mistake in error.mistakes]
        show.print_json({"valid": False, "mistakes": mistakes})
        raise typer.Exit(ExitStatus.USAGE) from error
    if output is OutputFormat.JSON:
        names = [step.name for step in spec.steps]
        show.print_json({"valid": True, "name": spec.name, "steps": names, "mistakes": []})
    else:
        steps = f"{len(spec.steps)} step{'' if len(spec.steps) == 1 else 's'}"
        show.say(f"{file} is right: {spec.name!r}, {steps}{_gpus(spec.resources.gpu)}")


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
