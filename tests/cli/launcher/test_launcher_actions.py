"""Evaluation of launch files: scopes, conditions, includes, and the command lines that launch_ros writes."""

import itertools
import os
import sys

import pytest
import yaml
from conftest import args_of

from splatface.cli.launcher.actions import convert, join_namespace
from splatface.models.errors import LaunchError


def test_arg_default_given_and_order(launch_folder):
    text = """
        launch:
          - arg: {name: a, default: one}
          - arg: {name: b, default: '$(var a)-two', description: 'of a'}
          - node: {exec: echo, args: '$(var a) $(var b)'}
    """
    assert args_of(launch_folder.plan(text)) == ["one one-two"]
    assert args_of(launch_folder.plan(text, a="1")) == ["1 1-two"]


def test_a_required_argument_is_missed_before_anything_runs(launch_folder):
    text = "launch:\n  - arg: {name: recording, description: 'a folder'%s}\n"
    message = r":2: arg: the argument 'recording' is required \(a folder\): give recording:=VALUE"
    with pytest.raises(LaunchError, match=message):
        launch_folder.plan(text % "")
    launch_folder.plan(text % "", recording="talk/")
    launch_folder.plan(text % ", if: 'false'")


def test_an_unknown_argument_is_refused_with_the_likely_one(launch_folder):
    text = "launch:\n  - arg: {name: source, default: x}\n"
    with pytest.raises(LaunchError, match=r"no argument 'sorce': did you mean source:= \?"):
        launch_folder.plan(text, sorce="y")
    with pytest.raises(LaunchError, match=r"no argument 'q': it has source"):
        launch_folder.plan(text, q="y")


def test_a_missing_variable_is_named_by_line(launch_folder):
    text = "launch:\n  - node: {exec: echo, args: '$(var nope%s)'}\n"
    assert args_of(launch_folder.plan(text % " fallback")) == ["fallback"]
    with pytest.raises(
        LaunchError, match=r":2: node: launch configuration 'nope' does not exist: set it before"
    ):
        launch_folder.plan(text % "")


def test_set_env(launch_folder):
    launch_folder.environment["OUTSIDE"] = "o"
    text = """
        launch:
          - node: {exec: echo, args: "$(env OUTSIDE) $(env NOPE '') $(env NOPE n)"}
          - set_env: {name: OUTSIDE, value: i}
          - node: {exec: echo, args: '$(env OUTSIDE)'}
    """
    first, second = launch_folder.plan(text)
    assert args_of([first, second]) == ["o  n", "i"]
    assert first.environment["OUTSIDE"] == "o"
    assert second.environment["OUTSIDE"] == "i"
    assert os.environ.get("OUTSIDE") is None


def test_processes_find_this_python_and_write_at_once(launch_folder):
    (spec,) = launch_folder.plan("launch:\n  - node: {exec: python3}\n")
    assert spec.environment["PATH"].split(":")[0] == f"{sys.prefix}/bin"
    assert spec.environment["AMENT_PREFIX_PATH"].split(":") == [str(launch_folder.prefix), sys.prefix]
    assert spec.environment["PYTHONUNBUFFERED"] == "1"


def test_packages(launch_folder):
    text = "launch:\n  - node: {exec: echo, args: '$(find-pkg-share %s)'}\n"
    assert args_of(launch_folder.plan(text % "pkg")) == [str(launch_folder.prefix / "share" / "pkg")]
    with pytest.raises(LaunchError, match=r":2: node: package 'none' is not installed"):
        launch_folder.plan(text % "none")


def test_eval(launch_folder):
    text = """
        launch:
          - let: {name: a, value: mic}
          - node: {exec: echo, args: "$(eval '\\"$(var a)\\" == \\"mic\\" and 1 + 1 == 2')"}
    """
    assert args_of(launch_folder.plan(text)) == ["True"]


@pytest.mark.parametrize(
    ("text", "holds"), [("true", True), (" TRUE ", True), ("1", True), ("False", False), ("0", False)]
)
def test_if_and_unless(launch_folder, text, holds):
    source = """
        launch:
          - let: {name: a, value: '%s'}
          - node: {exec: echo, args: 'yes', if: '$(var a)'}
          - node: {exec: echo, args: 'no', unless: '$(var a)'}
    """
    assert args_of(launch_folder.plan(source % text)) == ["yes" if holds else "no"]


def test_a_condition_that_is_neither_is_refused(launch_folder):
    with pytest.raises(LaunchError, match=r":2: node: 'if' must give true, 1, false or 0, it gave 'yes'"):
        launch_folder.plan("launch:\n  - node: {exec: echo, if: 'yes'}\n")


