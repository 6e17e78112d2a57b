"""Request bodies: a pipeline file itself (YAML or JSON), or an envelope around it."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from fastapi import Request
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from gamepipe.model.errors import InvalidRequest
from gateway.service import Change
from gateway.submission import Submission
from gateway.text import flaws

LARGEST_BODY = 4 << 20
"""A pipeline file of 1 MiB, escaped as JSON, with its values."""
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")

_EXAMPLE: dict[str, Any] = {
    "definition": {
        "name": "hello",
        "args": [{"WHO": "world"}],
        "steps": [{"name": "greet", "type": "command", "command": "echo hello ${{ args.WHO }}"}],
    },
    "args": {"WHO": "player"},
}


LARGEST_NUMBER = 2**31 - 1
"""Of pages, attempts and generations."""


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is no time that there is in UTC") from None


Moment = Annotated[AwareDatetime, AfterValidator(_utc)]


class Body(BaseModel):
    """A body whose texts can be stored; unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, given: Any) -> Any:
        if found := next(flaws(given), ""):
            raise ValueError(found)
        return given


class SubmitBody(BaseModel):
    """A pipeline to run: its definition and the values for it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    definition: str | dict[str, Any] = Field(
        description="The pipeline file: its text (YAML or JSON), or the object itself."
    )
    file: str = Field(default="", max_length=1000, description="Name of the file, for messages.")
    id: str = Field(default="", description="Id of the pipeline; made from its name when empty.")
    args: dict[str, str] = Field(default_factory=dict)
    envs: dict[str, str] = Field(default_factory=dict, description="Kept secret; never shown.")
    secrets: dict[str, str] = Field(default_factory=dict, description="Kept secret; never shown.")

    @field_validator("file", "id", mode="before")
    @classmethod
    def _storable(cls, given: Any) -> Any:
        if found := next(flaws(given), ""):
            raise ValueError(found)
        return given

    @field_validator("args", "envs", "secrets", mode="before")
    @classmethod
    def _texts(cls, values: Any) -> Any:
        """Numbers and booleans are texts in a pipeline."""
        if not isinstance(values, dict):
            return values
        return {key: _text(value) for key, value in values.items()}

    def submission(self) -> Submission:
        definition = self.definition
        text = definition if isinstance(definition, str) else json.dumps(definition)
        return Submission(
            definition=text,
            file=self.file,
            id=self.id,
            args=self.args,
            envs=self.envs,
            secrets=self.secrets,
        )


class ChangeBody(Body):
    """What to change; what is absent stays. `definition` only until the pipeline is placed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "renamed", "priority": 5}]})

    name: str | None = None
    labels: dict[str, str] | None = None
    priority: int | None = None
    definition: str | dict[str, Any] | None = None
    args: dict[str, str] = Field(default_factory=dict)
    envs: dict[str, str] = Field(default_factory=dict)
    secrets: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _values_with_definition(self) -> Self:
        if self.definition is None and (self.args or self.envs or self.secrets):
            raise ValueError("args, envs and secrets belong to a definition: send `definition` too")
        return self

    def change(self) -> Change:
        submission = None
        if self.definition is not None:
            submission = SubmitBody(
                definition=self.definition, args=self.args, envs=self.envs, secrets=self.secrets
            ).submission()
        return Change(
            name=self.name, labels=self.labels, priority=self.priority, submission=submission
        )


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


async def read_submission(request: Request, *, pipeline_id: str, args: list[str]) -> Submission:
    """The submission in the body.

    A YAML body is the pipeline file itself; a JSON body is an envelope, or the file itself when
    it has `steps`. `args` (`NAME=VALUE`) and the id come from the query for a bare file.

    Raises `InvalidRequest` naming the remedy for a body that is neither.
    """
    raw = await _limited(request)
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind in YAML_TYPES:
        return Submission(definition=_decoded(raw), id=pipeline_id, args=parse_args(args))
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(
            f"the body is not JSON ({error}): send JSON, or YAML as `Content-Type: {YAML_TYPES[0]}`"
        ) from error
    if isinstance(document, dict) and "steps" in document:
        return Submission(definition=_decoded(raw), id=pipeline_id, args=parse_args(args))
    try:
        return SubmitBody.model_validate(document).submission()
    except ValidationError as error:
        raise InvalidRequest(_explained(error)) from None


def _explained(error: ValidationError) -> str:
    mistakes = [
        f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in error.errors()
    ]
    remedy = "send {definition, args, envs, secrets, id}, or a pipeline file with `steps`"
    return f"{'; '.join(mistakes)}; {remedy}"


def parse_args(pairs: list[str]) -> dict[str, str]:
    """`NAME=VALUE` texts; raises `InvalidRequest`."""
    split = [pair.partition("=") for pair in pairs]
    wrong = [name for name, equals, _ in split if not (name and equals)]
    if wrong:
        raise InvalidRequest(f"arg {wrong[0]!r} is no NAME=VALUE")
    return {name: value for name, _, value in split}


async def _limited(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            raise InvalidRequest(
                f"the body is larger than {LARGEST_BODY >> 20} MiB: a pipeline file has at most 1"
            )
    return bytes(body)


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not UTF-8 text ({error.reason})") from error
