"""What the pages show is true: links lead somewhere, pipelines parse, commands exist."""

import importlib
import re
from functools import cache
from pathlib import Path

import pytest
import typer

from gamepipe.cli.main import COMMANDS
from gamepipe.definition import parse_pipeline

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md"))
_LINK = re.compile(r"\]\(([^)#:]+)(?:#([^)]*))?\)")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *kinds: str) -> list[str]:
    return [text for kind, text in _BLOCK.findall(page.read_text()) if kind in kinds]


def options(command: str) -> set[str]:
    """Every flag of a `gamepipe` command, and of the commands below it."""
    assert command in COMMANDS, f"no command {command!r}"
    module, function = COMMANDS[command]
    found = getattr(importlib.import_module(module), function)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False)
        alone.command()(found)
        found = alone
    group = typer.main.get_command(found)
    below = list(getattr(group, "commands", {}).values())
    return {flag for one in (group, *below) for option in one.params for flag in option.opts}


@cache
def known_tests() -> set[str]:
    """Modules and functions."""
    modules = list((ROOT / "tests").rglob("test_*.py"))
    functions = (re.findall(r"def (test_\w+)", path.read_text()) for path in modules)
    return {path.stem for path in modules}.union(*functions)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    missing = [
        target
        for target, _ in _LINK.findall(page.read_text())
        if not (page.parent / target).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_tests_that_hold_a_promise_exist(page: Path) -> None:
    named = set(re.findall(r"`(?:tests/)?(?:\w+/)*(test_\w+)(?:\.py)?`", page.read_text()))
    assert named <= known_tests()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_whole_pipelines_parse(page: Path) -> None:
    for text in blocks(page, "yaml"):
        if re.search(r"^name:", text, re.MULTILINE) and "steps:" in text:
            parse_pipeline(text)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_exist_with_the_options_shown(page: Path) -> None:
    for text in blocks(page, "console", "sh", "bash"):
        for name, rest in re.findall(r"^(?:\$ )?gamepipe (\w+)([^#\n]*)", text, re.MULTILINE):
            known = options(name)
            shown = set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest))
            assert shown <= known, f"gamepipe {name}: {shown - known}"


def test_make_targets_in_the_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        shown = set(re.findall(r"(?:`|\$ )make ([a-z]+)", page.read_text()))
        assert shown <= targets, name_of(page)


def test_the_readme_shows_a_running_pipeline_within_30_lines() -> None:
    head = (ROOT / "README.md").read_text().splitlines()[:30]
    assert "$ make demo" in head
