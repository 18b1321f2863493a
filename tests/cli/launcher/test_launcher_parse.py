"""A mistake is refused with file, line and name; so are spellings that Jazzy or Kilted refuse."""

import pytest

from splatface.cli.launcher.parse import parse_file
from splatface.cli.launcher.schema import TAGS
from splatface.models.errors import LaunchError

ACTION = "launch:\n  - log: {message: hello}\n  - %s\n"


def refused(workshop, text):
    path = workshop.write(text)
    with pytest.raises(LaunchError) as caught:
        parse_file(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("gruop: []", "unknown tag 'gruop'"),
        ("lifecycle_node: {pkg: a, exec: b, name: c, namespace: d}", "unknown tag 'lifecycle_node'"),
        ("node: {exec: a, color: red}", "node: unknown key 'color'"),
        ("node: {pkg: a}", "node: the key 'exec' is missing"),
        ("node: a", "node: expected a map"),
        ("node: {exec: a, respawn: true}", "'respawn' must be a string, found the bool true"),
        ("node: {exec: a, if: true}", "'if' must be a string, found the bool true"),
        ("node: {exec: a, if: 'true', unless: 'true'}", "'if' and 'unless' exclude each other"),
        ("node: {exec: a, respawn_delay: 1}", "'respawn_delay' must be a float"),
        ("node: {exec: a, respawn_delay: '1.0'}", "'respawn_delay' must be a float"),
        ("node: {exec: a, respawn_delay: -1.0}", "'respawn_delay' must be a float"),
        ("node: {exec: a, sigterm_timeout: 2}", "'sigterm_timeout' must be a float"),
        ("node: {exec: a, sigkill_timeout: .inf}", "'sigkill_timeout' must be a float"),
        ("node: {exec: a, respawn_max_retries: '3'}", "'respawn_max_retries' must be an int"),
        ("node: {exec: a, respawn_max_retries: true}", "'respawn_max_retries' must be an int"),
        ("node: {exec: a, on_exit: restart}", "'on_exit' knows only 'shutdown'"),
        ("node: {exec: a, output: {both: screen}}", "'output' must be a string, found a map"),
        ("node: {exec: a, env: {A: b}}", "'env' must be a list of maps"),
        ("node: {exec: a, env: []}", "at least one item"),
        ("node: {exec: a, env: [{name: A, value: 1}]}", "'value' must be a string, found the int 1"),
        ("node: {exec: a, remap: [{from: b}]}", "remap: the key 'to' is missing"),
        ("node: {exec: a, param: [{value: 1}]}", "'name' or 'from' is missing"),
        ("node: {exec: a, param: [{name: b}]}", "expected 'value' or a nested 'param'"),
        ("node: {exec: a, param: [{name: b, value: }]}", "found nothing"),
        ("node: {exec: a, param: [{name: b, value: {c: d}}]}", "found a map"),
        ("node: {exec: a, param: [{name: b, value: 2024-01-01}]}", "found the date 2024-01-01"),
        ("node: {exec: a, param: [{name: b, value: [1, 2.0]}]}", "one type, found float and int"),
        ("node: {exec: a, param: [{name: b, value: [1, x]}]}", "one type, found int and str"),
        ("node: {exec: a, param: [{name: b, value: []}]}", "an empty list"),
        ("node: {exec: a, param: [{name: b, value: '1', type: int}]}", "expected int, found str"),
        ("node: {exec: a, param: [{name: b, value: 1, type: float}]}", "expected float"),
        ("node: {exec: a, param: [{name: b, value: 1, type: double}]}", "'type' must be one of"),
        ("node: {exec: a, param: [{name: b, value: [1], type: int}]}", "no int"),
        ("node: {exec: a, param: [{from: b, value: 1}]}", "'from' goes only with"),
        ("node: {exec: a, param: [{name: b, param: [{from: c}]}]}", "only directly below the node"),
        ("executable: {cmd: ''}", "'cmd' is empty"),
        ("executable: {cmd: 'echo ''a'}", "quotes may enclose neither"),
        ("executable: {cmd: a, shell: 'true'}", "'shell' must be true or false without quotes"),
        ("executable: {cmd: a, emulate_tty: true}", "unknown key 'emulate_tty'"),
        ("arg: {name: a, default: 3}", "'default' must be a string, found the int 3"),
        ("arg: {name: a, default: c, choice: [{value: b}]}", "the default 'c' is none of the choices"),
        ("let: {name: a}", "let: the key 'value' is missing"),
        ("set_parameter: {name: a, value: true}", "'value' must be a string, found the bool true"),
        ("timer: {period: 2, children: []}", "'period' must be a float"),
        ("timer: {period: '2.0', children: []}", "'period' must be a float"),
        ("timer: {period: 2.0}", "the key 'children' is missing"),
        ("group: {scoped: 'true', children: []}", "'scoped' must be true or false"),
        ("group: {scoped: true}", "the key 'children' is missing"),
        ("log: {message: hello, level: info}", "log: unknown key 'level'"),
        ("log: {message: '$(vra x)'}", "unknown substitution"),
        ("log: {message: a, message: b}", "'message' stands twice"),
        ("log: {<<: {message: a}}", "expected a plain key"),
        ("{log: {message: a}, shutdown: {}}", "a map with one key"),
        ("shutdown: ", "shutdown: expected a map"),
        ("log: {message: !!python/name:os.system }", "not YAML"),
    ],
)
def test_refused_by_line_and_name(workshop, action, message):
    found = refused(workshop, ACTION % action)
    assert found.startswith(":3: ")
    assert message in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: expected one root key 'launch:'"),
        ("- log: {message: a}", ":1: expected one root key"),
        ("launch: []\nmore: []", ":1: expected one root key"),
        ("launch:", ":1: launch: expected a list"),
        ("launch: {children: []}", ":1: launch: expected a list"),
        ("launch:\n  - log: {message: a\n", "not YAML"),
        ("launch: []\n---\nlaunch: []", "not YAML"),
        ("launch:\n  - group:\n    - log:\n        message: 3\n", ":4: log: 'message' must be a string"),
        ("launch:\n- &a [*a]\n", "a map with one key"),
        ("launch:\n- group: &a\n  - group: *a\n", "an alias that contains itself"),
    ],
)
def test_the_frame_is_checked(workshop, text, message):
    assert message in refused(workshop, text)


def test_branches_not_taken_are_checked_too(workshop):
    text = "launch:\n  - group:\n      if: 'false'\n      children:\n        - log: {massage: a}\n"
    assert ":5: log: unknown key 'massage'" in refused(workshop, text)


def test_a_binary_file_is_refused(workshop):
    path = workshop.folder / "x.launch.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LaunchError, match="cannot be read as text"):
        parse_file(path)


def test_every_tag_of_the_issue_is_known():
    issue = (
        "arg let node group push_ros_namespace set_remap set_parameter include set_env unset_env executable "
        "timer log shutdown"
    )
    assert set(issue.split()) == set(TAGS)
