"""Calibrate the shared audio-to-mouth nets to one person, as far as held-out video agrees."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES, AudioToMouthNet
from splatface.models.audio2motion.mouth_inference import resample_window
from splatface.models.signals import pearson
from splatface.models.training.dataset.types import TEST, Dataset
from splatface.models.typing import Float32Array, Float64Array

__all__ = [
    "Calibration",
    "calibrate_net",
    "calibration_as_dict",
    "hidden_features_net",
    "predict_modes",
    "refit_last_layer",
]

Features = tuple[Float32Array, NDArray[np.int64]]  # values [n, D] and the frames' centers [n], ns

_OPEN = MOUTH_MODES.index("open")
_LONGEST = 4000  # moments looked at
_LEAST_S = 4.0  # of film; less tells nothing of a person
_BLOCK_S, _FEWEST_BLOCKS, _MOST_BLOCKS = 3.0, 2, 8  # left out one after the other
_GUARD_S = 0.3  # on both sides of a block: what lies there knows the block
_SLOW_S = 2.0  # a running mean over so long is drift, not speech
_PASSAGE_S, _ODD = 1.0, 3.0  # a passage that errs by so many times the median is odd, and not learned from
_MOVES = 0.02  # spread below which a mode is not used by this person, or not heard
_OPEN_WEIGHT = 3.0  # of `open` among the modes when methods are compared
_AMPLITUDE_WEIGHT = 0.3  # of the logarithm of a wrong spread, against correlation
_WORTH = 0.01  # of score; for less, more parameters are not taken
_AMPLITUDE = 0.95  # share of the person's own spread; regression alone mutes
_GAINS = (0.5, 2.5)
_BIAS = 0.06  # a larger one would hold the mouth open or pressed between words
# Squares of heard modes that weigh as much as the wish to stay at the shared net; 20 s of speech have 20.
_RIDGE = 3.0

Fit = Callable[[AudioToMouthNet, "_Film"], AudioToMouthNet]


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The change made to a net, and its agreement with film that was left out of the fit."""

    method: str  # of METHODS, "shared" when the net stays as it is
    reason: str  # for the method, in words
    gain: Float32Array  # [8] spread after / before
    bias: Float32Array  # [8] mode where nothing is heard, after minus before
    before: (
        Float32Array  # [8] correlation of the shared net with the person, above 0.5 Hz, in left-out blocks
    )
    after: Float32Array  # [8] the same of the method chosen
    amplitude: float  # spread of `open` over the person's, in left-out blocks
    blocks: int  # left out one after the other; 0 when there was too little film
    odd_s: tuple[tuple[float, float], ...] = ()  # passages that were not learned from, s of the film


@dataclass(frozen=True, slots=True, eq=False)
class _Film:
    """Moments of a film: what the net's last layer is shown, and what the person did."""

    times_s: Float64Array  # [T]
    units: Float32Array  # [T, H]
    done: Float32Array  # [T, 8]

    def rows(self, chosen: NDArray[np.bool_]) -> "_Film":
        """Some of the moments."""
        return _Film(self.times_s[chosen], self.units[chosen], self.done[chosen])


def calibrate_net(
    net: AudioToMouthNet, dataset: Dataset, features: Features
) -> tuple[AudioToMouthNet, Calibration]:
    """Fit the net's last layer to the person in one of a few ways, judged on blocks of film left out.

    METHODS are in the order of their parameters: none, a gain and a bias for each mode, a matrix between
    modes, the last layer held to what it was. A richer one must follow left-out blocks better by 0.01, and
    none that follows `open` worse than the shared net is taken. What is slower than 0.5 Hz counts as drift;
    passages that fit nothing (another speaker, a hand before the mouth) are left out and reported.

    Only what comes before the first TEST picture is looked at.

    Args:
        net: shared by all voices.
        dataset: its motion track says what the person did.
        features: of the data set's sound, made by the net's encoder.
    """
    film = _film_of(net, dataset, features)
    blocks = _blocks(film.times_s)
    if len(blocks) < _FEWEST_BLOCKS or film.done[:, _OPEN].std() < _MOVES:
        reason = "too little film, or a mouth that hardly moves"
        return net, _unchanged(net, film, reason)
    usual = ~_odd(net, film)
    held_out = {name: _held_out(net, film, fit, blocks, usual) for name, fit in METHODS.items()}
    scores = {name: _score(film, predicted, usual) for name, predicted in held_out.items()}
    chosen, reason = _choice(film, held_out, scores, usual)
    fitted = METHODS[chosen](net, film.rows(usual))
    return fitted, Calibration(
        method=chosen,
        reason=reason,
        gain=_gain(net, fitted, film),
        bias=np.asarray(fitted.b2 - net.b2, np.float32),
        before=_correlations(film, held_out["shared"], usual),
        after=_correlations(film, held_out[chosen], usual),
        amplitude=_amplitude(film, held_out[chosen], usual),
        blocks=len(blocks),
        odd_s=_spans(film.times_s, ~usual),
    )