GROUP = """
    launch:
      - let: {name: a, value: outside}
      - set_env: {name: E, value: outside}
      - group:
          - node: {exec: echo, args: '$(var a) $(env E)'}
          - let: {name: a, value: inside}
          - set_env: {name: E, value: inside}
          - set_parameter: {name: p, value: '1'}
          - node: {exec: echo, args: '$(var a) $(env E)'}
      - node: {exec: echo, args: '$(var a) $(env E)'}
"""


def test_a_group_is_a_scope(launch_folder):
    plan = launch_folder.plan(GROUP)
    assert args_of(plan) == ["outside outside", "inside inside", "outside outside"]
    assert ["-p" in spec.command for spec in plan] == [False, True, False]


def test_a_group_with_a_condition(launch_folder):
    text = """
        launch:
          - group:
              unless: '%s'
              children:
                - node: {exec: echo, args: 'inside'}
    """
    assert args_of(launch_folder.plan(text % "false")) == ["inside"]
    assert launch_folder.plan(text % "true") == []


def test_include_sets_arguments_and_is_no_scope(launch_folder):
    inner = """
        launch:
          - arg: {name: a}
          - arg: {name: b, default: d}
          - node: {exec: echo, args: '$(var a) $(var b)'}
    """
    path = launch_folder.write(inner, "inner.launch.yaml")
    text = f"""
        launch:
          - include: {{file: {path}, arg: [{{name: a, value: '1'}}]}}
          - node: {{exec: echo, args: '$(var a) $(var b)'}}
          - include: {{file: {path}, arg: [{{name: a, value: '2'}}, {{name: b, value: e}}]}}
    """
    assert args_of(launch_folder.plan(text)) == ["1 d", "1 d", "2 e"]


def test_an_overlay_of_our_own_file(launch_folder):
    """An overlay: our file in a group, with arguments and a namespace, and a node beside it."""
    ours = """
        launch:
          - arg: {name: source, default: microphone}
          - node: {pkg: pkg, exec: show, name: me, param: [{name: source, value: '$(var source)', type: str}]}
    """
    (launch_folder.prefix / "share" / "pkg" / "launch").mkdir()
    launch_folder.write(ours, launch_folder.prefix / "share" / "pkg" / "launch" / "ours.launch.yaml")
    text = """
        launch:
          - group:
              - push_ros_namespace: {namespace: robot}
              - include:
                  file: $(find-pkg-share pkg)/launch/ours.launch.yaml
                  arg: [{name: source, value: hello.wav}]
          - node: {pkg: pkg, exec: show}
    """
    included, own = launch_folder.plan(text)
    assert included.command[1:6] == ("--ros-args", "-r", "__node:=me", "-r", "__ns:=/robot")
    assert parameters(included) == {"/robot/me": {"ros__parameters": {"source": "hello.wav"}}}
    assert own.command[1:] == ("--ros-args",)


def test_mistakes_in_an_included_file_name_that_file(launch_folder):
    path = launch_folder.write("launch:\n\n  - lgo: {}\n", "inner.launch.yaml")
    with pytest.raises(LaunchError, match=r"inner.launch.yaml:3: unknown tag 'lgo'"):
        launch_folder.plan(f"launch:\n  - include: {{file: {path}}}\n")


def test_include_of_something_else(launch_folder):
    with pytest.raises(LaunchError, match=r":2: include: cannot include .*none.launch.yaml: no such file"):
        launch_folder.plan("launch:\n  - include: {file: none.launch.yaml}\n")
    path = launch_folder.write("", "some.launch.py")
    with pytest.raises(LaunchError, match=r":2: include: a launch file that is not YAML.*`ros2 launch`"):
        launch_folder.plan(f"launch:\n  - include: {{file: {path}}}\n")


def test_a_file_that_includes_itself_is_refused(launch_folder):
    with pytest.raises(LaunchError, match=r"test.launch.yaml includes itself"):
        launch_folder.plan(f"launch:\n  - include: {{file: {launch_folder.folder}/test.launch.yaml}}\n")


def test_arguments_for_a_file_that_is_not_read_now_are_accepted(launch_folder):
    text = "launch:\n  - include: {if: 'false', file: inner.launch.yaml}\n"
    launch_folder.plan(text, whatever="1")


