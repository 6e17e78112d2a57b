"""Templates are filled in once, safely, and never show a value in an error."""

import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamepipe.model.interpolation import (
    MAX_RENDERED_BYTES,
    InterpolationError,
    holes,
    references,
    render_step,
    render_text,
    scope_for,
)
from gamepipe.model.reference import Reference, ReferenceSyntax
from gamepipe.model.spec import Container, Healthcheck, Port, Step, StepType, Volume
from gamepipe.wire import Scope


def command(text: str) -> Step:
    return Step(index=0, name="s", type=StepType.COMMAND, command=text)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("${{ args.A }}", Reference("args", "A")),
        ("${{args.A}}", Reference("args", "A")),
        ("${{ envs.A-b_1 }}", Reference("envs", "A-b_1")),
        ("${{ secrets['K'] }}", Reference("secrets", "K")),
        ("${{ steps.one.outputs.url }}", Reference("steps", "one", "url")),
        ("${{ steps['a }} step'].outputs.x }}", Reference("steps", "a }} step", "x")),
        ('${{ steps["it\'s"].outputs["y"] }}', Reference("steps", "it's", "y")),
        ("${{ steps.größe.outputs.x }}", Reference("steps", "größe", "x")),
        ("${{ node.id }}", Reference("node", "id")),
    ],
)
def test_a_hole_names_one_value(text: str, reference: Reference) -> None:
    (hole,) = holes(f"before {text} after")
    assert (hole.reference, hole.position) == (reference, 7)


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("${{ args.A", 0, "not closed"),
        ("a ${{ }}", 6, "begin with one of"),
        ("${{ foo.A }}", 4, "unknown name `foo`"),
        ("${{ args }}", 4, "args.NAME"),
        ("${{ args.A | upper }}", 4, "out of place"),
        ("${{ steps.a.state }}", 4, "name one of its outputs"),
        ("${{ args.A + 1 }}", 4, "out of place"),
    ],
)
def test_what_is_no_hole_is_refused_with_its_position(text: str, position: int, says: str) -> None:
    with pytest.raises(ReferenceSyntax) as caught:
        holes(text)
    assert caught.value.position == position
    assert says in str(caught.value)


def test_a_dollar_before_it_keeps_a_template_as_it_is() -> None:
    assert render_text("$${{ args.A }} ${{ args.A }}", lambda _: "v") == "${{ args.A }} v"


@given(st.text(), st.text())
def test_a_value_is_never_looked_into(value: str, around: str) -> None:
    before = around.replace("$", "")
    assert render_text(f"{before}${{{{ args.A }}}}", lambda _: value) == before + value


def test_a_template_cannot_multiply_a_value_without_bounds() -> None:
    step = command("${{ args.A }}" * 16_000)
    scope = Scope(args={"A": "x" * 60_000})
    tracemalloc.start()
    try:
        with pytest.raises(InterpolationError, match="1 MiB in all; use long values less often"):
            render_step(step, scope, envs={}, secrets={})
        assert tracemalloc.get_traced_memory()[1] < 16 * MAX_RENDERED_BYTES
    finally:
        tracemalloc.stop()


def test_the_bound_counts_all_texts_of_a_step() -> None:
    half = "x" * (MAX_RENDERED_BYTES // 2)
    step = replace(command("${{ args.A }}"), environment={"E": "${{ args.A }}"})
    rendered = render_step(step, Scope(args={"A": half}), envs={}, secrets={})
    assert (rendered.command, rendered.environment) == (half, {"E": half})
    with pytest.raises(InterpolationError, match="'s'"):
        render_step(step, Scope(args={"A": half + "x"}), envs={}, secrets={})


def test_every_text_of_a_step_is_looked_through() -> None:
    step = Step(
        index=0,
        name="${{ args.NOT_HERE }}",
        container=Container(
            image="${{ args.IMAGE }}",
            environment={"K": "${{ envs.E }}"},
            commands=("${{ secrets.S }}",),
            ports=(Port(container="80", host="${{ args.PORT }}"),),
            volumes=(Volume(source="${{ steps.a.outputs.dir }}", target="/x"),),
            healthcheck=Healthcheck(test=("CMD", "${{ node.id }}")),
            hostname="${{ pipeline.id }}",
        ),
    )
    named = references(step)
    assert named.args == {"IMAGE", "PORT"}
    assert (named.envs, named.secrets) == ({"E"}, {"S"})
    assert named.outputs == {("a", "dir")}
    assert (named.node, named.pipeline) == ({"id"}, {"id"})


def test_a_scope_holds_only_what_the_step_names() -> None:
    scope = scope_for(
        command("${{ args.A }} ${{ steps.one.outputs.x }} ${{ envs.E }}"),
        args={"A": "1", "B": "2"},
        outputs={"one": {"x": "3", "y": "4"}, "two": {"x": "5"}},
        node={"id": "n"},
        pipeline={"id": "p"},
        env_names=["E", "F"],
        secret_names=["S"],
    )
    assert scope == Scope(args={"A": "1"}, outputs={"one": {"x": "3"}}, env_names=("E",))


def test_a_step_is_filled_in() -> None:
    step = command("${{ args.A }}-${{ envs.E }}-${{ secrets.S }}-${{ steps.o.outputs.x }}")
    scope = Scope(args={"A": "1"}, outputs={"o": {"x": "${{ args.A }}"}})
    rendered = render_step(step, scope, envs={"E": "2"}, secrets={"S": "3"})
    assert rendered.command == "1-2-3-${{ args.A }}"
    assert rendered.name == step.name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("args.A", "the arg has no value"),
        ("envs.A", "the env has no value"),
        ("secrets.A", "the secret has no value"),
        ("steps.x.outputs.y", "step 'x' did not write that output"),
        ("node.a", "no such fact"),
    ],
)
def test_what_is_missing_is_named(name: str, says: str) -> None:
    with pytest.raises(InterpolationError, match=says) as caught:
        render_step(command(f"${{{{ {name} }}}}"), Scope(), envs={}, secrets={})
    assert name in str(caught.value)


def test_a_value_that_does_not_fit_is_refused_without_showing_it() -> None:
    step = Step(
        index=0,
        name="s",
        container=Container(image="a", ports=(Port(container="80", host="${{ envs.P }}"),)),
    )
    with pytest.raises(InterpolationError) as caught:
        render_step(step, Scope(), envs={"P": "hunter2"}, secrets={})
    assert "container.ports[0]: `${{ envs.P }}` must give a port number" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert render_step(step, Scope(), envs={"P": "81"}, secrets={}).container == Container(
        image="a", ports=(Port(container="80", host="81"),)
    )
