"""Where head and shoulders go in a film that shall show them from everywhere: smoothly, slowly."""

import numpy as np

from splatface.models.behavior.glide import plan_to, resting, value_at
from splatface.models.typing import AnyArray

__all__ = ["pose_exploration"]


_STEPS_S = (1.1, 2.4)  # between two aims
_GLIDE_S = (0.8, 1.3)  # on the way
_CALM = 0.45  # share of the range where the film is only measured with
_CHANNELS = 6
_PRIME_ROOTS = np.sqrt([2.0, 3.0, 5.0, 7.0, 11.0, 13.0])


def pose_exploration(seed: int, times_s: AnyArray, *, calm_from_s: float) -> AnyArray:
    """Positions [T, 6] in -1..1 at rising times [T]; it starts at 0 and is calmer from a time on.

    The aims are an additive quasi-random sequence (Kronecker: n times the roots of primes, modulo 1),
    which fills the box evenly however many there are; every third is near the middle, so that the
    ordinary pose is seen most.
    """
    rng = np.random.default_rng([seed, 0x0A])
    offset = rng.uniform(0.0, 1.0, _CHANNELS)
    glide = resting(np.zeros(_CHANNELS))
    positions = np.zeros((len(times_s), _CHANNELS))
    next_s, count = 0.4, 0
    for row, time_s in enumerate(times_s.tolist()):
        if time_s >= next_s:
            aim = 2 * np.mod(offset + count * _PRIME_ROOTS, 1.0) - 1
            # Pushed outwards: a k-th of the way from the middle of an even filling is seldom the edge.
            aim = np.sign(aim) * np.abs(aim) ** 0.6
            reach = 0.25 if count % 3 == 2 else 1.0
            calm = _CALM if time_s >= calm_from_s - _STEPS_S[0] else 1.0
            glide = plan_to(glide, aim * reach * calm, time_s, float(rng.uniform(*_GLIDE_S)))
            next_s, count = time_s + float(rng.uniform(*_STEPS_S)), count + 1
        positions[row] = value_at(glide, time_s)
    return positions
