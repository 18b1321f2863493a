# SPDX-License-Identifier: Apache-2.0
"""Audio-video synchronization, measured from published audio, recorded sound and received images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from bench.clients import ReceivedImages
from bench.null_sink import FRAGMENT, RATE_HZ, SinkRecording
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk

__all__ = [
    "REST_OPENING",
    "Delays",
    "MouthDetector",
    "TimeSeries",
    "cross_correlation_lag_ms",
    "drift_ms_per_minute",
    "image_delays",
    "loudness",
    "measure_sync",
    "percentiles",
    "sound_delays",
    "sync_offsets",
]

REST_OPENING = 0.15  # of a wide-open mouth: a smaller motion is not visible
_MOUTH_FRACTION = 0.02  # of the pixels, those that change most, are the mouth
_LAG_STEP_S, _MAX_LAG_S = 0.005, 0.3
_WINDOW_S = 1.0
_SEARCH_RANGE_S = 0.25  # around the expected time of a window
_MIN_CORRELATION = 0.8
_MIN_RMS = 0.01  # of a window that is searched
_STEP = RATE_HZ // SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Delays:
    """Delays from the stamps of sound or images to when they reached the user."""

    stamps_ns: NDArray[np.int64]  # [n], rising
    delay_ms: NDArray[np.float64]  # [n]


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """Values over time, each valid until the next."""

    times_ns: NDArray[np.int64]  # [n], rising
    values: NDArray[np.float64]  # [n]


class MouthDetector:
    """Mouth opening of a face whose head does not move, measured from images.

    Args:
        resting: images [P, h, w] of the silent face.
        speaking: images [P, h, w] of the speaking face.
    """

    def __init__(self, resting: NDArray[np.uint8], speaking: NDArray[np.uint8]) -> None:
        self._rest = np.median(resting.astype(np.float32), axis=0)
        change = np.abs(speaking.astype(np.float32) - self._rest).mean(axis=0)
        self._mask = change > np.quantile(change, 1 - _MOUTH_FRACTION)
        self._scale = 1.0
        self._scale = float(np.percentile(self.opening(speaking), 95))

    def opening(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return 0 (at rest) to about 1 (wide open) for each image, [P]."""
        change = np.abs(images[:, self._mask].astype(np.float64) - self._rest[self._mask])
        opening: NDArray[np.float64] = change.mean(axis=1) / self._scale
        return opening


def measure_sync(
    published: list[AudioChunk],
    recording: SinkRecording,
    images: ReceivedImages,
    mouth: MouthDetector,
    delay_ms: float,
) -> dict[str, Any]:
    """Return figures in ms; `offset_ms` is the delay of an image after the sound of its stamp.

    `lips_after_voice_ms` is measured without stamps: the lag of the visible mouth after the audible voice;
    `by_stamps` is the lag of the stamps alone, which is that of the audio-to-mouth network.
    """
    sound, received = sound_delays(published, recording, delay_ms), image_delays(images)
    offset = sync_offsets(received, sound)
    openings = mouth.opening(images.small)
    order = np.argsort(images.stamps_ns, kind="stable")
    samples = np.concatenate([chunk.samples for chunk in published]).astype(np.float64)
    starts_ns = np.array([chunk.start_ns for chunk in published], np.int64)
    return {
        "offset_ms": percentiles(offset.delay_ms),
        "drift_ms_per_minute": _rounded(drift_ms_per_minute(offset)),
        "pictures": len(offset.delay_ms),
        "seconds_heard": len(sound.delay_ms),
        "sound_late_ms": percentiles(sound.delay_ms),
        "sound_drift_ms_per_minute": _rounded(drift_ms_per_minute(sound)),
        "picture_late_ms": percentiles(received.delay_ms),
        "lips_after_voice_ms": {
            "live": cross_correlation_lag_ms(
                TimeSeries(images.arrivals_ns, openings),
                loudness(recording.samples.astype(np.float64), recording.times_ns(), FRAGMENT),
            ),
            "by_stamps": cross_correlation_lag_ms(
                TimeSeries(images.stamps_ns[order], openings[order]),
                loudness(samples, starts_ns, len(published[0].samples)),
            ),
        },
    }


def sound_delays(published: list[AudioChunk], recording: SinkRecording, delay_ms: float) -> Delays:
    """Find each second of published speech in a recording, by cross-correlation.

    Args:
        published: the chunks of `audio`, 16 kHz.
        recording: of the sink.
        delay_ms: expected delay.
    """
    sound = soxr.resample(recording.samples.astype(np.float32) / 32768, RATE_HZ, SAMPLE_RATE)
    times_ns = recording.times_ns()
    stamps_ns, delays_ms = [], []
    for start_ns, samples in _speech_windows(published):
        expected = _sample_at(times_ns, start_ns + round(delay_ms * 1e6))
        found = _find(sound, samples, expected)
        if found is not None:
            fragment, rest = divmod(found * _STEP, FRAGMENT)
            played_ns = int(times_ns[int(fragment)]) + round(rest * NS_PER_S / RATE_HZ)
            stamps_ns.append(start_ns)
            delays_ms.append((played_ns - start_ns) / 1e6)
    return Delays(np.array(stamps_ns, np.int64), np.array(delays_ms))


def _speech_windows(published: list[AudioChunk]) -> list[tuple[int, NDArray[np.float32]]]:
    """Return start and samples of each second of continuous speech."""
    windows: list[tuple[int, NDArray[np.float32]]] = []
    run: list[AudioChunk] = []
    for chunk in published:
        if run and (chunk.start_ns != run[-1].end_ns or chunk.utterance != run[-1].utterance):
            run = []
        run.append(chunk)
        if chunk.end_ns - run[0].start_ns >= _WINDOW_S * NS_PER_S:
            samples = np.concatenate([piece.samples for piece in run])
            if np.sqrt(np.mean(samples**2)) > _MIN_RMS:
                windows.append((run[0].start_ns, samples))
            run = []
    return windows


