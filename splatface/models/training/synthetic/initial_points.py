# SPDX-License-Identifier: Apache-2.0
"""Initial points of a synthetic person: position, color, skinning weight and motion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.camera import Camera
from splatface.models.errors import ActorError
from splatface.models.rotations import quats_from_matrices
from splatface.models.training.dataset.types import EYES, FACE, HAIR, LABELS, LIPS, MOUTH, NECK, TORSO, Points
from splatface.models.training.synthetic.blendshape_mapping import to_arkit_blendshapes
from splatface.models.training.synthetic.body import Body
from splatface.models.training.synthetic.body_parts import Part, PosedBody, vertex_normals
from splatface.models.training.synthetic.preview.mesh_raster import NOTHING, fill_triangles, to_screen
from splatface.models.training.synthetic.rig import BodyPose
from splatface.models.typing import AnyArray, Int64Array

__all__ = [
    "BodySurfaceSamples",
    "RenderedView",
    "make_initial_points",
    "sample_visible_colors",
    "surface_samples",
    "visible_samples",
]


@dataclass(frozen=True, eq=False)
class _PartSamples:
    """Samples of one part: weighted sums of its points."""

    points: NDArray[np.int64]  # [n, 4] numbers into the part's points, flattened
    weights: AnyArray  # [n, 4], sums to 1


@dataclass(frozen=True, eq=False)
class BodySurfaceSamples:
    """N samples of a body at rest, grouped by part in the order of `parts`."""

    parts: Mapping[str, _PartSamples]
    means: AnyArray  # [N, 3] m
    normals: AnyArray  # [N, 3] unit; for strands across the hair, out of the head
    tangents: AnyArray  # [N, 3] unit; along the hair, or any direction in the surface
    colors: AnyArray  # [N, 3] linear RGB 0..1
    labels: NDArray[np.uint8]  # [N] dataset LABELS
    skin: AnyArray  # [N] 0 torso .. 1 head
    area_m2: AnyArray  # [N] surface that a sample stands for (strands: length x width)

    def __len__(self) -> int:
        return len(self.means)

    def positions(self, posed: PosedBody) -> AnyArray:
        """Return where the samples are [N, 3] in a pose."""
        return np.concatenate(
            [
                (posed.positions[name].reshape(-1, 3)[part.points] * part.weights[..., None]).sum(1)
                for name, part in self.parts.items()
            ]
        )

    def displacement(self, body: Body, actions: Mapping[str, float]) -> AnyArray:
        """Return how far the samples move [N, 3] under facial actions, the bones at rest."""
        moved: AnyArray = self.positions(body.posed(actions)) - self.means
        return moved


def surface_samples(body: Body, counts: Mapping[str, int], rng: np.random.Generator) -> BodySurfaceSamples:
    """Spread counts[part] samples over each named part, evenly by area (strands: by length).

    Raises ActorError for a part that the body does not have.
    """
    chosen: dict[str, _PartSamples] = {}
    columns: list[tuple[AnyArray, ...]] = []
    for name, count in counts.items():
        if name not in body.parts:
            raise ActorError(f"counts: expected parts of {', '.join(body.parts)}, found '{name}'")
        part = body.parts[name]
        chosen[name], column = (_sample_mesh if part.faces is not None else _sample_strands)(part, count, rng)
        columns.append(column)
    joined = [np.concatenate(values) for values in zip(*columns, strict=True)]
    means, normals, tangents, colors, labels, skin, area = joined
    return BodySurfaceSamples(chosen, means, normals, tangents, colors, labels, skin, area)


def _sample_mesh(
    part: Part, count: int, rng: np.random.Generator
) -> tuple[_PartSamples, tuple[AnyArray, ...]]:
    assert part.faces is not None
    corners = part.positions[part.faces]
    areas = 0.5 * np.linalg.norm(
        np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]), axis=1
    )
    face = rng.choice(len(areas), count, p=areas / areas.sum())
    a, b = rng.uniform(0, 1, (2, count))
    weights = np.stack([(1 - a) * (1 - b), a * (1 - b), a * b, (1 - a) * b], 1)
    points = part.faces[face]
    normals = vertex_normals(part.positions, part.faces)[points]
    nearest = points[np.arange(count), weights.argmax(1)]
    tangents = corners[face, 1] - corners[face, 0]
    column = (
        _barycentric_sum(part.positions[points], weights),
        _unit(_barycentric_sum(normals, weights)),
        _unit(tangents),
        _barycentric_sum(part.colors[points], weights),
        part.labels[nearest],
        _barycentric_sum(part.skin[points][..., None], weights)[:, 0],
        np.full(count, areas.sum() / max(count, 1)),
    )
    return _PartSamples(points, weights), column


def _sample_strands(
    part: Part, count: int, rng: np.random.Generator
) -> tuple[_PartSamples, tuple[AnyArray, ...]]:
    steps = part.positions.shape[1]
    pieces = np.linalg.norm(np.diff(part.positions, axis=1), axis=2)
    which = rng.choice(pieces.size, count, p=pieces.ravel() / pieces.sum())
    strand, step = np.divmod(which, steps - 1)
    a = rng.uniform(0, 1, count)
    first = strand * steps + step
    points = np.stack([first, first + 1, first, first], 1)
    weights = np.stack([1 - a, a, 0 * a, 0 * a], 1)
    flat = part.positions.reshape(-1, 3)
    tangents = _unit(flat[first + 1] - flat[first])
    means = _barycentric_sum(flat[points], weights)
    outward = means - flat.mean(0)
    outward -= tangents * (outward * tangents).sum(1, keepdims=True)
    width = 2 * float(np.mean(part.radius))
    column = (
        means,
        _unit(outward),
        tangents,
        part.colors[strand],
        part.labels[strand],
        part.skin[strand],
        np.full(count, pieces.sum() * width / max(count, 1)),
    )
    return _PartSamples(points, weights), column


def _barycentric_sum(values: AnyArray, weights: AnyArray) -> AnyArray:
    mixed: AnyArray = (values * weights[..., None]).sum(1)
    return mixed


def _unit(vectors: AnyArray) -> AnyArray:
    unit: AnyArray = vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-12)
    return unit


_TOLERANCE_M = 0.004  # below the first surface
_SRGB_POWER = 1 / 2.2


@dataclass(frozen=True, slots=True, eq=False)
class RenderedView:
    """A picture [H, W, 3] uint8 of a posed body by a camera, and its labels [H, W]."""

    posed: PosedBody
    picture: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    camera: Camera


def sample_visible_colors(body: Body, shot: RenderedView, samples: BodySurfaceSamples) -> AnyArray:
    """Return RGB [N, 3] 0..1 of samples as the picture shows them.

    A sample that is not seen gets its painted color times how its label's seen samples changed.
    """
    inside, row, column, _ = _pixels(samples.positions(shot.posed), shot.camera)
    seen = visible_samples(body, shot.posed, shot.camera, samples) & inside
    seen &= shot.labels[row, column] == samples.labels
    found = shot.picture[row, column] / 255.0
    painted = np.clip(samples.colors, 1e-4, 1) ** _SRGB_POWER
    colors: AnyArray = painted.copy()
    for label in range(len(LABELS)):
        alike = samples.labels == label
        if (alike & seen).any():
            change = np.median(found[alike & seen] / painted[alike & seen], axis=0)
            colors[alike] *= change
    colors[seen] = found[seen]
    return np.clip(colors, 0, 1)


def visible_samples(
    body: Body, posed: PosedBody, camera: Camera, samples: BodySurfaceSamples
) -> NDArray[np.bool_]:
    """Return which samples [N] of a posed body the camera sees, with 4 mm of tolerance in depth."""
    inside, row, column, depth_m = _pixels(samples.positions(posed), camera)
    first_m = 1 / np.maximum(_inverse_depth(body, posed, camera), 1e-9)
    seen: NDArray[np.bool_] = inside & (depth_m < first_m[row, column] + _TOLERANCE_M)
    return seen


def _pixels(places: AnyArray, camera: Camera) -> tuple[NDArray[np.bool_], Int64Array, Int64Array, AnyArray]:
    """Return of places [N, 3]: whether in the picture, row, column and depth (m) of each."""
    screens = to_screen(places.astype(np.float32), *_view(camera))
    column, row = np.floor(screens[:, 0]).astype(np.int64), np.floor(screens[:, 1]).astype(np.int64)
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    inside &= screens[:, 2] > 0
    depth_m = 1 / np.maximum(screens[:, 2], 1e-9)
    return inside, np.clip(row, 0, camera.height - 1), np.clip(column, 0, camera.width - 1), depth_m


def _view(camera: Camera) -> tuple[AnyArray, AnyArray]:
    lens = np.array([camera.fx, camera.fy, camera.cx, camera.cy], np.float32)
    return camera.T_camera_world.astype(np.float32), lens


def _inverse_depth(body: Body, posed: PosedBody, camera: Camera) -> AnyArray:
    """Return 1/depth [H, W] of the first surface at every pixel; hair hides nothing inside it."""
    pose, lens = _view(camera)
    nearness = np.zeros((camera.height, camera.width), np.float32)
    owner = np.full(nearness.shape, NOTHING, np.int32)
    for name, part in body.parts.items():
        if part.faces is None:
            continue
        screens = to_screen(posed.positions[name].astype(np.float32), pose, lens)
        triangles = np.concatenate([part.faces[:, [0, 1, 2]], part.faces[:, [0, 2, 3]]])
        fill_triangles(screens, triangles.astype(np.int32), nearness, owner)
    return nearness


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
class _SelectedSamples:
    """Samples that became points."""

    samples: BodySurfaceSamples
    rows: Int64Array  # [P] of the samples
    strand: NDArray[np.bool_]  # [P]
    spacing_m: AnyArray  # [P] to the next point of a mesh


def make_initial_points(body: Body, shot: RenderedView, seed: int = 0) -> Points:
    """Return about 25,000 points of a body at rest that a camera may see, dense at mouth, eyes and hair.

    Args:
        body: whose.
        shot: a picture of it, best of the face at rest, from which visible points take their color.
        seed: which points.
    """
    kept = _select_samples(body, shot.camera, np.random.default_rng([seed, 0xB0]))
    rest, moves = _motion_modes(body, kept)
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
        skinning_weight=np.clip(samples.skin[rows], 0, 1).astype(np.float32),
        mouth_modes=np.ascontiguousarray(moves[:, : len(MOUTH_MODES)]),
        control_modes=np.ascontiguousarray(moves[:, len(MOUTH_MODES) :]),
    )


def _select_samples(body: Body, camera: Camera, rng: np.random.Generator) -> _SelectedSamples:
    counts = {name: count for name, count in _CANDIDATES.items() if name in body.parts}
    samples = surface_samples(body, counts, rng)
    part = np.repeat(np.array(list(counts)), list(counts.values()))
    strand = np.isin(part, _STRAND_PARTS)
    seen = np.zeros(len(samples), bool)
    for amounts, pose in _VIEWS:
        seen |= visible_samples(body, body.posed(_actions(amounts), pose), camera, samples)
    hair = part == "hair"
    # All that is left of brows and lashes is kept; of the hair a share; meshes are thinned to a spacing.
    chosen = seen & strand & (~hair | (rng.uniform(size=len(samples)) < _HAIR_SHARE))
    meshes = np.flatnonzero(seen & ~strand)
    places = _motion_signature(body, samples)[meshes]
    chosen[meshes[_poisson_disk_subset(places, _spacing(samples)[meshes], rng)]] = True
    rows = np.flatnonzero(chosen)
    return _SelectedSamples(samples, rows, strand[rows], _spacing(samples)[rows])


def _actions(amounts: Mapping[str, float]) -> dict[str, float]:
    """Return actions of some mouth modes and controls by name; "smile" is the mode."""
    mouth = np.array([amounts.get(name, 0.0) for name in MOUTH_MODES])
    controls = np.array([0.0 if name == "smile" else amounts.get(name, 0.0) for name in CONTROLS])
    return to_arkit_blendshapes(mouth, controls)


def _spacing(samples: BodySurfaceSamples) -> AnyArray:
    """Return least distance [N] to the next point, m."""
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


def _motion_signature(body: Body, samples: BodySurfaceSamples) -> AnyArray:
    """Return positions [N, 9] at rest, with shut eyes and with an open mouth, so that folds count.

    Where nothing stretches, distances are those at rest.
    """
    faces: tuple[Mapping[str, float], ...]
    faces = ({}, {"blink_left": 1.0, "blink_right": 1.0}, {"open": 1.0, "upper_lip": 0.6, "lower_lip": 0.6})
    places = [samples.positions(body.posed(_actions(amounts))) for amounts in faces]
    joined: AnyArray = np.hstack(places) / np.sqrt(len(faces))
    return joined


def _poisson_disk_subset(places: AnyArray, spacing: AnyArray, rng: np.random.Generator) -> Int64Array:
    """Return a maximal set of places [N, D], each at least its spacing from earlier ones (darts)."""
    free = np.ones(len(places), bool)
    tree = cKDTree(places)
    chosen = []
    for row in rng.permutation(len(places)).tolist():
        if free[row]:
            chosen.append(row)
            free[tree.query_ball_point(places[row], spacing[row])] = False
    return np.sort(np.array(chosen, np.int64))


def _motion_modes(body: Body, kept: _SelectedSamples) -> tuple[AnyArray, NDArray[np.float32]]:
    """Return positions [P, 3] at rest and displacements [P, 16, 3] per unit of every mode and control.

    The bones are at rest, so these are the head frame's. Differences over a full step: the chord
    over the whole range, not the derivative at rest.
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


def _scales(kept: _SelectedSamples) -> AnyArray:
    """Return sizes [P, 3] along tangent, across, normal: discs that just overlap, strands long and thin."""
    labels = kept.samples.labels[kept.rows]
    # A maximal set of spacing r covers its surface by discs of radius r.
    scales: AnyArray = kept.spacing_m[:, None] * np.array([0.95, 0.95, 0.12])
    scales[kept.strand & (labels == HAIR)] = (0.0042, 0.0011, 0.0011)
    scales[kept.strand & (labels != HAIR)] = (0.0012, 0.0003, 0.0003)
    return scales


def _quats(tangents: AnyArray, normals: AnyArray) -> AnyArray:
    """Return unit quaternions [P, 4] wxyz that rotate the axes to tangent, across, normal [P, 3]."""
    tangents = tangents - normals * (tangents * normals).sum(1, keepdims=True)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True) + 1e-12
    turned = np.stack([tangents, np.cross(normals, tangents), normals], axis=2)
    return quats_from_matrices(turned).astype(np.float32)