def predict_modes(net: AudioToMouthNet, features: Features, times_ns: NDArray[np.int64]) -> Float32Array:
    """Modes [T, 8] that a net hears at the given moments, without a voice gate."""
    values, centers_ns = features
    ahead_ns = round(net.lookahead_ms * 1e6)
    values = values[:, : net.feature_dim]
    moments = [net(resample_window(values, centers_ns, int(t) + ahead_ns, net.window)) for t in times_ns]
    return np.stack(moments) if moments else np.zeros((0, net.outputs), np.float32)


def calibration_as_dict(found: Calibration) -> dict[str, Any]:
    """A calibration as plain data, for head.yaml and the report."""
    columns = {"gain": found.gain, "bias": found.bias, "r_shared": found.before, "r_calibrated": found.after}
    modes = {
        mode: {name: round(float(values[i]), 3) for name, values in columns.items()}
        for i, mode in enumerate(MOUTH_MODES)
    }
    return {
        "method": found.method,
        "reason": found.reason,
        "blocks_left_out": found.blocks,
        "amplitude": round(found.amplitude, 3),
        "odd_passages_s": [list(span) for span in found.odd_s],
        **modes,
    }


def _film_of(net: AudioToMouthNet, dataset: Dataset, features: Features) -> _Film:
    track, frames = dataset.motion, dataset.frames
    tested = frames.time_ns[frames.split == TEST]
    until = tested[0] if len(tested) else np.iinfo(np.int64).max
    # The last features are in the next part already: leave half a second.
    usable = np.flatnonzero((track.time_ns < until - 500_000_000) & np.isfinite(track.mouth).all(axis=1))
    usable = usable[:: max(1, -(-len(usable) // _LONGEST))]
    units = predict_modes(hidden_features_net(net), features, track.time_ns[usable])
    return _Film(track.time_ns[usable] / 1e9, units, track.mouth[usable].astype(np.float32))


def _blocks(times_s: Float64Array) -> list[tuple[float, float]]:
    """Begin and end (s) of the blocks that are left out one after the other."""
    if len(times_s) < 2 or np.ptp(times_s) < _LEAST_S:
        return []
    count = int(np.clip(np.ptp(times_s) // _BLOCK_S, _FEWEST_BLOCKS, _MOST_BLOCKS))
    edges = np.linspace(times_s[0], times_s[-1] + 1e-6, count + 1)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _held_out(
    net: AudioToMouthNet,
    film: _Film,
    fit: Fit,
    blocks: list[tuple[float, float]],
    usual: NDArray[np.bool_],
) -> Float32Array:
    """Modes [T, 8], each block's by a fit that has not seen it."""
    predicted = np.zeros_like(film.done)
    for begin_s, end_s in blocks:
        inside = (film.times_s >= begin_s) & (film.times_s < end_s)
        away = (film.times_s < begin_s - _GUARD_S) | (film.times_s >= end_s + _GUARD_S)
        predicted[inside] = _said(fit(net, film.rows(away & usual)), film.units[inside])
    return predicted


def _choice(
    film: _Film, held_out: dict[str, Float32Array], scores: dict[str, float], usual: NDArray[np.bool_]
) -> tuple[str, str]:
    """The method, and why: the simplest that is about as good as the best, and not worse than none."""
    shared_r = _correlations(film, held_out["shared"], usual)[_OPEN]
    allowed = {
        name: score
        for name, score in scores.items()
        if _correlations(film, held_out[name], usual)[_OPEN] >= shared_r - 1e-3
    }
    best = max(allowed.values())
    chosen = next(name for name, score in allowed.items() if score >= best - _WORTH)
    listed = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
    return chosen, f"scores of left-out blocks: {listed}"


def _score(film: _Film, predicted: Float32Array, usual: NDArray[np.bool_]) -> float:
    """Weighted correlation of the modes that move, less what is wrong with their spread."""
    weights = np.array([_OPEN_WEIGHT if i == _OPEN else 1.0 for i in range(film.done.shape[1])])
    fast, said = _fast(film, film.done)[usual], _fast(film, predicted)[usual]
    moves = fast.std(axis=0) > _MOVES
    ratio = np.log((said.std(axis=0) + 1e-3) / (fast.std(axis=0) + 1e-3))
    parts = _correlations(film, predicted, usual) - _AMPLITUDE_WEIGHT * np.abs(ratio)
    return float((weights * parts)[moves].sum() / max(float(weights[moves].sum()), 1e-9))


def _odd(net: AudioToMouthNet, film: _Film) -> NDArray[np.bool_]:
    """[T] moments of passages that the shared net, at the person's spread, misses by far more than usual."""
    done, said = _fast(film, film.done), _fast(film, _said(net, film.units))
    # Medians: an odd passage must not set the scale that it is measured by.
    scale = _deviation(done) / np.maximum(_deviation(said), 1e-6)
    off = np.square(done - said * np.clip(scale, *_GAINS))[:, _OPEN]
    width = max(round(_PASSAGE_S / max(_step_s(film.times_s), 1e-3)), 1)
    error = np.sqrt(uniform_filter1d(off, width, mode="nearest"))
    odd: NDArray[np.bool_] = error > _ODD * max(float(np.median(error)), _MOVES)
    return odd


def _fast(film: _Film, values: Float32Array) -> Float64Array:
    """Values [T, n] without their drift."""
    width = max(round(_SLOW_S / max(_step_s(film.times_s), 1e-3)), 3)
    slow = uniform_filter1d(values.astype(np.float64), width, axis=0, mode="nearest")
    return np.asarray(values - slow, np.float64)


def _step_s(times_s: Float64Array) -> float:
    return float(np.median(np.diff(times_s)))


def _deviation(values: Float64Array) -> Float64Array:
    return np.asarray(np.median(np.abs(values - np.median(values, axis=0)), axis=0), np.float64)


def _said(net: AudioToMouthNet, units: Float32Array) -> Float32Array:
    said: Float32Array = units @ net.w2 + net.b2
    return said


def _shared(net: AudioToMouthNet, film: _Film) -> AudioToMouthNet:
    return net


def _by_gain(net: AudioToMouthNet, film: _Film) -> AudioToMouthNet:
    """A gain and a bias for each mode."""
    done, said = _fast(film, film.done), _fast(film, _said(net, film.units))
    moves = (done.std(axis=0) > _MOVES) & (said.std(axis=0) > _MOVES)
    gain = np.where(moves, _AMPLITUDE * done.std(axis=0) / np.maximum(said.std(axis=0), 1e-6), 1.0)
    return _mixed(net, film, np.diag(np.clip(gain, *_GAINS)))


def _by_mix(net: AudioToMouthNet, film: _Film) -> AudioToMouthNet:
    """A matrix between modes, drawn to the shared net: people share articulations out differently."""
    done, said = _fast(film, film.done), _fast(film, _said(net, film.units))
    scale = _gains_of(net, film)
    said = said @ scale
    square = said.T @ said + _RIDGE * np.eye(said.shape[1])
    change = np.linalg.solve(square, said.T @ (done - said))
    mixed = said @ (np.eye(said.shape[1]) + change)
    spread = np.maximum(mixed.std(axis=0), 1e-6)
    gain = np.where(done.std(axis=0) > _MOVES, _AMPLITUDE * done.std(axis=0) / spread, 1.0)
    return _mixed(net, film, scale @ (np.eye(len(gain)) + change) * np.clip(gain, *_GAINS))


def _by_layer(net: AudioToMouthNet, film: _Film) -> AudioToMouthNet:
    """After the matrix, the last layer itself, held to what it was."""
    mixed = _by_mix(net, film)
    fast_units = _fast(film, film.units).astype(np.float32)
    drift = film.done - _fast(film, film.done).astype(np.float32)
    drift_said = _said(mixed, film.units) - _fast(film, _said(mixed, film.units)).astype(np.float32)
    fitted = refit_last_layer(
        mixed, fast_units, (film.done - drift + drift_said.mean(axis=0)).astype(np.float32)
    )
    bias = mixed.b2 + film.units.mean(axis=0) @ (mixed.w2 - fitted.w2)
    return replace(fitted, b2=np.clip(bias, net.b2 - _BIAS, net.b2 + _BIAS).astype(np.float32))


METHODS: Final[dict[str, Fit]] = {
    "shared": _shared,
    "gain": _by_gain,
    "mix": _by_mix,
    "layer": _by_layer,
}


def _gains_of(net: AudioToMouthNet, film: _Film) -> Float64Array:
    done, said = _fast(film, film.done), _fast(film, _said(net, film.units))
    ratio = done.std(axis=0) / np.maximum(said.std(axis=0), 1e-6)
    return np.diag(np.where(said.std(axis=0) > _MOVES, np.clip(ratio, *_GAINS), 1.0))


def _mixed(net: AudioToMouthNet, film: _Film, mix: Float64Array) -> AudioToMouthNet:
    """The net whose answers go through a matrix about their mean, with a bounded bias."""
    said = _said(net, film.units).astype(np.float64)
    # Means: a mouth that is too shut by 0.05 on average does not part its lips at small vowels.
    wanted = film.done.mean(axis=0) - (said @ mix).mean(axis=0)
    bias = np.clip(wanted, -_BIAS, _BIAS)
    return replace(
        net,
        w2=np.ascontiguousarray(net.w2 @ mix, np.float32),
        b2=np.ascontiguousarray(net.b2 @ mix + bias, np.float32),
    )


def _unchanged(net: AudioToMouthNet, film: _Film, reason: str) -> Calibration:
    modes = len(MOUTH_MODES)
    every = np.ones(len(film.done), bool)
    r = (
        _correlations(film, _said(net, film.units), every)
        if len(film.done) > 3
        else np.zeros(modes, np.float32)
    )
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


def _gain(before: AudioToMouthNet, after: AudioToMouthNet, film: _Film) -> Float32Array:
    spread = [_fast(film, _said(net, film.units)).std(axis=0) for net in (before, after)]
    return np.where(spread[0] > _MOVES, spread[1] / np.maximum(spread[0], 1e-6), 1.0).astype(np.float32)


def _correlations(film: _Film, predicted: Float32Array, chosen: NDArray[np.bool_]) -> Float32Array:
    """[8] of modes above 0.5 Hz; 0 where one does not move."""
    fast, said = _fast(film, film.done)[chosen], _fast(film, predicted)[chosen]
    return np.array([pearson(*pair, still=_MOVES) for pair in zip(said.T, fast.T, strict=True)], np.float32)


def _amplitude(film: _Film, predicted: Float32Array, chosen: NDArray[np.bool_]) -> float:
    fast, said = _fast(film, film.done)[chosen, _OPEN], _fast(film, predicted)[chosen, _OPEN]
    return float(said.std() / max(float(fast.std()), 1e-6))


def _spans(times_s: Float64Array, marked: NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    """Begin and end of each run of marked moments."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8))).reshape(-1, 2)
    return tuple((round(float(times_s[a]), 2), round(float(times_s[b - 1]), 2)) for a, b in edges)


# films of 5 and of 20 s.
_STIFF, _STIFF_FEW = 3.0, 200.0
_LEAST = 0.02  # spread of a mode below which it is left as it is


def hidden_features_net(net: AudioToMouthNet) -> AudioToMouthNet:
    """The net without its last layer: what its units [H] say."""
    units = len(net.w2)
    return replace(net, w2=np.eye(units, dtype=np.float32), b2=np.zeros(units, np.float32))


def refit_last_layer(net: AudioToMouthNet, units: Float32Array, done: Float32Array) -> AudioToMouthNet:
    """The net with a last layer that errs less for one person, and moves as far as before.

    What the person [T, 8] did is regressed on the units [T, H] beyond what the layer says already (ridge
    regression with the layer as its prior), so that little film changes little. Means and spreads of the
    modes stay, since regression mutes.
    """
    h, y = units.astype(np.float64), done.astype(np.float64)
    w, b = net.w2.astype(np.float64), net.b2.astype(np.float64)
    said = h @ w + b
    from_mean = h - h.mean(axis=0)
    square = from_mean.T @ from_mean
    stiffness = (_STIFF + _STIFF_FEW / len(h)) * np.trace(square) / len(square)
    change = np.linalg.solve(square + stiffness * np.eye(len(square)), from_mean.T @ (y - said))
    moved = from_mean @ (w + change)
    spread = said.std(axis=0)
    gain = np.where(spread > _LEAST, spread / np.maximum(moved.std(axis=0), 1e-6), 0.0)
    new = np.where(gain > 0.0, (w + change) * gain, w)
    bias = said.mean(axis=0) - h.mean(axis=0) @ new
    return replace(net, w2=np.ascontiguousarray(new, np.float32), b2=bias.astype(np.float32))
