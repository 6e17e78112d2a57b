"""A step's container as the body of Docker's `POST /containers/create`. Pure, but for profiles."""

import os
from pathlib import Path
from typing import Any

from gamepipe.agent.container_facts import LABEL_TYPE, attempt_labels
from gamepipe.agent.container_gpu import device_requests
from gamepipe.agent.container_refusal import UnsupportedField
from gamepipe.agent.runtime import StepPlan
from gamepipe.model.container_rule import repeated_mounts
from gamepipe.model.spec import Container, Healthcheck, StepType, Volume

WORKSPACE = "/workspace"
OUTPUT = "/gamepipe/output"
MAX_SCRIPT_BYTES = 120 * 1024
"""Linux passes no longer argument than 128 KiB."""
SUPERVISOR = (
    """told=; trap "trap '' TERM; told=1; kill -TERM -1 2>/dev/null" TERM; """
    '/bin/sh -e -c "$1" & child=$!; wait $child; code=$?; '
    "while kill -0 $child 2>/dev/null; do wait $child; code=$?; done; "
    'if [ "$told" ]; then wait $child; end=$?; case $end in 127|-1) ;; *) code=$end ;; esac; fi; '
    "exit $code"
)
"""Process 1 of a container ignores TERM unless it handles it, and a shell handles it only between
two commands. So the script runs as a child, and this one hands TERM on to everything inside, once:
a stop may be sent again. A `wait` that a second TERM breaks off says nothing of the child, though
it may have seen its end; the last one knows, unless the shell forgot it (127, or -1 in bash)."""
_NANO = 1_000_000_000
_LOG_DRIVER = "local"
"""It keeps bytes as they are; json-file loses a character at each 16 KiB of a long line."""
_STEP_LOG = {"max-size": "1t", "max-file": "2", "compress": "false", "mode": "blocking"}
"""The agent reads a step's whole output, so nothing is rotated away before."""
_SERVICE_LOG = {"max-size": "64m", "max-file": "2", "compress": "false", "mode": "blocking"}
"""A service writes for weeks, and only what it wrote while it came up is read."""


def create_body(plan: StepPlan, container: Container, *, image_workdir: str = "") -> dict[str, Any]:
    """What to create for an attempt.

    Args:
        plan: the attempt, with every template filled in.
        container: the step's container.
        image_workdir: the image's own working directory; kept where its own program runs.

    Raises:
        UnsupportedField: a field cannot be honoured on this node.
    """
    body: dict[str, Any] = {
        "Image": container.image,
        "Env": _environment(plan, container),
        "Labels": {**attempt_labels(plan.key, plan.node_id), LABEL_TYPE: str(plan.step.type)},
        "WorkingDir": _working_dir(container, image_workdir),
        "ExposedPorts": {f"{port.container}/{port.protocol}": {} for port in container.ports},
        "Tty": False,
        "HostConfig": _host_config(plan, container),
        **_program(container),
    }
    if container.hostname:
        body["Hostname"] = container.hostname
    if container.user:
        body["User"] = container.user
    if container.healthcheck is not None:
        body["Healthcheck"] = _healthcheck(container.healthcheck)
    return body


def _program(container: Container) -> dict[str, Any]:
    if container.commands:
        script = "\n".join(container.commands)
        if len(script.encode()) > MAX_SCRIPT_BYTES:
            raise UnsupportedField(
                f"commands: the script is longer than {MAX_SCRIPT_BYTES // 1024} KiB; put it into "
                "the image or the workspace and call it from there"
            )
        return {"Entrypoint": ["/bin/sh", "-c", SUPERVISOR, "gamepipe"], "Cmd": [script]}
    program: dict[str, Any] = {}
    if container.entrypoint is not None:
        program["Entrypoint"] = list(container.entrypoint) or [""]
    if container.command:
        program["Cmd"] = list(container.command)
    return program


def _environment(plan: StepPlan, container: Container) -> list[str]:
    inside = {"GAMEPIPE_WORKSPACE": WORKSPACE, "GAMEPIPE_OUTPUT": OUTPUT}
    merged = {**container.environment, **plan.environment, **inside}
    return [f"{name}={value}" for name, value in merged.items()]


def _working_dir(container: Container, image_workdir: str) -> str:
    """An image's own program counts on the image's own folder; a script starts in the workspace."""
    if container.working_dir:
        return container.working_dir
    return WORKSPACE if container.commands else image_workdir or WORKSPACE


