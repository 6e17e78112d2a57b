"""One GPU, and pipelines of several classes that want it."""

from pathlib import Path

from tests.e2e.beagle import GPU_FACTS
from tests.e2e.fleet import Fleet
from tests.e2e.stack import RunningStack, wait_for

FILE = """
name: {name}
priority: {priority}
resources: {{gpu: {{count: 1}}}}
placement: {{preemptible: {preemptible}, match: [{{key: preempts, op: exists}}]}}
steps:
  - name: work
    type: command
    command: |
      trap 'echo {name} stopped >> {ledger}; exit 143' TERM
      echo {name} ${{{{ pipeline.generation }}}} >> {ledger}
      until [ -e {ledger}.{name} ]; do sleep 0.1; done
  - {{name: tidy, type: command, always: true, command: "echo {name} tidied >> {ledger}"}}
"""


class Game:
    """Everybody writes to one ledger, and works until a gate is opened."""

    def __init__(self, stack: RunningStack, folder: Path) -> None:
        self.stack, self.ledger = stack, folder / "ledger"
        self.ids: dict[str, str] = {}

    def submit(self, name: str, *, priority: int = 0, preemptible: bool = False) -> None:
        said = str(preemptible).lower()
        text = FILE.format(name=name, priority=priority, preemptible=said, ledger=self.ledger)
        self.ids[name] = self.stack.submit(text)

    def open(self, name: str) -> None:
        Path(f"{self.ledger}.{name}").touch()

    def wrote(self) -> list[str]:
        return self.ledger.read_text().splitlines() if self.ledger.exists() else []

    def wait_written(self, line: str) -> None:
        wait_for(lambda: line in self.wrote(), what=f"{line!r} in the ledger")

    def wait_pending(self, name: str, generation: int) -> None:
        def waits() -> bool:
            record = self.stack.get(self.ids[name])
            return (record["state"], record["generation"]) == ("pending", generation)

        wait_for(waits, what=f"{name} to wait")

    def finish(self, name: str) -> None:
        record = self.stack.finish(self.ids[name])
        assert record["state"] == "completed", record["message"]

    def why(self, name: str) -> str:
        return " ".join(self.stack.run("why", self.ids[name]).stdout.split())


def test_a_higher_class_takes_the_place_of_one_that_offered_it(
    fleet: Fleet, tmp_path: Path
) -> None:
    facts = tmp_path / "facts.yaml"
    facts.write_text(GPU_FACTS)
    fleet.add("gpu", "--facts", str(facts), "--label", "preempts=yes").start()
    game = Game(fleet.stack, tmp_path)

    game.submit("low", preemptible=True)
    game.wait_written("low 1")
    game.submit("equal")
    game.wait_pending("equal", 1)
    game.submit("high", priority=10)
    game.wait_written("high 1")
    game.wait_pending("low", 2)
    assert game.wrote() == ["low 1", "low stopped", "high 1"]
    high = game.ids["high"]
    assert f"it made room for {high}, whose priority is higher" in game.why("low")
    events = game.stack.http.get(f"/pipelines/{game.ids['low']}/events").json()
    told = [one["data"] for one in events if one["kind"] == "pipeline_state_changed"]
    reasons = [(one["state"], one["reason"]) for one in told if one["reason"]]
    assert ("pending", "PREEMPTED") in reasons

    game.submit("higher", priority=20)
    game.wait_pending("higher", 1)
    for name in ("high", "higher", "low", "equal"):
        game.open(name)
        game.finish(name)
    assert game.wrote() == [
        "low 1",
        "low stopped",
        "high 1",
        "high tidied",
        "higher 1",
        "higher tidied",
        "low 2",
        "low tidied",
        "equal 1",
        "equal tidied",
    ]
