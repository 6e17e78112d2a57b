"""`gamepipe simulate`."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_usage import gamepipe

PNG = b"\x89PNG"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    nodes, tasks = tmp_path / "nodes.csv", tmp_path / "tasks.csv"
    nodes.write_text("sn,cpu_milli,memory_mib,gpu,model\nn1,8000,1024,2,T4\nn2,8000,1024,4,L4\n")
    tasks.write_text(
        "cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n100,1,1,500,\n100,1,1,1000,L4\n1,1,0,0,\n"
    )
    return ["--nodes", str(nodes), "--tasks", str(tasks), "--seeds", "2"]


def test_a_trace_is_replayed_and_reported(files: list[str], tmp_path: Path) -> None:
    report, plots = tmp_path / "report.json", tmp_path / "plots"
    done = gamepipe("simulate", *files, "--json", str(report), "--plot-dir", str(plots))
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(report.read_text())
    assert (found["policy"], found["arrivals"]) == ("fragmentation", 1.3)
    assert [run["seed"] for run in found["runs"]] == [1, 2]
    assert 60 < found["allocated_percent"] <= 100
    assert f"{found['allocated_percent']:.2f} ±" in done.stdout
    assert (plots / "allocation.png").read_bytes().startswith(PNG)


def test_a_made_up_fleet_is_played_and_drawn(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    small = ("--fleet", "4", "--requests", "200", "--seeds", "1", "--policy", "spread")
    done = gamepipe("simulate", *small, "--json", str(report), "--plot-dir", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    (run,) = json.loads(report.read_text())["runs"]
    assert run["placed"] + run["waiting"] == run["requests"] == 200
    assert {tenant for tenant in run["wait_seconds"] if tenant in done.stdout}
    for name in ("allocation", "waits", "waits-by-class", "latency", "preemptions"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(PNG)


CROWDED = (
    "--fleet",
    "4",
    "--requests",
    "250",
    "--seeds",
    "1",
    "--arrivals",
    "2",
    "--urgent",
    "0.2",
)


def play(report: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """The only run, and what was printed."""
    done = gamepipe("simulate", *CROWDED, *arguments, "--json", str(report))
    assert (done.returncode, done.stderr) == (0, "")
    (run,) = json.loads(report.read_text())["runs"]
    return run, done.stdout


def test_preemptions_and_waits_by_class_are_reported(tmp_path: Path) -> None:
    run, said = play(tmp_path / "report.json")
    cut = run["preemptions"]
    assert sum(one["lost_gpu_seconds"] for one in cut) == pytest.approx(run["lost_gpu_seconds"])
    assert len(cut) == sum(run["preempted"].values()) == run["preempted_by_class"]["preemptible"]
    assert set(run["wait_seconds_by_class"]) == {"urgent", "ordinary", "preemptible"}
    assert sum(run["still_waiting_by_class"].values()) == run["waiting"]
    hours = run["lost_gpu_seconds"] / 3600
    assert f"{len(cut)} preemptions of " in said
    assert f" others; {hours:.1f} GPU hours of work were lost" in said


@pytest.mark.parametrize("arguments", [("--no-preemption",), ("--preemptible", "0")])
def test_nobody_is_preempted_who_may_not_be(arguments: tuple[str, ...], tmp_path: Path) -> None:
    run, said = play(tmp_path / "report.json", *arguments)
    assert (run["preemptions"], run["lost_gpu_seconds"]) == ([], 0)
    assert "preemptions of" not in said


def test_limits_are_written_as_in_the_settings(tmp_path: Path) -> None:
    none = '{"tenant": {"large": 0}, "label:mode": {"*": 0, "event": 3}}'
    run, said = play(tmp_path / "report.json", "--limits", none)
    assert set(run["wait_seconds"]) == {"small", "middle"}
    row = next(line for line in said.splitlines() if line.startswith("large"))
    assert row.split() == ["large", "1", "-", "-", "-", str(run["still_waiting"]["large"]), "0"]


def test_mistakes_in_a_table_are_told_with_their_places(files: list[str], tmp_path: Path) -> None:
    nodes = tmp_path / "nodes.csv"
    nodes.write_text("sn,cpu_milli,memory_mib,gpu,model\nn1,much,1024,2,T4\n")
    done = gamepipe("simulate", *files)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"{nodes}:2: column cpu_milli: 'much' is no whole number: write 0 or more\n"
        f"gamepipe: cannot use {nodes}\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--policy", "best"), "--policy 'best' is unknown: choose fragmentation, "),
        (("--limits", "{"), "--limits must be JSON, such as"),
        (("--limits", '{"label:mode": 3}'), "--limits: `label:mode` must be a mapping of names"),
        (("--nodes", "nodes.csv"), "--nodes and --tasks go together"),
        (("--nodes", "no.csv", "--tasks", "no.csv"), "cannot read no.csv: No such file"),
    ],
)
def test_a_wrong_command_line_is_refused(arguments: tuple[str, ...], said: str) -> None:
    done = gamepipe("simulate", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
