"""What people type wrong for a node: one line that says what was expected, and an exit code."""

import sys

import pytest

from splatface.nodes.parameters import command_line_error


@pytest.mark.graph
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("-p", "rate_hz"),
            "expected -p name:=value with a value as in YAML, such as 25, true or text",
        ),
        (("-p", "rate_hz:=[1,abc"), "found '-p rate_hz:=[1,abc'"),
        (("-r", "__ns:=/bad-name"), "expected -r from:=to"),
        (("--params-file", "/no/such"), "expected a ROS 2 parameter file in YAML that can be read"),
        (("-x",), "found '-x'"),
        (("-p", "use_sim_time:=3"), "'use_sim_time'"),
    ],
)
def test_a_command_line_that_cannot_be_read_is_one_line(start, arguments, said):
    node = start(sys.executable, "-m", "splatface.nodes.head_controller", "--ros-args", *arguments)
    assert node.wait() == 1
    assert "Traceback" not in node.output
    own = [line for line in node.output.splitlines() if "[rcl]" not in line]
    assert len(own) == 1, node.output
    assert own[0].startswith("HeadController: ")
    assert said in own[0]


def test_what_rclpy_says_in_other_words_is_passed_on():
    assert "found 'something else'" in str(command_line_error(RuntimeError("something else")))


@pytest.mark.graph
def test_an_old_parameter_name_is_accepted_with_a_note(start, others):
    node = start.node("head_controller", wander=7.5)
    assert node.wait() == 1
    assert "parameter wander is now gaze_variability: use the new name" in node.output
    assert "parameter gaze_variability: expected 0.0 to 3.0, found 7.5" in node.output


@pytest.mark.graph
def test_a_parameter_file_with_the_old_name_of_a_node_is_reported(start, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("/**/listener:\n  ros__parameters:\n    barge_in_ms: 300\n")
    command = [sys.executable, "-m", "splatface.nodes.speech_detector", "--ros-args", "--params-file", path]
    node = start(*command)
    node.wait_for("section /**/listener is ignored: the node is called speech_detector now")
    assert node.interrupt() == 0, node.output
