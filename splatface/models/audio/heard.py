"""What an encoder remembers of the sound itself: when it was, how loud, and whether someone spoke."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.voice import SILENCE_DBFS, SileroVad, level_dbfs
from splatface.models.audio.windows import StreamFramer
from splatface.models.messages import NS_PER_S, SAMPLE_RATE

__all__ = ["FRAME_SAMPLES", "RATE_HZ", "StreamAnnotator"]

RATE_HZ = 50
FRAME_SAMPLES = SAMPLE_RATE // RATE_HZ
NS_PER_SAMPLE = NS_PER_S // SAMPLE_RATE
KEPT_SAMPLES = SAMPLE_RATE  # more than any encoder looks back


class StreamAnnotator:
    """Time, level and voice of the last second of a stream, asked by sample number."""

    def __init__(self) -> None:
        self._voice = SileroVad()
        self._blocks = StreamFramer(FRAME_SAMPLES, FRAME_SAMPLES)
        self.reset()

    def reset(self) -> None:
        """Forget the stream; the next sample pushed is its sample 0."""
        self._voice.reset()
        self._blocks.reset()
        self._levels: dict[int, float] = {}
        self._stamps: deque[tuple[int, int]] = deque()  # (first sample, its time) of each piece
        self.samples = 0

    def push(self, samples: NDArray[np.float32], start_ns: int) -> None:
        """Hear samples [T] (at most a second) whose first one was at `start_ns`."""
        self._stamps.append((self.samples, start_ns))
        self.samples += len(samples)
        while len(self._stamps) > 1 and self._stamps[1][0] <= self.samples - KEPT_SAMPLES:
            self._stamps.popleft()
        for end, block in self._blocks.push(samples):
            index = end // FRAME_SAMPLES - 1
            self._levels[index] = level_dbfs(block)
            self._levels.pop(index - RATE_HZ, None)
        self._voice.push(samples)

    def time_ns(self, sample: int) -> int:
        """When a sample was heard, by the stamp of the piece it came in (so slow clock drift is followed)."""
        first, start_ns = self._stamps[0]
        for later_first, later_ns in self._stamps:
            if later_first > sample:
                break
            first, start_ns = later_first, later_ns
        return start_ns + (sample - first) * NS_PER_SAMPLE

    def level_dbfs(self, sample: int) -> float:
        """Level of the 20 ms frame that holds the sample."""
        return self._levels.get(sample // FRAME_SAMPLES, SILENCE_DBFS)

    def voice_probability(self, sample: int, heard: int) -> float:
        """Voice probability (0..1) at `sample`, from nothing after `heard`."""
        return self._voice.probability(sample, heard)
