"""Where training may start: points of an actor that know their colour, their bone and how they move."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from splatface.models.actor.articulate import articulate
from splatface.models.actor.body import Body
from splatface.models.actor.colours import Shot, colours_seen
from splatface.models.actor.samples import SurfaceSamples, surface_samples
from splatface.models.dataset.types import EYES, FACE, HAIR, LIPS, MOUTH, NECK, TORSO, Points
from splatface.models.head.coefficients import CONTROLS, MOUTH_MODES

__all__ = ["points_of"]

Array = NDArray[Any]
Rows = NDArray[np.int64]

# Candidates spread evenly, of which some are kept: a face shows more than a chest.
_CANDIDATES: Final[Mapping[str, int]] = {
    "skin": 90_000,
    "upper_teeth": 1_500,
    "lower_teeth": 1_500,
    "tongue": 800,
    "left_eye": 2_500,
    "right_eye": 2_500,
    "hair": 40_000,
    "brows": 700,
    "lashes": 500,
    "shirt": 6_000,
    "collar": 900,
}
_CHANCE: Final = {TORSO: 0.55, NECK: 0.06, HAIR: 0.20, FACE: 0.085, EYES: 0.5, LIPS: 0.42, MOUTH: 0.42}
_AROUND_EYES = 0.45  # chance of skin that moves with the lids
_EYE_REACH_M = 0.020
_BEHIND = 0.25  # share of the chance for what looks away from the camera
_STEPS: Final = {"gaze_yaw": 0.2, "gaze_pitch": 0.15}  # rad to each side; all else is fully on
_STRAND_PARTS = ("hair", "brows", "lashes")


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """Samples that became points."""

    samples: SurfaceSamples
    rows: Rows  # [P] of the samples
    strand: NDArray[np.bool_]  # [P]


def points_of(body: Body, shot: Shot, seed: int = 0) -> Points:
    """About 25,000 points of a body at rest, dense at mouth, eyes and hair.

    Args:
        body: whose.
        shot: a picture of it, best of the face at rest, from which visible points take their colour.
        seed: which points.
    """
    kept = _kept_samples(body, np.random.default_rng([seed, 0xB0]))
    rest, moves = _movements(body, kept)
    samples, rows = kept.samples, kept.rows
    normals, tangents = samples.normals[rows], samples.tangents[rows]
    colours = colours_seen(body, shot, samples)[rows]
    return Points(
        means=rest.astype(np.float32),
        normals=normals.astype(np.float32),
        colours=np.clip(colours, 0, 1).astype(np.float32),
        scales=_scales(rest, kept).astype(np.float32),
        quats=_quats(tangents, normals).astype(np.float32),
        labels=samples.labels[rows],
        skin=np.clip(samples.skin[rows], 0, 1).astype(np.float32),
        mouth_modes=moves[:, : len(MOUTH_MODES)],
        control_modes=moves[:, len(MOUTH_MODES) :],
    )


def _kept_samples(body: Body, rng: np.random.Generator) -> _Kept:
    counts = {name: count for name, count in _CANDIDATES.items() if name in body.parts}
    samples = surface_samples(body, counts, rng)
    chance = np.zeros(len(samples))
    for label, share in _CHANCE.items():
        chance[samples.labels == label] = share
    eyes = samples.means[samples.labels == EYES]
    near_eyes = cKDTree(eyes).query(samples.means, distance_upper_bound=_EYE_REACH_M)[0] < _EYE_REACH_M
    chance[near_eyes & (samples.labels == FACE)] = _AROUND_EYES
    part = np.repeat(np.arange(len(counts)), list(counts.values()))
    names = list(counts)
    fine = np.isin(part, [names.index(name) for name in ("brows", "lashes") if name in names])
    chance[fine] = 1.0
    strand = np.isin(part, [names.index(name) for name in _STRAND_PARTS if name in names])
    # The camera stands at -z; the back of an eyeball is never seen at all.
    away = samples.normals[:, 2] > 0.35
    chance[away & ~strand] *= _BEHIND
    chance[away & (samples.labels == EYES) & ~strand] = 0.0
    rows = np.flatnonzero(rng.uniform(size=len(samples)) < chance)
    return _Kept(samples, rows, strand[rows])


def _movements(body: Body, kept: _Kept) -> tuple[Array, NDArray[np.float32]]:
    """Positions [P, 3] at rest and displacements [P, 15, 3] per unit of every mode and control.

    The bones are at rest, so these are the head frame's. Differences over a full step: what a line
    through the whole range is, not its slope at rest.
    """

    def at(mouth: Array, controls: Array) -> Array:
        return kept.samples.positions(body.posed(articulate(mouth, controls)))[kept.rows]

    still, nothing = np.zeros(len(MOUTH_MODES)), np.zeros(len(CONTROLS))
    rest = at(still, nothing)
    moves = np.zeros((len(rest), len(MOUTH_MODES) + len(CONTROLS), 3), np.float32)
    for mode in range(len(MOUTH_MODES)):
        moves[:, mode] = at(np.eye(len(MOUTH_MODES))[mode], nothing) - rest
    for number, name in enumerate(CONTROLS):
        unit = np.eye(len(CONTROLS))[number]
        step = _STEPS.get(name)
        moved = (
            at(still, unit) - rest
            if step is None
            else (at(still, step * unit) - at(still, -step * unit)) / (2 * step)
        )
        moves[:, len(MOUTH_MODES) + number] = moved
    return rest, moves


def _scales(rest: Array, kept: _Kept) -> Array:
    """Sizes [P, 3] along tangent, across, normal: discs that just overlap, strands long and thin."""
    reach = np.empty(len(rest))
    for group in (kept.strand, ~kept.strand):
        if group.any():
            near = cKDTree(rest[group]).query(rest[group], k=4)[0][:, 1:]
            reach[group] = np.clip(near.mean(axis=1), 0.0003, 0.012)
    scales = np.stack([0.75 * reach, 0.75 * reach, 0.15 * reach], axis=1)
    labels = kept.samples.labels[kept.rows]
    hair = kept.strand & (labels == HAIR)
    scales[hair] = np.stack([2.2 * reach[hair], 0.6 * reach[hair], 0.6 * reach[hair]], axis=1)
    fine = kept.strand & ~hair
    scales[fine] = (0.0012, 0.0003, 0.0003)
    return scales


def _quats(tangents: Array, normals: Array) -> Array:
    """Unit quaternions [P, 4] wxyz that turn the axes to tangent, across, normal (each [P, 3] unit)."""
    from scipy.spatial.transform import Rotation

    tangents = tangents - normals * (tangents * normals).sum(1, keepdims=True)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True) + 1e-12
    turned = np.stack([tangents, np.cross(normals, tangents), normals], axis=2)
    xyzw = Rotation.from_matrix(turned).as_quat()
    quats: Array = xyzw[:, [3, 0, 1, 2]]
    return quats
