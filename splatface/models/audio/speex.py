"""Speex's noise suppressor, through the package pyspeex-noise. The only door to it."""

import importlib

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.pcm import from_pcm, to_pcm
from splatface.models.errors import AudioError

__all__ = ["Speex"]

_SUPPRESSION_DB = -30


class Speex:
    """The stage `noise: speex`: 145 kB, a sixth of the work of WebRTC's, and gentler.

    Raises AudioError when pyspeex-noise is not installed.
    """

    delay_samples = 160  # a frame, half of each window

    def __init__(self) -> None:
        try:
            package = importlib.import_module("pyspeex_noise")
        except ImportError:
            raise AudioError(
                "noise: expected pyspeex-noise, found none: pip install splatface[microphone]"
            ) from None
        self._processor = package.AudioProcessor(0, _SUPPRESSION_DB)

    def process(self, block: NDArray[np.float32], heard_ns: int) -> NDArray[np.float32]:
        """Clean samples [160]; the time is not needed."""
        return from_pcm(self._processor.process_10ms(to_pcm(block)))
