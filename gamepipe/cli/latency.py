"""`gamepipe nodes latency`: how far players are from a node, and how that is known."""

from typing import Annotated, Any

import typer

from gamepipe.cli import show
from gamepipe.cli.client import client
from gamepipe.cli.option import Output, TokenFile, Url, check_id
from gamepipe.cli.show import OutputFormat

TITLES = ("FROM", "RTT", "GIVE OR TAKE", "HOW", "JITTER", "SAMPLES", "LAST PROBE")
EMPTY = (
    "no region is known: report probes to POST /api/v1/nodes/{id}/latency, or say where regions "
    "are with PUT /api/v1/regions/{name}"
)


def latency(
    node_id: Annotated[str, typer.Argument(help="Id of the node.")],
    output: Output = OutputFormat.TABLE,
    url: Url = "",
    token_file: TokenFile = None,
) -> None:
    """Show how long round trips to a node take, and how that is known."""
    path = f"/nodes/{check_id('node', node_id)}/latency"
    found = client(url, token_file).call("GET", path)
    if output is OutputFormat.JSON:
        show.print_json(found)
        return
    show.print_table(TITLES, (_row(one) for one in found), EMPTY)


def _row(estimate: dict[str, Any]) -> tuple[str, ...]:
    source = estimate["from"] or f"node {estimate['from_node']}"
    measured = estimate["measured"] or {}
    return (
        source,
        _ms(estimate["ms"]),
        _ms(estimate["error_ms"]),
        estimate["source"],
        _ms(measured.get("jitter_ms")),
        str(measured.get("samples", "-")),
        show.ago(measured.get("last_at")),
    )


def _ms(number: float | None) -> str:
    return "-" if number is None else f"{number:.1f} ms"
