"""Why no node fits: by cause, node by node, and what would change it."""

from typing import Any

from gamepipe.cli import show

FEW = 10
"""So many nodes are told one by one; more only by `--all`."""


def print_refusal(refused: dict[str, Any], *, everything: bool) -> None:
    """`refused` as REST tells it."""
    verdicts, causes = refused["verdicts"], refused["causes"]
    if not causes:
        show.say(f"why       {refused['summary']}")
        return
    show.say(f"why       none of {sum(one['count'] for one in causes)} node(s) fits\n")
    if everything or len(verdicts) <= FEW:
        rows = [(one["node_id"], one["code"], one["message"]) for one in verdicts]
        show.print_table(("NODE", "CAUSE", "WHICH"), rows, "")
    else:
        rows = [
            (one["code"], str(one["count"]), f"{one['node_id']} {one['message']}") for one in causes
        ]
        show.print_table(("CAUSE", "NODES", "SUCH AS"), rows, "")
        show.say("--all shows every node")
    _print_remedies(refused)


def _print_remedies(refused: dict[str, Any]) -> None:
    if refused["remedies"]:
        show.say("\nwhat would let it run, the smallest change first:")
        for one in refused["remedies"]:
            show.say(f"  {show.one_line(one['text'])}")
    elif refused["closest"]:
        show.say(f"\nno change, nor two together, would let it run: {refused['closest']}")
