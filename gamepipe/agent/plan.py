"""What attempts of one agent share, and how an assignment becomes a plan for a runtime."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from gamepipe.agent.ending import Refused
from gamepipe.agent.folder import AgentFolders
from gamepipe.agent.reporter import Clock, ReportRules
from gamepipe.agent.runtime import Runtime, StepPlan
from gamepipe.agent.slot import StepSlots
from gamepipe.agent.spool_folder import SpoolFolder
from gamepipe.agent.values import StepValues
from gamepipe.model import reason as reasons
from gamepipe.model.record import AttemptKey
from gamepipe.model.spec import Step, StepType
from gamepipe.wire import Scope, StepAssignment


@dataclass(frozen=True, kw_only=True)
class RunnerSettings:
    """What the runner needs to know of the node; durations in seconds."""

    node_id: str
    allow_commands: bool = False
    max_steps: int = 32
    progress_poll: float = 0.2
    fetch_retry: float = 1.0
    token_seconds: float = 60.0
    """How long the gateway may not know the agent's token, as while it is changed, before a step
    that has not begun is given up for it."""
    reports: ReportRules = field(default_factory=ReportRules)
    gpu_uuids: Mapping[int, str] = field(default_factory=dict)
    """By index; of the devices whose UUID is known."""


@dataclass(frozen=True, kw_only=True)
class RunnerTools:
    """What every attempt of one agent shares."""

    settings: RunnerSettings
    folders: AgentFolders
    runtimes: Mapping[StepType, Runtime]
    values: StepValues
    spools: SpoolFolder
    slots: StepSlots
    clock: Clock


def key_of(assignment: StepAssignment) -> AttemptKey:
    return AttemptKey(
        pipeline_id=assignment.pipeline_id,
        generation=assignment.generation,
        step_index=assignment.step.index,
        attempt=assignment.attempt,
    )


def names_values(scope: Scope) -> bool:
    """Whether the step's templates name envs or secrets."""
    return bool(scope.env_names or scope.secret_names)


def permitted(kind: StepType, tools: RunnerTools) -> Runtime:
    """What runs such steps here. Raises `Refused`."""
    if kind is StepType.COMMAND and not tools.settings.allow_commands:
        raise Refused(
            reasons.COMMANDS_NOT_ALLOWED,
            f"node {tools.settings.node_id} runs no command steps: start its agent with "
            "--allow-commands, or use a container step",
        )
    runtime = tools.runtimes.get(kind)
    if runtime is None:
        raise Refused(
            reasons.RUNTIME_UNAVAILABLE,
            f"node {tools.settings.node_id} runs no {kind} steps: its agent was started "
            "without a Docker engine (--docker-url)",
        )
    return runtime


def make_plan(assignment: StepAssignment, step: Step, tools: RunnerTools) -> StepPlan:
    """Make the folders of an attempt; `step` has its templates filled in. Raises OSError."""
    key = key_of(assignment)
    workspace = tools.folders.workspace(key.pipeline_id, key.generation)
    attempt_dir = tools.folders.attempt(key)
    workspace.mkdir(parents=True, exist_ok=True)
    attempt_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    output = attempt_dir / "output"
    if not os.path.lexists(output):
        output.touch()
        output.chmod(0o666)  # Containers write as any user; the folder keeps others out.
    return StepPlan(
        key=key,
        step=step,
        workspace=workspace,
        attempt_dir=attempt_dir,
        output_file=output,
        environment={
            "GAMEPIPE_PIPELINE_ID": key.pipeline_id,
            "GAMEPIPE_GENERATION": str(key.generation),
            "GAMEPIPE_STEP": step.name,
            "GAMEPIPE_ATTEMPT": str(key.attempt),
            "GAMEPIPE_NODE_ID": tools.settings.node_id,
            "GAMEPIPE_WORKSPACE": str(workspace),
            "GAMEPIPE_OUTPUT": str(output),
            **_gpu_environment(assignment, tools.settings.gpu_uuids),
        },
        gpu_devices=assignment.gpu_devices,
        grace_seconds=assignment.grace_seconds,
        node_id=tools.settings.node_id,
    )


def _gpu_environment(assignment: StepAssignment, uuids: Mapping[int, str]) -> dict[str, str]:
    """What shows a command only its own GPUs; Docker sees to it for a container. CUDA takes UUIDs
    or indices, not both, and counts the fastest device first unless told otherwise."""
    devices = assignment.gpu_devices
    if assignment.step.type is not StepType.COMMAND or not devices:
        return {}
    known = all(uuids.get(device) for device in devices)
    names = ",".join(uuids[device] if known else str(device) for device in devices)
    return {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": names,
        "NVIDIA_VISIBLE_DEVICES": names,
    }
