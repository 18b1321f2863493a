"""The small movements of a head that is held still: sway and breath, smooth functions of time."""

from dataclasses import dataclass

import numpy as np

from splatface.models.typing import Float64Array

__all__ = ["Sway", "sway_at", "sway_of"]


FREQUENCIES_HZ = np.array([0.059, 0.097, 0.143, 0.211, 0.317])
# Yaw, pitch, roll (rad) and forward, left, up (m): standard deviation of each.
AMOUNT = np.array([0.042, 0.018, 0.016, 0.0020, 0.0030, 0.0008])
BREATH_HZ = 0.25
BREATH_RISE_M = 0.0022
BREATH_PITCH_RAD = 0.004


@dataclass(frozen=True, slots=True)
class Sway:
    """Phases and weights of one person."""

    phases_rad: Float64Array  # [6, 5]
    weights: Float64Array  # [6, 5]
    breath_phase_rad: float
    breath: float  # 0..1


def sway_of(seed: int, amount: float) -> Sway:
    """The sway of a person; `amount` 0 is a statue, 1 a calm person, 2 a restless one."""
    random = np.random.default_rng([seed, 0x5A])
    weights = random.uniform(0.5, 1.0, (6, len(FREQUENCIES_HZ))) / FREQUENCIES_HZ**0.5
    # A sine of weight w has the variance w^2 / 2.
    weights *= np.sqrt(2.0) * amount * AMOUNT[:, None] / np.linalg.norm(weights, axis=1, keepdims=True)
    phases = random.uniform(0.0, 2 * np.pi, (6, len(FREQUENCIES_HZ)))
    return Sway(phases, weights, float(random.uniform(0.0, 2 * np.pi)), min(amount, 1.0))


def sway_at(sway: Sway, time_s: float) -> Float64Array:
    """Yaw, pitch, roll (rad) and forward, left, up (m) at a moment, [6]."""
    moving = np.sin(2 * np.pi * FREQUENCIES_HZ * time_s + sway.phases_rad)
    out: Float64Array = (sway.weights * moving).sum(axis=1)
    breath = sway.breath * np.sin(2 * np.pi * BREATH_HZ * time_s + sway.breath_phase_rad)
    out[1] -= BREATH_PITCH_RAD * breath
    out[5] += BREATH_RISE_M * breath
    return out
