import os
import sys

import pytest

from splatface.cli.launcher.plan import LogMessage, ProcessSpec, Shutdown, Timer
from splatface.models.errors import LaunchError


def said(plan):
    """The messages of a plan."""
    return [item.message for item in plan if isinstance(item, LogMessage)]


def processes(plan):
    return [item for item in plan if isinstance(item, ProcessSpec)]


def test_arg_default_given_and_order(workshop):
    text = """
        launch:
          - arg: {name: a, default: one}
          - arg: {name: b, default: '$(var a)-two', description: 'of a'}
          - log: {message: '$(var a) $(var b)'}
    """
    assert said(workshop.plan(text)) == ["one one-two"]
    assert said(workshop.plan(text, a="1")) == ["1 1-two"]


def test_a_required_argument_is_missed_before_anything_runs(workshop):
    text = "launch:\n  - arg: {name: recording, description: 'a folder'}\n"
    with pytest.raises(LaunchError, match=r"'recording' is required \(a folder\): give recording:=VALUE"):
        workshop.plan(text)


def test_choices(workshop):
    text = "launch:\n  - arg: {name: a, default: x, choice: [{value: x}, {value: y}]}\n"
    workshop.plan(text, a="y")
    with pytest.raises(LaunchError, match="a:=z is none of the choices x, y"):
        workshop.plan(text, a="z")


def test_an_unknown_argument_is_refused_with_the_likely_one(workshop):
    text = "launch:\n  - arg: {name: source, default: x}\n"
    with pytest.raises(LaunchError, match=r"no argument 'sorce': did you mean source:= \?"):
        workshop.plan(text, sorce="y")


def test_var_with_default_and_without(workshop):
    assert said(workshop.plan("launch:\n  - log: {message: '$(var nope fallback)'}\n")) == ["fallback"]
    with pytest.raises(LaunchError, match=r":2: log: launch configuration 'nope' does not exist"):
        workshop.plan("launch:\n  - log: {message: '$(var nope)'}\n")


def test_env_set_and_unset(workshop):
    workshop.environment["OUTSIDE"] = "o"
    text = """
        launch:
          - log: {message: "$(env OUTSIDE) $(env NOPE '') $(env NOPE n)"}
          - set_env: {name: OUTSIDE, value: i}
          - log: {message: '$(env OUTSIDE)'}
          - executable: {cmd: env}
          - unset_env: {name: OUTSIDE}
          - unset_env: {name: NEVER_WAS}
          - log: {message: '$(env OUTSIDE gone)'}
          - executable: {cmd: env, env: [{name: OWN, value: w}]}
    """
    plan = workshop.plan(text)
    assert said(plan) == ["o  n", "i", "gone"]
    first, second = processes(plan)
    assert first.environment["OUTSIDE"] == "i"
    assert "OUTSIDE" not in second.environment
    assert second.environment["OWN"] == "w"
    assert os.environ.get("OUTSIDE") is None


def test_processes_find_this_python_and_speak_at_once(workshop):
    (spec,) = processes(workshop.plan("launch:\n  - executable: {cmd: python3}\n"))
    assert spec.environment["PATH"].split(":")[0] == f"{sys.prefix}/bin"
    assert spec.environment["AMENT_PREFIX_PATH"].split(":") == [str(workshop.prefix), sys.prefix]
    assert spec.environment["PYTHONUNBUFFERED"] == "1"


def test_packages_and_places(workshop):
    text = """
        launch:
          - log: {message: '$(find-pkg-share pkg)'}
          - log: {message: '$(find-pkg-prefix pkg)'}
          - log: {message: '$(dirname)'}
          - log: {message: '$(filename)'}
    """
    path = workshop.folder / "test.launch.yaml"
    expected = [workshop.prefix / "share" / "pkg", workshop.prefix, path.parent, path]
    assert said(workshop.plan(text)) == [str(item) for item in expected]
    with pytest.raises(LaunchError, match=r":2: log: package 'none' is not installed"):
        workshop.plan("launch:\n  - log: {message: '$(find-pkg-share none)'}\n")


def test_eval_and_command(workshop):
    text = """
        launch:
          - let: {name: a, value: mic}
          - log: {message: "$(eval '\\"$(var a)\\" == \\"mic\\" and 1 + 1 == 2')"}
          - log: {message: "$(command 'echo $(var a) b')"}
          - log: {message: "$(command 'sh -c \\"echo oops >&2; echo out\\"' ignore)"}
          - log: {message: "$(command 'sh -c \\"echo oops >&2\\"' capture)"}
    """
    assert said(workshop.plan(text)) == ["True", "mic b\n", "out\n", "oops\n"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("'false'", "ended with exit code 1"),
        ("'/no/such/program'", "cannot run"),
        ("'sh -c \\\"echo oops >&2\\\"'", "wrote to stderr: oops"),
        ("'true' maybe", "expected fail, ignore, warn or capture"),
    ],
)
def test_a_failed_command_is_an_error(workshop, command, message):
    with pytest.raises(LaunchError, match=message):
        workshop.plan(f'launch:\n  - log: {{message: "$(command {command})"}}\n')


