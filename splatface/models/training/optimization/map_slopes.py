"""A motion map at one motion, with its slopes written by hand."""

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.gelu import CUBIC, STEEP

__all__ = ["MotionMapGrad"]

Floats = NDArray[np.float32]
_STEEP, _CUBIC = np.float32(STEEP), np.float32(CUBIC)


class MotionMapGrad:
    """`MotionMap` of models/head/motion_map.py at the motion x [16]; `coefficients` [K]."""

    def __init__(self, x: Floats, linear: Floats, w1: Floats, b1: Floats, w2: Floats) -> None:
        self._x, self._linear, self._w1, self._w2 = x, linear, w1, w2
        bent, self._slope = _gelu(x @ w1 + b1)
        still, self._slope_still = _gelu(b1)
        self._bend = bent - still
        made: Floats = np.asarray(x @ linear + self._bend @ w2, np.float32)
        self.coefficients = made

    def back(self, slopes: Floats) -> dict[str, Floats]:
        """dL/d of linear, w1, b1 and w2 of dL/d(coefficients) [K]."""
        hidden = self._w2 @ slopes
        inner = hidden * self._slope
        return {
            "linear": np.outer(self._x, slopes),
            "w1": np.outer(self._x, inner),
            "b1": inner - hidden * self._slope_still,
            "w2": np.outer(self._bend, slopes),
        }

    def input_grad(self, slopes: Floats) -> Floats:
        """dL/dx [16] of dL/d(coefficients) [K]."""
        found: Floats = self._linear @ slopes + self._w1 @ (self._slope * (self._w2 @ slopes))
        return found


def _gelu(x: Floats) -> tuple[Floats, Floats]:
    """GELU in its tanh form, and its slope."""
    t = np.tanh(_STEEP * (x + _CUBIC * x * x * x))
    half = np.float32(0.5)
    steep = _STEEP * (1 + 3 * _CUBIC * x * x)
    return half * x * (1 + t), half * (1 + t) + half * x * (1 - t * t) * steep