def test_attributes_of_a_process(launch_folder):
    text = """
        launch:
          - let: {name: forever, value: 'true'}
          - node:
              exec: /bin/echo
              args: a 'b c' $(var forever)d
              output: both
              respawn: $(var forever)
              respawn_delay: 1.5
              on_exit: shutdown
          - node: {exec: /bin/echo}
    """
    first, second = launch_folder.plan(text)
    assert (first.name, second.name) == ("echo-1", "echo-2")
    assert first.command == ("/bin/echo", "a", "b c", "trued", "--ros-args")
    assert (first.output, first.respawn, first.respawn_delay_s, first.required) == ("both", True, 1.5, True)
    assert (second.output, second.respawn, second.respawn_delay_s, second.required) == (
        "log",
        False,
        0,
        False,
    )
    assert first.mark == f"{launch_folder.folder / 'test.launch.yaml'}:4"


def test_timeouts_are_launch_configurations_as_under_launch(launch_folder):
    text = "launch:\n  - let: {name: sigkill_timeout, value: '3'}\n  - node: {exec: ls}\n"
    evaluator = launch_folder.evaluator()
    assert evaluator.timeout_s("sigterm_timeout") == 5.0
    evaluator.evaluate_file(launch_folder.write(text), {"sigterm_timeout": "1.5"})
    assert evaluator.timeout_s("sigterm_timeout") == 1.5
    assert evaluator.timeout_s("sigkill_timeout") == 3.0
    evaluator.evaluate_file(launch_folder.write(text), {"sigterm_timeout": "long"})
    with pytest.raises(LaunchError, match=r"sigterm_timeout must be a number of seconds: .*'long'"):
        evaluator.timeout_s("sigterm_timeout")


def test_a_default_is_evaluated_only_where_it_is_used(launch_folder):
    text = "launch:\n  - arg: {name: a, default: $(find-pkg-share none)}\n"
    launch_folder.plan(text, a="given")
    with pytest.raises(LaunchError, match=":2: arg: package 'none' is not installed"):
        launch_folder.plan(text)


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("output: loud", "'output' must be one of screen, log, both"),
        ("output: own_log", "'output' must be .*others only with `ros2 launch`.*, found 'own_log'"),
        ("output: full", "'output' must be .*others only with `ros2 launch`.*, found 'full'"),
        ("respawn: maybe", "'maybe' is no bool"),
    ],
)
def test_wrong_values_are_refused_by_line(launch_folder, attribute, message):
    with pytest.raises(LaunchError, match=f":3: node: {message}"):
        launch_folder.plan(f"launch:\n  - group: []\n  - node: {{exec: ls, {attribute}}}\n")


# The command line of a node, word for word as launch_ros of Jazzy and Kilted writes it.


def command(launch_folder, text):
    *_, spec = launch_folder.plan(text)
    assert spec.command[0] == str(launch_folder.prefix / "lib" / "pkg" / "show")
    return list(spec.command[1:])


def parameters(spec):
    """All parameter files of a process, merged by node."""
    merged = {}
    for path in [after for word, after in itertools.pairwise(spec.command) if word == "--params-file"]:
        with open(path) as stream:
            for node, content in yaml.safe_load(stream).items():
                merged.setdefault(node, {"ros__parameters": {}})
                merged[node]["ros__parameters"].update(content["ros__parameters"])
    return merged


def test_nothing_given(launch_folder):
    assert command(launch_folder, "launch:\n  - node: {pkg: pkg, exec: show}\n") == ["--ros-args"]


def test_everything_in_its_order(launch_folder):
    params = launch_folder.write("/**: {ros__parameters: {a: 1}}", "params.yaml")
    text = f"""
        launch:
          - push_ros_namespace: {{namespace: outer}}
          - set_parameter: {{name: use_sim_time, value: 'true'}}
          - set_parameter: {{name: text, value: ''}}
          - node:
              pkg: pkg
              exec: show
              name: me
              namespace: inner
              args: --plain 'two words' $(var nothing '')
              param:
                - from: {params}
                - name: b
                  value: 2
              remap:
                - {{from: chatter, to: '$(eval "1+1")/talk'}}
    """
    words = command(launch_folder, text)
    own = words.pop(-3)
    assert words == [
        *["--plain", "two words", ""],
        *["--ros-args", "-r", "__node:=me", "-r", "__ns:=/outer/inner"],
        *["-p", "use_sim_time:=True", "-p", "text:="],
        *["--params-file", str(params), "--params-file"],
        *["-r", "chatter:=2/talk"],
    ]
    with open(own) as stream:
        assert yaml.safe_load(stream) == {"/outer/inner/me": {"ros__parameters": {"b": 2}}}


