# SPDX-License-Identifier: Apache-2.0
"""Many people who do not exist: shapes far more different than the named actors, for the face model."""

from dataclasses import replace
from typing import Final

import numpy as np

from splatface.models.training.synthetic.actor_identity import PRESETS, Identity
from splatface.models.training.synthetic.rig import RigSpec

__all__ = ["person"]

# Names of anny's changes that give faces their differences; "?" stands for both sides.
_CHANGES: Final = (
    "?-cheek-volume-incr", "?-cheek-inner-incr", "?-cheek-bones-incr", "?-cheek-trans-up",
    "chin-jaw-drop-incr", "chin-height-incr", "chin-prominent-incr", "chin-bones-incr", "chin-width-incr",
    "chin-prognathism-incr", "eyebrows-angle-up", "eyebrows-trans-up", "eyebrows-trans-forward",
    "?-eye-corner1-up", "?-eye-corner2-up", "?-eye-height1-incr", "?-eye-height2-incr", "?-eye-height3-incr",
    "?-eye-scale-incr", "?-eye-push1-out", "?-eye-push2-out", "?-eye-eyefold-up", "?-eye-trans-up",
    "?-eye-trans-out", "?-eye-epicanthus-out", "forehead-temple-incr", "forehead-trans-forward",
    "forehead-scale-vert-incr", "head-scale-vert-incr", "head-fat-incr", "head-age-incr",
    "head-scale-depth-incr", "head-scale-horiz-incr", "mouth-scale-horiz-incr", "mouth-scale-vert-incr",
    "mouth-scale-depth-incr", "mouth-lowerlip-height-incr", "mouth-upperlip-height-incr",
    "mouth-lowerlip-volume-incr", "mouth-upperlip-volume-incr", "mouth-angles-up", "mouth-trans-forward",
    "mouth-trans-up", "mouth-cupidsbow-incr", "mouth-philtrum-volume-incr", "mouth-laugh-lines-out",
    "nose-scale-vert-incr", "nose-scale-horiz-incr", "nose-scale-depth-incr", "nose-trans-forward",
    "nose-trans-up", "nose-hump-incr", "nose-point-up", "nose-point-width-incr", "nose-width1-incr",
    "nose-width2-incr", "nose-width3-incr", "nose-curve-convex", "nose-greek-incr", "nose-volume-incr",
    "nose-base-up", "nose-flaring-incr", "nose-nostrils-width-incr",
)  # fmt: skip
_SPREAD = 0.30  # standard deviation of a change; 1 is as far as MakeHuman goes
_CROOKED = 0.05  # of the difference between left and right


def person(seed: int) -> Identity:
    """Return the person of a seed: any adult, with the looks of one of the named actors."""
    rng = np.random.default_rng([seed, 0xFACE])
    african, asian, caucasian = rng.dirichlet([0.7, 0.7, 0.7])
    gender = float(np.clip(rng.choice([0.05, 0.95]) + rng.normal(0, 0.08), 0, 1))
    phenotype = {
        "gender": gender,
        "age": float(rng.uniform(0.52, 0.9)),
        "muscle": float(rng.uniform(0.3, 0.7)),
        "weight": float(rng.uniform(0.3, 0.8)),
        "height": float(rng.uniform(0.35, 0.65)),
        "proportions": float(rng.uniform(0.6, 1.0)),
        "african": float(african),
        "asian": float(asian),
        "caucasian": float(caucasian),
    }
    looks = PRESETS[("mira", "theo", "ada")[seed % 3]].looks
    tone = float(np.exp(rng.normal(0, 0.25)))
    red, green, blue = (min(channel * tone, 0.75) for channel in looks.skin)
    shape = RigSpec(phenotype, _changes(rng))
    return Identity(
        name=f"face-{seed}", shape=shape, looks=replace(looks, skin=(red, green, blue)), seed=seed
    )


def _changes(rng: np.random.Generator) -> dict[str, float]:
    changes: dict[str, float] = {}
    for name in _CHANGES:
        value = rng.normal(0, _SPREAD)
        if name.startswith("?"):
            uneven = rng.normal(0, _CROOKED)
            changes["l" + name[1:]] = float(np.clip(value + uneven, -1, 1))
            changes["r" + name[1:]] = float(np.clip(value - uneven, -1, 1))
        else:
            changes[name] = float(np.clip(value, -1, 1))
    return changes
