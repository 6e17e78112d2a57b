"""Why no node fits: by cause, node by node, and what would change it."""

from typing import Any

from gamepipe.cli import show

FEW = 10
"""So many nodes are told one by one; more only by `--all`."""
NAMED = 3
"""Nodes of each cause that are named when there are more."""


def print_refusal(refused: dict[str, Any], *, everything: bool) -> None:
    """`refused` as REST tells it."""
    verdicts, causes = refused["verdicts"], refused["causes"]
    if node := refused["kept_node_id"]:
        show.say(f"reserved  what it needs of node {node}: it has waited for long")
    if not causes:
        show.say(f"why       {refused['summary']}")
        return
    show.say(f"why       none of {sum(one['count'] for one in causes)} node(s) fits\n")
    if everything or len(verdicts) <= FEW:
        rows = [(one["node_id"], one["code"], one["message"]) for one in verdicts]
        show.print_table(("NODE", "CAUSE", "WHY"), rows, "")
    else:
        grouped = [
            (one["code"], str(one["count"]), _first(one["code"], verdicts), one["message"])
            for one in causes
        ]
        show.print_table(("CAUSE", "NODES", "WHICH", "THE FIRST ONE"), grouped, "")
        show.say("--all shows every node")
    _print_remedies(refused)


def _first(code: str, verdicts: list[dict[str, Any]]) -> str:
    """Some of the nodes that this rules out."""
    nodes = [one["node_id"] for one in verdicts if one["code"] == code]
    return ", ".join(nodes[:NAMED]) + (", ..." if len(nodes) > NAMED else "")


def _print_remedies(refused: dict[str, Any]) -> None:
    if refused["remedies"]:
        show.say("\nwhat would let it run, the smallest change first:")
        for one in refused["remedies"]:
            show.say(f"  {show.one_line(one['text'])}")
    elif refused["closest"]:
        show.say(f"\nno change, nor two together, would let it run: {refused['closest']}")
