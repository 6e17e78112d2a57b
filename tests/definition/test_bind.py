"""Values for args, envs and secrets, and what makes two submissions the same."""

from dataclasses import replace

import pytest

from gamepipe.definition import Bound, bind, content_digest, parse_pipeline
from gamepipe.definition.codec import encode_text
from gamepipe.model.errors import InvalidPipeline, Mistake
from gamepipe.model.spec import PipelineSpec

SPEC = parse_pipeline("""
name: x
args: [A, {B: default-b}]
envs: [USED, {WITH: default-with}, ASKED, IDLE]
secrets: [KEY, {SPARE: default-spare}]
steps:
  - type: command
    command: echo ${{ envs.USED }} ${{ envs.WITH }} ${{ secrets.KEY }} ${{ args.A }}
    if: envs.ASKED
""")
GIVEN = {"args": {"A": "a"}, "envs": {"USED": "u"}, "secrets": {"KEY": "k"}}


def refused(spec: PipelineSpec = SPEC, **values: dict[str, str]) -> tuple[Mistake, ...]:
    with pytest.raises(InvalidPipeline) as caught:
        bind(spec, **{**GIVEN, **values})
    return caught.value.mistakes


def test_defaults_fill_in_what_is_not_given() -> None:
    bound = bind(SPEC, **GIVEN)
    assert bound.args == {"A": "a", "B": "default-b"}
    assert bound.envs == {"USED": "u", "WITH": "default-with"}
    assert bound.secrets == {"KEY": "k", "SPARE": "default-spare"}


def test_a_given_value_goes_before_the_default() -> None:
    bound = bind(SPEC, **{**GIVEN, "args": {"A": "", "B": "mine"}})
    assert bound.args == {"A": "", "B": "mine"}


def test_no_value_of_an_env_or_a_secret_stays_in_the_spec() -> None:
    bound = bind(SPEC, **GIVEN)
    assert b"default-with" not in encode_text(bound.spec)
    assert b"default-spare" not in encode_text(bound.spec)
    assert [parameter.has_default for parameter in bound.spec.envs] == [False, True, False, False]
    assert bound.spec.args == SPEC.args
    assert "default-spare" not in repr(bound)


def test_everything_missing_and_unknown_is_told_at_once() -> None:
    mistakes = refused(args={"AA": "x", "ZZZ": "x"}, envs={"USDE": "x"}, secrets={})
    told = {mistake.path: mistake.remedy for mistake in mistakes}
    assert told == {
        "args.AA": "did you mean `A`?",
        "args.ZZZ": "declare it under `args` of the file, or leave it out",
        "envs.USDE": "did you mean `USED`?",
        "args.A": "give it one with `--arg A=VALUE`",
        "envs.USED": "give it one with `--env USED=VALUE`",
        "secrets.KEY": "give it one with `--secret KEY=VALUE`",
    }


def test_an_env_that_only_a_condition_asks_for_may_be_unset() -> None:
    assert "ASKED" not in bind(SPEC, **GIVEN).envs


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("hunter2\0", "zero character"),
        ("hunter2\ud800", "not valid Unicode"),
        ("hunter2" * 10_000, "takes 68 KiB"),
    ],
)
def test_values_that_nothing_could_carry_are_refused_without_showing_them(
    value: str, says: str
) -> None:
    (mistake,) = refused(envs={"USED": value})
    assert mistake.path == "envs.USED"
    assert says in mistake.problem
    assert "hunter2" not in str(mistake)


def test_all_values_together_must_fit_into_a_payload() -> None:
    names = [f"A{number}" for number in range(5)]
    spec = parse_pipeline(
        f"name: x\nargs: [{', '.join(names)}]\nsteps: [{{type: command, command: a}}]"
    )
    with pytest.raises(InvalidPipeline) as caught:
        bind(spec, args=dict.fromkeys(names, "x" * 60_000), envs={}, secrets={})
    assert [mistake.path for mistake in caught.value.mistakes] == ["args"]


