"""A conversation with interruptions: the real graph and a real sound server."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from sound_server import pulseaudio
from splatface_msgs.msg import AudioChunk, FrameTrace
from std_msgs.msg import String

from splatface.models.tts.speak import voices
from splatface.nodes import conversions

pytestmark = [
    pytest.mark.graph,
    pytest.mark.skipif(not voices(), reason="no voice is installed: apt-get install libflite1"),
]
# 600 measures long-term drift; the machine should do nothing else then.
SECONDS = int(os.environ.get("SPLATFACE_TALK_SECONDS", "20"))
LONG = "This is a long story, and it goes on and on, until somebody has something better to say about it."


@pytest.fixture
def client(others):
    """Client that sends texts to the face and receives its topics."""
    others.chunks, others.recorded, others.traces, others.diagnostics = [], [], [], {}
    others.reason = lambda: others.diagnostics

    def on_diagnostics(msg):
        for status in msg.status:
            values = {value.key: value.value for value in status.values}
            others.diagnostics[status.name.split("/")[-1]] = (status.message, values)

    keep = others.chunks.append
    others.create_subscription(
        AudioChunk, "audio", lambda msg: keep(conversions.audio_chunk(msg)), conversions.AUDIO_QOS
    )
    others.create_subscription(AudioChunk, "/ear/audio", others.recorded.append, conversions.AUDIO_QOS)
    others.create_subscription(FrameTrace, "frame_trace", others.traces.append, 100)
    others.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, 100)
    publisher = others.create_publisher(String, "heard_text", 10)
    others.send_text = lambda text: publisher.publish(String(data=text))
    return others


def state(client, node):
    return client.diagnostics.get(node, ("", {}))


def speaking(chunks):
    return len(chunks) > 25 and np.abs(np.concatenate([chunk.samples for chunk in chunks[-25:]])).max() > 0.05


@pytest.mark.sound
@pytest.mark.timeout(300)
def test_face_repeats_texts_and_can_be_interrupted(start, client, tmp_path):
    (tmp_path / "pulse").mkdir()
    with pulseaudio(tmp_path / "pulse") as environment:
        # What is compiled and exported once is not made again for the server's own home.
        environment["XDG_CACHE_HOME"] = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
        start.node("audio_capture", namespace="ear", env=environment).wait_for("listening to")
        command = [sys.executable, "-m", "splatface.cli.main", "launch", "conversation.launch.yaml"]
        face = start(*command, "port:=0", "size:=128x128", "latency_ms:=150", "delay:=0.5", env=environment)
        for text in ("the face is at", "playing on", "voice: ", "drawing "):
            face.wait_for(text, 150)
        client.until(lambda: state(client, "echo_bot")[0] == "listening" and len(client.traces) > 10, 100)
        client.send_text(LONG)
        client.until(lambda: speaking(client.chunks))
        client.until(lambda: speaking(client.recorded))
        first = client.chunks[-1].utterance
        client.send_text("Yes.")
        client.until(lambda: state(client, "echo_bot")[1].get("said") == "1")
        assert state(client, "echo_bot")[1]["interrupted"] == "1"
        assert client.chunks[-1].utterance == first + 1
        # Every node publishes diagnostics once a second, each at its own time.
        client.until(lambda: state(client, "audio_player")[1].get("flushes") == "1")
        drawn = len(client.traces)
        client.until(lambda: len(client.traces) > drawn + 10)  # it continues
        assert face.interrupt() == 0, face.output
    assert "Traceback" not in face.output


@pytest.mark.sound
@pytest.mark.timeout(SECONDS + 300)
def test_mouth_and_voice_are_synchronized_and_an_interruption_stops_both(ros_domain):
    """From outside: the monitor of a real sound server and the page's pictures."""
    if not shutil.which("pulseaudio"):
        pytest.skip("no pulseaudio: apt-get install pulseaudio libasound2-plugins libportaudio2")
    command = [sys.executable, "-m", "splatface.cli.main", "bench", "talk", "--json"]
    command += ["--seconds", str(SECONDS), "--barge-ins", "6", "--interrupts", "50", "--size", "128x128"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS + 280)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    print(result)
    long = SECONDS >= 600
    assert result["seconds_heard"] > 0.7 * SECONDS
    delay_ms = 1e3 * result["settings"]["delay_s"]
    assert abs(result["offset_ms"]["median"]) / delay_ms < (0.1 if long else 0.3)
    lips = result["lips_after_voice_ms"]
    assert abs(lips["live"] - lips["by_stamps"]) / delay_ms < 0.4
    if long:
        assert abs(result["drift_ms_per_minute"]) < 1
    barge_in = result["barge_in"]
    assert barge_in["count"] == 6
    # Without interruption the text would go on for seconds.
    assert barge_in["silent_ms"]["median"] / delay_ms < 0.75
    assert barge_in["mouth_at_rest_ms"]["median"] / delay_ms < 1.5
    many = result["in_a_row"]
    assert (many["count"], many["open_goals"], many["refused"]) == (50, 0, 0)
    assert set(many["nodes"]) >= {"tts", "audio_player", "audio_features", "renderer", "display"}
    for name, held in many["nodes"].items():
        assert held["threads"][1] <= held["threads"][0] + 1, name
        assert held["files"][1] <= held["files"][0] + 2, name
        assert held["memory_mb"][1] < held["memory_mb"][0] + 20, name


def test_bot_waits_for_tts_and_queues(start, client):
    bot = start.node("echo_bot", interruption_policy="queue", prefix="'You said: '")
    client.until(lambda: state(client, "echo_bot")[0] == "listening")
    client.until(lambda: client.count_subscribers("heard_text") == 1)
    client.spin(1.0)
    client.send_text("Hello.")
    client.until(lambda: "expected the node tts, found none" in bot.output)
    start.node("tts").wait_for("voice: ")
    client.spin(3.0)
    client.send_text("   ")  # an empty text is ignored
    client.send_text("One.")
    client.send_text("Two.")
    client.until(lambda: state(client, "echo_bot")[1].get("said") == "2")
    client.spin(2.5)  # two reports of its state
    assert state(client, "echo_bot")[1] == {"said": "2", "interrupted": "0"}
    parameters = AsyncParameterClient(client, "echo_bot")
    done = parameters.set_parameters([Parameter("prefix", value="")])
    client.until(done.done)
    client.send_text("...!")
    client.until(lambda: "cannot say this" in bot.output)
    assert bot.interrupt() == 0, bot.output
    assert "Traceback" not in bot.output
