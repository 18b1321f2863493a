"""Mel-frequency cepstra as SyncNet was trained on them: plain frames, no window, energy first."""

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from splatface.models.audio.mel_filterbank import htk_filters
from splatface.models.typing import Float64Array

__all__ = ["CEPSTRA", "mfcc"]


CEPSTRA = 13
_FRAME, _HOP, _FFT, _BANDS = 400, 160, 512, 26  # 25 ms every 10 ms
_PREEMPHASIS, _LIFTER = 0.97, 22


def mfcc(samples: NDArray[np.float32]) -> Float64Array:
    """Cepstra [n, 13], 100 a second, of samples [T] at 16 kHz, -1..1; the last frame is filled with zeros."""
    sound = np.asarray(samples, np.float64) * 32768  # the levels of 16-bit sound
    sharp = np.concatenate([sound[:1], sound[1:] - _PREEMPHASIS * sound[:-1]])
    count = 1 + max(0, -(-(len(sharp) - _FRAME) // _HOP))
    padded = np.pad(sharp, (0, max(0, (count - 1) * _HOP + _FRAME - len(sharp))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP][:count]
    power = np.square(np.abs(np.fft.rfft(frames, _FFT))) / _FFT
    tiny = np.finfo(np.float64).eps
    bands = np.log(np.maximum(power @ htk_filters(_BANDS, _FFT).T, tiny))
    lift = 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(CEPSTRA) / _LIFTER)
    cepstra: Float64Array = dct(bands, type=2, axis=1, norm="ortho")[:, :CEPSTRA] * lift
    cepstra[:, 0] = np.log(np.maximum(power.sum(axis=1), tiny))
    return cepstra
