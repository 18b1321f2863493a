# SPDX-License-Identifier: Apache-2.0
"""Audio and video synchronization: loudness, speech, and the delay of the audio against the lips."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from splatface.models.audio.offline_features import extract_features
from splatface.models.audio.vad import SILENCE_DBFS, VAD_WINDOW, SileroVad, level_dbfs
from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.audio2motion.pretrained_nets import load_net
from splatface.models.errors import AudioError, EncoderError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.signals import parabolic_peak_offset, pearson
from splatface.models.typing import Float32Array, Float64Array

__all__ = [
    "MAX_DELAY_MS",
    "AudioOffset",
    "Loudness",
    "SpeechEvidence",
    "advance_audio",
    "analyze_speech",
    "applied_shift_ms",
    "estimate_av_offset",
    "mouth_shape_from_landmarks",
]

MAX_DELAY_MS = 200.0  # larger delays are not corrected
_MIN_SHIFT_MS = 20.0  # a delay below half a frame is none
_ENCODERS = ("fsmn", "logmel")  # the first that is installed
_STEP_S = 0.01
_CHANCE_LAGS_S = (0.5, 3.0)  # at which only chance correlates
_CHANCE_OVERLAP = 0.6  # fraction of the video that must still overlap there
_MIN_CORRELATION, _MIN_OVER_CHANCE = 0.25, 1.25
# Of opening and width; together they are more reliable than either (measured on seven videos).
_SHAPE_WEIGHTS = (2 / 3, 1 / 3)
_MIN_MOUTH_S = 2.5  # of visible mouth
_MAX_GAP_S = 0.2  # between frames with lips, over which their shape is interpolated
_SLOW_S, _FAST_S = 2.0, 0.03  # slower changes are not speech, faster ones are jitter
_SPEECH_PROBABILITY = 0.5  # of silero, above which it is speech
_OPEN, _WIDE, _ROUND = (MOUTH_MODES.index(mode) for mode in ("open", "wide", "round"))
# Inner lips, upper over lower, in the middle third; forehead to nose, which talking does not move.
_UPPER, _LOWER, _TOP, _NOSE = (82, 13, 312), (87, 14, 317), 10, 2
_CORNERS = (61, 291)


@dataclass(frozen=True, slots=True)
class Loudness:
    """Level and amount of speech of the audio."""

    level_dbfs: float
    loudest_dbfs: float  # of any second
    speech: float  # fraction of the time with speech; NaN where the detector is not installed


@dataclass(frozen=True, slots=True, eq=False)
class SpeechEvidence:
    """Loudness, and the mouth shape that the audio predicts."""

    loudness: Loudness
    mouth: Float64Array  # [n, 2] opening, and width (negative: roundness), of the shared network
    time_s: Float64Array  # [n]


@dataclass(frozen=True, slots=True)
class AudioOffset:
    """Estimated delay of the audio relative to the video."""

    audio_delay_ms: float  # positive: audio late; 0 when it is not reliable
    correlation: float  # of predicted and visible mouth shape, at that delay
    correlation_at_zero: float
    reliable: bool


def analyze_speech(samples: Float32Array) -> SpeechEvidence:
    """Analyze samples [n], mono at 16 kHz."""
    blocks = [samples[i : i + SAMPLE_RATE] for i in range(0, len(samples), SAMPLE_RATE)]
    loudest = max((level_dbfs(block) for block in blocks), default=SILENCE_DBFS)
    mouth, time_s = _predict_mouth(samples)
    return SpeechEvidence(Loudness(level_dbfs(samples), loudest, _speech_fraction(samples)), mouth, time_s)


def mouth_shape_from_landmarks(landmarks_px: Float64Array) -> Float64Array:
    """Compute opening and width [F, 2] of the lips, over the height from forehead to nose.

    landmarks_px: [F, 478, 2 or 3], NaN where there is no face.
    """
    xy = landmarks_px[..., :2]
    gap = np.linalg.norm(xy[:, _LOWER] - xy[:, _UPPER], axis=-1).mean(axis=1)
    width = np.linalg.norm(xy[:, _CORNERS[0]] - xy[:, _CORNERS[1]], axis=-1)
    height = np.linalg.norm(xy[:, _NOSE] - xy[:, _TOP], axis=-1)
    return np.asarray(np.stack([gap, width], axis=1) / np.maximum(height, 1e-6)[:, None], np.float64)


def estimate_av_offset(evidence: SpeechEvidence, mouth: Float64Array, time_s: Float64Array) -> AudioOffset:
    """Estimate the audio delay from the mouth [F, 2] visible at increasing times [F] (NaN where lost).

    The best lag within ±200 ms is reliable when the correlation there is 0.25 or more and a quarter larger
    than at any lag of 0.5 to 3 s, where only chance correlates.
    """
    known = np.isfinite(mouth).all(axis=1)
    visible_s = known.mean() * float(np.ptp(time_s)) if len(time_s) > 1 else 0.0
    if visible_s < _MIN_MOUTH_S or len(evidence.time_s) < 50:
        return AudioOffset(0.0, 0.0, 0.0, reliable=False)
    correlation_at = _LagCorrelation(evidence, mouth[known], time_s[known])
    steps = round(MAX_DELAY_MS / 1000 / _STEP_S) + 2
    lags_s = np.arange(-steps, steps + 1) * _STEP_S
    correlations = np.array([correlation_at(lag_s) for lag_s in lags_s])
    chance = max(
        correlation_at(sign * lag_s, _CHANCE_OVERLAP)
        for lag_s in np.arange(*_CHANCE_LAGS_S, 2 * _STEP_S)
        for sign in (-1, 1)
    )
    best = int(np.argmax(correlations))
    inside = 2 <= best < len(lags_s) - 2
    reliable = bool(inside and correlations[best] >= max(_MIN_CORRELATION, _MIN_OVER_CHANCE * chance))
    delay_s = float(lags_s[best] + _STEP_S * _peak_offset(correlations, best))
    return AudioOffset(
        1000 * delay_s if reliable else 0.0, float(correlations[best]), float(correlations[steps]), reliable
    )


def applied_shift_ms(offset: AudioOffset) -> float:
    """Return by how many ms the audio is moved earlier: the delay where it is reliable and not small."""
    shifted = offset.reliable and abs(offset.audio_delay_ms) >= _MIN_SHIFT_MS
    return offset.audio_delay_ms if shifted else 0.0


def advance_audio(samples: Float32Array, shift_ms: float) -> Float32Array:
    """Return samples [n] moved earlier by `shift_ms`, with silence at the end that becomes free."""
    shift = round(shift_ms * SAMPLE_RATE / 1000)
    shifted = np.zeros_like(samples)
    if shift >= 0:
        shifted[: max(len(samples) - shift, 0)] = samples[shift:]
    else:
        shifted[-shift:] = samples[:shift]
    return shifted


class _LagCorrelation:
    """Correlation of predicted and visible mouth shape as a function of the audio delay."""

    def __init__(self, evidence: SpeechEvidence, mouth: Float64Array, time_s: Float64Array) -> None:
        self._grid_s = np.arange(time_s[0], time_s[-1], _STEP_S)
        # Between two frames that are far apart the mouth shape is not known.
        following = np.clip(np.searchsorted(time_s, self._grid_s), 1, len(time_s) - 1)
        self._known = time_s[following] - time_s[following - 1] < _MAX_GAP_S
        self._visible = _speech_band(_resample(self._grid_s, time_s, mouth))
        self._predicted_s = np.arange(evidence.time_s[0], evidence.time_s[-1], _STEP_S)
        self._predicted = _speech_band(_resample(self._predicted_s, evidence.time_s, evidence.mouth))

    def __call__(self, lag_s: float, min_overlap: float = 0.0) -> float:
        """Return the weighted correlation; 0 where less than a fraction of the video overlaps."""
        shifted_s = self._grid_s + lag_s
        inside = self._known & (shifted_s >= self._predicted_s[0]) & (shifted_s <= self._predicted_s[-1])
        if inside.sum() < max(min_overlap * len(shifted_s), 100):
            return 0.0
        predicted = _resample(shifted_s[inside], self._predicted_s, self._predicted)
        visible = self._visible[inside]
        return sum(w * pearson(predicted[:, i], visible[:, i]) for i, w in enumerate(_SHAPE_WEIGHTS))


def _predict_mouth(samples: Float32Array) -> tuple[Float64Array, Float64Array]:
    """Predict opening and width [n, 2] at times [n], with the first encoder that is installed."""
    for name in _ENCODERS:
        net = load_net(name)
        try:
            features = extract_features(name, samples)
        except (EncoderError, ValueError):  # ValueError: too short for a single frame
            continue
        padding = np.repeat(features.values[:1], net.window - 1, axis=0)
        windows = np.lib.stride_tricks.sliding_window_view(
            np.concatenate([padding, features.values]), net.window, axis=0
        )
        modes = np.array([net(window.T) for window in windows], np.float64)
        mouth = np.stack([modes[:, _OPEN], modes[:, _WIDE] - modes[:, _ROUND]], axis=1)
        return mouth, features.times_s - net.lookahead_ms / 1000
    return np.zeros((0, 2)), np.zeros(0)


def _speech_fraction(samples: Float32Array) -> float:
    try:
        detector = SileroVad()
    except AudioError:
        return float("nan")
    probabilities = []
    for end in range(VAD_WINDOW, len(samples) + 1, VAD_WINDOW):
        detector.push(samples[end - VAD_WINDOW : end])
        probabilities.append(detector.probability(end - 1, end))
    return float(np.mean(np.array(probabilities) > _SPEECH_PROBABILITY)) if probabilities else 0.0


def _resample(grid_s: Float64Array, time_s: Float64Array, values: Float64Array) -> Float64Array:
    """Interpolate values [n, 2] at times [n] to the times of a grid [g]: [g, 2]."""
    return np.stack([np.interp(grid_s, time_s, values[:, i]) for i in range(2)], axis=1)


def _speech_band(values: Float64Array) -> Float64Array:
    """Remove from values [n, 2], 10 ms apart, what is slower or faster than syllables."""
    slow = uniform_filter1d(values, round(_SLOW_S / _STEP_S), axis=0, mode="nearest")
    return np.asarray(gaussian_filter1d(values - slow, _FAST_S / _STEP_S, axis=0), np.float64)


def _peak_offset(values: Float64Array, best: int) -> float:
    """Return the peak of the parabola through the best value and its neighbors, in steps from it."""
    if not 0 < best < len(values) - 1:
        return 0.0
    return parabolic_peak_offset(*values[best - 1 : best + 2].tolist())
