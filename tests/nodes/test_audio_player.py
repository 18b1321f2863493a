"""The speaker through a real sound server: when its sound is heard, what it does when the server goes."""

import os
import subprocess
import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from splatface_msgs.msg import AudioChunk as AudioChunkMsg
from test_audio_capture import best_correlation, pulseaudio

from bench.av_sync import sound_delays
from bench.null_sink import FRAGMENT, RATE_HZ, Monitor
from splatface.models.messages import AudioChunk
from splatface.nodes import conversions

MS = 1_000_000
LEAD_NS = 100 * MS
DELAY_S = 0.5
LATENCY_MS = 200  # what a machine busy with other tests asks for


@pytest.fixture
def talk(others, set_presentation_delay):
    """Publishes `audio` as the speech node does, hears the sink's monitor, reads the speaker's health."""
    set_presentation_delay(DELAY_S)
    others.heard, others.health = [], []
    others.reason = lambda: [(status.message, status.values) for status in others.health[-2:]]
    others.publisher = others.create_publisher(AudioChunkMsg, "audio", conversions.AUDIO_QOS)
    others.end_ns, others.utterance = 0, 1
    others.source = np.zeros(0, np.float32)
    others.sent, others.said = [], []  # stamps of the chunks of `source`; all chunks

    def on_health(msg):
        others.health += [status for status in msg.status if status.name.endswith("audio_player")]

    def publish():
        now_ns = time.time_ns()
        if others.end_ns < now_ns - 500 * MS:
            others.end_ns = now_ns
        while others.end_ns <= now_ns + LEAD_NS:
            samples = np.zeros(320, np.float32)
            if len(others.source):
                piece, others.source = others.source[:320], others.source[320:]
                samples[: len(piece)] = piece
                others.sent.append(others.end_ns)
            chunk = AudioChunk(samples, 16_000, others.end_ns, others.utterance)
            others.publisher.publish(conversions.audio_chunk_msg(chunk))
            others.said.append(chunk)
            others.end_ns += 20 * MS

    others.create_subscription(
        AudioChunkMsg,
        "/ear/audio",
        lambda msg: others.heard.append(conversions.audio_chunk(msg)),
        conversions.AUDIO_QOS,
    )
    others.create_subscription(DiagnosticArray, "/diagnostics", on_health, 10)
    others.create_timer(0.01, publish)
    return others


def say(talk, sound):
    """Speak a sound and wait until it has been played; the stamp of its first sample."""
    talk.sent.clear()
    talk.source = sound
    talk.until(lambda: not len(talk.source))
    end_ns = talk.sent[-1] + round((DELAY_S + 1.0) * 1e9)
    talk.until(lambda: time.time_ns() > end_ns)
    return talk.sent[0]


def hum(seconds, seed):
    """Sound that resembles itself nowhere, below 400 Hz: a servo at work changes its pace by 0.2 %."""
    white = np.random.default_rng(seed).normal(0, 1, round(seconds * 16_000))
    spectrum = np.fft.rfft(white)
    frequencies = np.fft.rfftfreq(len(white), 1 / 16_000)
    spectrum[(frequencies > 400) | (frequencies < 60)] = 0
    low = np.fft.irfft(spectrum, len(white))
    return (0.2 * low / low.std()).astype(np.float32)


