"""From what was said, heard and seen: how late sound and picture are, against their stamps and each other."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from bench.monitor import FRAGMENT, RATE_HZ, SinkRecording
from bench.viewer import Seen
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk

__all__ = ["Lateness", "drift_ms_per_minute", "marks", "offsets", "picture_lateness", "sound_lateness"]

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
