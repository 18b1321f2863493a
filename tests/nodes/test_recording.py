"""Recorder and player through real topics."""

import time

import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import QosDurability, QosHistory, QosReliability
from rosbags.rosbag2 import Reader
from rosgraph_msgs.msg import Clock
from splatface_msgs.msg import AudioChunk, AudioFeatures, HeadControl

from splatface.models.messages import AudioChunk as Chunk
from splatface.models.messages import AudioFrame
from splatface.models.messages import HeadControl as Control
from splatface.models.recording.bag_reader import read_messages
from splatface.models.recording.bag_writer import repair
from splatface.nodes import conversions

TYPES = {"audio": AudioChunk, "audio_features": AudioFeatures, "head_control": HeadControl}


def message_of(topic, index):
    time_ns = 1_000_000_000 + index * 20_000_000
    if topic == "audio":
        return conversions.audio_chunk_msg(Chunk(np.full(320, index / 100, np.float32), 16000, time_ns, 2))
    if topic == "audio_features":
        values = np.arange(index, index + 5, dtype=np.float32)
        return conversions.audio_features_msg(AudioFrame(values, "fsmn", time_ns, 0.5, -30.0, 2))
    return conversions.head_control_msg(
        Control(time_ns=time_ns, blink_left=0.25, expression=(("smile", index / 50),))
    )


def record(start, others, folder):
    recorder = start.node("recorder", path=folder)
    recorder.wait_for("recording into")
    outputs = {
        topic: others.create_publisher(kind, topic, conversions.AUDIO_QOS) for topic, kind in TYPES.items()
    }
    others.until(lambda: all(output.get_subscription_count() for output in outputs.values()))
    for index in range(50):
        for topic, output in outputs.items():
            output.publish(message_of(topic, index))
        time.sleep(0.01)
    time.sleep(0.3)
    assert recorder.interrupt() == 0, recorder.output
    assert "150 messages" in recorder.output
    for output in outputs.values():
        others.destroy_publisher(output)


@pytest.mark.graph
def test_what_is_played_is_what_was_said_twice(start, others, tmp_path):
    folder = tmp_path / "talk"
    record(start, others, folder)
    assert len(list(read_messages(folder))) == 150
    for _ in range(2):
        received = {topic: [] for topic in TYPES}
        clock = []
        inputs = [
            others.create_subscription(kind, topic, received[topic].append, conversions.AUDIO_QOS)
            for topic, kind in TYPES.items()
        ]
        inputs.append(others.create_subscription(Clock, "/clock", clock.append, 100))
        player = start.node("player", path=folder, rate=2.0, linger_s=0.2)
        others.until(lambda p=player: p.child.poll() is not None)
        assert player.wait() == 0, player.output
        for topic, messages in received.items():
            assert messages == [message_of(topic, index) for index in range(50)]
        times = [conversions.time_ns(message.clock) for message in clock]
        assert times == sorted(times)
        for subscription in inputs:
            others.destroy_subscription(subscription)


@pytest.mark.graph
def test_the_recording_names_the_qos_that_publishers_offer(start, others, tmp_path):
    recorder = start.node("recorder", path=tmp_path / "talk")
    recorder.wait_for("recording into")
    latched = QoSProfile(depth=3, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    audio = [others.create_publisher(AudioChunk, "audio", qos) for qos in (conversions.AUDIO_QOS, latched)]
    silent = others.create_publisher(HeadControl, "head_control", best_effort)
    others.until(lambda: all(output.get_subscription_count() for output in audio))
    others.spin(1.0)
    audio[0].publish(message_of("audio", 0))
    others.spin(0.5)
    assert recorder.interrupt() == 0, recorder.output
    with Reader(tmp_path / "talk") as reader:
        offers = {c.topic: (c.msgcount, c.ext.offered_qos_profiles) for c in reader.connections}
    audio_count, (first, second) = offers["/face/audio"]
    control_count, (control,) = offers["/face/head_control"]
    assert offers["/face/audio_features"] == (0, [])
    assert (audio_count, control_count) == (1, 0)
    assert first.reliability == second.reliability == QosReliability.RELIABLE
    assert {first.durability, second.durability} == {QosDurability.VOLATILE, QosDurability.TRANSIENT_LOCAL}
    assert (control.reliability, control.durability) == (QosReliability.BEST_EFFORT, QosDurability.VOLATILE)
    # Discovery over Fast DDS carries neither history nor depth; `ros2 bag record` writes the same then.
    depths = {QosHistory.KEEP_LAST: 5, QosHistory.UNKNOWN: 0}
    assert control.depth == depths[control.history]
    others.destroy_publisher(silent)


@pytest.mark.graph
def test_a_killed_recorder_loses_half_a_second(start, others, tmp_path):
    recorder = start.node("recorder", path=tmp_path / "talk")
    recorder.wait_for("recording into")
    outputs = {
        topic: others.create_publisher(kind, topic, conversions.AUDIO_QOS) for topic, kind in TYPES.items()
    }
    others.until(lambda: all(output.get_subscription_count() for output in outputs.values()))
    for index in range(150):
        for topic, output in outputs.items():
            output.publish(message_of(topic, index))
        time.sleep(0.02)
    recorder.end()
    messages = list(read_messages(tmp_path / "talk"))
    assert len(messages) >= 3 * (150 - 50)  # 25 of each are half a second; twice that on a busy machine
    assert repair(tmp_path / "talk") == len(messages)
    assert list(read_messages(tmp_path / "talk")) == messages
    for output in outputs.values():
        others.destroy_publisher(output)


@pytest.mark.graph
@pytest.mark.parametrize("name", ["recorder", "player"])
def test_a_bad_path_is_one_clear_line(start, tmp_path, name):
    path = tmp_path / "there"
    path.mkdir()
    node = start.node(name, path=path)
    assert node.wait() == 1
    assert f"recording {path}: expected" in node.output
    assert "Traceback" not in node.output