@pytest.mark.parametrize(
    ("text", "holds"), [("true", True), (" TRUE ", True), ("1", True), ("False", False), ("0", False)]
)
def test_if_and_unless(workshop, text, holds):
    source = """
        launch:
          - let: {name: a, value: '%s'}
          - log: {message: yes, if: '$(var a)'}
          - log: {message: no, unless: '$(var a)'}
    """
    source = source.replace("yes", "'yes'").replace("no,", "'no',")
    assert said(workshop.plan(source % text)) == ["yes" if holds else "no"]


def test_a_condition_that_is_neither_is_refused(workshop):
    with pytest.raises(LaunchError, match=r":2: log: 'if' must give true, 1, false or 0, it gave 'yes'"):
        workshop.plan("launch:\n  - log: {message: a, if: 'yes'}\n")


GROUP = """
    launch:
      - let: {name: a, value: outside}
      - set_env: {name: E, value: outside}
      - group:
          %s
          children:
            - log: {message: '$(var a none) $(var k none) $(env E none)'}
            - let: {name: a, value: inside}
            - set_env: {name: E, value: inside}
      - log: {message: '$(var a none) $(var k none) $(env E none)'}
"""


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("scoped: true", ["outside none outside", "outside none outside"]),
        ("scoped: false", ["outside none outside", "inside none inside"]),
        ("forwarding: false", ["none none none", "outside none outside"]),
        ("keep: [{name: k, value: '$(var a)'}]", ["outside outside outside", "outside none outside"]),
        (
            "{scoped: false, keep: [{name: k, value: x}]}",
            ["outside x outside", "inside x inside"],
        ),
        (
            "{forwarding: false, keep: [{name: a, value: '$(var a)'}]}",
            ["outside none none", "outside none outside"],
        ),
    ],
)
def test_group_scopes(workshop, attributes, expected):
    if attributes.startswith("{"):
        attributes = attributes[1:-1].replace(", keep", "\n          keep")
    assert said(workshop.plan(GROUP % attributes)) == expected


def test_a_group_can_be_a_plain_list(workshop):
    text = """
        launch:
          - group:
              - let: {name: a, value: inside}
          - log: {message: '$(var a gone)'}
    """
    assert said(workshop.plan(text)) == ["gone"]


def test_include_sets_arguments_and_is_no_scope(workshop):
    inner = """
        launch:
          - arg: {name: a}
          - arg: {name: b, default: d}
          - log: {message: '$(var a) $(var b)'}
    """
    workshop.write(inner, "inner.launch.yaml")
    text = """
        launch:
          - include: {file: '$(dirname)/inner.launch.yaml', arg: [{name: a, value: '1'}]}
          - log: {message: '$(var a) $(var b)'}
          - include: {file: '$(dirname)/inner.launch.yaml', let: [{name: a, value: '2'}, {name: b, value: e}]}
    """
    assert said(workshop.plan(text)) == ["1 d", "1 d", "2 e"]


def test_include_wants_required_arguments_from_its_own_list(workshop):
    workshop.write("launch:\n  - arg: {name: a}\n", "inner.launch.yaml")
    text = "launch:\n  - let: {name: a, value: x}\n  - include: {file: '$(dirname)/inner.launch.yaml'}\n"
    with pytest.raises(
        LaunchError, match=r"test.launch.yaml:3: include: .*inner.launch.yaml: .*'a' is required"
    ):
        workshop.plan(text)


def test_mistakes_in_an_included_file_name_that_file(workshop):
    workshop.write("launch:\n\n  - lgo: {}\n", "inner.launch.yaml")
    with pytest.raises(LaunchError, match=r"inner.launch.yaml:3: unknown tag 'lgo'"):
        workshop.plan("launch:\n  - include: {file: '$(dirname)/inner.launch.yaml'}\n")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("$(dirname)/none.launch.yaml", "no such file"),
        ("$(find-pkg-prefix pkg)/lib/pkg/show", "not a YAML file"),
    ],
)
def test_include_of_something_else(workshop, file, message):
    with pytest.raises(LaunchError, match=f":2: include: cannot include .*{message}"):
        workshop.plan(f"launch:\n  - include: {{file: '{file}'}}\n")


def test_a_file_that_includes_itself_is_refused(workshop):
    with pytest.raises(LaunchError, match="include itself"):
        workshop.plan("launch:\n  - include: {file: '$(filename)'}\n")


