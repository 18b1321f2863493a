"""The node audio_player through a real sound server: timing of its sound, loss of the server."""

import os
import subprocess
import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from sound_server import best_correlation, pulseaudio
from splatface_msgs.msg import AudioChunk as AudioChunkMsg

from bench.av_sync import sound_delays
from bench.null_sink import FRAGMENT, RATE_HZ, Monitor
from splatface.models.messages import AudioChunk
from splatface.nodes import conversions

MS = 1_000_000
LEAD_NS = 100 * MS
DELAY_S = 0.5
LATENCY_MS = 200  # what a machine busy with other tests asks for


@pytest.fixture
def client(others, set_presentation_delay):
    """Client that publishes `audio` as tts does, records the sink and reads the diagnostics."""
    set_presentation_delay(DELAY_S)
    others.recorded, others.health = [], []
    others.reason = lambda: [(status.message, status.values) for status in others.health[-2:]]
    others.publisher = others.create_publisher(AudioChunkMsg, "audio", conversions.AUDIO_QOS)
    others.end_ns, others.utterance = 0, 1
    others.source = np.zeros(0, np.float32)
    others.sent, others.published = [], []  # stamps of the chunks of `source`; all chunks

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
            others.published.append(chunk)
            others.end_ns += 20 * MS

    others.create_subscription(
        AudioChunkMsg,
        "/ear/audio",
        lambda msg: others.recorded.append(conversions.audio_chunk(msg)),
        conversions.AUDIO_QOS,
    )
    others.create_subscription(DiagnosticArray, "/diagnostics", on_health, 10)
    others.create_timer(0.01, publish)
    return others


def say(client, sound):
    """Publish a sound and wait until it has been played; return the stamp of its first sample."""
    client.sent.clear()
    client.source = sound
    client.until(lambda: not len(client.source))
    end_ns = client.sent[-1] + round((DELAY_S + 1.0) * 1e9)
    client.until(lambda: time.time_ns() > end_ns)
    return client.sent[0]


def hum(seconds, seed):
    """Noise below 400 Hz, which is found in a recording even when the resampler changes its rate by 0.2 %."""
    white = np.random.default_rng(seed).normal(0, 1, round(seconds * 16_000))
    spectrum = np.fft.rfft(white)
    frequencies = np.fft.rfftfreq(len(white), 1 / 16_000)
    spectrum[(frequencies > 400) | (frequencies < 60)] = 0
    low = np.fft.irfft(spectrum, len(white))
    return (0.2 * low / low.std()).astype(np.float32)


