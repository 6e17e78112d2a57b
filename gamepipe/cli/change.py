"""A pipeline as a pipe shows it while it runs: one line for each change."""

from typing import Any

from gamepipe.cli import show


class ChangeTeller:
    """Tells each state of the pipeline and of its steps once, with the reason."""

    def __init__(self) -> None:
        self._told: dict[tuple[int, ...], str] = {}

    def tell(self, record: dict[str, Any]) -> None:
        """Print what is new since the last record, but not the pipeline's end."""
        if not record["ended_at"]:
            self._tell_pipeline(record)
        for step in record["steps"]:
            if step["state"] != "pending":
                head = f"[{step['index'] + 1}/{len(record['steps'])}] {step['name']}"
                key = (step["generation"], step["index"])
                self._say(key, head, step, said=f"{step['state']} {step['attempt']}")

    def tell_end(self, record: dict[str, Any]) -> None:
        """To be called behind the last log line."""
        self._tell_pipeline(record)

    def _tell_pipeline(self, record: dict[str, Any]) -> None:
        said = f"{record['state']} {record['generation']} {show.outcome(record)}"
        self._say((), record["id"], record, said=said)

    def _say(self, key: tuple[int, ...], head: str, item: dict[str, Any], *, said: str) -> None:
        if self._told.get(key) == said:
            return
        self._told[key] = said
        facts = f" ({', '.join(_facts(item))})" if _facts(item) else ""
        why = show.outcome(item)
        show.say(show.one_line(f"{head}: {item['state']}{facts} {why}"))


def _facts(item: dict[str, Any]) -> list[str]:
    """How long it took, and that it was not the first attempt."""
    ended = item["started_at"] and item["ended_at"]
    took = [show.elapsed(item["started_at"], item["ended_at"])] if ended else []
    return took + ([f"attempt {item['attempt']}"] if item.get("attempt", 0) > 1 else [])