def test_dirname_after_an_include_from_elsewhere_is_refused(workshop):
    """On Jazzy it would be the folder of the included file, on Kilted that of this one."""
    (workshop.folder / "sub").mkdir()
    workshop.write("launch: []\n", "sub/inner.launch.yaml")
    workshop.write("launch: []\n", "inner.launch.yaml")
    text = (
        "launch:\n  - include: {file: '$(dirname)/%sinner.launch.yaml'}\n  - log: {message: '$(dirname)'}\n"
    )
    assert said(workshop.plan(text % "")) == [str(workshop.folder)]
    with pytest.raises(LaunchError, match=r":3: log: \$\(dirname\) after an include means .*/sub on Jazzy"):
        workshop.plan(text % "sub/")


def test_arguments_for_a_file_that_is_not_read_now_are_accepted(workshop):
    text = "launch:\n  - include: {if: 'false', file: '$(dirname)/inner.launch.yaml'}\n"
    workshop.plan(text, whatever="1")


def test_timer_is_evaluated_when_it_fires_in_the_outermost_scope(workshop):
    text = """
        launch:
          - arg: {name: wait, default: '0.5'}
          - group:
              - let: {name: a, value: inside}
              - timer:
                  period: $(var wait)
                  children:
                    - log: {message: '$(var a outside) $(dirname)'}
    """
    evaluator = workshop.evaluator()
    (timer,) = evaluator.evaluate_file(workshop.write(text), {})
    assert isinstance(timer, Timer)
    assert timer.period_s == 0.5
    assert said(evaluator.evaluate_timer(timer)) == [f"outside {workshop.folder}"]


def test_shutdown(workshop):
    plan = workshop.plan("launch:\n  - shutdown: {reason: 'all $(eval \"1+1\") said'}\n  - shutdown: {}\n")
    assert plan == [Shutdown("all 2 said"), Shutdown("reason not given")]


def test_executable_attributes(workshop):
    text = """
        launch:
          - let: {name: forever, value: 'true'}
          - executable:
              cmd: echo a 'b c' $(var forever)d
              cwd: /tmp
              name: teller
              shell: true
              output: both
              respawn: $(var forever)
              respawn_delay: 1.5
              respawn_max_retries: 3
              sigterm_timeout: 2.0
              sigkill_timeout: 0.5
              launch-prefix: nice -n 5
              on_exit: shutdown
    """
    (spec,) = processes(workshop.plan(text))
    assert spec.name == "teller-1"
    assert spec.command == ("nice", "-n", "5", "echo", "a", "b c", "trued")
    assert (spec.cwd, spec.shell, spec.output, spec.required) == ("/tmp", True, "both", True)
    assert (spec.respawn, spec.respawn_delay_s, spec.respawn_max_retries) == (True, 1.5, 3)
    assert (spec.sigterm_timeout_s, spec.sigkill_timeout_s) == (2.0, 0.5)
    assert spec.mark.line == 4


def test_executable_defaults_and_numbered_names(workshop):
    first, second = processes(workshop.plan("launch:\n" + "  - executable: {cmd: /bin/echo a}\n" * 2))
    assert (first.name, second.name) == ("echo-1", "echo-2")
    assert (first.output, first.shell, first.respawn, first.required, first.cwd) == (
        "log",
        False,
        False,
        False,
        None,
    )
    assert (first.sigterm_timeout_s, first.sigkill_timeout_s, first.respawn_max_retries) == (5.0, 5.0, -1)


def test_configurations_that_launch_reads_itself(workshop):
    text = "launch:\n  - executable: {cmd: echo a}\n  - executable: {cmd: ls}\n"
    given = {
        "sigterm_timeout": "1",
        "sigkill_timeout": "2",
        "launch-prefix": "nice",
        "launch-prefix-filter": "ec",
    }
    first, second = processes(workshop.plan(text, **given))
    assert (first.sigterm_timeout_s, first.sigkill_timeout_s) == (1.0, 2.0)
    assert (first.command, second.command) == (("nice", "echo", "a"), ("ls",))


@pytest.mark.parametrize(
    ("attribute", "message"),
    [("output: loud", "'output' must be one of screen"), ("respawn: maybe", "'maybe' is no bool")],
)
def test_wrong_values_are_refused_by_line(workshop, attribute, message):
    with pytest.raises(LaunchError, match=f":3: executable: {message}"):
        workshop.plan(f"launch:\n  - log: {{message: a}}\n  - executable: {{cmd: ls, {attribute}}}\n")


def test_output_can_be_overridden_from_outside(workshop):
    workshop.environment["OVERRIDE_LAUNCH_PROCESS_OUTPUT"] = "screen"
    (spec,) = processes(workshop.plan("launch:\n  - executable: {cmd: ls, output: log}\n"))
    assert spec.output == "screen"