PLACES = parse_pipeline("""
name: x
args: [PORT, {HOST: game}]
envs: [ROOT]
steps:
  - container:
      image: a
      hostname: ${{ args.HOST }}
      ports: ["${{ args.PORT }}:80", "80:${{ node.id }}"]
      volumes: ["${{ envs.ROOT }}/x:/x"]
""")


def test_a_value_that_does_not_fit_its_place_is_told_before_anything_runs() -> None:
    with pytest.raises(InvalidPipeline) as caught:
        bind(PLACES, args={"PORT": "http"}, envs={"ROOT": "hunter2 !"}, secrets={})
    ports, volume = sorted(caught.value.mistakes, key=lambda mistake: mistake.path)
    assert (ports.path, volume.path) == (
        "steps[0].container.ports[0]",
        "steps[0].container.volumes[0]",
    )
    assert "`${{ args.PORT }}` does not give a port number" in ports.problem
    assert "`envs.ROOT`" in volume.remedy
    assert "hunter2" not in str(caught.value)


def test_fitting_values_pass_and_what_only_the_node_knows_waits() -> None:
    bound = bind(PLACES, args={"PORT": "8080"}, envs={"ROOT": "/data"}, secrets={})
    assert bound.spec == PLACES


def test_values_that_make_a_step_too_large_are_refused() -> None:
    spec = parse_pipeline(
        "name: x\nargs: [A]\nsteps: [{type: command, command: '" + "${{ args.A }}" * 100 + "'}]"
    )
    with pytest.raises(InvalidPipeline) as caught:
        bind(spec, args={"A": "x" * 60_000}, envs={}, secrets={})
    (mistake,) = caught.value.mistakes
    assert mistake.path == "steps[0]"
    assert "1 MiB" in mistake.problem
    assert bind(spec, args={"A": "x" * 10_000}, envs={}, secrets={}).spec == spec


# --- digest ------------------------------------------------------------------------------------


def test_the_digest_ignores_the_id_and_the_order_of_values() -> None:
    bound = bind(SPEC, **GIVEN)
    same = replace(
        bound, spec=replace(bound.spec, id="other"), args=dict(reversed(bound.args.items()))
    )
    assert content_digest(same) == content_digest(bound)


@pytest.mark.parametrize(
    "other",
    [
        {"args": {"A": "b"}},
        {"envs": {"USED": "v"}},
        {"envs": {"USED": "u", "IDLE": ""}},
        {"secrets": {"KEY": "l"}},
    ],
)
def test_the_digest_tells_any_other_value(other: dict[str, dict[str, str]]) -> None:
    assert content_digest(bind(SPEC, **{**GIVEN, **other})) != content_digest(bind(SPEC, **GIVEN))


def test_the_digest_tells_another_definition() -> None:
    renamed = replace(SPEC, name="y")
    assert content_digest(bind(renamed, **GIVEN)) != content_digest(bind(SPEC, **GIVEN))


def test_the_digest_stays_the_same_for_ever() -> None:
    """It is stored: another one would turn a retried submission into a conflict."""
    bound = Bound(
        spec=parse_pipeline("name: x\nsteps: [{type: command, command: a}]"), args={"A": "é"}
    )
    assert (
        content_digest(bound) == "3c2ec052be7a74426bc2bcc4d74c24a0a1580cc6893b5973fac9097c3186a2e7"
    )


def test_values_that_lead_two_mounts_to_one_folder_are_refused() -> None:
    spec = parse_pipeline("""
name: x
args: [A]
envs: [SECOND]
steps:
  - container: {image: a, volumes: ["a:/${{ args.A }}"], tmpfs: ["/run", "${{ envs.SECOND }}"]}
""")
    fine = {"args": {"A": "data"}, "envs": {"SECOND": "/hidden"}, "secrets": {}}
    assert bind(spec, **fine).args == {"A": "data"}
    mistakes = refused(spec, args={"A": "hidden"}, envs={"SECOND": "/hidden"}, secrets={})
    assert [mistake.path for mistake in mistakes] == ["steps[0].container.tmpfs[1]"]
    assert "`volumes[0]`" in mistakes[0].problem
    assert "hidden" not in str(mistakes[0])
