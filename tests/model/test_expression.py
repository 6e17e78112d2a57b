"""Conditions: what they mean, what is refused, and that nothing else can happen."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gamepipe.model.expression import (
    ConditionScope,
    ExpressionError,
    StepFacts,
    evaluate,
    is_always,
    parse_condition,
)

SCOPE = ConditionScope(
    args={"REGION": "eu", "COUNT": "10", "EMPTY": "", "OFF": "False"},
    env_names=frozenset({"SET"}),
    steps={
        "fetch": StepFacts(state="completed", outputs={"size": "3.5", "url": "http://x"}),
        "a step": StepFacts(state="skipped"),
    },
    node={"region": "eu"},
    pipeline={"generation": "2"},
)
FAILED = ConditionScope(steps=SCOPE.steps, failed_ancestors=True)
CANCELED = ConditionScope(canceled=True)

TRUE = [
    *("", "success()", "always()", "true", "not failure()", "!canceled()"),
    *("args.REGION == 'eu'", 'args["REGION"] == "eu"', "args.COUNT > 9", "args.COUNT == 10.0"),
    *("args.COUNT != 11", "10 <= args.COUNT", "2 < 10", "-1 < 0", "not args.EMPTY", "not args.OFF"),
    *("envs.SET", "not envs.UNSET", "envs.SET and true"),
    *("steps.fetch.state == 'completed'", "steps['a step'].state != 'failed'"),
    *("steps.fetch.outputs.size < 4", "steps.fetch.outputs.none == ''"),
    *("node.region == args.REGION", "pipeline.generation >= 2"),
    *("false or true and true", "(false or true) and true", "false and true or true"),
    *("not (false or false)", "not not true", "${{ success() }}", " success( ) "),
    "args.REGION == 'us' || args.REGION == 'eu' && args.COUNT >= 10",
]
FALSE = [
    *("failure()", "canceled()", "false", "0", "''", "'false'", "args.REGION == 'us'"),
    *("args.COUNT == '10.0'", "envs.UNSET", "true and false", "not true or false"),
    *("args.UNKNOWN", "steps.fetch.state == 'failed'", "'a' == 1"),
]
REFUSED = [
    ("success", 7, "expected `success()`"),
    ("success(1)", 8, "without arguments"),
    ("run()", 0, "unknown name `run`"),
    ("__import__('os')", 0, "unknown name"),
    ("args", 0, "args.NAME"),
    ("args.A.B", 0, "args.NAME"),
    ("secrets.A", 0, "may not read secrets"),
    ("true and secrets.A", 9, "may not read secrets"),
    ("envs.A == 'x'", 0, "cannot be compared"),
    ("'x' != envs.A", 7, "cannot be compared"),
    ("steps.a", 0, "state and its outputs"),
    ("steps.a.state == 'done'", 14, "completed"),
    ("a == b", 0, "unknown name `a`"),
    ("args.A = 'b'", 7, "write `==`"),
    ("args.A == 'b", 10, "end it with '"),
    ("(true", 5, "`)`"),
    ("true)", 4, "out of place"),
    ("true true", 5, "out of place"),
    ("1 < 2 < 3", 6, "between two comparisons"),
    ("and", 0, "expected a value"),
    ("true or", 7, "ends too soon"),
    ("args.A; true", 6, "out of place"),
    ("${{ true }} or ${{ false }}", 9, "out of place"),
    ("(" * 30 + "true" + ")" * 30, 20, "nested too deeply"),
    ("not " * 30 + "true", 80, "nested too deeply"),
    ("true or " * 200 + "true", 1000, "too long"),
]


@pytest.mark.parametrize("text", TRUE)
def test_true(text: str) -> None:
    assert evaluate(text, SCOPE) is True


@pytest.mark.parametrize("text", FALSE)
def test_false(text: str) -> None:
    assert evaluate(text, SCOPE) is False


@pytest.mark.parametrize(("text", "position", "says"), REFUSED)
def test_refused_with_position_and_remedy(text: str, position: int, says: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_condition(text)
    assert caught.value.position == position
    assert says in f"{caught.value.problem}; {caught.value.remedy}"


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("", False),
        ("true", False),
        ("args.REGION == ''", False),
        ("success()", False),
        ("failure()", True),
        ("always()", True),
        ("canceled()", False),
        ("steps.fetch.state == 'completed'", True),
        ("steps.fetch.outputs.size > 0", False),
    ],
)
def test_after_a_failure_only_what_asks_for_a_status_may_run(text: str, runs: bool) -> None:
    assert evaluate(text, FAILED) is runs


def test_in_a_cancel_success_is_false_and_canceled_true() -> None:
    assert evaluate("canceled()", CANCELED)
    assert not evaluate("success()", CANCELED)
    assert not evaluate("failure()", CANCELED)


@pytest.mark.parametrize(
    ("text", "may"),
    [("always()", True), ("not canceled()", True), ("failure()", False), ("", False)],
)
def test_which_conditions_may_run_a_step_in_a_cancel(text: str, may: bool) -> None:
    assert is_always(text) is may


def test_order_needs_numbers() -> None:
    with pytest.raises(ExpressionError, match="needs two numbers"):
        evaluate("args.REGION > 3", SCOPE)
    with pytest.raises(ExpressionError, match="needs two numbers"):
        evaluate("always() > 0", SCOPE)


def test_a_step_that_is_not_there_is_an_error_of_the_condition() -> None:
    with pytest.raises(ExpressionError, match="no step 'gone'"):
        evaluate("steps.gone.state == 'failed'", SCOPE)


_TOKENS = st.sampled_from(
    [
        *("(", ")", "and", "or", "not", "!", "&&", "||", "==", "!=", "<", ">=", "true", "false"),
        *("success()", "failure()", "args.REGION", "envs.SET", "steps.fetch.state", "'x'", "1.5"),
        *("steps['a step'].outputs.y", "node.region", "${{", "}}", "'", "secrets.A", "x"),
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_TOKENS, max_size=12).map(" ".join))
def test_any_condition_is_true_false_or_refused_and_the_same_each_time(text: str) -> None:
    def outcome() -> object:
        try:
            return evaluate(text, SCOPE)
        except ExpressionError as error:
            return str(error)

    assert outcome() == outcome()


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_within_it(text: str) -> None:
    try:
        parse_condition(text)
    except ExpressionError as error:
        place = error.position
    else:
        place = 0
    assert 0 <= place <= len(text)
