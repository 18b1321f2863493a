"""The shared nets from speech to motion, set to one person: how wide they open, and where they rest."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from splatface.models.dataset.types import TEST, Dataset
from splatface.models.head.coefficients import MOUTH_MODES, CoefficientNet
from splatface.models.head.listening import window_at

__all__ = ["Calibration", "calibrate_net", "calibration_of", "described", "heard_along"]

Array = NDArray[np.float32]
Features = tuple[Array, NDArray[np.int64]]  # values [n, D] and the frames' centres [n], ns
_MOVES = 0.02  # spread below which a mode is not used by this person, or not heard
_HEARD = 0.3  # correlation below which a mode is left as it is: its scale cannot be told
# Beyond these it is no longer a matter of style; a positive bias would open the mouth between words.
_GAINS, _BIASES = (0.6, 1.8), (-0.05, 0.02)
_LONGEST = 4000  # moments looked at


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """mode = gain * heard + bias, mode by mode; 1 and 0 where too little was heard to tell."""

    gain: Array  # [8]
    bias: Array  # [8]
    correlation: Array  # [8] of what was heard with what the person did, before


def calibrate_net(
    net: CoefficientNet, dataset: Dataset, features: Features
) -> tuple[CoefficientNet, Calibration]:
    """The net with the person's gain and bias folded into its last layer.

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
    heard = heard_along(net, features, track.time_ns[usable])
    found = calibration_of(heard, track.mouth[usable])
    w2 = np.ascontiguousarray(net.w2 * found.gain)
    return replace(net, w2=w2, b2=net.b2 * found.gain + found.bias), found


def heard_along(net: CoefficientNet, features: Features, times_ns: NDArray[np.int64]) -> Array:
    """Modes [T, 8] that a net hears at the given moments, without a voice gate."""
    values, centres_ns = features
    ahead_ns = round(net.lookahead_ms * 1e6)
    moments = [net(window_at(values, centres_ns, int(t) + ahead_ns, net.window)) for t in times_ns]
    return np.stack(moments) if moments else np.zeros((0, net.outputs), np.float32)


def calibration_of(heard: Array, done: Array) -> Calibration:
    """Match amplitude and mean of what was heard [T, 8] to what the person did [T, 8] while the mouth moved.

    The nets say a mouth on average; a regression would mute it further, so spreads are matched, not errors.
    """
    modes = len(MOUTH_MODES)
    gain, bias = np.ones(modes, np.float32), np.zeros(modes, np.float32)
    correlation = np.zeros(modes, np.float32)
    awake = np.abs(done).max(axis=1, initial=0.0) > 0.05
    if awake.sum() < 50:
        return Calibration(gain, bias, correlation)
    a, b = heard[awake].astype(np.float64), done[awake].astype(np.float64)
    for mode in range(modes):
        spread_a, spread_b = a[:, mode].std(), b[:, mode].std()
        if min(spread_a, spread_b) < _MOVES:
            continue
        r = float(np.corrcoef(a[:, mode], b[:, mode])[0, 1])
        correlation[mode] = r
        if r >= _HEARD:
            gain[mode] = np.clip(spread_b / spread_a, *_GAINS)
            bias[mode] = np.clip(b[:, mode].mean() - gain[mode] * a[:, mode].mean(), *_BIASES)
    return Calibration(gain, bias, correlation)


def described(found: Calibration) -> dict[str, dict[str, float]]:
    """A calibration as plain data, for head.yaml."""
    return {
        mode: {name: round(float(getattr(found, name)[i]), 3) for name in ("gain", "bias", "correlation")}
        for i, mode in enumerate(MOUTH_MODES)
    }
