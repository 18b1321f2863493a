# SPDX-License-Identifier: Apache-2.0
"""Calibrate the shared audio-to-mouth nets to one person, only as far as held-out video agrees."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
from scipy.ndimage import uniform_filter1d

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES, AudioToMouthNet
from splatface.models.audio2motion.mouth_inference import resample_window
from splatface.models.signals import pearson
from splatface.models.training.audio_to_mouth.net_evaluation import remove_drift
from splatface.models.training.dataset.types import TEST, Dataset
from splatface.models.typing import BoolArray, Float32Array, Float64Array, Int64Array

__all__ = [
    "METHODS",
    "Calibration",
    "calibrate_net",
    "calibration_as_dict",
    "hidden_features_net",
    "predict_modes",
    "refit_last_layer",
]

_OPEN = MOUTH_MODES.index("open")
_MAX_FRAMES = 4000
_MIN_DURATION_S = 4.0  # of video
_BLOCK_S, _MIN_BLOCKS, _MAX_BLOCKS = 3.0, 2, 8  # of cross-validation
_GUARD_S = 0.3  # on both sides of a block: features there overlap with it
_TEST_GUARD_NS = 500_000_000  # before the first TEST frame, whose features overlap with what is before it
_OUTLIER_WINDOW_S, _OUTLIER_RATIO = 1.0, 3.0  # error of a passage over the median
_MIN_STD = 0.02  # of a mode; below, this person does not use it or it is not predicted
_OPEN_WEIGHT = 3.0  # of `open` among the modes when methods are compared
_AMPLITUDE_WEIGHT = 0.3  # of the logarithm of a wrong amplitude, against correlation
_MIN_IMPROVEMENT = 0.01  # of the score, for a method of more parameters
_AMPLITUDE = 0.95  # fraction of the person's own standard deviation; regression alone mutes
_GAIN_RANGE = (0.5, 2.5)
_MAX_BIAS = 0.06  # a larger one would hold the mouth open or pressed between words
_MIX_RIDGE = 3.0  # against the sum of squares of predicted modes, which is 20 for 20 s of speech
# Ridge of the last layer, constant and for each frame; chosen on videos of 5 and of 20 s.
_LAYER_RIDGE, _LAYER_RIDGE_FRAMES = 3.0, 200.0


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The change made to a net, and its agreement with held-out video."""

    method: str  # of METHODS, "shared" when the net is unchanged
    reason: str  # for the method, in words
    gain: Float32Array  # [8] standard deviation after / before
    bias: Float32Array  # [8] output bias, after minus before
    before: Float32Array  # [8] correlation of the shared net with the person, above 0.5 Hz, held out
    after: Float32Array  # [8] the same of the chosen method
    amplitude: float  # standard deviation of `open` over the person's, held out
    blocks: int  # of cross-validation; 0 when there was too little video
    outlier_spans_s: tuple[tuple[float, float], ...] = ()  # passages excluded from the fit, s of the video


@dataclass(frozen=True, slots=True, eq=False)
class _Observations:
    """Frames of a video: inputs of the net's last layer, and the person's modes."""

    times_s: Float64Array  # [T]
    units: Float32Array  # [T, H]
    modes: Float32Array  # [T, 8]

    @property
    def step_s(self) -> float:
        return max(float(np.median(np.diff(self.times_s))), 1e-3)

    def select(self, mask: BoolArray) -> "_Observations":
        return _Observations(self.times_s[mask], self.units[mask], self.modes[mask])

    def predict(self, net: AudioToMouthNet) -> Float32Array:
        """Apply the last layer [T, 8]."""
        predicted: Float32Array = self.units @ net.w2 + net.b2
        return predicted

    def detrend(self, values: Float32Array) -> Float64Array:
        """Return values [T, n] without drift, which is slower than speech."""
        return remove_drift(values, self.step_s)

    def detrended(self, net: AudioToMouthNet) -> tuple[Float64Array, Float64Array]:
        """Return the person's and the predicted modes [T, 8] without drift."""
        return self.detrend(self.modes), self.detrend(self.predict(net))


Fit: TypeAlias = Callable[[AudioToMouthNet, _Observations], AudioToMouthNet]


