# SPDX-License-Identifier: Apache-2.0
"""Mel filter banks and power spectra of short windows, the plain numpy under all audio features.

Four conventions, each as its network was trained: Kaldi (FSMN, log-mel), Slaney (Whisper, speaker embedding)
and HTK on whole FFT bins (SyncNet's MFCC).
"""

import numpy as np

from splatface.models.messages import SAMPLE_RATE
from splatface.models.typing import Float32Array, Float64Array

__all__ = [
    "frame_signal",
    "htk_filters",
    "kaldi_filters",
    "log_kaldi_fbank",
    "power_spectrum",
    "scale_fbank",
    "slaney_filters",
]

_FLOAT32_EPSILON = float(np.finfo(np.float32).eps)  # Kaldi's floor under the logarithm
_FBANK_MEAN, _FBANK_SCALE = 10.0, 4.0  # of log energies of speech on Kaldi's scale


def frame_signal(samples: Float32Array, length: int, hop: int) -> Float64Array:
    """Return every whole frame of `samples` [T], as [1 + (T - length) // hop, length] float64."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, length)
    return windows[::hop].astype(np.float64)


def power_spectrum(frames: Float64Array, fft_size: int) -> Float64Array:
    """Return |FFT|² of frames [F, L], zero-padded to `fft_size`, as [F, fft_size // 2 + 1]."""
    spectrum = np.fft.rfft(frames, fft_size, axis=1)
    power: Float64Array = spectrum.real**2 + spectrum.imag**2
    return power


def _triangles(edges: Float64Array, bins: Float64Array) -> Float64Array:
    """Return triangular filters [M, B] between edges [M + 2, 1], at bins [1, B]."""
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles: Float64Array = np.maximum(np.minimum(rise, fall), 0.0)
    return triangles


def _kaldi_mel(hertz: Float64Array | float) -> Float64Array:
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz) / 700.0))


def kaldi_filters(bands: int, fft_size: int, low_hz: float = 20.0) -> Float64Array:
    """Return Kaldi's filters, triangles in mel, from `low_hz` to half the sample rate.

    The result is [bands, fft_size // 2 + 1]; the column at the Nyquist frequency is zero as in Kaldi
    (Povey et al. 2011, feat/mel-computations).
    """
    edges = np.linspace(_kaldi_mel(low_hz), _kaldi_mel(SAMPLE_RATE / 2), bands + 2)[:, None]
    mel = _kaldi_mel(np.arange(fft_size // 2) * SAMPLE_RATE / fft_size)[None]
    return np.pad(_triangles(edges, mel), ((0, 0), (0, 1)))


def _slaney_mel_to_hertz(mel: Float64Array) -> Float64Array:
    linear = mel * 200.0 / 3.0
    return np.where(mel < 15.0, linear, 1000.0 * np.exp(np.log(6.4) / 27.0 * (mel - 15.0)))


def slaney_filters(bands: int, fft_size: int) -> Float64Array:
    """Return Slaney's filters, triangles in Hz of equal area, from 0 Hz to half the sample rate.

    The result is [bands, fft_size // 2 + 1] (Slaney 1998, Auditory Toolbox; the default of librosa).
    """
    max_mel = 15.0 + 27.0 * np.log(SAMPLE_RATE / 2 / 1000.0) / np.log(6.4)
    edges = _slaney_mel_to_hertz(np.linspace(0.0, max_mel, bands + 2))[:, None]
    hertz = np.linspace(0.0, SAMPLE_RATE / 2, fft_size // 2 + 1)[None]
    areas: Float64Array = 2.0 / (edges[2:] - edges[:-2])
    return _triangles(edges, hertz) * areas


def htk_filters(bands: int, fft_size: int) -> Float64Array:
    """Return HTK's filters, triangles whose edges are rounded to whole FFT bins, from 0 Hz to half the rate.

    The result is [bands, fft_size // 2 + 1] (python_speech_features, which SyncNet was trained with).
    """
    mel = np.linspace(0, 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700), bands + 2)
    edges = np.floor((fft_size + 1) * 700 * (10 ** (mel / 2595) - 1) / SAMPLE_RATE)[:, None]
    return _triangles(edges, np.arange(fft_size // 2 + 1, dtype=np.float64)[None])


def log_kaldi_fbank(frames: Float64Array, filters: Float64Array) -> Float64Array:
    """Return Kaldi's log filter bank of frames [F, L] (-1..1) without dither, as [F, bands].

    Samples are scaled to the range of 16-bit integers, their mean is removed, they are pre-emphasized by 0.97
    and multiplied by a Hamming window. `filters` [bands, fft_size // 2 + 1] determine the FFT's size.
    """
    scaled = frames * 32768.0
    centered = scaled - scaled.mean(axis=1, keepdims=True)
    previous = np.concatenate([centered[:, :1], centered[:, :-1]], axis=1)
    emphasized = (centered - 0.97 * previous) * np.hamming(frames.shape[1])
    power = power_spectrum(emphasized, 2 * (filters.shape[1] - 1))
    log_energies: Float64Array = np.log(np.maximum(power @ filters.T, _FLOAT32_EPSILON))
    return log_energies


def scale_fbank(fbank: Float64Array) -> Float64Array:
    """Scale the result of `log_kaldi_fbank` so that speech is near -1..1."""
    return (fbank - _FBANK_MEAN) / _FBANK_SCALE
