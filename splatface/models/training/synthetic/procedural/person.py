"""Who a procedural head is: proportions and colors, drawn from a seed."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Person", "person_of_seed"]

Color = tuple[float, float, float]  # linear-ish RGB albedo, 0..1


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Proportions are factors around 1; lengths are meters in the canonical frame."""

    face_width: float = 1.0
    jaw_width: float = 1.0
    nose_size: float = 1.0
    eye_size: float = 1.0
    lip_fullness: float = 1.0
    hair_length_m: float = 0.0  # how far below the ears the hair hangs at the sides, 0 = short cut
    hair_part: float = 0.5  # where the parting lies, -1 picture left .. 1 right
    skin: Color = (0.87, 0.65, 0.54)
    lips: Color = (0.72, 0.36, 0.34)
    hair: Color = (0.30, 0.17, 0.095)
    iris: Color = (0.30, 0.46, 0.50)
    shirt: Color = (0.20, 0.33, 0.45)


_SKINS: tuple[tuple[Color, Color], ...] = (
    ((0.87, 0.65, 0.54), (0.74, 0.38, 0.36)),
    ((0.93, 0.74, 0.64), (0.80, 0.44, 0.43)),
    ((0.76, 0.53, 0.39), (0.64, 0.31, 0.28)),
    ((0.58, 0.38, 0.27), (0.50, 0.24, 0.22)),
    ((0.43, 0.27, 0.19), (0.42, 0.19, 0.18)),
)
_HAIRS: tuple[tuple[Color, ...], ...] = (  # natural partners of the skins above
    ((0.30, 0.17, 0.095), (0.17, 0.10, 0.065), (0.50, 0.31, 0.15)),
    ((0.62, 0.44, 0.24), (0.46, 0.20, 0.08), (0.30, 0.17, 0.095)),
    ((0.12, 0.075, 0.055), (0.22, 0.12, 0.07)),
    ((0.075, 0.052, 0.045), (0.12, 0.075, 0.055)),
    ((0.055, 0.042, 0.04),),
)
_IRISES: tuple[tuple[Color, ...], ...] = (
    ((0.30, 0.46, 0.50), (0.36, 0.26, 0.14), (0.34, 0.42, 0.24)),
    ((0.32, 0.50, 0.62), (0.34, 0.46, 0.30)),
    ((0.30, 0.19, 0.10), (0.36, 0.30, 0.16)),
    ((0.24, 0.14, 0.08),),
    ((0.20, 0.12, 0.07),),
)
_SHIRTS: tuple[Color, ...] = (
    (0.20, 0.33, 0.45),
    (0.48, 0.20, 0.22),
    (0.22, 0.38, 0.33),
    (0.80, 0.77, 0.72),
    (0.30, 0.29, 0.36),
)


def person_of_seed(seed: int) -> Person:
    """Seed 0 is the house's default person; every other seed is somebody else, always the same one."""
    if seed == 0:
        return Person(jaw_width=0.94, nose_size=0.90, eye_size=1.10, lip_fullness=1.05)
    rng = np.random.default_rng(seed)
    tone = int(rng.integers(len(_SKINS)))
    skin, lips = _SKINS[tone]
    factors = np.clip(rng.normal(1.0, 0.035, 5), 0.93, 1.08)
    return Person(
        face_width=float(factors[0]),
        jaw_width=float(factors[1]),
        nose_size=float(factors[2]),
        eye_size=float(factors[3]),
        lip_fullness=float(1.0 + 2.0 * (factors[4] - 1.0)),
        hair_length_m=float(rng.choice([0.0, 0.05, 0.09])),
        hair_part=float(rng.choice([-0.5, 0.5])),
        skin=skin,
        lips=lips,
        hair=_HAIRS[tone][int(rng.integers(len(_HAIRS[tone])))],
        iris=_IRISES[tone][int(rng.integers(len(_IRISES[tone])))],
        shirt=_SHIRTS[int(rng.integers(len(_SHIRTS)))],
    )
