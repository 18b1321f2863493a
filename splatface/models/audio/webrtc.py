"""WebRTC's echo canceller (AEC3) and noise suppressor, through the package livekit. The only door to it."""

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.cleaning import BLOCK
from splatface.models.audio.pcm import from_pcm, to_pcm
from splatface.models.errors import AudioError
from splatface.models.messages import SAMPLE_RATE

__all__ = ["ECHO_DELAY", "NOISE_DELAY", "Webrtc"]

# Samples, measured: half a frame of each filter bank (test_cleaning holds them).
ECHO_DELAY, NOISE_DELAY = 128, 96


class Webrtc:
    """One audio processing module: it knows the noise from before and after the echo was taken away.

    Raises AudioError when livekit is not installed.
    """

    def __init__(self, *, echo: bool, noise: bool) -> None:
        try:
            package = importlib.import_module("livekit.rtc")
            modules = importlib.import_module("livekit.rtc.apm")
        except ImportError:
            raise AudioError(
                f"{'echo' if echo else 'noise'}: expected livekit, found none: "
                "pip install splatface[microphone]"
            ) from None
        self._frame = package.AudioFrame
        self._module = modules.AudioProcessingModule(
            echo_cancellation=echo, noise_suppression=noise, high_pass_filter=True
        )
        self._echo = echo
        self.delay_samples = ECHO_DELAY * echo + NOISE_DELAY * noise

    def play(self, block: NDArray[np.float32]) -> None:
        """Take in samples [160] that the loudspeaker plays, before their echo is heard."""
        self._module.process_reverse_stream(self._framed(block))

    def process(self, block: NDArray[np.float32], heard_ns: int) -> NDArray[np.float32]:
        """Clean samples [160] of the microphone; the time is not needed."""
        frame = self._framed(block)
        if self._echo:
            self._module.set_stream_delay_ms(0)  # it finds the delay itself
        self._module.process_stream(frame)
        return from_pcm(frame.data.tobytes())

    def _framed(self, block: NDArray[np.float32]) -> Any:
        return self._frame(bytearray(to_pcm(block)), SAMPLE_RATE, 1, BLOCK)