def _host_config(plan: StepPlan, container: Container) -> dict[str, Any]:
    is_service = plan.step.type is StepType.SERVICE
    binds, mounts = _mounts(plan, container)
    config: dict[str, Any] = {
        "Binds": binds,
        "Mounts": mounts,
        "PortBindings": _port_bindings(container),
        "Devices": [
            {
                "PathOnHost": device.source,
                "PathInContainer": device.target,
                "CgroupPermissions": device.permissions,
            }
            for device in container.devices
        ],
        "Tmpfs": dict(_tmpfs(mount) for mount in container.tmpfs),
        "CapAdd": list(container.cap_add),
        "CapDrop": list(container.cap_drop),
        "SecurityOpt": [_security_opt(option) for option in container.security_opt],
        "Privileged": container.privileged,
        "DeviceRequests": device_requests(container, plan.gpu_devices),
        "LogConfig": {"Type": _LOG_DRIVER, "Config": _SERVICE_LOG if is_service else _STEP_LOG},
    }
    if container.cpu_limit is not None:
        config["NanoCpus"] = round(container.cpu_limit * _NANO)
    if container.memory_limit_bytes is not None:
        # Without MemorySwap Docker grants the same amount again as swap.
        config["Memory"] = config["MemorySwap"] = container.memory_limit_bytes
    return config


def _port_bindings(container: Container) -> dict[str, list[dict[str, str]]]:
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in container.ports:
        binding = {"HostIp": port.host_ip, "HostPort": port.host}
        bindings.setdefault(f"{port.container}/{port.protocol}", []).append(binding)
    return bindings


def _tmpfs(mount: str) -> tuple[str, str]:
    target, _, options = mount.partition(":")
    return target, options


# --- mounts -------------------------------------------------------------------------------------


def _mounts(plan: StepPlan, container: Container) -> tuple[list[str], list[dict[str, Any]]]:
    """(`Binds`, `Mounts`). A bind creates a folder that is missing on the node, as Compose does; a
    path with a colon cannot be written as one."""
    for path, first in repeated_mounts(container.volumes, container.tmpfs):
        raise UnsupportedField(
            f"{path}: it mounts the same folder as {first}; give each one of its own"
        )
    taken = {os.path.normpath(volume.target) for volume in container.volumes}
    taken |= {os.path.normpath(_tmpfs(mount)[0]) for mount in container.tmpfs}
    volumes = [
        Volume(source=str(source), target=target)
        for source, target in ((plan.workspace, WORKSPACE), (plan.output_file, OUTPUT))
        if target not in taken
    ]
    binds: list[str] = []
    mounts: list[dict[str, Any]] = []
    for volume in (*volumes, *container.volumes):
        source = _source(plan, volume.source)
        if ":" in source or ":" in volume.target:
            mounts.append(_mount(source, volume))
        else:
            binds.append(f"{source}:{volume.target}:{'ro' if volume.read_only else 'rw'}")
    return binds, mounts


def _mount(source: str, volume: Volume) -> dict[str, Any]:
    return {
        "Type": "bind" if source.startswith("/") else "volume",
        "Source": source,
        "Target": volume.target,
        "ReadOnly": volume.read_only,
    }


def _source(plan: StepPlan, source: str) -> str:
    """A path on the node (relative ones lie in the workspace), or a volume's name."""
    if not source.startswith("."):
        return source
    path = Path(os.path.normpath(plan.workspace / source))
    if not path.is_relative_to(plan.workspace):
        raise UnsupportedField(
            f"volumes: {source} leads out of the workspace; write an absolute path"
        )
    return str(path)


# --- security and health ------------------------------------------------------------------------


def _security_opt(option: str) -> str:
    """The API wants a seccomp profile itself, where people name its file."""
    name, separator, value = option.replace(":", "=", 1).partition("=")
    builtin = value in {"", "unconfined", "builtin", "default"} or value.startswith("{")
    if name != "seccomp" or not separator or builtin:
        return option
    try:
        return f"seccomp={Path(value).read_text(encoding='utf-8')}"
    except OSError as error:
        raise UnsupportedField(
            f"security_opt: the seccomp profile {value} cannot be read on the node "
            f"({error.strerror}); put it there, or use seccomp=unconfined"
        ) from error


def _healthcheck(check: Healthcheck) -> dict[str, Any]:
    """Nanoseconds; 0 keeps the image's own value, or Docker's."""
    return {
        "Test": list(check.test),
        "Interval": round((check.interval_seconds or 0) * _NANO),
        "Timeout": round((check.timeout_seconds or 0) * _NANO),
        "StartPeriod": round((check.start_period_seconds or 0) * _NANO),
        "Retries": check.retries or 0,
    }
