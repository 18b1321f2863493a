"""Log-mel with its slope and curvature: the encoder that needs no weights."""

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.fbank import frames_of, kaldi_filters, log_kaldi_fbank, scaled_fbank

__all__ = ["LogMel"]

FRAME, HOP, FFT, BINS = 400, 160, 512, 40  # 25 ms every 10 ms at 16 kHz


class LogMel:
    """40 log-mel bands, their delta and delta-delta (120-d), every 20 ms.

    The token's frame is the middle one of three, 10 ms apart; slope and curvature are central differences
    over them, so the token has heard 22.5 ms after its center. Digital silence is finite: Kaldi's floor.
    """

    name = "logmel"
    dim = 3 * BINS
    hop_samples = 2 * HOP
    window_samples = 2 * HOP + FRAME
    lookahead_samples: tuple[int, ...] = (HOP + FRAME // 2,)

    def __init__(self) -> None:
        self._filters = kaldi_filters(BINS, FFT)

    def reset(self) -> None:
        """Nothing is remembered between windows."""

    def step(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """Hear one window [720]; returns [1, 120]."""
        log_energy = log_kaldi_fbank(frames_of(window, FRAME, HOP), self._filters)
        before, now, after = scaled_fbank(log_energy)
        token = np.concatenate([now, (after - before) / 2, after - 2 * now + before])
        return token[None].astype(np.float32)
