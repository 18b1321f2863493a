"""Barge-in through real sound servers: the microphone receives the user and the echo of the face."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from diagnostic_msgs.msg import DiagnosticArray
from sound_server import best_correlation, pulseaudio
from splatface_msgs.msg import AudioChunk
from std_msgs.msg import Bool, String

from splatface.models.audio.audio_file import read_sound
from splatface.models.tts.speak import speak, voices
from splatface.nodes import conversions

pytestmark = [
    pytest.mark.graph,
    pytest.mark.sound,
    pytest.mark.skipif(not voices(), reason="no voice is installed: apt-get install libflite1"),
]
STORY = (
    "Once upon a time there was a king who had three daughters, and each was more clever than the last. "
    "The eldest could count the stars, the second could talk to the birds, and the youngest could be silent. "
    "One day a stranger came to the castle. He wore a gray coat, and nobody knew his name. "
)
QUESTION = "Excuse me, please, may I ask you something? I would like to know the way to the station."


# Echo paths from the loudspeaker to the microphone: direct and two reflections; ms and dB.
ECHO_PATHS = ((30, -8), (43, -16), (71, -20))


def pactl(environment, *words):
    command = ["pactl", *map(str, words)]
    return subprocess.run(
        command, env={**os.environ, **environment}, check=True, stdout=subprocess.PIPE
    ).stdout


@contextlib.contextmanager
def room(environment):
    """Route the sink `vspk` with echoes to the sink `room`, whose monitor is the microphone."""
    pactl(environment, "load-module", "module-null-sink", "sink_name=room", "rate=48000", "channels=2")
    known = set()
    for delay_ms, gain_db in ECHO_PATHS:
        options = ("source=vspk.monitor", "sink=room", f"latency_msec={delay_ms}", "adjust_time=0")
        pactl(environment, "load-module", "module-loopback", *options)
        inputs = {line.split()[0] for line in pactl(environment, "list", "short", "sink-inputs").splitlines()}
        (new,) = inputs - known
        known = inputs
        pactl(environment, "set-sink-input-volume", new.decode(), f"{gain_db}dB")
    yield {**environment, "PULSE_SINK": "vspk", "PULSE_SOURCE": "room.monitor"}


# On a busy machine, late audio processes would change the delay of the echo.
AUDIO_PROCESSES = ("pulseaudio", "audio_player", "audio_capture", "speech_detector", "tts", "flite")


@contextlib.contextmanager
def audio_priority():
    """Give the audio processes of this test real-time priority where that is allowed."""
    with contextlib.suppress(PermissionError):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                if any(name in " ".join(child.cmdline()) for name in AUDIO_PROCESSES):
                    for thread in child.threads():
                        os.sched_setscheduler(thread.id, os.SCHED_RR, os.sched_param(10))
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(5))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture
def client(others):
    """Client that receives the audio of the face and of the room, and `person_speaking`."""
    others.chunks, others.recorded, others.speaking_msgs, others.diagnostics = [], [], [], {}
    others.reason = lambda: others.diagnostics

    def on_diagnostics(msg):
        for status in msg.status:
            values = {value.key: value.value for value in status.values}
            others.diagnostics[status.name.split("/")[-1]] = (status.message, values)

    def on_audio(msg):
        others.chunks.append((time.time_ns(), conversions.audio_chunk(msg)))

    others.create_subscription(AudioChunk, "audio", on_audio, conversions.AUDIO_QOS)
    others.create_subscription(
        AudioChunk,
        "/ear/audio",
        lambda msg: others.recorded.append(conversions.audio_chunk(msg)),
        conversions.AUDIO_QOS,
    )
    others.create_subscription(
        Bool, "person_speaking", lambda msg: others.speaking_msgs.append((time.time_ns(), msg.data)), 10
    )
    others.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, 100)
    publisher = others.create_publisher(String, "heard_text", 10)
    others.send_text = lambda text: publisher.publish(String(data=text))
    return others


def value(client, node, key):
    return client.diagnostics.get(node, ("", {}))[1].get(key, "")


def speaks(client):
    return any(chunk.samples.any() for _, chunk in client.chunks[-10:])


def interrupted_ms(client, question, environment):
    """Play a question while the face speaks; return ms from its first sound to the interruption."""
    utterance = client.chunks[-1][1].utterance
    client.recorded.clear()
    first_index = len(client.chunks)
    environment = {**os.environ, **environment}
    player = subprocess.Popen(["paplay", "--device=room", str(question)], env=environment)
    client.until(lambda: client.chunks[-1][1].utterance > utterance)
    ended_ns = next(at for at, chunk in client.chunks[first_index:] if chunk.utterance > utterance)
    client.until(lambda: player.poll() is not None)
    # Half a second of the question is found in the recording of the room: later the clocks drift apart.
    said = read_sound(question)
    first = int(np.argmax(np.abs(said) > 0.02))
    room = np.concatenate([chunk.samples for chunk in client.recorded])
    _, at = best_correlation(room, said[first : first + 8000])
    return (ended_ns - client.recorded[at // 320].start_ns) / 1e6 - at % 320 / 16


@pytest.mark.timeout(400)
def test_user_interrupts_the_face_and_its_echo_does_not(start, client, tmp_path):
    pytest.importorskip("livekit.rtc", reason="pip install splatface[microphone]")
    (tmp_path / "pulse").mkdir()
    question = tmp_path / "question.wav"
    samples = np.concatenate([spoken.samples for spoken in speak(QUESTION, "flite/rms")])
    soundfile.write(question, samples, 16_000)
    question_ms = len(samples) / 16
    with pulseaudio(tmp_path / "pulse") as server, room(server) as environment:
        # What is compiled and exported once is not made again for the server's own home.
        environment["XDG_CACHE_HOME"] = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
        start.node("audio_capture", namespace="ear", env=environment).wait_for("listening to")
        face = start(
            *(sys.executable, "-m", "splatface.cli.main", "launch", "conversation.launch.yaml"),
            *("port:=0", "size:=64x64", "fps:=5", "latency_ms:=150", "delay:=0.5", "voice:=flite/slt"),
            *("microphone:=true", "interruption_policy:=queue"),
            env=environment,
        )
        for text in ("the face is at", "playing on", "voice: ", "drawing ", "listening to"):
            face.wait_for(text, 150)
        client.until(lambda: value(client, "speech_detector", "interrupts") == "0", 100)
        client.until(lambda: value(client, "echo_bot", "said") == "0")
        with audio_priority():
            reactions_ms, losses_db = [], []
            for _ in range(2):
                client.until(lambda: not speaks(client))
                client.send_text(STORY)
                client.until(lambda: speaks(client))
                utterance, asked = (
                    client.chunks[-1][1].utterance,
                    value(client, "speech_detector", "interrupts"),
                )
                client.speaking_msgs.clear()
                client.spin(10.0)
                # the echo of the face is not taken for a user
                assert client.chunks[-1][1].utterance == utterance
                assert value(client, "speech_detector", "interrupts") == asked
                assert not any(speaking for _, speaking in client.speaking_msgs)
                assert len(client.speaking_msgs) >= 10  # published at least once a second
                assert speaks(client)
                losses_db.append(float(value(client, "microphone", "echo_loss_db")))
                reactions_ms.append(interrupted_ms(client, question, environment))
                assert any(speaking for _, speaking in client.speaking_msgs)
                client.until(lambda: not client.speaking_msgs[-1][1])
            print("reaction, ms:", reactions_ms, "echo loss, dB:", losses_db)
            assert value(client, "speech_detector", "interrupts") == "2"
            assert min(losses_db) > 10
            assert max(reactions_ms) / question_ms < 0.75
        client.until(lambda: client.diagnostics["echo_bot"][0] == "listening")
        assert value(client, "echo_bot", "interrupted") == "2"
        assert face.interrupt() == 0, face.output
    assert "Traceback" not in face.output, face.output