def test_a_program_that_is_not_there_is_missed_before_anything_runs(launch_folder):
    with pytest.raises(LaunchError, match=r":2: node: package 'pkg' has no executable 'shwo': it has show"):
        launch_folder.plan("launch:\n  - node: {pkg: pkg, exec: shwo}\n")
    with pytest.raises(LaunchError, match=r":2: node: package 'gkp' is not installed"):
        launch_folder.plan("launch:\n  - node: {pkg: gkp, exec: show}\n")


@pytest.mark.parametrize(
    ("base", "given", "expected"),
    [
        (None, None, None),
        (None, "a", "/a"),
        (None, "", "/"),
        ("/a", None, "/a"),
        ("/a", "b", "/a/b"),
        ("/a", "/b", "/b"),
        ("/a", "", "/a"),
        ("/", "b", "/b"),
        ("/a", "b/c/", "/a/b/c"),
        ("/a", "/", "/"),
    ],
)
def test_namespaces(base, given, expected):
    assert join_namespace(base, given) == expected


@pytest.mark.parametrize("wrong", ["a//b", "1a", "a-b", "a b", "a/$b"])
def test_wrong_names_are_refused(launch_folder, wrong):
    with pytest.raises(LaunchError, match="not valid"):
        join_namespace(None, wrong)
    if "$" not in wrong:
        with pytest.raises(LaunchError, match=r":2: node: the node name .* is not valid"):
            launch_folder.plan(f"launch:\n  - node: {{pkg: pkg, exec: show, name: '{wrong}'}}\n")


def test_namespaces_end_with_their_group(launch_folder):
    text = """
        launch:
          - group:
              - push_ros_namespace: {namespace: a}
              - push_ros_namespace: {namespace: b}
              - node: {pkg: pkg, exec: show}
          - node: {pkg: pkg, exec: show}
    """
    inside, outside = launch_folder.plan(text)
    assert inside.command[1:] == ("--ros-args", "-r", "__ns:=/a/b")
    assert outside.command[1:] == ("--ros-args",)


def test_parameter_values(launch_folder):
    """The values that launch_ros's own test of its YAML front end expects."""
    text = r"""
        launch:
          - let: {name: my_value, value: '100'}
          - node:
              pkg: pkg
              exec: show
              param:
                - {name: group.p2, value: 2}
                - {name: p3, value: 2.}
                - {name: p11, value: '\asd'}
                - {name: p12, value: ''}
                - {name: p13, value: '$(var my_value)', type: str}
                - {name: p16, value: '100'}
                - {name: p17, value: $(var my_value)}
                - {name: p18, value: $(var my_value), type: float}
                - {name: p19, value: true}
                - {name: p20, value: a-$(var my_value)}
    """
    (spec,) = launch_folder.plan(text)
    assert parameters(spec) == {
        "/**": {
            "ros__parameters": {
                "group.p2": 2,
                "p3": 2.0,
                "p11": "asd",
                "p12": "",
                "p13": "100",
                "p16": "100",
                "p17": 100,
                "p18": 100.0,
                "p19": True,
                "p20": "a-100",
            }
        }
    }


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("3", "yaml", 3),
        ("3.0", "yaml", 3.0),
        ("true", "yaml", True),
        ("/a/b", "yaml", "/a/b"),
        ("3", "str", "3"),
        ("3", "float", 3.0),
        ("yes", "bool", True),
        ("0", "bool", False),
    ],
)
def test_text_becomes_a_value(text, kind, expected):
    found = convert(text, kind)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "yaml"),
        ("{a: b}", "yaml"),
        ("[1, 2]", "yaml"),
        ("a: b: c", "yaml"),
        ("2024-01-01", "yaml"),
        ("3.5", "int"),
        ("x", "float"),
        ("3", "bool"),
        ("[true]", "bool"),
    ],
)
def test_text_that_is_no_such_value(text, kind):
    with pytest.raises(LaunchError, match=f"is no {kind}"):
        convert(text, kind)


def test_an_empty_argument_says_how_to_be_a_string(launch_folder):
    text = """
        launch:
          - let: {name: a, value: ''}
          - node: {pkg: pkg, exec: show, param: [{name: p, value: $(var a)}]}
    """
    with pytest.raises(LaunchError, match=r":4: param 'p': '' is no yaml: say 'type: str'"):
        launch_folder.plan(text)


def test_a_parameter_file_that_is_not_there_is_refused(launch_folder):
    with pytest.raises(LaunchError, match=r":2: the parameter file /no/such.yaml does not exist"):
        launch_folder.plan("launch:\n  - node: {pkg: pkg, exec: show, param: [{from: /no/such.yaml}]}\n")
