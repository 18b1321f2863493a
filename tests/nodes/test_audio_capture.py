"""audio_capture through real topics: files, a null sink's monitor, and what goes wrong."""

import time

import numpy as np
import pytest
import soundfile
from diagnostic_msgs.msg import DiagnosticArray
from sound_server import best_correlation, play, pulseaudio
from splatface_msgs.msg import AudioChunk
from std_srvs.srv import Trigger

from splatface.models.audio.audio_file import read_sound
from splatface.nodes import conversions

RATE = 16_000
MS = 1_000_000


@pytest.fixture
def client(others):
    """Client of the node under test: receives `audio` and diagnostics, calls services."""
    others.chunks, others.arrivals, others.health = [], [], []
    others.reason = lambda: [status.message for status in others.health[-2:]]

    def on_audio(msg):
        others.chunks.append(conversions.audio_chunk(msg))
        others.arrivals.append(time.time_ns())

    def on_health(msg):
        others.health += [status for status in msg.status if status.name.endswith("audio_capture")]

    others.create_subscription(AudioChunk, "audio", on_audio, conversions.AUDIO_QOS)
    others.create_subscription(DiagnosticArray, "/diagnostics", on_health, 10)
    return others


def noise(seconds, rate=RATE, seed=0):
    """Noise below 4 kHz, in which a position can be found by correlation."""
    white = np.random.default_rng(seed).normal(0, 1, round(seconds * rate))
    spectrum = np.fft.rfft(white)
    spectrum[np.fft.rfftfreq(len(white), 1 / rate) > 4000] = 0
    return (0.1 * np.fft.irfft(spectrum, len(white)) / 0.7).astype(np.float32)


def joined(chunks):
    return np.concatenate([chunk.samples for chunk in chunks])


def first_sound(chunks):
    """Index of the first chunk that is not silent."""
    return next((i for i, chunk in enumerate(chunks) if chunk.samples.any()), None)


def gaps_ns(chunks):
    return np.diff([chunk.start_ns for chunk in chunks]) - [
        round(len(c.samples) * 62_500) for c in chunks[:-1]
    ]


@pytest.mark.graph
@pytest.mark.parametrize(("rate", "name"), [(16_000, "plain.wav"), (44_100, "other.flac")])
def test_a_file_arrives_sample_for_sample_in_its_own_time(start, client, tmp_path, rate, name):
    soundfile.write(tmp_path / name, np.stack([noise(2, rate)] * 2, 1), rate)
    began_ns = time.time_ns()
    node = start.node("audio_capture", source=tmp_path / name)
    expected = read_sound(tmp_path / name)
    client.until(lambda: first_sound(client.chunks) is not None)
    client.until(lambda: not any(c.samples.any() for c in client.chunks[-20:]))
    chunks = client.chunks
    assert {(len(c.samples), c.sample_rate, c.utterance) for c in chunks} == {
        (320, RATE, chunks[0].utterance)
    }
    recorded, begin = joined(chunks), first_sound(chunks) * 320
    # A file starts with the first subscriber, so that its first word is not lost.
    np.testing.assert_array_equal(recorded[begin : begin + len(expected)], expected)
    assert not recorded[begin + len(expected) :].any()  # then silence, so that the face idles
    assert not gaps_ns(chunks).any()  # start + n / rate, to the nanosecond
    assert chunks[0].start_ns > began_ns
    age_ms = (np.array(client.arrivals) - [c.end_ns for c in chunks]) / MS
    assert age_ms.min() > -2  # a chunk is published when the time of its last sample has come
    assert np.median(age_ms) / 20 < 1  # and before the next one is due
    assert node.interrupt() == 0, node.output
    assert "Traceback" not in node.output


@pytest.mark.graph
def test_a_loop_begins_again_after_a_second(start, client, tmp_path):
    soundfile.write(tmp_path / "short.wav", noise(0.3), RATE)
    start.node("audio_capture", source=tmp_path / "short.wav", loop=True, chunk_ms=10)

    def onsets():
        loud = [c.samples.any() for c in client.chunks]
        return [i for i in range(1, len(loud)) if loud[i] and not loud[i - 1]]

    client.until(lambda: len(onsets()) >= 2)
    first, second = onsets()[:2]
    assert second - first == 130  # 0.3 s of sound and 1 s of silence in chunks of 10 ms
    assert not gaps_ns(client.chunks).any()


@pytest.mark.graph
def test_an_interruption_raises_the_utterance_and_ends_the_sound(start, client, tmp_path):
    soundfile.write(tmp_path / "long.wav", noise(20), RATE)
    start.node("audio_capture", source=tmp_path / "long.wav")
    client.until(lambda: len(client.chunks) > 20)
    interrupt = client.create_client(Trigger, "interrupt")
    client.until(interrupt.service_is_ready)
    answer = interrupt.call_async(Trigger.Request())
    client.until(answer.done)
    assert answer.result().success
    first = client.chunks[0].utterance
    client.until(lambda: sum(c.utterance > first for c in client.chunks) > 20)
    later = [c for c in client.chunks if c.utterance == first + 1]
    assert not joined(later).any()
    assert not gaps_ns(client.chunks).any()
    assert [c.utterance for c in client.chunks] == sorted(c.utterance for c in client.chunks)