def calibrate_net(
    net: AudioToMouthNet, dataset: Dataset, values: Float32Array, centers_ns: Int64Array
) -> tuple[AudioToMouthNet, Calibration]:
    """Fit the net's last layer to the person by one of METHODS, chosen by cross-validation over blocks.

    METHODS are in the order of their parameters: none, a gain and a bias for each mode, a matrix between
    modes, the last layer with a prior. A richer one must predict held-out blocks better by 0.01, and none
    that predicts `open` worse than the shared net is used. Motion slower than 0.5 Hz counts as drift;
    passages that fit nothing (another speaker, a hand before the mouth) are excluded and reported.

    Only video before the first TEST frame is used.

    Args:
        net: shared by all voices.
        dataset: its motion track holds the person's modes.
        values: [n, D] features of the data set's audio, made by the net's encoder.
        centers_ns: [n] their times.
    """
    video = _observations(net, dataset, values, centers_ns)
    blocks = _cross_validation_blocks(video.times_s)
    if len(blocks) < _MIN_BLOCKS or video.modes[:, _OPEN].std() < _MIN_STD:
        return net, _uncalibrated(net, video, "too little film, or a mouth that hardly moves")
    inliers = ~_outliers(net, video)
    held_out = {name: _cross_predict(net, video, fit, blocks, inliers) for name, fit in METHODS.items()}
    scores = {name: _score(video, predicted, inliers) for name, predicted in held_out.items()}
    method = _choose_method(video, held_out, scores, inliers)
    fitted = METHODS[method](net, video.select(inliers))
    listed = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
    return fitted, Calibration(
        method=method,
        reason=f"scores of left-out blocks: {listed}",
        gain=_gain(net, fitted, video),
        bias=np.asarray(fitted.b2 - net.b2, np.float32),
        before=_correlations(video, held_out["shared"], inliers),
        after=_correlations(video, held_out[method], inliers),
        amplitude=_amplitude(video, held_out[method], inliers),
        blocks=len(blocks),
        outlier_spans_s=_spans(video.times_s, ~inliers),
    )


def predict_modes(
    net: AudioToMouthNet, values: Float32Array, centers_ns: Int64Array, times_ns: Int64Array
) -> Float32Array:
    """Predict modes [T, 8] at the given times from features [n, D], without a voice gate."""
    lookahead_ns = round(net.lookahead_ms * 1e6)
    values = values[:, : net.feature_dim]
    modes = [net(resample_window(values, centers_ns, int(t) + lookahead_ns, net.window)) for t in times_ns]
    return np.stack(modes) if modes else np.zeros((0, net.outputs), np.float32)


def calibration_as_dict(calibration: Calibration) -> dict[str, Any]:
    """Return a calibration as plain data, for head.yaml and the report."""
    columns = {
        "gain": calibration.gain,
        "bias": calibration.bias,
        "r_shared": calibration.before,
        "r_calibrated": calibration.after,
    }
    modes = {
        mode: {name: round(float(values[i]), 3) for name, values in columns.items()}
        for i, mode in enumerate(MOUTH_MODES)
    }
    return {
        "method": calibration.method,
        "reason": calibration.reason,
        "blocks_left_out": calibration.blocks,
        "amplitude": round(calibration.amplitude, 3),
        "odd_passages_s": [list(span) for span in calibration.outlier_spans_s],
        **modes,
    }


