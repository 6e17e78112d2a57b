"""How a container is as an instance, told without the values that its step was given."""

from dataclasses import dataclass, replace

from gamepipe.agent.container_facts import ContainerFacts, attempt_key
from gamepipe.agent.mask import Masker
from gamepipe.agent.values import StepValues, ValuesRefused
from gamepipe.model import reason as reasons
from gamepipe.model.state import InstanceState


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What an instance is like now."""

    state: InstanceState
    exit_code: int | None = None
    reason: str = ""
    message: str = ""


def look_at(facts: ContainerFacts | None) -> Look | None:
    """How a container is as an instance, in its own words; None before it was started."""
    if facts is None or facts.started_at is None:
        return None
    if not facts.is_running:
        return Look(
            state=InstanceState.EXITED,
            exit_code=facts.exit_code,
            reason=reasons.SERVICE_EXITED,
            message=facts.end_description,
        )
    if facts.health == "unhealthy":
        return Look(
            state=InstanceState.UNHEALTHY, reason=reasons.UNHEALTHY, message=facts.health_output
        )
    return Look(state=InstanceState.RUNNING)


async def masked(look: Look, facts: ContainerFacts, values: StepValues) -> Look:
    """The look with envs and secrets masked in what the container or the engine said.

    They are fetched for that, since nothing on the node keeps them; where the gateway refuses
    them, those words are left out. Raises `ValuesUnavailable`.
    """
    is_check = look.state is InstanceState.UNHEALTHY
    words = facts.health_output if is_check else facts.error
    if not words:
        return look
    try:
        held = await values.fetch(attempt_key(facts.labels))
    except ValuesRefused:
        message = look.message.replace(words, "(left out: it may hold values of secrets)")
        return replace(look, message=message)
    masker = Masker((*held.envs.values(), *held.secrets.values()))
    is_cut = is_check and facts.health_output_is_cut
    return replace(look, message=masker.mask(look.message, is_cut=is_cut))
