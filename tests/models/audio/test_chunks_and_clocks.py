"""Windows, filter banks, level and voice: known answers."""

import numpy as np
import pytest

from splatface.models.audio.chunks import StreamFramer
from splatface.models.audio.device_clock import CaptureClock
from splatface.models.audio.mel_filterbank import kaldi_filters, log_kaldi_fbank, slaney_filters
from splatface.models.audio.vad import SileroVad, level_dbfs

MS = 1_000_000


@pytest.mark.parametrize("size", [1, 7, 160, 1000])
def test_windows_do_not_depend_on_chunks(size):
    stream = np.arange(1, 1001, dtype=np.float32)
    windows = StreamFramer(50, 20)
    found = [item for i in range(0, 1000, size) for item in windows.push(stream[i : i + size])]
    padded = np.concatenate([np.zeros(30, np.float32), stream])
    assert [end for end, _ in found] == list(range(20, 1001, 20))
    for end, window in found:
        np.testing.assert_array_equal(window, padded[end - 20 : end + 30])


def test_windows_must_cover_their_hop():
    with pytest.raises(ValueError, match="0 < hop <= length"):
        StreamFramer(10, 20)


def test_slaney_filters_of_whisper():
    filters = slaney_filters(80, 400)
    assert filters.shape == (80, 201)
    # triangles of unit area: width in Hz times height is 2; bins are 40 Hz apart, so wide ones sum to 1 / 40
    np.testing.assert_allclose(filters[50:].sum(1) * 40, 1, rtol=0.03)
    hertz = np.arange(201) * 40.0
    center = (filters * hertz).sum(1) / filters.sum(1)
    assert (np.diff(center) > 0).all()
    # below 1 kHz a mel is 200 / 3 Hz; the top of 80 bands is at 45.245 mel
    assert hertz[filters[20].argmax()] == pytest.approx(21 * 45.245 / 81 * 200 / 3, abs=20)


def kaldi_reference(samples, filters):
    """Povey's recipe, one step a line, one frame."""
    x = [32768.0 * float(v) for v in samples]
    mean = sum(x) / len(x)
    x = [v - mean for v in x]
    x = [x[i] - 0.97 * x[max(i - 1, 0)] for i in range(len(x))]
    x = [v * (0.54 - 0.46 * np.cos(2 * np.pi * i / (len(x) - 1))) for i, v in enumerate(x)]
    k = np.arange(257)[:, None]
    spectrum = (np.exp(-2j * np.pi * k * np.arange(len(x)) / 512) * np.array(x)).sum(1)
    energies = [sum(w * abs(s) ** 2 for w, s in zip(row, spectrum, strict=True)) for row in filters]
    return np.log(np.maximum(energies, np.finfo(np.float32).eps))


def test_kaldi_fbank_agrees_with_the_reference():
    samples = np.random.default_rng(1).normal(0, 0.1, 400)
    filters = kaldi_filters(80, 512)
    np.testing.assert_allclose(
        log_kaldi_fbank(samples[None], filters)[0], kaldi_reference(samples, filters), rtol=1e-9
    )


def test_kaldi_filters_sum_to_one():
    filters = kaldi_filters(40, 512)
    hertz = np.arange(257) * 16000 / 512
    inside = (hertz > 100) & (hertz < 7300)  # the outermost triangles have no neighbor
    np.testing.assert_allclose(filters.sum(0)[inside], 1, atol=1e-9)


def test_level():
    assert level_dbfs(np.ones(320, np.float32)) == pytest.approx(0)
    assert level_dbfs(np.full(320, 0.1, np.float32)) == pytest.approx(-20, abs=1e-5)
    assert level_dbfs(np.zeros(320, np.float32)) == -100
    assert level_dbfs(np.zeros(0, np.float32)) == -100


def test_silence_and_noise_are_no_voice():
    voice = SileroVad()
    noise = np.random.default_rng(2).normal(0, 0.01, 32_000).astype(np.float32)
    for sound in (np.zeros(32_000, np.float32), noise):
        voice.reset()
        voice.push(sound)
        assert voice.probability(31_000, 32_000) < 0.2
    assert voice.probability(10**9, 100) == 0.0  # no window yet


def test_a_capture_clock_follows_a_slow_device_through_late_callbacks():
    random = np.random.default_rng(3)
    clock = CaptureClock(16_000)
    rate = 16_000 * (1 + 100e-6)  # 100 ppm fast
    errors = []
    for block in range(3000):  # a minute of 20 ms
        true_ns = round(block * 320 / rate * 1e9)
        clock.measure(block * 320, true_ns + int(random.exponential(5 * MS)))
        errors.append((clock.time_ns(block * 320) - true_ns) / MS)
    assert np.abs(errors[300:]).max() < 2.0
    steps = np.diff(errors)
    assert np.abs(steps[300:]).max() < 0.1  # no jumps: an encoder takes 10 ms for a gap


def test_a_capture_clock_jumps_when_samples_were_lost():
    clock = CaptureClock(16_000)
    for block in range(200):
        clock.measure(block * 320, block * 20 * MS)
    clock.reset()
    clock.measure(200 * 320, 200 * 20 * MS + 30 * MS)
    assert clock.time_ns(200 * 320) == 200 * 20 * MS + 30 * MS
    with pytest.raises(ValueError, match="no measurement"):
        CaptureClock(16_000).time_ns(0)
