"""From how a face moves to how its Gaussians do: a line, and a small bend on top."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from splatface.models.array_checks import expect, expect_range
from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES, gelu
from splatface.models.errors import HeadError
from splatface.models.typing import Float32Array

__all__ = ["MOTION_SIZE", "MotionMap", "check_motion_map", "linear_map", "map_of_tensors", "tensors_of_map"]


MOTION_SIZE = len(MOUTH_MODES) + len(CONTROLS)
_LARGEST = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class MotionMap:
    """The mouth modes and the controls to the coefficients of one head.

    `map(mouth, controls)` = x @ linear + (gelu(x @ w1 + b1) - gelu(b1)) @ w2, x = [mouth, controls],
    GELU in its tanh form. At rest it is 0: the canonical Gaussians are the face at rest. The bend is
    for what a line cannot say: a lid slides over a ball, lips meet and press.
    """

    linear: Float32Array  # [16, K]
    w1: Float32Array  # [16, H], H may be 0
    b1: Float32Array  # [H]
    w2: Float32Array  # [H, K]

    def __call__(self, mouth: Float32Array, controls: Float32Array) -> Float32Array:
        """Coefficients [K] for mouth modes [8] and controls [8]."""
        x = np.concatenate([mouth, controls]).astype(np.float32)
        bend = (gelu(x @ self.w1 + self.b1) - gelu(self.b1)) @ self.w2
        return np.asarray(x @ self.linear + bend, np.float32)


def linear_map(linear: Float32Array) -> MotionMap:
    """A map without a bend: linear [16, K]."""
    return MotionMap(
        linear=linear,
        w1=np.zeros((len(linear), 0), np.float32),
        b1=np.zeros(0, np.float32),
        w2=np.zeros((0, linear.shape[1]), np.float32),
    )


def check_motion_map(motion_map: MotionMap, coefficients: int) -> None:
    """Raise HeadError unless the map's tensors fit each other and a head of K coefficients."""
    hidden = len(motion_map.b1)
    expect("motion.linear", motion_map.linear, (MOTION_SIZE, coefficients))
    expect("motion.w1", motion_map.w1, (MOTION_SIZE, hidden))
    expect("motion.b1", motion_map.b1, (hidden,))
    expect("motion.w2", motion_map.w2, (hidden, coefficients))
    for field in fields(motion_map):
        values = getattr(motion_map, field.name)
        expect_range(f"motion.{field.name}", values, -_LARGEST, _LARGEST)


def tensors_of_map(motion_map: MotionMap) -> dict[str, Float32Array]:
    """Tensors named `motion.<name>`, as they stand in head.safetensors."""
    return {f"motion.{field.name}": getattr(motion_map, field.name) for field in fields(motion_map)}


def map_of_tensors(tensors: Mapping[str, Float32Array]) -> MotionMap:
    """Take the map out of named tensors; HeadError where one is missing."""
    names = [field.name for field in fields(MotionMap)]
    missing = [name for name in names if f"motion.{name}" not in tensors]
    if missing:
        raise HeadError(
            f"motion: expected the tensors {', '.join(names)}, found none called {', '.join(missing)}: "
            "take an intact copy of the head"
        )
    return MotionMap(**{name: tensors[f"motion.{name}"] for name in names})
