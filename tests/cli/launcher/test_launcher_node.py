"""The command line of a node, word for word as launch_ros of Jazzy and Kilted writes it."""

import pytest
import yaml

from splatface.cli.launcher.node import join_namespace
from splatface.cli.launcher.parameters import coerce
from splatface.cli.launcher.plan import LogMessage
from splatface.models.errors import LaunchError


def command(workshop, text):
    *_, spec = workshop.plan(text)
    assert spec.command[0] == str(workshop.prefix / "lib" / "pkg" / "show")
    return list(spec.command[1:])


def test_nothing_given(workshop):
    assert command(workshop, "launch:\n  - node: {pkg: pkg, exec: show}\n") == ["--ros-args"]


def test_everything_in_its_order(workshop):
    params = workshop.write("/**: {ros__parameters: {a: 1}}", "params.yaml")
    text = f"""
        launch:
          - push_ros_namespace: {{namespace: outer}}
          - set_parameter: {{name: use_sim_time, value: 'true'}}
          - set_parameter: {{name: text, value: ''}}
          - set_remap: {{from: global, to: other}}
          - node:
              pkg: pkg
              exec: show
              name: me
              namespace: inner
              args: --plain 'two words' $(var nothing '')
              ros_args: --log-level debug
              param:
                - from: {params}
                - name: b
                  value: 2
              remap:
                - {{from: chatter, to: '$(eval "1+1")/talk'}}
    """
    words = command(workshop, text)
    own = words.pop(-5)
    assert words == [
        *["--plain", "two words", "", "--ros-args", "--log-level", "debug"],
        *["--ros-args", "-r", "__node:=me", "-r", "__ns:=/outer/inner"],
        *["-p", "use_sim_time:=True", "-p", "text:="],
        *["--params-file", str(params), "--params-file"],
        *["-r", "global:=other", "-r", "chatter:=2/talk"],
    ]
    with open(own) as stream:
        assert yaml.safe_load(stream) == {"/outer/inner/me": {"ros__parameters": {"b": 2}}}


def test_exec_without_pkg_is_a_path(workshop):
    (spec,) = workshop.plan("launch:\n  - node: {exec: /bin/echo, exec_name: teller}\n")
    assert spec.command == ("/bin/echo", "--ros-args")
    assert spec.name == "teller-1"


def test_a_program_that_is_not_there_is_missed_before_anything_runs(workshop):
    with pytest.raises(LaunchError, match=r":2: node: package 'pkg' has no executable 'shwo': it has show"):
        workshop.plan("launch:\n  - node: {pkg: pkg, exec: shwo}\n")
    with pytest.raises(LaunchError, match=r":2: node: package 'gkp' is not installed"):
        workshop.plan("launch:\n  - node: {pkg: gkp, exec: show}\n")


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
def test_wrong_names_are_refused(workshop, wrong):
    with pytest.raises(LaunchError, match="not valid"):
        join_namespace(None, wrong)
    if "$" not in wrong:
        with pytest.raises(LaunchError, match=r":2: node: the node name .* is not valid"):
            workshop.plan(f"launch:\n  - node: {{pkg: pkg, exec: show, name: '{wrong}'}}\n")


def test_namespaces_end_with_their_group(workshop):
    text = """
        launch:
          - group:
              - push_ros_namespace: {namespace: a}
              - push_ros_namespace: {namespace: b}
              - node: {pkg: pkg, exec: show}
          - node: {pkg: pkg, exec: show}
    """
    inside, outside = workshop.plan(text)
    assert inside.command[1:] == ("--ros-args", "-r", "__ns:=/a/b")
    assert outside.command[1:] == ("--ros-args",)


def test_remaps_of_a_group_stay_once_a_list_was_begun_outside(workshop):
    """launch copies the table of configurations, not the list in it."""
    text = """
        launch:
          %s
          - group:
              - set_remap: {from: a, to: b}
          - node: {pkg: pkg, exec: show}
    """
    assert command(workshop, text % "- log: {message: nothing}") == ["--ros-args"]
    outside = command(workshop, text % "- set_remap: {from: o, to: p}")
    assert outside == ["--ros-args", "-r", "o:=p", "-r", "a:=b"]


