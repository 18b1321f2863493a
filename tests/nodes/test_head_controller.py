"""The head controller through real topics."""

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PointStamped
from splatface_msgs.msg import AudioFeatures, HeadControl
from std_msgs.msg import Bool, String

from splatface.nodes import conversions


@pytest.mark.graph
def test_it_moves_looks_and_smiles(start, others):
    controls, diagnostics = [], []
    others.create_subscription(HeadControl, "head_control", controls.append, conversions.AUDIO_QOS)
    others.create_subscription(DiagnosticArray, "/diagnostics", diagnostics.append, 10)
    look = others.create_publisher(PointStamped, "look_at", 10)
    express = others.create_publisher(String, "expression", 10)
    node = start.node("head_controller", sway=0.0, gaze_variability=0.0)
    others.until(lambda: len(controls) > 60)
    times = [conversions.time_ns(msg.header.stamp) / 1e9 for msg in controls]
    assert (times[-1] - times[0]) / (len(times) - 1) == pytest.approx(0.02, abs=0.003)
    point = PointStamped()
    point.point.x, point.point.y = 1.0, 0.8
    look.publish(point)
    express.publish(String(data="smile:0.5"))
    others.until(lambda: controls[-1].gaze_yaw > 0.2 and controls[-1].orientation.z > 0.1)
    others.until(lambda: list(controls[-1].expression_weights) == [0.5])
    assert controls[-1].expression_names == ["smile"]
    express.publish(String(data="wink"))

    def said():
        return " ".join(status.message for array in diagnostics for status in array.status)

    others.until(lambda: "expected one of smile, brow_up, brow_down" in said())
    assert node.interrupt() == 0, node.output


@pytest.mark.graph
def test_it_listens_to_a_person_until_that_falls_silent(start, others):
    controls = []
    others.create_subscription(HeadControl, "head_control", controls.append, conversions.AUDIO_QOS)
    speaks = others.create_publisher(Bool, "person_speaking", 10)
    node = start.node("head_controller", sway=0.0, gaze_variability=0.0, seed=1)
    others.until(lambda: len(controls) > 10)

    def roll():
        return abs(controls[-1].orientation.x)

    assert roll() < 1e-6
    speaks.publish(Bool(data=True))
    # Head aslant by at least 1.6 degrees; without another message it assumes silence after 3 s.
    others.until(lambda: roll() > 0.012)
    others.until(lambda: roll() < 1e-6)
    assert node.interrupt() == 0, node.output


@pytest.mark.graph
def test_it_nods_with_what_it_says(start, others):
    controls = []
    others.create_subscription(HeadControl, "head_control", controls.append, conversions.AUDIO_QOS)
    features = others.create_publisher(AudioFeatures, "audio_features", conversions.AUDIO_QOS)
    node = start.node("head_controller", sway=0.0, gaze_variability=0.0)
    others.until(lambda: len(controls) > 10)
    first_ns = conversions.time_ns(controls[-1].header.stamp) + 60_000_000
    # A loud syllable after four soft ones, 33 times in 40 s (not every one is nodded at); all is sent at
    # once, none nods before its time.
    for index in range(2000):
        loud = -12.0 if index // 12 % 5 == 4 else -22.0
        level = loud if index % 12 < 7 else -36.0
        msg = AudioFeatures(encoder="x", values=[0.0], voice_probability=0.95, level_dbfs=level)
        msg.header.stamp = conversions.time_msg(first_ns + index * 20_000_000)
        features.publish(msg)
    others.until(lambda: max(msg.orientation.y for msg in controls) > 0.006)
    first_nod = next(msg for msg in controls if abs(msg.orientation.y) > 0.003)
    assert (
        conversions.time_ns(first_nod.header.stamp) > first_ns + 100_000_000
    )  # which syllable is a matter of dice
    assert node.interrupt() == 0, node.output


@pytest.mark.graph
def test_a_bad_parameter_is_one_clear_line(start):
    node = start.node("head_controller", sway=-1.0)
    assert node.wait() == 1
    assert "parameter sway: expected 0.0 to 3.0, found -1.0" in node.output
