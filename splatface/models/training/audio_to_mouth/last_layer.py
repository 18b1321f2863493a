"""A person's own way to speak, learned in the last layer of a net that hears all voices."""

from dataclasses import replace

import numpy as np

from splatface.models.audio2motion.audio_to_mouth import AudioToMouthNet
from splatface.models.typing import Float32Array

__all__ = ["hidden_features_net", "refit_last_layer"]


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