@pytest.mark.graph
def test_a_node_that_is_started_again_is_not_taken_for_an_old_utterance(start, client, tmp_path):
    soundfile.write(tmp_path / "long.wav", noise(20), RATE)
    first = start.node("audio_capture", source=tmp_path / "long.wav")
    client.until(lambda: len(client.chunks) > 20)
    interrupt = client.create_client(Trigger, "interrupt")
    client.until(interrupt.service_is_ready)
    client.until(interrupt.call_async(Trigger.Request()).done)
    client.until(lambda: client.chunks[-1].utterance > client.chunks[0].utterance)
    assert first.interrupt() == 0, first.output
    last = client.chunks[-1].utterance
    client.chunks.clear()
    start.node("audio_capture", source=tmp_path / "long.wav")
    client.until(lambda: len(client.chunks) > 20)
    assert client.chunks[0].utterance >= last


@pytest.mark.graph
@pytest.mark.parametrize(
    ("content", "parameters", "said"),
    [
        (None, {}, "expected a sound file, found nothing there"),
        (b"RIFF nonsense", {}, "found one that cannot be read"),
        (b"", {}, "found one that cannot be read"),
        (b"", {"chunk_ms": 1}, "parameter chunk_ms: expected 5 to 100, found 1"),
        (b"", {"loop": "perhaps"}, "parameter loop: expected bool"),
    ],
)
def test_bad_input_is_one_clear_line_and_an_exit_code(start, tmp_path, content, parameters, said):
    path = tmp_path / "bad.wav"
    if content is not None:
        path.write_bytes(content)
    node = start.node("audio_capture", source=path, **parameters)
    assert node.wait() == 1
    assert said in node.output
    assert "Traceback" not in node.output
    assert len(node.output.strip().splitlines()) == 1


@pytest.mark.graph
def test_a_file_that_breaks_off_ends_the_node(start, tmp_path):
    damaged = np.stack([noise(4, 96_000)] * 2, 1)
    damaged[2 * 96_000, 1] = np.nan  # beyond the 2^18 values that are looked at before the start
    soundfile.write(tmp_path / "nan.wav", damaged, 96_000, subtype="FLOAT")
    node = start.node("audio_capture", source=tmp_path / "nan.wav")
    assert node.wait() == 1
    assert "NaN or infinity at 2.000 s" in node.output


@pytest.mark.graph
def test_without_a_microphone_silence_is_published_and_diagnostics_say_so(start, client):
    node = start.node("audio_capture", device="no such thing", env={"PULSE_SERVER": "unix:/nowhere"})
    client.until(lambda: len(client.chunks) > 100)
    assert not joined(client.chunks).any()
    assert not gaps_ns(client.chunks).any()
    client.until(lambda: any(status.level == b"\x02" for status in client.health))
    assert "no such device" in client.health[-1].message
    assert "silence meanwhile" in client.health[-1].message
    assert node.interrupt() == 0, node.output
    assert "Traceback" not in node.output
    assert node.output.count("no such device") == 1  # said once, not every second


@pytest.mark.graph
@pytest.mark.sound
def test_the_monitor_of_a_sink_is_captured_and_survives_its_server(start, client, tmp_path):
    sound = noise(3, 48_000)
    soundfile.write(tmp_path / "played.wav", np.stack([sound, sound], 1), 48_000, subtype="FLOAT")
    expected = read_sound(tmp_path / "played.wav")
    (tmp_path / "pulse").mkdir()
    with pulseaudio(tmp_path / "pulse") as environment:
        node = start.node("audio_capture", env=environment)
        node.wait_for("listening to")
        client.until(lambda: client.health and client.health[-1].message == "listening")
        client.until(lambda: len(client.chunks) > 50)
        played_ns = time.time_ns()
        player = play(tmp_path / "played.wav", environment)
        client.until(lambda: player.poll() is not None)
        assert player.returncode == 0
        count = len(client.chunks)
        client.until(lambda: len(client.chunks) > count + 25)
        chunks = list(client.chunks)
        correlation, at = best_correlation(joined(chunks), expected)
        assert correlation > 0.99, client.health[-1].values
        sounded_ns = chunks[at // 320].start_ns + at % 320 * 62_500
        assert sounded_ns > played_ns
        begin = at // 320
        assert np.abs(gaps_ns(chunks[begin : begin + 150])).max() < 5 * MS  # an encoder takes 10 ms for a gap
        age_ms = np.array(client.arrivals[begin : begin + 150]) - [
            c.end_ns for c in chunks[begin : begin + 150]
        ]
        assert np.median(age_ms) / (20 * MS) < 3  # chunks
    # the server is gone: the microphone is unplugged
    client.until(lambda: client.health[-1].level == b"\x02")
    assert "silence meanwhile" in client.health[-1].message
    count = len(client.chunks)
    client.until(lambda: len(client.chunks) > count + 50)
    assert not joined(client.chunks[-25:]).any()
    with pulseaudio(tmp_path / "pulse") as environment:
        client.until(lambda: client.health[-1].message == "listening", 40)
        client.chunks.clear()
        player = play(tmp_path / "played.wav", environment)
        client.until(lambda: player.poll() is not None)
        count = len(client.chunks)
        client.until(lambda: len(client.chunks) > count + 25)
        assert best_correlation(joined(client.chunks), expected)[0] > 0.99
        assert node.interrupt() == 0, node.output
    assert "Traceback" not in node.output
