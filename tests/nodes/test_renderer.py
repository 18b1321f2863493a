"""The renderer node through real topics: one process each, pictures hashed as they arrive."""

import time

import numpy as np
import pytest
from sensor_msgs.msg import Image
from splatface_msgs.msg import AudioFeatures, FrameTrace, HeadControl
from splatface_msgs.srv import LoadHead

from splatface.models.messages import AudioFrame
from splatface.models.messages import HeadControl as Control
from splatface.nodes import conversions
from splatface.nodes.observer import ImageHash
from splatface.nodes.renderer import parse_size

MS = 1_000_000
START_NS = 1_700_000_000 * 1_000_000_000


@pytest.fixture
def face(others):
    others.features = others.create_publisher(AudioFeatures, "audio_features", conversions.AUDIO_QOS)
    others.controls = others.create_publisher(HeadControl, "head_control", conversions.AUDIO_QOS)
    return others


def frames(count, encoder="logmel", dim=120):
    random = np.random.default_rng(5)
    for index in range(count):
        values = random.normal(size=dim).astype(np.float32)
        yield AudioFrame(values, encoder, START_NS + index * 20 * MS, 0.9, -20.0)


def controls(count):
    for index in range(count):
        angle = 0.1 * np.sin(index / 9)
        quat = np.array([np.cos(angle / 2), 0, 0, np.sin(angle / 2)])
        yield Control(time_ns=START_NS + index * 20 * MS + 3 * MS, quat_world_head=quat, blink_left=index % 2)


def step_mode_hash(face, messages, expected):
    digest = ImageHash()
    subscription = face.create_subscription(
        Image,
        "image",
        lambda msg: digest.add(
            conversions.time_ns(msg.header.stamp), conversions.image_from_msg(msg).tobytes()
        ),
        conversions.image_qos(200),
    )
    face.until(lambda: face.features.get_subscription_count() and face.controls.get_subscription_count())
    face.until(lambda: face.count_publishers("/face/image"))
    for publisher, message in messages:
        publisher.publish(message)
        face.spin(0.001)
    face.until(lambda: digest.count >= expected)
    face.spin(0.3)
    face.destroy_subscription(subscription)
    return digest


@pytest.mark.graph
def test_step_mode_draws_every_tick_the_same_whatever_the_order_of_messages(start, face, tiny_head):
    feature_messages = [(face.features, conversions.audio_features_msg(frame)) for frame in frames(60)]
    control_messages = [(face.controls, conversions.head_control_msg(control)) for control in controls(60)]
    interleaved = [
        message for pair in zip(feature_messages, control_messages, strict=True) for message in pair
    ]
    hashes = []
    for messages in (interleaved, [*control_messages, *feature_messages]):
        options = {"clock": "features", "size": "64x64", "encoder": "logmel", "head": tiny_head}
        node = start.node("renderer", **options)
        node.wait_for("drawing")
        digest = step_mode_hash(face, messages, 25)
        hashes.append((digest.count, digest.hexdigest))
        assert node.interrupt() == 0, node.output
        face.until(lambda: not face.count_publishers("/face/image"))
    assert hashes[0] == hashes[1]
    assert 25 <= hashes[0][0] <= 30  # 60 frames are 1.18 s: 29 ticks, less the net's look-ahead


@pytest.mark.graph
def test_a_face_without_sound_lives_on(start, face, tiny_head):
    traces = []
    face.create_subscription(FrameTrace, "frame_trace", traces.append, 50)
    node = start.node("renderer", size="64x64", encoder="logmel", head=tiny_head, fps=30)
    node.wait_for("drawing")
    face.until(lambda: len(traces) > 40)
    stamps = [conversions.time_ns(trace.header.stamp) for trace in traces]
    assert set(np.round(np.diff(stamps) / 1e6)) <= {33.0, 34.0, 67.0, 66.0}
    client = face.create_client(LoadHead, "load_head")
    assert client.wait_for_service(10)
    future = client.call_async(LoadHead.Request(path="/no/such/head"))
    face.until(future.done)
    assert not future.result().ok
    assert "/no/such/head" in future.result().message
    count = len(traces)
    face.until(lambda: len(traces) > count + 5)  # the old head goes on
    assert node.interrupt() == 0, node.output


@pytest.mark.graph
def test_an_interruption_draws_again_what_still_waits_to_be_shown(start, face, tiny_head):
    traces = []
    face.create_subscription(FrameTrace, "frame_trace", traces.append, 200)
    options = {"size": "64x64", "encoder": "logmel", "head": tiny_head, "presentation_delay": 0.4}
    start.node("renderer", **options).wait_for("drawing")
    face.until(lambda: face.features.get_subscription_count() and len(traces) > 25)

    def hear(utterance):
        frame = AudioFrame(np.zeros(120, np.float32), "logmel", time.time_ns(), utterance=utterance)
        face.features.publish(conversions.audio_features_msg(frame))

    def steps_back():
        stamps = np.array([conversions.time_ns(trace.header.stamp) for trace in traces])
        return np.flatnonzero(np.diff(stamps) < 0), stamps

    hear(7)
    face.until(lambda: len(steps_back()[0]) == 1)
    (at,), stamps = steps_back()
    assert stamps[at + 1] in stamps[: at + 1]  # the same moments, drawn again
    face.spin(0.5)
    hear(7)
    face.spin(0.5)
    assert len(steps_back()[0]) == 1  # the same utterance: nothing to take back
    hear(6)
    face.spin(0.5)
    assert len(steps_back()[0]) == 1  # an old one: dropped


@pytest.mark.graph
@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"head": "/no/such/head"}, "expected a folder with a head.yaml"),
        ({"encoder": "wav2vec"}, "the graph runs wav2vec"),
        ({"size": "huge"}, "expected width x height such as 512x512"),
        ({"fps": 0}, "parameter fps: expected 1.0 to 120.0"),
        ({"backend": "vulkan"}, "expected one of cpu, cuda, reference"),
    ],
)
def test_bad_parameters_are_one_clear_line(start, tiny_head, parameters, said):
    node = start.node("renderer", **{"head": tiny_head, "encoder": "logmel", "size": "64x64", **parameters})
    assert node.wait() == 1
    assert said in node.output
    assert "Traceback" not in node.output


@pytest.mark.parametrize("text", ["", "512", "512x", "0x0", "12x5000", "axb", "64x64x3", "-64x64"])
def test_sizes_that_are_none(text):
    with pytest.raises(Exception, match="expected width x height"):
        parse_size(text)


def test_sizes():
    assert parse_size("720x1280") == (720, 1280)
