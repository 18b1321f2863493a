"""Audio-video synchronization, measured from published audio, recorded sound and received images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from bench.clients import Seen
from bench.null_sink import FRAGMENT, RATE_HZ, SinkRecording
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk

__all__ = [
    "REST",
    "Course",
    "Lateness",
    "Mouth",
    "drift_ms_per_minute",
    "in_step",
    "lag_ms",
    "loudness",
    "marks",
    "offsets",
    "picture_lateness",
    "sound_lateness",
]

REST = 0.15  # of a wide-open mouth: below this nobody sees it move
_SHARE = 0.02  # of the picture's pixels that change most are the mouth
_STEP_S, _MOST_S = 0.005, 0.3


class Mouth:
    """Knows the mouth of a face that keeps its head still.

    Args:
        resting: pictures [P, h, w] of the silent face.
        speaking: of the speaking face.
    """

    def __init__(self, resting: NDArray[np.uint8], speaking: NDArray[np.uint8]) -> None:
        self._rest = np.median(resting.astype(np.float32), axis=0)
        change = np.abs(speaking.astype(np.float32) - self._rest).mean(axis=0)
        self._where = change > np.quantile(change, 1 - _SHARE)
        self._scale = 1.0
        self._scale = float(np.percentile(self.opening(speaking), 95))

    def opening(self, small: NDArray[np.uint8]) -> NDArray[np.float64]:
        """0 (at rest) .. about 1 (wide open) of each picture, [P]."""
        change = np.abs(small[:, self._where].astype(np.float64) - self._rest[self._where])
        opening: NDArray[np.float64] = change.mean(axis=1) / self._scale
        return opening


@dataclass(frozen=True, slots=True)
class Course:
    """Something over time."""

    times_ns: NDArray[np.int64]  # [n], rising
    values: NDArray[np.float64]  # [n], each until the next


def loudness(samples: NDArray[np.float64], times_ns: NDArray[np.int64], size: int) -> Course:
    """RMS of every `size` samples of a sound [n * size], given when each such piece begins [n]."""
    pieces = samples[: len(times_ns) * size].reshape(-1, size)
    return Course(times_ns, np.sqrt(np.mean(pieces**2, axis=1)))


def lag_ms(after: Course, before: Course) -> float:
    """By how much one course follows another that it resembles, within 300 ms, to 5 ms."""
    begin = max(after.times_ns[0], before.times_ns[0])
    end = min(after.times_ns[-1], before.times_ns[-1])
    if (end - begin) / NS_PER_S < 2.0:
        return float("nan")
    grid_s = np.arange(0, (end - begin) / NS_PER_S, _STEP_S)
    a, b = (
        course.values[np.searchsorted((course.times_ns - begin) / NS_PER_S, grid_s, side="right") - 1]
        for course in (after, before)
    )
    most = round(_MOST_S / _STEP_S)
    lags = np.arange(-most, most + 1)
    fits = [float(np.corrcoef(a[most + k : len(a) - most + k], b[most:-most])[0, 1]) for k in lags]
    return float(lags[int(np.argmax(fits))]) * _STEP_S * 1e3


WINDOW_S = 1.0
REACH_S = 0.25  # sound is sought so far around where it should be
LEAST_FIT = 0.8  # correlation of what was heard with what was said
LEAST_LOUD = 0.01  # RMS of a window that is sought
STEP = RATE_HZ // SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Lateness:
    """How long after its stamp something reached the person."""

    stamps_ns: NDArray[np.int64]  # [n], rising
    late_ms: NDArray[np.float64]  # [n]


def sound_lateness(said: list[AudioChunk], heard: SinkRecording, delay_ms: float) -> Lateness:
    """When each second of speech was heard, by correlation of what was published with the monitor.

    Args:
        said: the chunks of `audio`, 16 kHz.
        heard: the monitor's sound.
        delay_ms: about how late it should be.
    """
    sound = soxr.resample(heard.samples.astype(np.float32) / 32768, RATE_HZ, SAMPLE_RATE)
    times_ns = heard.times_ns()
    stamps, late = [], []
    for start_ns, samples in _windows(said):
        expected = _sample_at(times_ns, start_ns + round(delay_ms * 1e6))
        at = _found(sound, samples, expected)
        if at is not None:
            fragment, rest = divmod(at * STEP, FRAGMENT)
            heard_ns = int(times_ns[int(fragment)]) + round(rest * NS_PER_S / RATE_HZ)
            stamps.append(start_ns)
            late.append((heard_ns - start_ns) / 1e6)
    return Lateness(np.array(stamps, np.int64), np.array(late))


def _windows(said: list[AudioChunk]) -> list[tuple[int, NDArray[np.float32]]]:
    """Start and samples of seconds without a seam that hold speech."""
    out: list[tuple[int, NDArray[np.float32]]] = []
    run: list[AudioChunk] = []
    for chunk in said:
        if run and (chunk.start_ns != run[-1].end_ns or chunk.utterance != run[-1].utterance):
            run = []
        run.append(chunk)
        if chunk.end_ns - run[0].start_ns >= WINDOW_S * NS_PER_S:
            samples = np.concatenate([piece.samples for piece in run])
            if np.sqrt(np.mean(samples**2)) > LEAST_LOUD:
                out.append((run[0].start_ns, samples))
            run = []
    return out


def _sample_at(times_ns: NDArray[np.int64], time_ns: int) -> int:
    """The sample at SAMPLE_RATE that was heard at a moment."""
    fragment = int(np.searchsorted(times_ns, time_ns, side="right")) - 1
    if fragment < 0:
        return -1
    return fragment * FRAGMENT // STEP + (time_ns - int(times_ns[fragment])) * SAMPLE_RATE // NS_PER_S


def _found(sound: NDArray[np.float32], wanted: NDArray[np.float32], expected: int) -> float | None:
    """At which sample of `sound` the wanted samples begin, near `expected`; None when they are not there."""
    reach = round(REACH_S * SAMPLE_RATE)
    near = sound[max(expected - reach, 0) : expected + reach + len(wanted)]
    if expected < reach or len(near) < 2 * reach + len(wanted):
        return None
    size = len(near) + len(wanted)
    product = np.fft.irfft(np.fft.rfft(near, size) * np.conj(np.fft.rfft(wanted, size)), size)[: 2 * reach]
    energy = np.concatenate([[0.0], np.cumsum(near.astype(np.float64) ** 2)])
    power = energy[len(wanted) :][: 2 * reach] - energy[: 2 * reach]
    fit = product / np.sqrt(np.maximum(power, 1e-9) * np.sum(wanted.astype(np.float64) ** 2))
    best = int(np.argmax(fit))
    if fit[best] < LEAST_FIT or not 0 < best < len(fit) - 1:
        return None
    left, middle, right = fit[best - 1 : best + 2]
    return expected - reach + best + 0.5 * (left - right) / (left - 2 * middle + right)


def picture_lateness(seen: Seen) -> Lateness:
    """When each picture reached its viewer; of one that was drawn again, the last."""
    stamps_ns, last = np.unique(seen.stamps_ns[::-1], return_index=True)
    arrivals_ns = seen.arrivals_ns[::-1][last]
    return Lateness(stamps_ns, (arrivals_ns - stamps_ns) / 1e6)


def offsets(pictures: Lateness, sound: Lateness) -> Lateness:
    """By how much each picture is later than the sound of its stamp, where sound was heard around it."""
    if len(sound.stamps_ns) < 2:
        return Lateness(np.zeros(0, np.int64), np.zeros(0))
    first, last = sound.stamps_ns[0], sound.stamps_ns[-1] + round(WINDOW_S * NS_PER_S)
    inside = (pictures.stamps_ns >= first) & (pictures.stamps_ns <= last)
    stamps_ns = pictures.stamps_ns[inside]
    middle_s = (sound.stamps_ns - first) / NS_PER_S + WINDOW_S / 2
    sound_ms = np.interp((stamps_ns - first) / NS_PER_S, middle_s, sound.late_ms)
    return Lateness(stamps_ns, pictures.late_ms[inside] - sound_ms)


def drift_ms_per_minute(lateness: Lateness) -> float:
    """Slope of a line through the medians of ten seconds each."""
    if not len(lateness.stamps_ns):
        return float("nan")
    seconds = (lateness.stamps_ns - lateness.stamps_ns[0]) / NS_PER_S
    bins = (seconds // 10).astype(int)
    known = np.unique(bins)
    if len(known) < 2:
        return float("nan")
    medians = [float(np.median(lateness.late_ms[bins == k])) for k in known]
    return float(np.polyfit(known * 10 / 60, medians, 1)[0])


def marks(values: NDArray[np.float64]) -> dict[str, Any]:
    """Median and the span that holds nine tenths, rounded; None where nothing was measured."""
    names = ("p5", "median", "p95")
    if not len(values):
        return dict.fromkeys(names)
    found = np.percentile(values, [5, 50, 95])
    return {name: round(float(value), 2) for name, value in zip(names, found, strict=True)}


def in_step(
    said: list[AudioChunk], heard: SinkRecording, seen: Seen, mouth: Mouth, delay_ms: float
) -> dict[str, Any]:
    """Figures, ms: `offset_ms` is how much later a picture reaches its viewer than its sound leaves.

    `lips_after_voice_ms` is the same seen without any stamp: by how much the mouth that is seen moves after
    the voice that is heard; `by_stamps` is that of the stamps alone, so of the net that hears.
    """
    sound, pictures = sound_lateness(said, heard, delay_ms), picture_lateness(seen)
    offset = offsets(pictures, sound)
    openings = mouth.opening(seen.small)
    order = np.argsort(seen.stamps_ns, kind="stable")
    spoken = np.concatenate([chunk.samples for chunk in said]).astype(np.float64)
    spoken_ns = np.array([chunk.start_ns for chunk in said], np.int64)
    return {
        "offset_ms": marks(offset.late_ms),
        "drift_ms_per_minute": _rounded(drift_ms_per_minute(offset)),
        "pictures": len(offset.late_ms),
        "seconds_heard": len(sound.late_ms),
        "sound_late_ms": marks(sound.late_ms),
        "sound_drift_ms_per_minute": _rounded(drift_ms_per_minute(sound)),
        "picture_late_ms": marks(pictures.late_ms),
        "lips_after_voice_ms": {
            "live": lag_ms(
                Course(seen.arrivals_ns, openings),
                loudness(heard.samples.astype(np.float64), heard.times_ns(), FRAGMENT),
            ),
            "by_stamps": lag_ms(
                Course(seen.stamps_ns[order], openings[order]),
                loudness(spoken, spoken_ns, len(said[0].samples)),
            ),
        },
    }


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 3)
