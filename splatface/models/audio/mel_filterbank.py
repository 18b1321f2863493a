"""Mel filter banks and power spectra of short windows: the plain numpy under every encoder."""

import numpy as np
from numpy.typing import NDArray

from splatface.models.messages import SAMPLE_RATE

__all__ = [
    "frames_of",
    "kaldi_filters",
    "log_kaldi_fbank",
    "power_spectrum",
    "scaled_fbank",
    "slaney_filters",
]

FLOAT32_EPSILON = float(np.finfo(np.float32).eps)  # Kaldi's floor under the logarithm
_LOUD, _SPREAD = 10.0, 4.0  # of log energies of speech on Kaldi's scale


def frames_of(samples: NDArray[np.float32], length: int, hop: int) -> NDArray[np.float64]:
    """Every whole frame of `samples` [T], as [1 + (T - length) // hop, length] float64."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, length)
    return windows[::hop].astype(np.float64)


def power_spectrum(frames: NDArray[np.float64], fft_size: int) -> NDArray[np.float64]:
    """|FFT|² of frames [F, L], zero-padded to `fft_size`, as [F, fft_size // 2 + 1]."""
    spectrum = np.fft.rfft(frames, fft_size, axis=1)
    power: NDArray[np.float64] = spectrum.real**2 + spectrum.imag**2
    return power


def _kaldi_mel(hertz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz) / 700.0))


def kaldi_filters(bins: int, fft_size: int, low_hz: float = 20.0) -> NDArray[np.float64]:
    """Kaldi's triangles, straight in mel, from `low_hz` to half the sample rate.

    Returns [bins, fft_size // 2 + 1]; the column at the Nyquist frequency is zero as in Kaldi
    (Povey et al. 2011, feat/mel-computations).
    """
    edges = np.linspace(_kaldi_mel(low_hz), _kaldi_mel(SAMPLE_RATE / 2), bins + 2)[:, None]
    mel = _kaldi_mel(np.arange(fft_size // 2) * SAMPLE_RATE / fft_size)[None]
    rise = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(np.minimum(rise, fall), 0.0)
    return np.pad(triangles, ((0, 0), (0, 1)))


def _slaney_mel_to_hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = mel * 200.0 / 3.0
    return np.where(mel < 15.0, linear, 1000.0 * np.exp(np.log(6.4) / 27.0 * (mel - 15.0)))


def slaney_filters(bins: int, fft_size: int) -> NDArray[np.float64]:
    """Slaney's triangles of equal area from 0 Hz to half the sample rate, as Whisper uses them.

    Returns [bins, fft_size // 2 + 1] (Slaney 1998, Auditory Toolbox).
    """
    top_mel = 15.0 + 27.0 * np.log(SAMPLE_RATE / 2 / 1000.0) / np.log(6.4)
    edges = _slaney_mel_to_hertz(np.linspace(0.0, top_mel, bins + 2))[:, None]
    hertz = np.linspace(0.0, SAMPLE_RATE / 2, fft_size // 2 + 1)[None]
    rise = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(np.minimum(rise, fall), 0.0)
    areas: NDArray[np.float64] = 2.0 / (edges[2:] - edges[:-2])
    return triangles * areas


def log_kaldi_fbank(frames: NDArray[np.float64], filters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kaldi's log filter bank of frames [F, L] (-1..1) without dither, as [F, bins].

    Samples are scaled to 16-bit integers' range, freed of their mean, pre-emphasised by 0.97 and seen through
    a Hamming window. `filters` [bins, fft_size // 2 + 1] decides the FFT's size.
    """
    scaled = frames * 32768.0
    centerd = scaled - scaled.mean(axis=1, keepdims=True)
    before = np.concatenate([centerd[:, :1], centerd[:, :-1]], axis=1)
    emphasised = (centerd - 0.97 * before) * np.hamming(frames.shape[1])
    power = power_spectrum(emphasised, 2 * (filters.shape[1] - 1))
    floored: NDArray[np.float64] = np.log(np.maximum(power @ filters.T, FLOAT32_EPSILON))
    return floored


def scaled_fbank(fbank: NDArray[np.float64]) -> NDArray[np.float64]:
    """What `log_kaldi_fbank` gives, with speech near -1..1."""
    return (fbank - _LOUD) / _SPREAD
