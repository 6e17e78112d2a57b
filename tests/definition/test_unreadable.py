"""Texts that are no document, or too much of one."""

import pytest

from tests.definition.conftest import mistakes

HEAD = "name: x\nsteps:\n"

UNREADABLE = [
    ("a: b: c", 1, 5, "mapping values"),
    ("name: x\n\tsteps: []", 2, 1, "tab"),
    ("name: [", 1, 8, "brackets"),
    ('name: "x', 1, 9, "quotes"),
    ("", 1, 1, "empty"),
    ("# only a comment", 1, 1, "empty"),
    (b"name: x\nlabels: \xff", 2, 9, "UTF-8"),
    ("name: x\ndescription: a\x00b", 2, 15, "U+0000"),
    ("name: x\n---\nname: y", 2, 1, "second document"),
    ("a: *nothing", 1, 4, "alias"),
    ("a: &a [*a]", 1, 8, "alias"),
    ("name: !!python/object/apply:os.system [ls]", 1, 7, "tag"),
    ("name: !env X", 1, 7, "tag"),
    ("? [a]\n: b", 1, 3, "key"),
    ('name: "\\ud800"', 1, 7, "surrogate"),
    ("<<: 5", 1, 1, "merge"),
    ("[" * 100_000, 1, 41, "nest"),
    ("{a: " * 50_000, 1, 161, "nest"),
    ("name: " + "x" * (1 << 20), 1, 1, "1 MiB"),
    (b"\xff" * ((1 << 20) + 1), 1, 1, "1 MiB"),
    ("é" * (1 << 19) + "e", 1, 1, "1 MiB"),
]


@pytest.mark.parametrize(("text", "line", "column", "says"), UNREADABLE)
def test_what_is_no_document_is_told_with_its_place(
    text: str | bytes, line: int, column: int, says: str
) -> None:
    (mistake,) = mistakes(text).mistakes
    assert (mistake.line, mistake.column, mistake.path) == (line, column, "")
    assert says in f"{mistake.problem}; {mistake.remedy}"
    assert mistake.file == "bad.yaml"


def test_aliases_cannot_blow_up() -> None:
    bomb = 'a: &a ["lol","lol","lol","lol","lol","lol","lol","lol","lol"]\n'
    for number in range(9):
        here, above = chr(98 + number), chr(97 + number)
        bomb += f"{here}: &{here} [{','.join([f'*{above}'] * 9)}]\n"
    assert "too many values" in mistakes(bomb).mistakes[0].problem


def test_aliases_of_long_texts_cannot_blow_up_either() -> None:
    text = f"x-a: &a '{'y' * 500_000}'\n{HEAD}  - container: {{image: b, commands: ["
    assert "too many values" in mistakes(text + "*a," * 500 + "]}").mistakes[0].problem


def test_a_spec_too_large_for_a_payload_is_refused() -> None:
    """Aliases make more of a file than it holds."""
    lines = "".join(
        f"  - {{container: {{image: i, commands: *a}}, name: s{n}}}\n" for n in range(60)
    )
    error = mistakes(f"x-a: &a ['{'y' * 40_000}']\n{HEAD}{lines}")
    assert "KiB once aliases are filled in" in error.mistakes[0].problem