def test_parameter_values(workshop):
    """The values that launch_ros's own test of its YAML front end expects."""
    text = r"""
        launch:
          - let: {name: a_string, value: "'[2, 5, 8]'"}
          - let: {name: a_list, value: '[2, 5, 8]'}
          - let: {name: my_value, value: '100'}
          - node:
              pkg: pkg
              exec: show
              param:
                - name: group
                  param:
                    - {name: inner, param: [{name: p2, value: 2}]}
                    - {name: p3, value: [2, 5, 8]}
                    - {name: p4, value: $(var a_list)}
                    - {name: p5, value: $(var a_string)}
                    - {name: p6, value: [2., 5., 8.]}
                    - {name: p7, value: ['2', '5', '8']}
                    - {name: p9, value: ["\\'2\\'", "\\'5\\'"]}
                    - {name: p11, value: ['\asd', '\bsd']}
                    - {name: p12, value: ''}
                    - {name: p13, value: '$(var my_value)', type: str}
                    - {name: p15, value: ['2', '$(var my_value)'], type: list_of_str}
                    - {name: p16, value: '100'}
                    - {name: p17, value: $(var my_value)}
                    - {name: p18, value: $(var my_value), type: float}
                    - {name: p19, value: true}
                    - {name: p20, value: [1, $(var my_value)]}
    """
    with open(command(workshop, text)[-1]) as stream:
        found = yaml.safe_load(stream)
    assert found == {
        "/**": {
            "ros__parameters": {
                "group.inner.p2": 2,
                "group.p3": [2, 5, 8],
                "group.p4": [2, 5, 8],
                "group.p5": "[2, 5, 8]",
                "group.p6": [2.0, 5.0, 8.0],
                "group.p7": ["2", "5", "8"],
                "group.p9": ["'2'", "'5'"],
                "group.p11": ["asd", "bsd"],
                "group.p12": "",
                "group.p13": "100",
                "group.p15": ["2", "100"],
                "group.p16": "100",
                "group.p17": 100,
                "group.p18": 100.0,
                "group.p19": True,
                "group.p20": [1, 100],
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
        ("[a, b]", "yaml", ["a", "b"]),
        ("3", "str", "3"),
        ("3", "float", 3.0),
        ("yes", "bool", True),
        ("0", "bool", False),
        ("[1.0, 2.0]", "list_of_float", [1.0, 2.0]),
    ],
)
def test_text_becomes_a_value(text, kind, expected):
    found = coerce(text, kind)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "yaml"),
        ("{a: b}", "yaml"),
        ("[1, a]", "yaml"),
        ("[]", "yaml"),
        ("a: b: c", "yaml"),
        ("2024-01-01", "yaml"),
        ("3.5", "int"),
        ("x", "float"),
        ("3", "bool"),
        ("[1, 2]", "list_of_float"),
        ("1", "list_of_int"),
        ("[true]", "bool"),
    ],
)
def test_text_that_is_no_such_value(text, kind):
    with pytest.raises(LaunchError, match=f"is no (YAML|{kind})"):
        coerce(text, kind)


def test_an_empty_argument_says_how_to_be_a_string(workshop):
    text = """
        launch:
          - let: {name: a, value: ''}
          - node: {pkg: pkg, exec: show, param: [{name: p, value: $(var a)}]}
    """
    with pytest.raises(LaunchError, match=r":4: param 'p': '' is no yaml: say 'type: str'"):
        workshop.plan(text)


def test_set_parameter_refuses_lists(workshop):
    with pytest.raises(LaunchError, match=":2: set_parameter: 'a': lists do not reach nodes"):
        workshop.plan("launch:\n  - set_parameter: {name: a, value: '[1, 2]'}\n")


def test_a_parameter_file_that_is_not_there_is_refused(workshop):
    with pytest.raises(LaunchError, match=r":2: the parameter file /no/such.yaml does not exist"):
        workshop.plan("launch:\n  - node: {pkg: pkg, exec: show, param: [{from: /no/such.yaml}]}\n")


def test_a_parameter_file_with_substitutions(workshop):
    workshop.write("/**: {ros__parameters: {a: $(var size)}}", "params.yaml")
    text = """
        launch:
          - let: {name: size, value: '7'}
          - node: {pkg: pkg, exec: show, param: [{from: '$(dirname)/params.yaml', allow_substs: true}]}
    """
    with open(command(workshop, text)[-1]) as stream:
        assert yaml.safe_load(stream) == {"/**": {"ros__parameters": {"a": 7}}}


def test_two_nodes_of_one_name_are_warned_about(workshop):
    plan = workshop.plan("launch:\n" + "  - node: {pkg: pkg, exec: show, name: a, namespace: b}\n" * 2)
    (warning,) = [item for item in plan if isinstance(item, LogMessage)]
    assert warning.level == "WARNING"
    assert "at least 2 nodes with the name /b/a" in warning.message
