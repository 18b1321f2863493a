"""The stage that takes our own voice out of what the microphone hears."""

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.echo_loss import ErleMeter
from splatface.models.audio.far_end import FarEnd
from splatface.models.audio.webrtc import Webrtc

__all__ = ["EchoCanceller"]


class EchoCanceller:
    """WebRTC's echo canceller, told what our loudspeaker plays.

    Args:
        far_end: what the loudspeaker plays, on the media clock.
        noise: suppress noise too: one module does both better than two.

    Raises AudioError when livekit is not installed.
    """

    def __init__(self, far_end: FarEnd, *, noise: bool) -> None:
        self._far_end = far_end
        self._webrtc = Webrtc(echo=True, noise=noise)
        self.delay_samples = self._webrtc.delay_samples
        self.loss = ErleMeter()

    def process(self, block: NDArray[np.float32], heard_ns: int) -> NDArray[np.float32]:
        """Clean samples [160] of the microphone, of which the first was heard at `heard_ns`."""
        played = self._far_end.take(heard_ns)
        self._webrtc.play(played)
        clean = self._webrtc.process(block, heard_ns)
        self.loss.add(played, block, clean)
        return clean
