"""What a client sends to create a pipeline, or to plan one."""

from dataclasses import dataclass, field

from gamepipe.definition import Bound, bind, parse_pipeline


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """What a client sends to create a pipeline. Values never appear in errors or logs."""

    definition: str
    """A pipeline file: YAML, or JSON, which is YAML too."""
    file: str = ""
    """Name of the file, for messages."""
    id: str = ""
    args: dict[str, str] = field(default_factory=dict)
    envs: dict[str, str] = field(default_factory=dict, repr=False)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)

    def bind(self) -> Bound:
        """Raises `InvalidPipeline` with every mistake in it."""
        spec = parse_pipeline(self.definition, file=self.file)
        return bind(spec, args=self.args, envs=self.envs, secrets=self.secrets)
