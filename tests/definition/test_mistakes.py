"""Wrong files: every mistake with its line, column, path and remedy."""

import pytest

from tests.definition.conftest import found, mistakes

HEAD = "name: x\nsteps:\n"


def command(fields: str) -> str:
    return f"{HEAD}  - {{{fields}, type: command, command: 'true'}}\n"


def container(fields: str) -> str:
    return f"{HEAD}  - {{container: {{{fields}, image: a}}}}\n"


FINE = command("name: a")
# `§` marks where the mistake stands; what is wrong or what would be right says the last text.
WRONG = [
    # the file
    ("§name: x", "steps", "add `steps`"),
    ("§nmae: y\n" + FINE, "nmae", "did you mean"),
    ("§setps: [{type: command, command: a}]\nname: x", "setps", "did you mean `steps`?"),
    ("§- x", "", "a mapping with `name` and `steps`"),
    ("§name:\nsteps: [{type: command, command: a}]", "name", "nothing"),
    ("name: x\nsteps: §[]", "steps", "from 1 to 500"),
    ("name: x\nsteps: §{a: b}", "steps", "begin each item with `- `"),
    ("id: §-a\n" + FINE, "id", "an id"),
    (f"id: §{'a' * 64}\n" + FINE, "id", "an id"),
    ("tenant: §a b\n" + FINE, "tenant", "a tenant"),
    ("priority: §1.5\n" + FINE, "priority", "whole number"),
    ("priority: §high\n" + FINE, "priority", "from -1000 to 1000"),
    ("labels: {§a b: c}\n" + FINE, "labels['a b']", "label"),
    ("on_node_lost: §retry\n" + FINE, "on_node_lost", "reschedule, fail, wait"),
    ("timeouts: {§pipline: 1s}\n" + FINE, "timeouts.pipline", "`pipeline`"),
    ("timeouts: {queue: §1x}\n" + FINE, "timeouts.queue", "90s"),
    ("timeouts: {queue: §400d}\n" + FINE, "timeouts.queue", "366d"),
    # values
    ("args: §A\n" + FINE, "args", "a list of names"),
    ("args: [§A=1]\n" + FINE, "args[0]", "NAME: default"),
    ("args: [A, {§A: 1}]\n" + FINE, "args[1].A", "twice"),
    ("envs: [§false]\n" + FINE, "envs[0]", "must be a name"),
    ("args: [§1a]\n" + FINE, "args[0]", "a name"),
    ("envs: {A: §[1]}\n" + FINE, "envs.A", "a list"),
    ("args: {A: §'${{ args.B }}'}\n" + FINE, "args.A", "templates"),
    # mounts
    (
        container("volumes: ['/a:/data', §'b:/data/']"),
        "steps[0].container.volumes[1]",
        "the same folder as `volumes[0]`",
    ),
    (
        container("tmpfs: ['/run:size=1m', §'/run:size=2m']"),
        "steps[0].container.tmpfs[1]",
        "the same folder as `tmpfs[0]`",
    ),
    (
        container("volumes: [{source: a, target: //run}], tmpfs: §/run"),
        "steps[0].container.tmpfs",
        "the same folder as `volumes[0]`",
    ),
    # resources and placement
    ("resources: {memory: §4GB}\n" + FINE, "resources.memory", "`4GiB`"),
    ("resources: {memory: §lots}\n" + FINE, "resources.memory", "4GiB"),
    ("resources: {cpu: §-1}\n" + FINE, "resources.cpu", "from 0"),
    ("resources: {cpu: §'2'}\n" + FINE, "resources.cpu", "a number"),
    ("resources: {gpu: §100}\n" + FINE, "resources.gpu", "from 0 to 64"),
    (
        "resources: {gpu: {count: §1, share: 0.5}}\n" + FINE,
        "resources.gpu.count",
        "exclude each other",
    ),
    ("resources: {gpu: §{model: T}}\n" + FINE, "resources.gpu", "count: 1"),
    ("placement: {match: [{key: a, op: §is}]}\n" + FINE, "placement.match[0].op", "not exists"),
    (
        "placement: {match: [§{key: a, op: in}]}\n" + FINE,
        "placement.match[0].values",
        "needs values",
    ),
    (
        "placement: {match: [{key: a, op: '>', values: §[b]}]}\n" + FINE,
        "placement.match[0].values",
        "one number",
    ),
    (
        "placement: {forbid: [{key: a, op: exists, values: §b}]}\n" + FINE,
        "placement.forbid[0].values",
        "takes no values",
    ),
    ("placement: {spread: §[zone]}\n" + FINE, "placement.spread", "a name such as zone"),
    ("placement: {spread: §{by: tenant}}\n" + FINE, "placement.spread.over", "add `over`"),
    ("placement: {spread: {over: a, by: §user}}\n" + FINE, "placement.spread.by", "template"),
    ("placement: {spread: {over: a, most: §0}}\n" + FINE, "placement.spread.most", "from 1"),
    ("placement: {spread: {over: a, §mots: 1}}\n" + FINE, "placement.spread.mots", "`most`"),
    ("placement: {prefer: [§{key: a, op: in}]}\n" + FINE, "placement.prefer[0].values", "values"),
    (
        "placement: {prefer: [{key: a, op: exists, weight: §0}]}\n" + FINE,
        "placement.prefer[0].weight",
        "above 0",
    ),
    (
        "placement: {match: [{key: a, op: exists, §weight: 1}]}\n" + FINE,
        "placement.match[0].weight",
        "unknown key",
    ),
    # steps
    (HEAD + "  - §5\n", "steps[0]", "a mapping with `container` or `command`"),
    (HEAD + "  - §{name: a}\n", "steps[0].container", "add `container`"),
    (HEAD + "  - {command: §a}\n", "steps[0].command", "type: command"),
    (HEAD + "  - {type: §comand, command: a}\n", "steps[0].type", "`command`"),
    (HEAD + "  - §{type: command}\n", "steps[0].command", "is missing"),
    (HEAD + "  - {type: command, command: §''}\n", "steps[0].command", "is empty"),
    (HEAD + "  - {type: command, command: §5}\n", "steps[0].command", "quotes"),
    (command("container: §{image: a}"), "steps[0].container", "has no container"),
    (
        HEAD + "  - {container: {image: a}, environment: §{A: b}}\n",
        "steps[0].environment",
        "container.environment",
    ),
    (command("timeout: §5 minutes"), "steps[0].timeout", "5m"),
    (command("timeout: §0"), "steps[0].timeout", "1ms"),
    (command("always: §'true'"), "steps[0].always", "without quotes"),
    (command("always: §true, if: failure()"), "steps[0].always", "always() and"),
    (command("§nam: b"), "steps[0].nam", "did you mean `name`?"),
    (command("name: §'a\n\n  b'"), "steps[0].name", "one line"),
    (command("retry: {max_attempts: §101}"), "steps[0].retry.max_attempts", "1 to 100"),
    (command("retry: {max_attempts: §0}"), "steps[0].retry.max_attempts", "1 to 100"),
    (command("retry: {initial: 5m, max: §1m}"), "steps[0].retry.max", "`initial`"),
    (command("outputs: [§1a]"), "steps[0].outputs[0]", "a name"),
    (command("outputs: [a, §a]"), "steps[0].outputs[1]", "twice"),
    (command("outputs: [§GAMEPIPE_PROGRESS]"), "steps[0].outputs[0]", "any step may"),
    (command("environment: {A-: b, §1: c}"), "steps[0].environment.1", "a variable's name"),
    (command("needs: §{}"), "steps[0].needs", "must be a list"),
    (command("needs: [§b]"), "steps[0].needs[0]", "no step `b`"),
    (command("name: alpha, needs: §alhpa"), "steps[0].needs[0]", "did you mean `alpha`?"),
    (command("name: a, needs: [§a]"), "steps[0].needs[0]", "itself"),
    (command("name: a, §name: b"), "steps[0].name", "second time"),
    # conditions
    (command("if: success (§"), "steps[0].if", "ends too soon"),
    (command("if: §succes()"), "steps[0].if", "success()"),
    (command("if: §args.A"), "steps[0].if", "add `A` to `args`"),
    (command("if: 1 < 2 and §envs.A"), "steps[0].if", "add `A` to `envs`"),
    (command('if: "${{ §envs.A }}"'), "steps[0].if", "`envs.A` is not declared"),
    (command("if: §secrets.A"), "steps[0].if", "may not read secrets"),
    (command("if: §envs.A == 'b'"), "steps[0].if", "cannot be compared"),
    (command("if: §steps.q.state == 'failed'"), "steps[0].if", "no step `q`"),
    (command("if: §node.ip == 'x'"), "steps[0].if", "`alias`"),
    (command("if: §[a]"), "steps[0].if", "a condition"),
    # containers
    (HEAD + "  - {container: §{}}\n", "steps[0].container.image", "add `image`"),
    (container("§imgae: b"), "steps[0].container.imgae", "`imgae`"),
    (HEAD + "  - {container: {§imgae: b}}\n", "steps[0].container.imgae", "`image`"),
    (HEAD + "  - {§containr: {image: b}}\n", "steps[0].containr", "`container`"),
    (container("§network_mode: host"), "steps[0].container.network_mode", "not supported"),
    (container("§depends_on: [b]"), "steps[0].container.depends_on", "`needs`"),
    (container("privileged: §1"), "steps[0].container.privileged", "true or false"),
    (container("hostname: §a_b"), "steps[0].container.hostname", "a host name"),
    (container("pull: §newer"), "steps[0].container.pull", "missing, always, never"),
    (container("ports: [§a]"), "steps[0].container.ports[0]", "between 1 and 65535"),
    (container('ports: [§"80-81:80-81"]'), "steps[0].container.ports[0]", "ranges"),
    (container('ports: [§"80/xtp"]'), "steps[0].container.ports[0]", "tcp, udp, sctp"),
    (container('ports: [§"1.2.3:8:9"]'), "steps[0].container.ports[0]", "an IP address"),
    (container("volumes: [§a]"), "steps[0].container.volumes[0]", "SOURCE:TARGET"),
    (container('volumes: [§"/a:b"]'), "steps[0].container.volumes[0]", "an absolute path"),
    (container('volumes: [§"/a:/b:z"]'), "steps[0].container.volumes[0]", "`ro` or `rw`"),
    (container('devices: [§"/a:/b:q"]'), "steps[0].container.devices[0]", "rwm"),
    (container("tmpfs: §a"), "steps[0].container.tmpfs", "an absolute path"),
    (container("environment: [§A]"), "steps[0].container.environment[0]", "KEY=value"),
    (container("environment: {§A: }"), "steps[0].container.environment.A", "nothing"),
    (container("commands: [a], command: §b"), "steps[0].container.command", "keep one"),
    (container('command: §"a \'b"'), "steps[0].container.command", "close the quote"),
    (container("healthcheck: §{}"), "steps[0].container.healthcheck.test", "disable: true"),
    (container("healthcheck: {test: §[CURL]}"), "steps[0].container.healthcheck.test", "CMD-SHELL"),
    (
        container("deploy: {resources: {limits: {memory: §5x}}}"),
        "steps[0].container.deploy.resources.limits.memory",
        "GiB",
    ),
    (container("deploy: {§replicas: 2}"), "steps[0].container.deploy.replicas", "remove it"),
    # templates
    (container('user: "§${{ args.A"'), "steps[0].container.user", "not closed"),
    (container("user: 'a-${{ §foo.A }}'"), "steps[0].container.user", "unknown name `foo`"),
    (container("user: 'a-§${{ envs.A }}'"), "steps[0].container.user", "add `A` to `envs`"),
    (container("user: '${{ §steps.a.state }}'"), "steps[0].container.user", "outputs"),
    (container("user: '§${{ node.ip }}'"), "steps[0].container.user", "architecture"),
    (container("user: '§${{ pipeline.x }}'"), "steps[0].container.user", "generation"),
    (container("user: '§${{ steps.x.outputs.y }}'"), "steps[0].container.user", "no step"),
    (container("user: '§${{ steps.step-1.outputs.y }}'"), "steps[0].container.user", "itself"),
]


