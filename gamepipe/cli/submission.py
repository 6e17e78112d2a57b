"""What is sent to create a pipeline."""

import secrets
from collections.abc import Mapping
from typing import Any

from gamepipe.cli.failure import wrong_file
from gamepipe.cli.option import check_id

ID_STEM = 40


def submission(
    content: str | bytes,
    *,
    file: str,
    pipeline_id: str = "",
    args: Mapping[str, str],
    envs: Mapping[str, str],
    secret_values: Mapping[str, str],
) -> dict[str, Any]:
    """Checked here, so that mistakes name the file; under an id made here, so that sending it
    again is safe. Raises `CommandFailed` with every mistake."""
    from gamepipe.definition import bind, parse_pipeline  # noqa: PLC0415 - slow, rarely needed
    from gamepipe.model.errors import InvalidPipeline  # noqa: PLC0415

    try:
        spec = parse_pipeline(content, file=file)
        bind(spec, args=args, envs=envs, secrets=secret_values)
    except InvalidPipeline as error:
        raise wrong_file(file, error.mistakes) from error
    if pipeline_id:
        check_id("pipeline", pipeline_id)
    return {
        "definition": content if isinstance(content, str) else content.decode(),
        "file": file,
        "id": pipeline_id or spec.id or f"{_stem(spec.name)}-{secrets.token_hex(5)}",
        "args": dict(args),
        "envs": dict(envs),
        "secrets": dict(secret_values),
    }


def _stem(name: str) -> str:
    """The readable part of an id."""
    stem = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
    return "-".join(part for part in stem[:ID_STEM].split("-") if part) or "pipeline"
