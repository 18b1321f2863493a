"""audio_features through real topics: the same frames as the encoder called by hand."""

from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from splatface_msgs.msg import AudioChunk as AudioChunkMsg
from splatface_msgs.msg import AudioFeatures

from splatface.models.audio.audio_file import chunks_of_file
from splatface.models.audio.encoder import ENCODERS, encoder
from splatface.models.messages import AudioChunk
from splatface.nodes import conversions

GREETING = Path(__file__).parents[2] / "launch" / "sounds" / "greeting.flac"
START_NS = 1_700_000_000_000_000_000
MS = 1_000_000


@pytest.fixture
def speaker(others):
    """Publishes `audio`, hears `audio_features` and reads the diagnostics."""
    others.frames, others.health = [], []
    others.reason = lambda: [status.message for status in others.health[-2:]]

    def on_health(msg):
        others.health += [status for status in msg.status if status.name.endswith("audio_features")]

    def say(chunk):
        others.audio.publish(conversions.audio_chunk_msg(chunk))
        others.spin(0.001)

    others.say = say
    others.audio = others.create_publisher(AudioChunkMsg, "audio", conversions.AUDIO_QOS)
    others.create_subscription(
        AudioFeatures,
        "audio_features",
        lambda msg: others.frames.append(conversions.audio_frame(msg)),
        conversions.AUDIO_QOS,
    )
    others.create_subscription(DiagnosticArray, "/diagnostics", on_health, 10)
    return others


def ready(start, speaker, **parameters):
    node = start.node("audio_features", **parameters)
    speaker.until(lambda: speaker.audio.get_subscription_count() > 0, 60)
    speaker.until(lambda: speaker.count_publishers("/face/audio_features") > 0)
    node.wait_for("look-ahead")
    return node


def spoken(count=75):
    pieces = enumerate(list(chunks_of_file(GREETING))[:count])
    return [AudioChunk(piece, 16_000, START_NS + index * 20 * MS, utterance=1) for index, piece in pieces]


@pytest.mark.graph
@pytest.mark.parametrize("name", ENCODERS)
def test_features_on_the_topic_are_the_encoders(start, speaker, name):
    node = ready(start, speaker, encoder=name)
    by_hand = encoder(name)
    expected = [frame for chunk in spoken() for frame in by_hand.push(chunk)]
    for chunk in spoken():
        speaker.say(chunk)
    speaker.until(lambda: len(speaker.frames) >= len(expected))
    assert len(speaker.frames) == len(expected)
    for frame, other in zip(speaker.frames, expected, strict=True):
        assert frame.values.tobytes() == other.values.tobytes()
        assert (frame.center_ns, frame.utterance, frame.encoder) == (other.center_ns, 1, name)
        assert frame.voice_probability == pytest.approx(other.voice_probability)
        assert frame.level_dbfs == pytest.approx(other.level_dbfs, abs=1e-4)
    speaker.until(lambda: any("compute_ms_p50" in [v.key for v in s.values] for s in speaker.health))
    figures = {value.key: value.value for value in speaker.health[-1].values}
    assert float(figures["compute_ms_p50"]) > 0  # how quick it is, `splatface bench graph` says
    assert figures["bad_samples"] == "0"
    assert node.interrupt() == 0, node.output
    assert "Traceback" not in node.output


@pytest.mark.graph
def test_bad_audio_is_reported_and_survived(start, speaker):
    node = ready(start, speaker, encoder="logmel")
    speaker.until(lambda: any("no audio" in status.message for status in speaker.health))
    first, *rest = spoken(20)
    speaker.say(AudioChunk(first.samples, 44_100, first.start_ns))
    speaker.until(lambda: any("found 44100 Hz" in status.message for status in speaker.health))
    assert speaker.health[-1].level == b"\x02"
    spoilt = rest[5].samples.copy()
    spoilt[:7] = np.nan
    rest[5] = AudioChunk(spoilt, 16_000, rest[5].start_ns, 1)
    for chunk in rest:
        speaker.say(chunk)
    speaker.until(lambda: len(speaker.frames) == 18)
    assert all(np.isfinite(frame.values).all() for frame in speaker.frames)
    speaker.until(lambda: any("NaN" in status.message for status in speaker.health))
    assert {v.key: v.value for v in speaker.health[-1].values}["bad_samples"] == "7"
    assert node.output.count("44100 Hz") == 1
    assert node.interrupt() == 0, node.output


@pytest.mark.graph
def test_an_unknown_encoder_is_one_clear_line(start):
    node = start.node("audio_features", encoder="wav2vec")
    assert node.wait() == 1
    assert "expected one of logmel, fsmn, whisper, found 'wav2vec'" in node.output
    assert len(node.output.strip().splitlines()) == 1
