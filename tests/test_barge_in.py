"""A person who speaks into the face's words, in a real room of sound servers: the microphone hears both."""

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


# From the loudspeaker to the microphone: the straight way and two walls; ms and dB.
WAYS = ((30, -8), (43, -16), (71, -20))


def pactl(environment, *words):
    command = ["pactl", *map(str, words)]
    return subprocess.run(
        command, env={**os.environ, **environment}, check=True, stdout=subprocess.PIPE
    ).stdout


@contextlib.contextmanager
def room(environment):
    """What the loudspeaker `vspk` plays comes to the sink `room`, whose monitor is the microphone."""
    pactl(environment, "load-module", "module-null-sink", "sink_name=room", "rate=48000", "channels=2")
    known = set()
    for delay_ms, gain_db in WAYS:
        way = ("source=vspk.monitor", "sink=room", f"latency_msec={delay_ms}", "adjust_time=0")
        pactl(environment, "load-module", "module-loopback", *way)
        inputs = {line.split()[0] for line in pactl(environment, "list", "short", "sink-inputs").splitlines()}
        (new,) = inputs - known
        known = inputs
        pactl(environment, "set-sink-input-volume", new.decode(), f"{gain_db}dB")
    yield {**environment, "PULSE_SINK": "vspk", "PULSE_SOURCE": "room.monitor"}


# What draws may wait on a busy machine; what sounds may not, or the echo comes when it will.
SOUNDING = ("pulseaudio", "audio_player", "audio_capture", "speech_detector", "tts", "flite")


@contextlib.contextmanager
def in_time():
    """All processes of this test that carry sound, and this one, go before others where that is allowed."""
    with contextlib.suppress(PermissionError):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                if any(name in " ".join(child.cmdline()) for name in SOUNDING):
                    for thread in child.threads():
                        os.sched_setscheduler(thread.id, os.SCHED_RR, os.sched_param(10))
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(5))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture
def witness(others):
    """Sees all of the conversation: what the face says, what is heard in the room, who is told of it."""
    others.chunks, others.heard, others.told, others.health = [], [], [], {}
    others.reason = lambda: others.health

    def on_health(msg):
        for status in msg.status:
            values = {value.key: value.value for value in status.values}
            others.health[status.name.split("/")[-1]] = (status.message, values)

    def on_audio(msg):
        others.chunks.append((time.time_ns(), conversions.audio_chunk(msg)))

    others.create_subscription(AudioChunk, "audio", on_audio, conversions.AUDIO_QOS)
    others.create_subscription(
        AudioChunk,
        "/ear/audio",
        lambda msg: others.heard.append(conversions.audio_chunk(msg)),
        conversions.AUDIO_QOS,
    )
    others.create_subscription(
        Bool, "person_speaking", lambda msg: others.told.append((time.time_ns(), msg.data)), 10
    )
    others.create_subscription(DiagnosticArray, "/diagnostics", on_health, 100)
    publisher = others.create_publisher(String, "heard_text", 10)
    others.tell = lambda text: publisher.publish(String(data=text))
    return others


def value(witness, node, key):
    return witness.health.get(node, ("", {}))[1].get(key, "")


def speaks(witness):
    return any(chunk.samples.any() for _, chunk in witness.chunks[-10:])


def interrupted_ms(witness, question, environment):
    """A person speaks into what the face says: ms from their first sound in the room to the interruption."""
    utterance = witness.chunks[-1][1].utterance
    witness.heard.clear()
    begun = len(witness.chunks)
    environment = {**os.environ, **environment}
    player = subprocess.Popen(["paplay", "--device=room", str(question)], env=environment)
    witness.until(lambda: witness.chunks[-1][1].utterance > utterance)
    ended_ns = next(at for at, chunk in witness.chunks[begun:] if chunk.utterance > utterance)
    witness.until(lambda: player.poll() is not None)
    # Half a second of what they said is found in what was heard: later the two clocks are apart.
    said = read_sound(question)
    first = int(np.argmax(np.abs(said) > 0.02))
    room = np.concatenate([chunk.samples for chunk in witness.heard])
    _, at = best_correlation(room, said[first : first + 8000])
    return (ended_ns - witness.heard[at // 320].start_ns) / 1e6 - at % 320 / 16


@pytest.mark.timeout(400)
def test_a_person_interrupts_the_face_and_its_own_voice_does_not(start, witness, tmp_path):
    pytest.importorskip("livekit.rtc", reason="pip install splatface[microphone]")
    (tmp_path / "pulse").mkdir()
    question = tmp_path / "question.wav"
    samples = np.concatenate([spoken.samples for spoken in speak(QUESTION, "flite/rms")])
    soundfile.write(question, samples, 16_000)
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
        witness.until(lambda: value(witness, "speech_detector", "interrupts") == "0", 100)
        witness.until(lambda: value(witness, "echo_bot", "said") == "0")
        with in_time():
            reactions_ms, losses_db = [], []
            for _ in range(2):
                witness.until(lambda: not speaks(witness))
                witness.tell(STORY)
                witness.until(lambda: speaks(witness))
                utterance, asked = (
                    witness.chunks[-1][1].utterance,
                    value(witness, "speech_detector", "interrupts"),
                )
                witness.told.clear()
                witness.spin(10.0)
                # alone: its own voice in the room is no person
                assert witness.chunks[-1][1].utterance == utterance
                assert value(witness, "speech_detector", "interrupts") == asked
                assert not any(speaking for _, speaking in witness.told)
                assert len(witness.told) >= 10  # told at least once a second
                assert speaks(witness)
                losses_db.append(float(value(witness, "microphone", "echo_loss_db")))
                reactions_ms.append(interrupted_ms(witness, question, environment))
                assert any(speaking for _, speaking in witness.told)
                witness.until(lambda: not witness.told[-1][1])
            print("person to interrupt:", reactions_ms, "own voice less loud by:", losses_db)
            assert value(witness, "speech_detector", "interrupts") == "2"
            assert min(losses_db) > 10
            assert max(reactions_ms) < 3000
        witness.until(lambda: witness.health["echo_bot"][0] == "listening")
        assert value(witness, "echo_bot", "interrupted") == "2"
        assert face.interrupt() == 0, face.output
    assert "Traceback" not in face.output, face.output
