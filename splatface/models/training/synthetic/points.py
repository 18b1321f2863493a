"""Where training may start: points of an actor that know their color, their bone and how they move."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.camera import Camera
from splatface.models.training.dataset.types import EYES, FACE, HAIR, LIPS, MOUTH, NECK, TORSO, Points
from splatface.models.training.synthetic.articulate import to_arkit_blendshapes
from splatface.models.training.synthetic.body import Body
from splatface.models.training.synthetic.bones import BodyPose
from splatface.models.training.synthetic.colors import RenderedView, sample_visible_colors, seen_by
from splatface.models.training.synthetic.samples import SurfaceSamples, surface_samples
from splatface.models.typing import AnyArray, Int64Array

__all__ = ["points_of"]


_CANDIDATES: Final[Mapping[str, int]] = {
    "skin": 300_000,
    "upper_teeth": 4_000,
    "lower_teeth": 4_000,
    "tongue": 1_500,
    "left_eye": 6_000,
    "right_eye": 6_000,
    "hair": 40_000,
    "brows": 700,
    "lashes": 500,
    "shirt": 40_000,
    "collar": 4_000,
}
# Least distance of two points of a label, m: a face shows more than a chest.
_SPACING_M: Final = {
    TORSO: 0.0058,
    NECK: 0.0030,
    HAIR: 0.0042,
    FACE: 0.0018,
    EYES: 0.0008,
    LIPS: 0.0009,
    MOUTH: 0.0011,
}
_SPACING_LIDS_M = 0.0010
_EYE_REACH_M = 0.018
_STEPS: Final = {"gaze_yaw": 0.2, "gaze_pitch": 0.15, "jaw_side": 1.0}  # to each side; all else is fully on
_STRAND_PARTS = ("hair", "brows", "lashes")
_HAIR_SHARE = 0.25  # of the hair's candidates that are ever seen
# What is never seen in any of these needs no points: (mouth modes and controls, pose).
_VIEWS: Final[tuple[tuple[Mapping[str, float], BodyPose], ...]] = (
    ({}, BodyPose()),
    ({"open": 1.0, "upper_lip": 0.6, "lower_lip": 0.6}, BodyPose()),
    ({"funnel": 1.0, "open": 0.3}, BodyPose()),
    ({"blink_left": 1.0, "blink_right": 1.0}, BodyPose(head_pitch_rad=-0.22)),
    ({"jaw_side": 1.0, "open": 0.6}, BodyPose()),
    ({"jaw_side": -1.0, "open": 0.6}, BodyPose()),
    ({"gaze_yaw": 0.35, "open": 0.6}, BodyPose(head_yaw_rad=-0.4, head_roll_rad=0.15)),
    ({"gaze_yaw": -0.35, "open": 0.6}, BodyPose(head_yaw_rad=0.4, head_roll_rad=-0.15)),
    ({"gaze_pitch": -0.2, "smile": 1.0}, BodyPose(head_pitch_rad=0.22)),
)


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """Samples that became points."""

    samples: SurfaceSamples
    rows: Int64Array  # [P] of the samples
    strand: NDArray[np.bool_]  # [P]
    spacing_m: AnyArray  # [P] to the next point of a mesh


def points_of(body: Body, shot: RenderedView, seed: int = 0) -> Points:
    """About 25,000 points of a body at rest that a camera may see, dense at mouth, eyes and hair.

    Args:
        body: whose.
        shot: a picture of it, best of the face at rest, from which visible points take their color.
        seed: which points.
    """
    kept = _kept_samples(body, shot.camera, np.random.default_rng([seed, 0xB0]))
    rest, moves = _movements(body, kept)
    samples, rows = kept.samples, kept.rows
    normals, tangents = samples.normals[rows], samples.tangents[rows]
    colors = sample_visible_colors(body, shot, samples)[rows]
    return Points(
        means=rest.astype(np.float32),
        normals=normals.astype(np.float32),
        colors=np.clip(colors, 0, 1).astype(np.float32),
        scales=_scales(kept).astype(np.float32),
        quats=_quats(tangents, normals),
        labels=samples.labels[rows],
        skin=np.clip(samples.skin[rows], 0, 1).astype(np.float32),
        mouth_modes=np.ascontiguousarray(moves[:, : len(MOUTH_MODES)]),
        control_modes=np.ascontiguousarray(moves[:, len(MOUTH_MODES) :]),
    )


def _kept_samples(body: Body, camera: Camera, rng: np.random.Generator) -> _Kept:
    counts = {name: count for name, count in _CANDIDATES.items() if name in body.parts}
    samples = surface_samples(body, counts, rng)
    part = np.repeat(np.array(list(counts)), list(counts.values()))
    strand = np.isin(part, _STRAND_PARTS)
    seen = np.zeros(len(samples), bool)
    for amounts, pose in _VIEWS:
        seen |= seen_by(body, body.posed(_actions(amounts), pose), camera, samples)
    hair = part == "hair"
    # All that is left of brows and lashes is kept; of the hair a share; meshes are thinned to a spacing.
    chosen = seen & strand & (~hair | (rng.uniform(size=len(samples)) < _HAIR_SHARE))
    meshes = np.flatnonzero(seen & ~strand)
    places = _places_in_motion(body, samples)[meshes]
    chosen[meshes[_spaced(places, _spacing(samples)[meshes], rng)]] = True
    rows = np.flatnonzero(chosen)
    return _Kept(samples, rows, strand[rows], _spacing(samples)[rows])


def _actions(amounts: Mapping[str, float]) -> dict[str, float]:
    """Actions of some mouth modes and controls by name; "smile" is the mode."""
    mouth = np.array([amounts.get(name, 0.0) for name in MOUTH_MODES])
    controls = np.array([0.0 if name == "smile" else amounts.get(name, 0.0) for name in CONTROLS])
    return to_arkit_blendshapes(mouth, controls)


def _spacing(samples: SurfaceSamples) -> AnyArray:
    """Least distance [N] to the next point, m."""
    spacing = np.full(len(samples), _SPACING_M[FACE])
    for label, distance in _SPACING_M.items():
        spacing[samples.labels == label] = distance
    eyes = cKDTree(samples.means[samples.labels == EYES])
    near, _ = eyes.query(samples.means, distance_upper_bound=_EYE_REACH_M)
    # Finer and finer towards the lids.
    lids = (samples.labels == FACE) & (near < _EYE_REACH_M)
    share = near[lids] / _EYE_REACH_M
    spacing[lids] = _SPACING_LIDS_M + share * (_SPACING_M[FACE] - _SPACING_LIDS_M)
    return spacing


def _places_in_motion(body: Body, samples: SurfaceSamples) -> AnyArray:
    """Places [N, 9]: at rest, with shut eyes and with an open mouth, so that folds of skin that open count.

    Where nothing stretches, distances are those at rest.
    """
    faces: tuple[Mapping[str, float], ...]
    faces = ({}, {"blink_left": 1.0, "blink_right": 1.0}, {"open": 1.0, "upper_lip": 0.6, "lower_lip": 0.6})
    places = [samples.positions(body.posed(_actions(amounts))) for amounts in faces]
    joined: AnyArray = np.hstack(places) / np.sqrt(len(faces))
    return joined


def _spaced(places: AnyArray, spacing: AnyArray, rng: np.random.Generator) -> Int64Array:
    """A maximal set of places [N, D], none nearer to an earlier chosen one than its spacing (darts)."""
    free = np.ones(len(places), bool)
    tree = cKDTree(places)
    chosen = []
    for row in rng.permutation(len(places)).tolist():
        if free[row]:
            chosen.append(row)
            free[tree.query_ball_point(places[row], spacing[row])] = False
    return np.sort(np.array(chosen, np.int64))


def _movements(body: Body, kept: _Kept) -> tuple[AnyArray, NDArray[np.float32]]:
    """Positions [P, 3] at rest and displacements [P, 16, 3] per unit of every mode and control.

    The bones are at rest, so these are the head frame's. Differences over a full step: what a line
    through the whole range is, not its slope at rest.
    """

    def at(mouth: AnyArray, controls: AnyArray) -> AnyArray:
        return kept.samples.positions(body.posed(to_arkit_blendshapes(mouth, controls)))[kept.rows]

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


def _scales(kept: _Kept) -> AnyArray:
    """Sizes [P, 3] along tangent, across, normal: discs that just overlap, strands long and thin."""
    labels = kept.samples.labels[kept.rows]
    # A maximal set of spacing r covers its surface by discs of radius r.
    scales: AnyArray = kept.spacing_m[:, None] * np.array([0.95, 0.95, 0.12])
    scales[kept.strand & (labels == HAIR)] = (0.0042, 0.0011, 0.0011)
    scales[kept.strand & (labels != HAIR)] = (0.0012, 0.0003, 0.0003)
    return scales


def _quats(tangents: AnyArray, normals: AnyArray) -> AnyArray:
    """Unit quaternions [P, 4] wxyz that turn the axes to tangent, across, normal (each [P, 3] unit)."""
    from scipy.spatial.transform import Rotation

    tangents = tangents - normals * (tangents * normals).sum(1, keepdims=True)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True) + 1e-12
    turned = np.stack([tangents, np.cross(normals, tangents), normals], axis=2)
    xyzw = Rotation.from_matrix(turned).as_quat()
    quats: AnyArray = np.ascontiguousarray(xyzw[:, [3, 0, 1, 2]], np.float32)
    return quats
