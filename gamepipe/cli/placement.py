"""`gamepipe why` and `gamepipe plan`: where pipelines go, why, and why not."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from gamepipe.cli import show
from gamepipe.cli.choice import print_choice, print_earlier
from gamepipe.cli.client import client
from gamepipe.cli.failure import ExitStatus
from gamepipe.cli.option import (
    Arg,
    Env,
    Output,
    PipelineId,
    Secret,
    TokenFile,
    Url,
    parse_pairs,
    read_file,
)
from gamepipe.cli.pipelines import pipeline_path
from gamepipe.cli.refusal import FEW, NAMED, print_refusal
from gamepipe.cli.show import OutputFormat
from gamepipe.cli.submission import submission
from gamepipe.cli.turn import place, print_turn

All = Annotated[bool, typer.Option("--all", "-a", help="Every node, however many there are.")]
EVERY_NODE = 100_000


def why(
    pipeline_id: PipelineId,
    everything: All = False,
    output: Output = OutputFormat.TABLE,
    url: Url = "",
    token_file: TokenFile = None,
) -> None:
    """Say why a pipeline runs where it runs; or why it waits, and what would let it run."""
    path = f"{pipeline_path(pipeline_id)}/placement"
    found = client(url, token_file).call("GET", path, query={"verdicts": EVERY_NODE})
    if output is OutputFormat.JSON:
        show.print_json(found)
        return
    _fact("pipeline", pipeline_id)
    _fact("state", show.state(found["state"]))
    if found["waiting"]:
        _print_waiting(found, everything=everything)
    _print_generations(found, everything=everything)
    if ahead := found.get("plan"):
        _print_plan(ahead, everything=everything)


def _fact(name: str, fact: str | Text) -> None:
    text = fact if isinstance(fact, Text) else show.plain(fact)
    show.console.print(Text.assemble(f"{name:<9} ", text))


def _print_waiting(found: dict[str, Any], *, everything: bool) -> None:
    since = show.elapsed(found["queued_at"], None)
    turn = found["turn"]
    _fact("waits", f"{place(turn)}, for {since}" if turn else f"for {since}")
    if turn:
        print_turn(turn)
    if making := found.get("making_room"):
        _fact("room", _making_room(making))
    if found["fits"]:
        _fact("fits", f"node {found['fits']} now: it waits for its turn only")
        return
    print_refusal(found, everything=everything)


def _making_room(found: list[dict[str, Any]]) -> str:
    pipelines = "1 pipeline makes" if len(found) == 1 else f"{len(found)} pipelines make"
    names = ", ".join(one["pipeline_id"] for one in found)
    return f"{pipelines} room for it on node {found[0]['node_id']}: {names}"


def _print_generations(found: dict[str, Any], *, everything: bool) -> None:
    generations = found["generations"]
    current = generations[-1] if generations and not found["waiting"] else None
    if current:
        _fact("node", f"{current['node_id']} (generation {current['number']})")
        print_choice(current["explanation"])
    elif not generations and not found["waiting"]:
        ended = found["state"] in ("completed", "failed", "canceled")
        show.say("\nit was never placed" if ended else "\nit has not asked for a node yet")
    earlier = [one for one in reversed(generations) if one is not current]
    print_earlier(earlier, everything=everything)


def plan(
    file: Annotated[Path, typer.Argument(help="Pipeline file; - is standard input.")],
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, max=10_000, help="So many copies of it.")
    ] = 1,
    arg: Arg = [],  # noqa: B006
    env: Env = [],  # noqa: B006
    secret: Secret = [],  # noqa: B006
    everything: All = False,
    output: Output = OutputFormat.TABLE,
    url: Url = "",
    token_file: TokenFile = None,
) -> None:
    """Say what would become of a pipeline that came now, without running it. Exit status 1: not
    all copies would start now."""
    body = submission(
        read_file(file),
        file=str(file),
        args=parse_pairs(arg, "--arg"),
        envs=parse_pairs(env, "--env"),
        secret_values=parse_pairs(secret, "--secret"),
    )
    query = {"count": count, "verdicts": EVERY_NODE}
    found = client(url, token_file).call("POST", "/pipelines/plan", body=body, query=query)
    if output is OutputFormat.JSON:
        show.print_json(found)
    else:
        _print_plan(found, everything=everything)
    if found["refused"]:
        raise typer.Exit(ExitStatus.FAILED)


def _print_plan(found: dict[str, Any], *, everything: bool) -> None:
    show.say(headline(found))
    if found["served_before"]:
        show.say(f"{found['served_before']} of {found['queue_length']} that wait are served first")
    if found["asked"] > 1:
        _print_placed(found["placed"], everything=everything)
        _print_preempting(found["preempting"], everything=everything)
    if found["first"]:
        show.say("")
        print_choice(found["first"], title="copy 1" if found["asked"] > 1 else "")
    if found["refused"]:
        _print_stop(found, everything=everything)


def _print_stop(found: dict[str, Any], *, everything: bool) -> None:
    """What becomes of the first copy that does not start."""
    turn = found["turn"]
    show.say("")
    if turn:
        which = f"copy {found['fitting'] + 1}" if found["asked"] > 1 else "it"
        _fact(which, f"would be {place(turn)}")
        print_turn(turn, holds="would hold" if found["fitting"] else "holds")
    print_refusal(found["refused"], everything=everything)


def headline(found: dict[str, Any]) -> str:
    """Of a plan, as REST tells it: one line."""
    name, asked, fitting = show.one_line(found["name"]), found["asked"], found["fitting"]
    made = sum(one["count"] for one in found["preempting"])
    waiting, full = asked - fitting - made - found["queue_full"], found["queue_full"]
    if asked == 1:
        return f"{name} would {_fate(found)}"
    used, nodes = len(found["placed"]), found["nodes"]
    on = f", on {used} of {nodes} node(s)" if fitting else ""
    copies = f"all {asked}" if fitting == asked else f"{fitting or 'none'} of {asked}"
    rest = (
        f"; {made} more once others made room" if made else "",
        f"; {waiting} would wait" if waiting else "",
        f"; {full} would be refused: QUEUE_FULL" if full else "",
    )
    return f"{copies} copies of {name} would start now{on}{''.join(rest)}"


def _fate(found: dict[str, Any]) -> str:
    """Of one copy."""
    for one in found["placed"]:
        return f"start now, on {one['node_id']}"
    for one in found["preempting"]:
        names = [*one["victims"], *one["leaving"]]
        verb = "makes" if len(names) == 1 else "make"
        return f"start on {one['node_id']} after {_listed(names) or 'others'} {verb} room"
    return "be refused: QUEUE_FULL" if found["queue_full"] else "wait"


def _listed(names: list[str]) -> str:
    """`a`; `a and b`; `a, b, c and 4 more`."""
    named = names if len(names) <= NAMED else [*names[:NAMED], f"{len(names) - NAMED} more"]
    return " and ".join(filter(None, (", ".join(named[:-1]), *named[-1:])))


def _print_preempting(made: list[dict[str, Any]], *, everything: bool) -> None:
    if not made:
        return
    show.say("")
    shown = made if everything else made[:FEW]
    rows = (
        (one["node_id"], str(one["count"]), _listed([*one["victims"], *one["leaving"]]))
        for one in shown
    )
    show.print_table(("NODE", "COPIES", "AFTER THESE MADE ROOM"), rows, "")
    if rest := made[len(shown) :]:
        copies = sum(one["count"] for one in rest)
        show.say(f"... and {copies} on {len(rest)} more nodes; --all shows them")


def _print_placed(placed: list[dict[str, Any]], *, everything: bool) -> None:
    if not placed:
        return
    show.say("")
    shown = placed if everything else placed[:FEW]
    rows = ((one["node_id"], str(one["count"])) for one in shown)
    show.print_table(("NODE", "COPIES"), rows, "")
    if rest := placed[len(shown) :]:
        copies = sum(one["count"] for one in rest)
        show.say(f"... and {copies} on {len(rest)} more nodes; --all shows them")