def _sample_at(times_ns: NDArray[np.int64], time_ns: int) -> int:
    """Return the index of the sample at SAMPLE_RATE that was played at a time, -1 before the first."""
    fragment = int(np.searchsorted(times_ns, time_ns, side="right")) - 1
    if fragment < 0:
        return -1
    return fragment * FRAGMENT // _STEP + (time_ns - int(times_ns[fragment])) * SAMPLE_RATE // NS_PER_S


def _find(sound: NDArray[np.float32], window: NDArray[np.float32], expected: int) -> float | None:
    """Return the index in `sound`, near `expected`, where `window` begins; None where it is not found."""
    search_range = round(_SEARCH_RANGE_S * SAMPLE_RATE)
    near = sound[max(expected - search_range, 0) : expected + search_range + len(window)]
    if expected < search_range or len(near) < 2 * search_range + len(window):
        return None
    size = len(near) + len(window)
    product = np.fft.irfft(np.fft.rfft(near, size) * np.conj(np.fft.rfft(window, size)), size)
    energy = np.concatenate([[0.0], np.cumsum(near.astype(np.float64) ** 2)])
    power = energy[len(window) :][: 2 * search_range] - energy[: 2 * search_range]
    norm = np.sqrt(np.maximum(power, 1e-9) * np.sum(window.astype(np.float64) ** 2))
    correlation = product[: 2 * search_range] / norm
    best = int(np.argmax(correlation))
    if correlation[best] < _MIN_CORRELATION or not 0 < best < len(correlation) - 1:
        return None
    left, middle, right = correlation[best - 1 : best + 2]
    return expected - search_range + best + 0.5 * (left - right) / (left - 2 * middle + right)


def image_delays(images: ReceivedImages) -> Delays:
    """Return the delay of each image at its viewer; of an image rendered again, the last one's."""
    stamps_ns, last = np.unique(images.stamps_ns[::-1], return_index=True)
    arrivals_ns = images.arrivals_ns[::-1][last]
    return Delays(stamps_ns, (arrivals_ns - stamps_ns) / 1e6)


def sync_offsets(images: Delays, sound: Delays) -> Delays:
    """Return by how much each image is later than the sound of its stamp, where there is sound around it."""
    if len(sound.stamps_ns) < 2:
        return Delays(np.zeros(0, np.int64), np.zeros(0))
    first, last = sound.stamps_ns[0], sound.stamps_ns[-1] + round(_WINDOW_S * NS_PER_S)
    inside = (images.stamps_ns >= first) & (images.stamps_ns <= last)
    stamps_ns = images.stamps_ns[inside]
    middle_s = (sound.stamps_ns - first) / NS_PER_S + _WINDOW_S / 2
    sound_ms = np.interp((stamps_ns - first) / NS_PER_S, middle_s, sound.delay_ms)
    return Delays(stamps_ns, images.delay_ms[inside] - sound_ms)


def drift_ms_per_minute(delays: Delays) -> float:
    """Return the slope of a line through the medians of ten seconds each; NaN for less than two."""
    if not len(delays.stamps_ns):
        return float("nan")
    seconds = (delays.stamps_ns - delays.stamps_ns[0]) / NS_PER_S
    bins = (seconds // 10).astype(int)
    occupied = np.unique(bins)
    if len(occupied) < 2:
        return float("nan")
    medians = [float(np.median(delays.delay_ms[bins == k])) for k in occupied]
    return float(np.polyfit(occupied * 10 / 60, medians, 1)[0])


def loudness(samples: NDArray[np.float64], times_ns: NDArray[np.int64], size: int) -> TimeSeries:
    """Return the RMS of every `size` samples [n * size], whose start times are given [n]."""
    pieces = samples[: len(times_ns) * size].reshape(-1, size)
    return TimeSeries(times_ns, np.sqrt(np.mean(pieces**2, axis=1)))


def cross_correlation_lag_ms(late: TimeSeries, early: TimeSeries) -> float:
    """Return the lag of one series after a similar one, up to 300 ms, resolution 5 ms."""
    begin = max(late.times_ns[0], early.times_ns[0])
    end = min(late.times_ns[-1], early.times_ns[-1])
    if (end - begin) / NS_PER_S < 2.0:
        return float("nan")
    grid_s = np.arange(0, (end - begin) / NS_PER_S, _LAG_STEP_S)
    a, b = (
        series.values[np.searchsorted((series.times_ns - begin) / NS_PER_S, grid_s, side="right") - 1]
        for series in (late, early)
    )
    max_lag = round(_MAX_LAG_S / _LAG_STEP_S)
    lags = np.arange(-max_lag, max_lag + 1)
    correlations = [
        float(np.corrcoef(a[max_lag + k : len(a) - max_lag + k], b[max_lag:-max_lag])[0, 1]) for k in lags
    ]
    return float(lags[int(np.argmax(correlations))]) * _LAG_STEP_S * 1e3


def percentiles(values: NDArray[np.float64]) -> dict[str, Any]:
    """Return 5th percentile, median and 95th percentile, rounded; None where there are no values."""
    names = ("p5", "median", "p95")
    if not len(values):
        return dict.fromkeys(names)
    return {
        name: round(float(value), 2)
        for name, value in zip(names, np.percentile(values, [5, 50, 95]), strict=True)
    }


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 3)
