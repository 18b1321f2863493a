"""Chunks of a stream wait here until their moment has come, whatever order the network makes of them."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk

__all__ = ["JitterBuffer"]

GAP_NS = 10_000_000  # chunks whose stamps fit to this follow each other without a seam
LONGEST_S = 10.0  # of sound that waits: who sends further ahead loses the oldest


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    index: int  # of its first sample in the stream
    start_ns: int
    samples: NDArray[np.float32]

    @property
    def end(self) -> int:
        return self.index + len(self.samples)

    @property
    def end_ns(self) -> int:
        return self.start_ns + len(self.samples) * NS_PER_S // SAMPLE_RATE


class JitterBuffer:
    """The sound that is still to be played, numbered from sample to sample.

    A higher utterance, or a stamp that steps back, ends all that was there. A lower utterance is late, unless
    a second passes without a higher one: then its sender has been started again.
    """

    def __init__(self) -> None:
        self.utterance = 0
        self.flushes = 0  # times that sound was thrown away for a newer one
        self.late = 0  # chunks of an utterance that is over
        self.refused = 0  # chunks at another rate
        self.underruns = 0  # chunks that follow the one before, but came after their moment
        self._taken = 0  # up to where the sound was played
        self._held: deque[_Held] = deque()
        self._last: _Held | None = None  # the newest, kept for its time when it has been played

    def push(self, chunk: AudioChunk) -> None:
        """Take in a chunk; NaN and infinite samples become silence."""
        if chunk.sample_rate != SAMPLE_RATE or chunk.samples.ndim != 1:
            self.refused += 1
            return
        if not len(chunk.samples):
            return
        last = self._last
        if last is None:
            self.utterance = chunk.utterance
            self._hold(0, chunk)
            return
        gap_ns = chunk.start_ns - last.end_ns
        if chunk.utterance < self.utterance and gap_ns < NS_PER_S:
            self.late += 1
            return
        if chunk.utterance != self.utterance or gap_ns < -GAP_NS:
            self._flush()
            self.utterance = chunk.utterance
        # After a pause its length is counted on; a stamp that steps back begins where the last sound ended.
        pause = round(gap_ns * SAMPLE_RATE / NS_PER_S) if gap_ns > GAP_NS else 0
        self.underruns += abs(gap_ns) <= GAP_NS and last.end < self._taken
        self._hold(last.end + pause, chunk)

    def index_at(self, time_ns: int) -> float | None:
        """Which sample of the stream belongs to a moment; None before there was any sound.

        By the stamp of the chunk it lies in, or the nearest one: so a stream whose clock is a little off is
        followed as its own stamps say.
        """
        near = self._last
        for held in self._held:
            if time_ns < held.end_ns:
                near = held
                break
        if near is None:
            return None
        return near.index + (time_ns - near.start_ns) * SAMPLE_RATE / NS_PER_S

    def read(self, first: int, count: int) -> NDArray[np.float32]:
        """Samples [count] from number `first` on, silence where there are none."""
        out = np.zeros(count, np.float32)
        for held in self._held:
            begin, end = max(held.index, first), min(held.end, first + count)
            if begin < end:
                out[begin - first : end - first] = held.samples[begin - held.index : end - held.index]
        return out

    def take(self, first: int, count: int) -> NDArray[np.float32]:
        """The same, to be played now: what lies wholly before it is dropped."""
        self._taken = first + count
        self._forget(first)
        return self.read(first, count)

    def _hold(self, index: int, chunk: AudioChunk) -> None:
        samples = chunk.samples
        finite = np.isfinite(samples)
        if not finite.all():
            samples = np.where(finite, samples, np.float32(0.0))
        self._last = _Held(index, chunk.start_ns, samples)
        self._held.append(self._last)
        self._forget(self._last.end - round(LONGEST_S * SAMPLE_RATE))

    def _forget(self, index: int) -> None:
        while self._held and self._held[0].end <= index:
            self._held.popleft()

    def _flush(self) -> None:
        self.flushes += any(held.samples.any() for held in self._held)
        self._held.clear()