def _observations(
    net: AudioToMouthNet, dataset: Dataset, values: Float32Array, centers_ns: Int64Array
) -> _Observations:
    track, frames = dataset.motion, dataset.frames
    test_ns = frames.time_ns[frames.split == TEST]
    until_ns = (test_ns[0] if len(test_ns) else np.iinfo(np.int64).max) - _TEST_GUARD_NS
    usable = np.flatnonzero((track.time_ns < until_ns) & np.isfinite(track.mouth).all(axis=1))
    usable = usable[:: max(1, -(-len(usable) // _MAX_FRAMES))]
    units = predict_modes(hidden_features_net(net), values, centers_ns, track.time_ns[usable])
    return _Observations(track.time_ns[usable] / 1e9, units, track.mouth[usable].astype(np.float32))


def _cross_validation_blocks(times_s: Float64Array) -> list[tuple[float, float]]:
    """Return the beginning and end (s) of each block, none for too little video."""
    if len(times_s) < 2 or np.ptp(times_s) < _MIN_DURATION_S:
        return []
    count = int(np.clip(np.ptp(times_s) // _BLOCK_S, _MIN_BLOCKS, _MAX_BLOCKS))
    edges = np.linspace(times_s[0], times_s[-1] + 1e-6, count + 1)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _cross_predict(
    net: AudioToMouthNet,
    video: _Observations,
    fit: Fit,
    blocks: list[tuple[float, float]],
    inliers: BoolArray,
) -> Float32Array:
    """Predict modes [T, 8], each block's by a fit to the others."""
    predicted = np.zeros_like(video.modes)
    for begin_s, end_s in blocks:
        inside = (video.times_s >= begin_s) & (video.times_s < end_s)
        outside = (video.times_s < begin_s - _GUARD_S) | (video.times_s >= end_s + _GUARD_S)
        fitted = fit(net, video.select(outside & inliers))
        predicted[inside] = video.select(inside).predict(fitted)
    return predicted


def _choose_method(
    video: _Observations, held_out: dict[str, Float32Array], scores: dict[str, float], inliers: BoolArray
) -> str:
    """Return the simplest method that is about as good as the best, and not worse than the shared net."""
    shared_r = _correlations(video, held_out["shared"], inliers)[_OPEN]
    allowed = {
        name: score
        for name, score in scores.items()
        if _correlations(video, held_out[name], inliers)[_OPEN] >= shared_r - 1e-3
    }
    best = max(allowed.values())
    return next(name for name, score in allowed.items() if score >= best - _MIN_IMPROVEMENT)


def _score(video: _Observations, predicted: Float32Array, inliers: BoolArray) -> float:
    """Compute the weighted correlation of the modes that move, less a penalty for a wrong amplitude."""
    weights = np.array([_OPEN_WEIGHT if i == _OPEN else 1.0 for i in range(video.modes.shape[1])])
    target_std = video.detrend(video.modes)[inliers].std(axis=0)
    predicted_std = video.detrend(predicted)[inliers].std(axis=0)
    moving = target_std > _MIN_STD
    log_ratio = np.log((predicted_std + 1e-3) / (target_std + 1e-3))
    scores = _correlations(video, predicted, inliers) - _AMPLITUDE_WEIGHT * np.abs(log_ratio)
    return float((weights * scores)[moving].sum() / max(float(weights[moving].sum()), 1e-9))


def _outliers(net: AudioToMouthNet, video: _Observations) -> BoolArray:
    """Mark the frames [T] of passages whose error, at the person's amplitude, is far above the median."""
    target, predicted = video.detrended(net)
    # Medians: an outlier must not set the scale that it is measured by.
    scale = _median_deviation(target) / np.maximum(_median_deviation(predicted), 1e-6)
    squares = np.square(target - predicted * np.clip(scale, *_GAIN_RANGE))[:, _OPEN]
    window = max(round(_OUTLIER_WINDOW_S / video.step_s), 1)
    error = np.sqrt(uniform_filter1d(squares, window, mode="nearest"))
    outliers: BoolArray = error > _OUTLIER_RATIO * max(float(np.median(error)), _MIN_STD)
    return outliers


def _median_deviation(values: Float64Array) -> Float64Array:
    return np.asarray(np.median(np.abs(values - np.median(values, axis=0)), axis=0), np.float64)


def _fit_nothing(net: AudioToMouthNet, video: _Observations) -> AudioToMouthNet:
    return net


def _fit_gain(net: AudioToMouthNet, video: _Observations) -> AudioToMouthNet:
    """Fit a gain and a bias for each mode."""
    target, predicted = video.detrended(net)
    target_std, predicted_std = target.std(axis=0), predicted.std(axis=0)
    moving = (target_std > _MIN_STD) & (predicted_std > _MIN_STD)
    gain = np.where(moving, _AMPLITUDE * target_std / np.maximum(predicted_std, 1e-6), 1.0)
    return _mix_outputs(net, video, np.diag(np.clip(gain, *_GAIN_RANGE)))


def _fit_mix(net: AudioToMouthNet, video: _Observations) -> AudioToMouthNet:
    """Fit a matrix between modes, with the shared net as its prior: people articulate with other modes."""
    target, predicted = video.detrended(net)
    target_std, predicted_std = target.std(axis=0), predicted.std(axis=0)
    ratio = np.clip(target_std / np.maximum(predicted_std, 1e-6), *_GAIN_RANGE)
    scale = np.diag(np.where(predicted_std > _MIN_STD, ratio, 1.0))
    scaled = predicted @ scale
    identity = np.eye(scaled.shape[1])
    change = np.linalg.solve(scaled.T @ scaled + _MIX_RIDGE * identity, scaled.T @ (target - scaled))
    mixed_std = np.maximum((scaled @ (identity + change)).std(axis=0), 1e-6)
    gain = np.where(target_std > _MIN_STD, _AMPLITUDE * target_std / mixed_std, 1.0)
    return _mix_outputs(net, video, scale @ (identity + change) * np.clip(gain, *_GAIN_RANGE))


def _fit_layer(net: AudioToMouthNet, video: _Observations) -> AudioToMouthNet:
    """Fit the matrix, then the last layer itself with that as its prior."""
    mixed = _fit_mix(net, video)
    units = video.detrend(video.units).astype(np.float32)
    target_drift = video.modes - video.detrend(video.modes).astype(np.float32)
    predicted = video.predict(mixed)
    predicted_drift = predicted - video.detrend(predicted).astype(np.float32)
    target = (video.modes - target_drift + predicted_drift.mean(axis=0)).astype(np.float32)
    fitted = refit_last_layer(mixed, units, target)
    bias = mixed.b2 + video.units.mean(axis=0) @ (mixed.w2 - fitted.w2)
    return replace(fitted, b2=np.clip(bias, net.b2 - _MAX_BIAS, net.b2 + _MAX_BIAS).astype(np.float32))


METHODS: Final[dict[str, Fit]] = {
    "shared": _fit_nothing,
    "gain": _fit_gain,
    "mix": _fit_mix,
    "layer": _fit_layer,
}


def _mix_outputs(net: AudioToMouthNet, video: _Observations, mix: Float64Array) -> AudioToMouthNet:
    """Multiply the net's outputs by a matrix [8, 8] and match their means by a bounded bias."""
    predicted = video.predict(net).astype(np.float64)
    # Means: a mouth that is too shut by 0.05 on average does not part its lips at small vowels.
    offset = video.modes.mean(axis=0) - (predicted @ mix).mean(axis=0)
    bias = np.clip(offset, -_MAX_BIAS, _MAX_BIAS)
    return replace(
        net,
        w2=np.ascontiguousarray(net.w2 @ mix, np.float32),
        b2=np.ascontiguousarray(net.b2 @ mix + bias, np.float32),
    )


def hidden_features_net(net: AudioToMouthNet) -> AudioToMouthNet:
    """Return the net without its last layer: its output is the hidden units [H]."""
    units = len(net.w2)
    return replace(net, w2=np.eye(units, dtype=np.float32), b2=np.zeros(units, np.float32))


def refit_last_layer(net: AudioToMouthNet, units: Float32Array, modes: Float32Array) -> AudioToMouthNet:
    """Refit the last layer to one person's modes [T, 8], keeping means and standard deviations.

    Ridge regression on the units [T, H] with the layer as its prior, so that little video changes little.
    Means and standard deviations of the modes are kept, since regression mutes.
    """
    h, target = units.astype(np.float64), modes.astype(np.float64)
    w, b = net.w2.astype(np.float64), net.b2.astype(np.float64)
    predicted = h @ w + b
    centered = h - h.mean(axis=0)
    gram = centered.T @ centered
    ridge = (_LAYER_RIDGE + _LAYER_RIDGE_FRAMES / len(h)) * np.trace(gram) / len(gram)
    change = np.linalg.solve(gram + ridge * np.eye(len(gram)), centered.T @ (target - predicted))
    std, new_std = predicted.std(axis=0), (centered @ (w + change)).std(axis=0)
    gain = np.where(std > _MIN_STD, std / np.maximum(new_std, 1e-6), 0.0)
    new = np.where(gain > 0.0, (w + change) * gain, w)
    bias = predicted.mean(axis=0) - h.mean(axis=0) @ new
    return replace(net, w2=np.ascontiguousarray(new, np.float32), b2=bias.astype(np.float32))


def _uncalibrated(net: AudioToMouthNet, video: _Observations, reason: str) -> Calibration:
    modes = len(MOUTH_MODES)
    r = np.zeros(modes, np.float32)
    if len(video.modes) > 3:
        r = _correlations(video, video.predict(net), np.ones(len(video.modes), bool))
    return Calibration(
        method="shared",
        reason=reason,
        gain=np.ones(modes, np.float32),
        bias=np.zeros(modes, np.float32),
        before=r,
        after=r,
        amplitude=1.0,
        blocks=0,
    )


def _gain(before: AudioToMouthNet, after: AudioToMouthNet, video: _Observations) -> Float32Array:
    old, new = (video.detrend(video.predict(net)).std(axis=0) for net in (before, after))
    return np.where(old > _MIN_STD, new / np.maximum(old, 1e-6), 1.0).astype(np.float32)


def _correlations(video: _Observations, predicted: Float32Array, mask: BoolArray) -> Float32Array:
    """Compute correlations [8] above 0.5 Hz; 0 where a mode does not move."""
    target, own = video.detrend(video.modes)[mask], video.detrend(predicted)[mask]
    pairs = zip(own.T, target.T, strict=True)
    return np.array([pearson(*pair, still=_MIN_STD) for pair in pairs], np.float32)


def _amplitude(video: _Observations, predicted: Float32Array, mask: BoolArray) -> float:
    target, own = video.detrend(video.modes)[mask, _OPEN], video.detrend(predicted)[mask, _OPEN]
    return float(own.std() / max(float(target.std()), 1e-6))


def _spans(times_s: Float64Array, mask: BoolArray) -> tuple[tuple[float, float], ...]:
    """Return the beginning and end (s) of each run of marked frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))).reshape(-1, 2)
    return tuple((round(float(times_s[a]), 2), round(float(times_s[b - 1]), 2)) for a, b in edges)