def late_ms_of(talk, sound, stamp_ns):
    """By how much each quarter of a second was heard late, and how well it correlates with what was sent."""
    heard = np.concatenate([chunk.samples for chunk in talk.heard])
    late, fit = [], []
    for first in range(0, len(sound) - 3999, 4000):
        correlation, at = best_correlation(heard, sound[first : first + 4000])
        heard_ns = talk.heard[at // 320].start_ns + at % 320 * 62_500
        late.append((heard_ns - stamp_ns - first * 62_500) / MS - DELAY_S * 1e3)
        fit.append(correlation)
    return np.array(late), np.array(fit)


def values(talk):
    return {value.key: value.value for value in talk.health[-1].values}


@pytest.mark.graph
@pytest.mark.sound
def test_sound_is_heard_at_its_moment_and_the_server_may_go(start, talk, tmp_path):
    (tmp_path / "pulse").mkdir()
    with pulseaudio(tmp_path / "pulse") as environment:
        start.node("audio_capture", namespace="ear", env=environment).wait_for("listening to")
        speaker = start.node("audio_player", latency_ms=LATENCY_MS, env=environment)
        speaker.wait_for("playing on")
        talk.until(lambda: talk.health and talk.health[-1].message == "playing")
        talk.spin(1.5)
        late_ms = []
        for seed in range(3):
            talk.heard.clear()
            sound = hum(2, seed)
            late, fit = late_ms_of(talk, sound, say(talk, sound))
            assert np.median(fit) > 0.9, values(talk)
            late_ms.append(float(np.median(late)))
        print("late by", late_ms, values(talk))
        # The monitor's own time is that of arrival, and on a busy machine the sink's wanders.
        assert np.abs(late_ms).max() < 60
        assert abs(float(values(talk)["offset_ms_p50"])) < 2
    talk.until(lambda: talk.health[-1].level == b"\x02")
    assert "no sound meanwhile" in talk.health[-1].message
    with pulseaudio(tmp_path / "pulse") as environment:
        talk.until(lambda: talk.health[-1].message == "playing", 40)
        talk.spin(4.0)  # the ear, too, has to find the server again
        talk.heard.clear()
        sound = hum(2, seed=9)
        assert np.median(late_ms_of(talk, sound, say(talk, sound))[1]) > 0.9
        assert speaker.interrupt() == 0, speaker.output
    assert "Traceback" not in speaker.output


@pytest.mark.graph
@pytest.mark.sound
def test_after_an_interruption_the_old_sound_is_gone(start, talk, tmp_path):
    (tmp_path / "pulse").mkdir()
    with pulseaudio(tmp_path / "pulse") as environment:
        start.node("audio_capture", namespace="ear", env=environment).wait_for("listening to")
        start.node("audio_player", latency_ms=LATENCY_MS, env=environment).wait_for("playing on")
        talk.until(lambda: talk.health and talk.health[-1].message == "playing")
        talk.spin(1.5)
        ends_ms = []
        for seed in range(3):
            talk.heard.clear()
            talk.source = hum(20, seed)
            talk.spin(2.0)
            talk.source = np.zeros(0, np.float32)
            talk.utterance += 1
            interrupted_ns = talk.end_ns = time.time_ns()
            talk.spin(1.5)
            loud = [chunk for chunk in talk.heard if np.abs(chunk.samples).max() > 0.02]
            ends_ms.append((loud[-1].end_ns - interrupted_ns) / MS)
        print("old sound ends after", ends_ms, values(talk))
        # The device holds more than this: what it held was thrown away. Under 40 ms on a machine at leisure.
        assert np.median(ends_ms) < LATENCY_MS - 50
        assert int(values(talk)["flushes"]) == 3


def pactl(environment, *words):
    command = ["pactl", *words]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.graph
@pytest.mark.sound
def test_a_loudspeaker_that_is_unplugged_while_it_plays_is_used_again_when_it_is_back(start, talk, tmp_path):
    (tmp_path / "pulse").mkdir()
    with pulseaudio(tmp_path / "pulse") as environment:
        speaker = start.node("audio_player", latency_ms=LATENCY_MS, env=environment)
        speaker.wait_for("playing on")
        talk.until(lambda: talk.health and talk.health[-1].message == "playing")
        talk.source = hum(60, 0)
        talk.spin(1.0)
        modules = [line.split() for line in pactl(environment, "list", "short", "modules").splitlines()]
        (sink,) = (words for words in modules if words[1] == "module-null-sink")
        pactl(environment, "unload-module", sink[0])
        # Another one takes its place, as a desktop's would: the server moves the sound there, or ends it.
        talk.until(lambda: "vspk" not in pactl(environment, "list", "short", "sinks"))
        talk.spin(3.0)
        pactl(environment, "load-module", *sink[1:])
        talk.until(lambda: "vspk" in pactl(environment, "list", "short", "sinks"))

        def plays_there():
            (index,) = (
                line.split()[0]
                for line in pactl(environment, "list", "short", "sinks").splitlines()
                if "vspk" in line
            )
            inputs = pactl(environment, "list", "short", "sink-inputs").splitlines()
            return any(line.split()[1] == index for line in inputs) and talk.health[-1].message == "playing"

        talk.until(plays_there)
        monitor = Monitor(environment["PULSE_SERVER"], "vspk.monitor")
        talk.spin(2.0)  # what PulseAudio says about time is right after a second or two
        talk.said.clear()
        talk.source = hum(4, 1)
        talk.spin(4.0 + DELAY_S + 1.0)
        heard = monitor.recording()
        monitor.close()
        loud = np.abs(heard.samples.reshape(-1, FRAGMENT)).max(axis=1) > 1000
        assert loud.mean() * len(heard.samples) / RATE_HZ > 2.0, values(talk)
        late_ms = sound_delays(talk.said, heard, DELAY_S * 1e3).delay_ms
        print("late by", late_ms, values(talk))  # none where a busy machine leaves holes in the sound
        assert np.abs(late_ms - DELAY_S * 1e3).max(initial=0.0) < 100
        assert speaker.interrupt() == 0, speaker.output
    assert "Traceback" not in speaker.output


@pytest.mark.graph
def test_without_a_loudspeaker_it_says_so_and_lives(start, talk):
    node = start.node("audio_player", device="no such thing", env={"PULSE_SERVER": "unix:/nowhere"})
    talk.until(lambda: any("no such device" in status.message for status in talk.health))
    assert {s.level for s in talk.health if "no such device" in s.message} == {b"\x02"}
    node.wait_for("no such device")  # the log follows the diagnostics within a quarter of a second
    assert node.interrupt() == 0, node.output
    assert "Traceback" not in node.output
    assert node.output.count("no such device") == 1
