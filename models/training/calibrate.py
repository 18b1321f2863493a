"""The shared nets from speech to motion, set to one person: how wide they open, and where they rest."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from splatface.models.dataset.types import TEST, Dataset
from splatface.models.head.coefficients import MOUTH_MODES, CoefficientNet
from splatface.models.head.listening import window_at
from splatface.models.pearson import pearson
from splatface.models.training.last_layer import last_layer_open, refitted

__all__ = ["Calibration", "calibrate_net", "calibration_of", "described", "heard_along"]

Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
Features = tuple[Array, NDArray[np.int64]]  # values [n, D] and the frames' centres [n], ns
_OPEN = MOUTH_MODES.index("open")
_LEAST_MOMENTS = 50
_MOVES = 0.02  # spread below which a mode is not used by this person, or not heard
_HEARD = 0.3  # correlation of the opening below which the person is not told from the sound
# Squares of heard modes that weigh as much as the wish to stay at rest; 20 s of speech have some 20 a mode.
_RIDGE = 3.0
_BIAS = 0.06  # a larger one would hold the mouth open or pressed between words
_AMPLITUDE, _MOST_GAIN = 0.95, 2.5  # share of the person's own spread; regression alone mutes
_LONGEST = 4000  # moments looked at


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """mouth = heard @ mix + bias; the identity and 0 where too little was heard to tell."""

    mix: Array  # [8, 8] from heard modes to the person's
    bias: Array  # [8]
    before: Array  # [8] correlation of what was heard with what the person did
    after: Array  # [8] the same with what is made of it, on the same moments


def calibrate_net(
    net: CoefficientNet, dataset: Dataset, features: Features
) -> tuple[CoefficientNet, Calibration]:
    """The net with the person's mix and bias folded into its last layer, and that layer fitted to the person.

    Only what comes before the first TEST picture is looked at.

    Args:
        net: shared by all voices.
        dataset: its motion track says what the person did.
        features: of the data set's sound, made by the net's encoder.
    """
    track, frames = dataset.motion, dataset.frames
    tested = frames.time_ns[frames.split == TEST]
    until = tested[0] if len(tested) else np.iinfo(np.int64).max
    # The last features are in the next part already: leave half a second.
    usable = np.flatnonzero((track.time_ns < until - 500_000_000) & np.isfinite(track.mouth).all(axis=1))
    usable = usable[:: max(1, -(-len(usable) // _LONGEST))]
    units, done = heard_along(last_layer_open(net), features, track.time_ns[usable]), track.mouth[usable]
    found = calibration_of(units @ net.w2 + net.b2, done)
    if np.array_equal(found.mix, np.eye(len(found.mix))):
        return net, found
    awake = _awake(done)
    mixed = replace(net, w2=np.ascontiguousarray(net.w2 @ found.mix), b2=net.b2 @ found.mix + found.bias)
    fitted = refitted(mixed, units[awake], done[awake])
    after = _correlations(units[awake] @ fitted.w2 + fitted.b2, done[awake])
    return fitted, replace(found, after=after)


def heard_along(net: CoefficientNet, features: Features, times_ns: NDArray[np.int64]) -> Array:
    """Modes [T, 8] that a net hears at the given moments, without a voice gate."""
    values, centres_ns = features
    ahead_ns = round(net.lookahead_ms * 1e6)
    moments = [net(window_at(values, centres_ns, int(t) + ahead_ns, net.window)) for t in times_ns]
    return np.stack(moments) if moments else np.zeros((0, net.outputs), np.float32)


def calibration_of(heard: Array, done: Array) -> Calibration:
    """What this person [T, 8] does when the shared net hears [T, 8], while the mouth moves.

    People share out an articulation among their modes differently: one rounds by narrowing, another by
    protruding. A full matrix says so (ridge regression, drawn to rest), in five seconds of film as in five
    minutes; what regression mutes is then brought back to the person's own spread.
    """
    modes = len(MOUTH_MODES)
    awake = _awake(done)
    a, b = heard[awake].astype(np.float64), done[awake].astype(np.float64)
    before = _correlations(a, b)
    as_it_is = Calibration(np.eye(modes, dtype=np.float32), np.zeros(modes, np.float32), before, before)
    if len(a) < _LEAST_MOMENTS or min(a[:, _OPEN].std(), b[:, _OPEN].std()) < _MOVES:
        return as_it_is
    mix, bias = _regression(a, b)
    after = _correlations(a @ mix, b)
    if after[_OPEN] < _HEARD:
        return as_it_is
    spread = np.maximum((a @ mix).std(axis=0), 1e-6)
    gain = np.minimum(np.maximum(_AMPLITUDE * b.std(axis=0) / spread, 1.0), _MOST_GAIN)
    # An amplified mode swings about the mean it had, not about rest.
    bias = np.clip(bias + (1.0 - gain) * (a @ mix).mean(axis=0), -_BIAS, _BIAS)
    return Calibration((mix * gain).astype(np.float32), bias.astype(np.float32), before, after)


def described(found: Calibration) -> dict[str, dict[str, float]]:
    """A calibration as plain data, for head.yaml: per mode its gain, bias and correlations."""
    gain = np.diag(found.mix)
    columns = {"own_gain": gain, "bias": found.bias, "r_before": found.before, "r_after": found.after}
    return {
        mode: {name: round(float(values[i]), 3) for name, values in columns.items()}
        for i, mode in enumerate(MOUTH_MODES)
    }


def _regression(a: Float64Array, b: Float64Array) -> tuple[Float64Array, Float64Array]:
    """mix [8, 8] and bias [8] of b [T, 8] from a [T, 8]; the bias is bounded first, then the rest fitted."""
    square = np.eye(a.shape[1]) * _RIDGE
    from_mean = a - a.mean(axis=0)
    free = np.linalg.solve(from_mean.T @ from_mean + square, from_mean.T @ b)
    bias = np.clip(b.mean(axis=0) - a.mean(axis=0) @ free, -_BIAS, _BIAS)
    return np.linalg.solve(a.T @ a + square, a.T @ (b - bias)), bias


def _awake(done: Array) -> NDArray[np.bool_]:
    moves: NDArray[np.bool_] = np.abs(done).max(axis=1, initial=0.0) > 0.05
    return moves


def _correlations(a: NDArray[np.floating], b: NDArray[np.floating]) -> Array:
    """[8] of columns; 0 where one does not move."""
    return np.array([pearson(*pair, still=_MOVES) for pair in zip(a.T, b.T, strict=True)], np.float32)
