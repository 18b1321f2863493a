"""What our own loudspeaker plays, as the microphone's clock counts it: what an echo is made of."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.cleaning import BLOCK
from splatface.models.audio.playback import Playback
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk

__all__ = ["FarEnd"]

# The loudspeaker's device holds what it will play for tens of ms, and the microphone's sound comes tens of ms
# late: what is taken back by an interruption within that time was played all the same.
HELD_NS = 120_000_000
NEEDED_NS = 60_000_000  # chunks come so long before their moment at least, or cannot be waited for
_BLOCK_NS = BLOCK * NS_PER_S // SAMPLE_RATE
EARLY_BLOCKS = 2  # an echo canceller must know a sound before it can hear it: stamps err by a few ms


class FarEnd:
    """A second loudspeaker, unheard: asked for what the first plays while the microphone listens.

    The sample with stamp t is played at t + delay. What was taken back by a newer utterance is left out.

    Args:
        delay_ns: the speaker's presentation_delay.
    """

    def __init__(self, delay_ns: int) -> None:
        self._playback = Playback(delay_ns)
        self._held: deque[NDArray[np.float32]] = deque()

    @property
    def delay_ns(self) -> int:
        """From a sample's stamp to when it is played."""
        return self._playback.delay_ns

    @delay_ns.setter
    def delay_ns(self, delay_ns: int) -> None:
        self._playback.delay_ns = delay_ns

    @property
    def refused(self) -> int:
        """Chunks at another rate than 16000 Hz."""
        return self._playback.refused

    def push(self, chunk: AudioChunk) -> None:
        """Take in a chunk that the speaker will play."""
        self._playback.push(chunk)

    def take(self, heard_ns: int) -> NDArray[np.float32]:
        """Samples [160] that are played 20 ms after `heard_ns`, the time of a block of the microphone."""
        ahead = min(HELD_NS, max(self.delay_ns - NEEDED_NS, 0)) // _BLOCK_NS
        block = self._playback.fill(BLOCK, heard_ns + (ahead + EARLY_BLOCKS) * _BLOCK_NS)
        self._held.append(block)
        while len(self._held) > ahead + 1:  # the delay became less
            self._held.popleft()
        return self._held.popleft() if len(self._held) == ahead + 1 else np.zeros(BLOCK, np.float32)