@pytest.mark.parametrize(("marked", "path", "says"), WRONG)
def test_a_mistake_is_told_with_its_place_and_a_remedy(marked: str, path: str, says: str) -> None:
    before, text = marked.split("§", maxsplit=1)[0], marked.replace("§", "")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    (mistake,) = mistakes(text).mistakes
    assert (mistake.line, mistake.column, mistake.path) == (line, column, path)
    assert says in f"{mistake.problem}; {mistake.remedy}"
    assert mistake.problem
    assert mistake.remedy


def test_all_mistakes_come_at_once_in_the_order_of_the_file() -> None:
    error = mistakes("""name: x
nmae: y
args: [A]
steps:
  - name: one
    type: command
    command: echo ${{ args.B }}
    needs: [three]
  - name: two
    container: {image: a, ports: ["99999:1"], network_mode: host}
    if: steps.nine.state == 'failed' and envs.Q
  - name: two
    type: command
    command: |
      echo fine
      echo a ${{ secrets.K }}
    retry: {max_attempts: 101}
""")
    assert found(error) == [
        (2, 1, "nmae"),
        (7, 19, "steps[0].command"),
        (8, 13, "steps[0].needs[0]"),
        (10, 35, "steps[1].container.ports[0]"),
        (10, 47, "steps[1].container.network_mode"),
        (11, 9, "steps[1].if"),
        (11, 42, "steps[1].if"),
        (12, 11, "steps[2].name"),
        (16, 14, "steps[2].command"),
        (17, 27, "steps[2].retry.max_attempts"),
    ]
    assert str(error).splitlines()[0] == (
        "bad.yaml:2:1: nmae: unknown key `nmae`; did you mean `name`?"
    )