def late_ms_of(client, sound, stamp_ns):
    """Return the delay of each quarter of a second, ms, and its correlation with what was published."""
    recording = np.concatenate([chunk.samples for chunk in client.recorded])
    late, fit = [], []
    for first in range(0, len(sound) - 3999, 4000):
        correlation, at = best_correlation(recording, sound[first : first + 4000])
        heard_ns = client.recorded[at // 320].start_ns + at % 320 * 62_500
        late.append((heard_ns - stamp_ns - first * 62_500) / MS - DELAY_S * 1e3)
        fit.append(correlation)
    return np.array(late), np.array(fit)


def values(client):
    return {value.key: value.value for value in client.health[-1].values}


@pytest.mark.graph
@pytest.mark.sound
def test_sound_is_played_at_its_time_and_again_after_the_server_was_lost(start, client, tmp_path):
    (tmp_path / "pulse").mkdir()
    with pulseaudio(tmp_path / "pulse") as environment:
        start.node("audio_capture", namespace="ear", env=environment).wait_for("listening to")
        player = start.node("audio_player", latency_ms=LATENCY_MS, env=environment)
        player.wait_for("playing on")
        client.until(lambda: client.health and client.health[-1].message == "playing")
        client.spin(1.5)
        late_ms = []
        for seed in range(3):
            client.recorded.clear()
            sound = hum(2, seed)
            late, fit = late_ms_of(client, sound, say(client, sound))
            assert np.median(fit) > 0.9, values(client)
            late_ms.append(float(np.median(late)))
        print("late by", late_ms, values(client))
        # Times of the monitor are arrival times, and those of the sink drift on a busy machine.
        assert np.abs(late_ms).max() / (DELAY_S * 1e3) < 0.12
        assert abs(float(values(client)["offset_ms_p50"])) < 2
    client.until(lambda: client.health[-1].level == b"\x02")
    assert "no sound meanwhile" in client.health[-1].message
    with pulseaudio(tmp_path / "pulse") as environment:
        client.until(lambda: client.health[-1].message == "playing", 40)
        client.spin(4.0)  # the capture node has to find the server again, too
        client.recorded.clear()
        sound = hum(2, seed=9)
        assert np.median(late_ms_of(client, sound, say(client, sound))[1]) > 0.9
        assert player.interrupt() == 0, player.output
    assert "Traceback" not in player.output


@pytest.mark.graph
@pytest.mark.sound
def test_interruption_discards_buffered_sound(start, client, tmp_path):
    (tmp_path / "pulse").mkdir()
    with pulseaudio(tmp_path / "pulse") as environment:
        start.node("audio_capture", namespace="ear", env=environment).wait_for("listening to")
        start.node("audio_player", latency_ms=LATENCY_MS, env=environment).wait_for("playing on")
        client.until(lambda: client.health and client.health[-1].message == "playing")
        client.spin(1.5)
        ends_ms = []
        for seed in range(3):
            client.recorded.clear()
            client.source = hum(20, seed)
            client.spin(2.0)
            client.source = np.zeros(0, np.float32)
            client.utterance += 1
            interrupted_ns = client.end_ns = time.time_ns()
            client.spin(1.5)
            loud = [chunk for chunk in client.recorded if np.abs(chunk.samples).max() > 0.02]
            ends_ms.append((loud[-1].end_ns - interrupted_ns) / MS)
        print("old sound ends after", ends_ms, values(client))
        # The device holds more than this: what it held was thrown away. Under 40 ms on a machine at leisure.
        assert np.median(ends_ms) / LATENCY_MS < 0.75
        assert int(values(client)["flushes"]) == 3


def pactl(environment, *words):
    command = ["pactl", *words]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.graph
@pytest.mark.sound
def test_loudspeaker_that_was_unplugged_is_used_again(start, client, tmp_path):
    (tmp_path / "pulse").mkdir()
    with pulseaudio(tmp_path / "pulse") as environment:
        player = start.node("audio_player", latency_ms=LATENCY_MS, env=environment)
        player.wait_for("playing on")
        client.until(lambda: client.health and client.health[-1].message == "playing")
        client.source = hum(60, 0)
        client.spin(1.0)
        modules = [line.split() for line in pactl(environment, "list", "short", "modules").splitlines()]
        (sink,) = (words for words in modules if words[1] == "module-null-sink")
        pactl(environment, "unload-module", sink[0])
        # Another one takes its place, as a desktop's would: the server moves the sound there, or ends it.
        client.until(lambda: "vspk" not in pactl(environment, "list", "short", "sinks"))
        client.spin(3.0)
        pactl(environment, "load-module", *sink[1:])
        client.until(lambda: "vspk" in pactl(environment, "list", "short", "sinks"))

        def plays_there():
            (index,) = (
                line.split()[0]
                for line in pactl(environment, "list", "short", "sinks").splitlines()
                if "vspk" in line
            )
            inputs = pactl(environment, "list", "short", "sink-inputs").splitlines()
            return any(line.split()[1] == index for line in inputs) and client.health[-1].message == "playing"

        client.until(plays_there)
        monitor = Monitor(environment["PULSE_SERVER"], "vspk.monitor")
        client.spin(2.0)  # what PulseAudio says about time is right after a second or two
        client.published.clear()
        client.source = hum(4, 1)
        client.spin(4.0 + DELAY_S + 1.0)
        recording = monitor.recording()
        monitor.close()
        loud = np.abs(recording.samples.reshape(-1, FRAGMENT)).max(axis=1) > 1000
        assert loud.mean() * len(recording.samples) / RATE_HZ > 2.0, values(client)
        late_ms = sound_delays(client.published, recording, DELAY_S * 1e3).delay_ms
        print("late by", late_ms, values(client))  # none where a busy machine leaves holes in the sound
        assert np.abs(late_ms / (DELAY_S * 1e3) - 1).max(initial=0.0) < 0.2
        assert player.interrupt() == 0, player.output
    assert "Traceback" not in player.output


@pytest.mark.graph
def test_without_a_loudspeaker_the_problem_is_reported(start, client):
    node = start.node("audio_player", device="no such thing", env={"PULSE_SERVER": "unix:/nowhere"})
    client.until(lambda: any("no such device" in status.message for status in client.health))
    assert {s.level for s in client.health if "no such device" in s.message} == {b"\x02"}
    node.wait_for("no such device")  # the log follows the diagnostics within a quarter of a second
    assert node.interrupt() == 0, node.output
    assert "Traceback" not in node.output
    assert node.output.count("no such device") == 1
