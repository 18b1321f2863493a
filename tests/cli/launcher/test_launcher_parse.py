"""A mistake is refused with file, line and name; so is what only ROS's own launch supports."""

import pytest

from splatface.cli.launcher.parse import KEYS, ROS_KEYS, parse_file
from splatface.models.errors import LaunchError

ACTION = "launch:\n  - let: {name: a, value: hello}\n  - %s\n"


def refused(launch_folder, text):
    path = launch_folder.write(text)
    with pytest.raises(LaunchError) as caught:
        parse_file(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("gruop: []", "unknown tag 'gruop': expected one of arg, let,"),
        ("node param: {}", "unknown tag 'node param'"),
        ("node: {exec: a, color: red}", "node: unknown key 'color': expected one of pkg, exec,"),
        ("node: {pkg: a}", "node: the key 'exec' is missing"),
        ("node: a", "node: expected a map"),
        ("node: {exec: a, respawn: true}", "'respawn' must be a string in quotes, found the bool true"),
        ("node: {exec: a, if: true}", "'if' must be a string in quotes, found the bool true"),
        ("node: {exec: a, if: 'true', unless: 'true'}", "'if' and 'unless' exclude each other"),
        ("node: {exec: a, respawn_delay: 1}", "'respawn_delay' must be a float"),
        ("node: {exec: a, respawn_delay: '1.0'}", "'respawn_delay' must be a float"),
        ("node: {exec: a, respawn_delay: -1.0}", "'respawn_delay' must be a float"),
        ("node: {exec: a, respawn_delay: .inf}", "'respawn_delay' must be a float"),
        ("node: {exec: a, respawn_delay: .nan}", "'respawn_delay' must be a float"),
        ("node: {exec: a, on_exit: restart}", "'on_exit' must be 'shutdown', found the str restart"),
        ("node: {exec: a, output: {both: screen}}", "'output' must be a string in quotes, found a map"),
        ("node: {exec: a, args: [b]}", "'args' must be a string in quotes, found a list"),
        ("node: {exec: a, args: 'echo ''a'}", "no quotes around a substitution"),
        ("node: {exec: a, remap: [{from: b}]}", "remap: the key 'to' is missing"),
        ("node: {exec: a, remap: {b: c}}", "'remap' must be a list of maps"),
        ("node: {exec: a, remap: []}", "at least one item"),
        ("node: {exec: a, remap: [b]}", "node remap: expected a map with the keys from, to"),
        ("node: {exec: a, param: [{value: 1}]}", "expected 'from', or 'name' and 'value', found value"),
        ("node: {exec: a, param: [{name: b}]}", "expected 'from', or 'name' and 'value', found name"),
        ("node: {exec: a, param: [{}]}", "expected 'from', or 'name' and 'value'"),
        ("node: {exec: a, param: [{name: b, value: }]}", "found nothing"),
        ("node: {exec: a, param: [{name: b, value: {c: d}}]}", "found a map"),
        ("node: {exec: a, param: [{name: b, value: 2024-01-01}]}", "found the date 2024-01-01"),
        ("node: {exec: a, param: [{name: b, value: '1', type: int}]}", "expected int, found str"),
        ("node: {exec: a, param: [{name: b, value: 1, type: float}]}", "expected float, found int"),
        ("node: {exec: a, param: [{name: b, value: true, type: int}]}", "expected int, found bool"),
        ("node: {exec: a, param: [{name: b, value: 1, type: double}]}", "'type' must be one of"),
        ("node: {exec: a, param: [{from: b, value: 1}]}", "found from, value"),
        ("arg: {name: a, default: 3}", "'default' must be a string in quotes, found the int 3"),
        ("include: {file: a, arg: [{name: b, value: 1}]}", "'value' must be a string in quotes"),
        ("let: {name: a}", "let: the key 'value' is missing"),
        ("set_parameter: {name: a, value: true}", "'value' must be a string in quotes, found the bool true"),
        ("group: {if: 'true'}", "the key 'children' is missing"),
        ("group: {children: {}}", "group: expected a list of actions"),
        ("let: {name: b, value: '$(vra x)'}", "let: 'value': unknown substitution"),
        ("let: {name: a, name: b}", "'name' occurs twice"),
        ("let: {<<: {name: a}}", "expected a plain key"),
        ("{let: {name: a, value: b}, group: []}", "a map with one key"),
        ("group: ", "group: expected a map"),
        ("let: {name: a, value: !!python/name:os.system }", "not YAML"),
    ],
)
def test_refused_by_line_and_name(launch_folder, action, message):
    found = refused(launch_folder, ACTION % action)
    assert found.startswith(":3: ")
    assert message in found


@pytest.mark.parametrize("tag", ROS_KEYS["launch"].split())
def test_other_tags_of_ros_are_refused_by_name(launch_folder, tag):
    found = refused(launch_folder, ACTION % f"{tag}: {{name: a}}")
    assert found == (
        f":3: the tag {tag!r} is not supported by splatface launch: run this file with `ros2 launch`"
    )


@pytest.mark.parametrize(
    ("tag", "key"), [(tag, key) for tag, keys in ROS_KEYS.items() if tag in KEYS for key in keys.split()]
)
def test_other_keys_of_ros_are_refused_by_name(launch_folder, tag, key):
    action = f"{tag}: {{{key}: a}}"
    if tag == "node param":
        action = f"node: {{exec: a, param: [{{name: b, {key}: true}}]}}"
    found = refused(launch_folder, ACTION % action)
    assert found == (
        f":3: {tag}: the key {key!r} is not supported by splatface launch: run this file with `ros2 launch`"
    )


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("{name: b, value: [1, 2]}", "'value' must be .*only with `ros2 launch`\\), found a list"),
        (
            "{name: b, value: '1', type: list_of_int}",
            "'type' must be .* `ros2 launch`\\), found the str list_of",
        ),
    ],
)
def test_lists_as_parameters_are_refused_by_name(launch_folder, param, message):
    path = launch_folder.write(ACTION % f"node: {{exec: a, param: [{param}]}}")
    with pytest.raises(LaunchError, match=f":3: node param: {message}"):
        parse_file(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: expected one root key 'launch:'"),
        ("- let: {name: a}", ":1: expected one root key"),
        ("launch: []\nmore: []", ":1: expected one root key"),
        ("launch:", ":1: launch: expected a list"),
        ("launch: {children: []}", ":1: launch: expected a list"),
        ("launch:\n  - let: {name: a\n", "not YAML"),
        ("launch: []\n---\nlaunch: []", "not YAML"),
        (
            "launch:\n  - group:\n    - let:\n        name: 3\n        value: a\n",
            ":4: let: 'name' must be a string",
        ),
        ("launch:\n- &a [*a]\n", "an alias that contains itself"),
        ("launch:\n- group: &a\n  - group: *a\n", "an alias that contains itself"),
    ],
)
def test_the_frame_is_checked(launch_folder, text, message):
    assert message in refused(launch_folder, text)


def test_branches_not_taken_are_checked_too(launch_folder):
    text = "launch:\n  - group:\n      if: 'false'\n      children:\n        - let: {nam: a}\n"
    assert ":5: let: unknown key 'nam'" in refused(launch_folder, text)


def test_a_binary_file_is_refused(launch_folder):
    path = launch_folder.folder / "x.launch.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LaunchError, match="cannot be read as text"):
        parse_file(path)
