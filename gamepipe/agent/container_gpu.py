"""The GPUs of a container as Docker's `DeviceRequests`: exactly those that its step was given."""

from collections.abc import Iterator, Sequence
from typing import Any

from gamepipe.agent.container_refusal import UnsupportedField
from gamepipe.model.gpu import ALL, is_gpu, least, takes_more
from gamepipe.model.spec import Container, DeviceRequest

_FIELD = "deploy.resources.reservations.devices"


def device_requests(container: Container, devices: Sequence[int]) -> list[dict[str, Any]]:
    """What to ask Docker for.

    Args:
        container: the step's container; without a GPU request it gets one for its devices.
        devices: indices of the GPUs that the step was given.

    Raises:
        UnsupportedField: it reserves more than it was given.
    """
    asked = container.device_requests
    others = [_body(one, list(one.device_ids)) for one in asked if not is_gpu(one)]
    gpus = [one for one in asked if is_gpu(one)]
    if not gpus and devices:
        gpus = [DeviceRequest(capabilities=("gpu",))]
    shares = list(_shares(gpus, [str(device) for device in devices]))
    if len({one.driver for one in gpus if one.driver}) <= 1 < len(gpus):
        gpus, shares = [_joined(gpus)], [[device for share in shares for device in share]]
    return others + [_body(one, ids) for one, ids in zip(gpus, shares, strict=True)]


def _shares(gpus: Sequence[DeviceRequest], devices: list[str]) -> Iterator[list[str]]:
    """Successive devices for each request; the first without a number also takes what is over."""
    over = max(len(devices) - sum(max(least(request), 1) for request in gpus), 0)
    for request in gpus:
        count = least(request) if least(request) != ALL else max(len(devices), 1)
        if takes_more(request):
            count, over = count + over, 0
        if len(devices) < count:
            raise UnsupportedField(
                f"{_FIELD}: it reserves more GPUs than the step was given; state as many with "
                "`gpu` under `resources`, or leave `resources.gpu` out"
            )
        mine, devices = devices[:count], devices[count:]
        yield list(request.device_ids) or mine


def _joined(gpus: Sequence[DeviceRequest]) -> DeviceRequest:
    """Docker would give the container the devices of its last request only."""
    names = (name for request in gpus for name in request.capabilities)
    options = {name: text for request in gpus for name, text in request.options.items()}
    driver = max(request.driver for request in gpus)
    return DeviceRequest(capabilities=tuple(dict.fromkeys(names)), driver=driver, options=options)


def _body(request: DeviceRequest, ids: list[str]) -> dict[str, Any]:
    count = -1 if request.count is None else request.count
    return {
        "Driver": request.driver,
        "Count": 0 if ids else count,
        "DeviceIDs": ids,
        "Capabilities": [list(request.capabilities)],
        "Options": dict(request.options),
    }
