# SPDX-License-Identifier: Apache-2.0
"""Identities of the synthetic actors: three named ones, and one for every seed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from splatface.models.errors import ActorError
from splatface.models.training.synthetic.rig import RigSpec

__all__ = ["HAIR_STYLES", "PRESETS", "Appearance", "Identity", "actor_identity"]

Color = tuple[float, float, float]  # linear RGB 0..1

HAIR_STYLES = ("lob", "short", "coils")


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """Colors (linear RGB) and style of one person."""

    skin: Color
    lips: Color
    hair: Color
    brow: Color
    iris: Color
    shirt: Color
    hair_style: str  # one of HAIR_STYLES
    blush: float = 1.0  # strength of red cheeks and nose
    beard: float = 0.0  # strength of the shadow of a shaved beard
    brow_thickness: float = 1.0
    lash_length: float = 1.0
    hairline_lower_m: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A synthetic person: a shape, colors, and the seed of all that is random about them."""

    name: str
    shape: RigSpec
    looks: Appearance
    seed: int = 0


def _both_sides(**changes: float) -> dict[str, float]:
    """Return anny's names of a change made to the left and the right."""
    return {f"{side}-{name.replace('_', '-')}": value for name, value in changes.items() for side in "lr"}


def _woman() -> Identity:
    shape = RigSpec(
        phenotype={
            "gender": 1.0, "age": 0.60, "muscle": 0.42, "weight": 0.43, "height": 0.5,
            "proportions": 1.0,
            "african": 0.1, "asian": 0.3, "caucasian": 0.6,
        },
        local_changes={
            **_both_sides(
                eye_scale_incr=0.7, eye_height2_incr=0.35, cheek_bones_incr=0.3,
                ear_scale_incr=-0.8, ear_wing_incr=-0.8, ear_lobe_incr=-0.5,
            ),
            "mouth-scale-horiz-incr": 0.15,
            "mouth-upperlip-volume-incr": 0.35,
            "mouth-lowerlip-volume-incr": 0.35,
            "mouth-angles-up": 0.3,
            "nose-scale-horiz-incr": -0.35,
            "nose-scale-vert-incr": -0.2,
            "chin-width-incr": -0.4,
            "chin-height-incr": -0.35,
            "head-fat-incr": -0.05,
        },
    )  # fmt: skip
    looks = Appearance(
        skin=(0.61, 0.345, 0.235), lips=(0.47, 0.15, 0.14), hair=(0.034, 0.0125, 0.006),
        brow=(0.045, 0.022, 0.013), iris=(0.16, 0.08, 0.035), shirt=(0.06, 0.19, 0.27), hair_style="lob",
        hairline_lower_m=0.006,
    )  # fmt: skip
    return Identity(name="mira", shape=shape, looks=looks, seed=1)


def _man() -> Identity:
    shape = RigSpec(
        phenotype={
            "gender": 0.06, "age": 0.64, "muscle": 0.56, "weight": 0.46, "height": 0.55, "proportions": 0.95,
            "african": 0.1, "asian": 0.1, "caucasian": 0.8,
        },
        local_changes={
            **_both_sides(eye_scale_incr=0.4, eye_height2_incr=0.25, ear_wing_incr=-0.4),
            "mouth-angles-up": 0.3,
            "mouth-scale-horiz-incr": 0.1,
            "chin-width-incr": 0.1,
            "nose-scale-vert-incr": -0.1,
            "mouth-upperlip-volume-incr": 0.25,
            "mouth-lowerlip-volume-incr": 0.25,
        },
    )  # fmt: skip
    looks = Appearance(
        skin=(0.57, 0.325, 0.225), lips=(0.44, 0.19, 0.16), hair=(0.014, 0.0075, 0.0045),
        brow=(0.025, 0.014, 0.009), iris=(0.10, 0.17, 0.22), shirt=(0.05, 0.07, 0.13), hair_style="short",
        blush=0.7, beard=1.0, brow_thickness=1.25, lash_length=0.75, hairline_lower_m=0.004,
    )  # fmt: skip
    return Identity(name="theo", shape=shape, looks=looks, seed=2)


def _second_woman() -> Identity:
    shape = RigSpec(
        phenotype={
            "gender": 0.95, "age": 0.63, "muscle": 0.45, "weight": 0.48, "height": 0.5, "proportions": 0.95,
            "african": 0.85, "asian": 0.05, "caucasian": 0.1,
        },
        local_changes={
            **_both_sides(eye_scale_incr=0.45, cheek_bones_incr=0.2),
            "mouth-angles-up": 0.3,
            "nose-scale-horiz-incr": -0.25,
            "chin-height-incr": -0.2,
        },
    )  # fmt: skip
    looks = Appearance(
        skin=(0.27, 0.125, 0.07), lips=(0.26, 0.085, 0.07), hair=(0.014, 0.010, 0.009),
        brow=(0.014, 0.010, 0.009), iris=(0.07, 0.03, 0.014), shirt=(0.42, 0.10, 0.05), hair_style="coils",
        blush=0.6,
    )  # fmt: skip
    return Identity(name="ada", shape=shape, looks=looks, seed=3)


PRESETS: Mapping[str, Identity] = {person.name: person for person in (_woman(), _man(), _second_woman())}


def actor_identity(name_or_seed: str | int) -> Identity:
    """Return a named person, or the person of a seed: one of the named, varied in shape and colors.

    Raises ActorError for a name that is not one of PRESETS.
    """
    if isinstance(name_or_seed, int):
        return _random_variation(name_or_seed)
    if name_or_seed not in PRESETS:
        raise ActorError(f"actor: expected one of {', '.join(PRESETS)} or a seed, found '{name_or_seed}'")
    return PRESETS[name_or_seed]


_VARIED_CHANGES = (
    "nose-scale-vert-incr",
    "nose-point-up",
    "nose-width2-incr",
    "chin-height-incr",
    "mouth-scale-horiz-incr",
    "head-scale-vert-incr",
    "forehead-scale-vert-incr",
    "eyebrows-angle-up",
)
_SHIRTS: tuple[Color, ...] = (
    (0.06, 0.19, 0.27), (0.05, 0.07, 0.13), (0.42, 0.10, 0.05), (0.10, 0.20, 0.09), (0.30, 0.06, 0.10),
)  # fmt: skip


def _random_variation(seed: int) -> Identity:
    rng = np.random.default_rng(seed)
    person = PRESETS[list(PRESETS)[seed % len(PRESETS)]]
    phenotype = {
        name: float(np.clip(value + rng.normal(0, 0.06), 0, 1))
        for name, value in person.shape.phenotype.items()
    }
    changes = dict(person.shape.local_changes)
    for name in _VARIED_CHANGES:
        changes[name] = float(np.clip(changes.get(name, 0.0) + rng.normal(0, 0.25), -1, 1))
    tone = float(np.exp(rng.normal(0, 0.12)))
    looks = replace(
        person.looks,
        skin=_scaled(person.looks.skin, tone),
        lips=_scaled(person.looks.lips, tone),
        hair=_scaled(person.looks.hair, float(np.exp(rng.normal(0, 0.5)))),
        shirt=_SHIRTS[int(rng.integers(len(_SHIRTS)))],
    )
    return Identity(name=f"actor-{seed}", shape=RigSpec(phenotype, changes), looks=looks, seed=seed)


def _scaled(color: Color, factor: float) -> Color:
    red, green, blue = (min(channel * factor, 0.8) for channel in color)
    return (red, green, blue)
