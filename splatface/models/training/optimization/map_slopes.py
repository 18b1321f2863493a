"""A motion map at one motion, with its slopes written by hand."""

import numpy as np

from splatface.models.audio2motion.gelu import CUBIC, STEEP
from splatface.models.typing import Float32Array

__all__ = ["MotionMapGrad"]


_STEEP, _CUBIC = np.float32(STEEP), np.float32(CUBIC)


class MotionMapGrad:
    """`MotionMap` of models/head/motion_map.py at the motion x [16]; `coefficients` [K]."""

    def __init__(
        self, x: Float32Array, linear: Float32Array, w1: Float32Array, b1: Float32Array, w2: Float32Array
    ) -> None:
        self._x, self._linear, self._w1, self._w2 = x, linear, w1, w2
        bent, self._slope = _gelu(x @ w1 + b1)
        still, self._slope_still = _gelu(b1)
        self._bend = bent - still
        made: Float32Array = np.asarray(x @ linear + self._bend @ w2, np.float32)
        self.coefficients = made

    def back(self, slopes: Float32Array) -> dict[str, Float32Array]:
        """dL/d of linear, w1, b1 and w2 of dL/d(coefficients) [K]."""
        hidden = self._w2 @ slopes
        inner = hidden * self._slope
        return {
            "linear": np.outer(self._x, slopes),
            "w1": np.outer(self._x, inner),
            "b1": inner - hidden * self._slope_still,
            "w2": np.outer(self._bend, slopes),
        }

    def input_grad(self, slopes: Float32Array) -> Float32Array:
        """dL/dx [16] of dL/d(coefficients) [K]."""
        found: Float32Array = self._linear @ slopes + self._w1 @ (self._slope * (self._w2 @ slopes))
        return found


def _gelu(x: Float32Array) -> tuple[Float32Array, Float32Array]:
    """GELU in its tanh form, and its slope."""
    t = np.tanh(_STEEP * (x + _CUBIC * x * x * x))
    half = np.float32(0.5)
    steep = _STEEP * (1 + 3 * _CUBIC * x * x)
    return half * x * (1 + t), half * (1 + t) + half * x * (1 - t * t) * steep