def test_cycles_are_told_once_each_by_their_names() -> None:
    error = mistakes("""name: x
steps:
  - {name: a, type: command, command: a, needs: [c]}
  - {name: b, type: command, command: a}
  - {name: c, type: command, command: a}
  - {name: behind, type: command, command: a}
  - {name: d, type: command, command: a, needs: [e]}
  - {name: e, type: command, command: a, needs: [d, a]}
""")
    assert found(error) == [(3, 49, "steps[0].needs"), (7, 49, "steps[4].needs")]
    assert "`a` -> `c` -> `b` -> `a`" in error.mistakes[0].problem
    assert "`d` -> `e` -> `d`" in error.mistakes[1].problem


def test_outputs_and_states_come_only_from_steps_before() -> None:
    error = mistakes("""name: x
steps:
  - {name: a b, type: command, command: "true", outputs: [url]}
  - {name: side, type: command, command: "true", needs: []}
  - name: user
    needs: [a b]
    if: steps.side.state == 'failed'
    type: command
    command: "${{ steps['a b'].outputs.urll }} ${{ steps.side.outputs.x }}"
""")
    assert found(error) == [
        (7, 9, "steps[2].if"),
        (9, 15, "steps[2].command"),
        (9, 48, "steps[2].command"),
    ]
    assert error.mistakes[0].remedy == "add `side` to this step's `needs`"
    assert error.mistakes[1].remedy == "did you mean `url`?"


def test_a_made_up_name_can_be_taken_already() -> None:
    error = mistakes(
        "name: x\nsteps:\n"
        + "  - {name: step-2, type: command, command: a}\n  - {type: command, command: a}\n"
    )
    assert found(error) == [(4, 5, "steps[1].name")]


def test_two_hundred_mistakes_are_enough() -> None:
    error = mistakes("name: x\n" + "".join(f"k{n}: 1\n" for n in range(5000)))
    assert len(error.mistakes) == 201
    assert "more than" in error.mistakes[-1].problem


def test_default_values_of_envs_and_secrets_never_show() -> None:
    error = mistakes("""name: x
envs: {A: "${{ hunter2 }}", B: [hunter2], "bad name": hunter2}
secrets: [A: {hunter2: 1}]
steps:
  - {container: {image: a, environment: ["1A=hunter2", "${{ hunter=2"]}}
""")
    assert len(error.mistakes) >= 5
    assert "hunter2" not in str(error)
