"""A recording through a streaming encoder: in one piece and in chunks."""

from pathlib import Path

import numpy as np
import pytest

from splatface.models.audio.audio_file import read_sound
from splatface.models.audio.encoder import ENCODERS, encoder
from splatface.models.audio.offline_features import encode_recording, extract_features
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk

pytestmark = pytest.mark.slow

GREETING = Path(__file__).parents[3] / "launch" / "sounds" / "greeting.flac"
START_NS = 12 * NS_PER_S


@pytest.fixture(scope="module")
def speech():
    return read_sound(GREETING)[:24_123]


def stream(name, samples, chunk_samples):
    """Frames of a live stream that begins at START_NS."""
    live = encoder(name)
    frames = []
    for first in range(0, len(samples), chunk_samples):
        start_ns = START_NS + first * NS_PER_S // SAMPLE_RATE
        frames += live.push(AudioChunk(samples[first : first + chunk_samples], SAMPLE_RATE, start_ns))
    return frames


@pytest.mark.parametrize("chunk_samples", [160, 320, 1_000])
@pytest.mark.parametrize("name", ENCODERS)
def test_streaming_in_chunks_equals_offline(name, chunk_samples, speech):
    live, offline = stream(name, speech, chunk_samples), encode_recording(name, speech, start_ns=START_NS)
    assert len(live) == len(offline) > 50
    for frame, expected in zip(live, offline, strict=True):
        assert np.array_equal(frame.values, expected.values)
        assert frame.center_ns == expected.center_ns
        assert frame.voice_probability == expected.voice_probability


def test_features_are_the_frames_as_arrays(speech):
    frames, features = encode_recording("logmel", speech), extract_features("logmel", speech)
    assert np.array_equal(features.values, np.stack([frame.values for frame in frames]))
    assert features.times_s.tolist() == [frame.center_ns / NS_PER_S for frame in frames]
    assert features.voice_probability.tolist() == [frame.voice_probability for frame in frames]


def test_a_used_encoder_starts_anew(speech):
    used = encoder("logmel")
    first, second = extract_features(used, speech), extract_features(used, speech)
    assert np.array_equal(first.values, second.values)


def test_silence_after_the_end_completes_the_last_frames(speech):
    short = encode_recording("logmel", speech)
    long = encode_recording("logmel", speech, silence_after_s=0.5)
    assert len(long) == pytest.approx(len(short) + 25, abs=1)
    assert all(np.array_equal(a.values, b.values) for a, b in zip(short, long, strict=False))
    assert long[-1].center_ns / NS_PER_S > len(speech) / SAMPLE_RATE
