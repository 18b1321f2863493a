"""x"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sparse
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import spsolve
from scipy.spatial.transform import Rotation

from splatface.models.camera import Camera
from splatface.models.training.dataset.types import TRAIN, Dataset
from splatface.models.training.optimization.dataset_statistics import (
    subsample_evenly,
    subsample_interior,
    subsample_with_stride,
)
from splatface.models.training.optimization.gaussian_skinning import (
    LOG_SCALES,
    apply_small_twist,
    pack_bone_poses,
    skin_gaussians,
)
from splatface.models.training.optimization.image_loss import ImageTarget
from splatface.models.training.optimization.render_loss import (
    DeformedGaussians,
    Gradients,
    RenderLoss,
    TorchRenderLoss,
)
from splatface.models.training.optimization.train_config import RefineConfig
from splatface.models.typing import Float64Array, Int64Array

__all__ = [
    "DAMPING",
    "INTRINSICS_DOF",
    "POSE_DOF",
    "PoseGradient",
    "PosePriors",
    "PoseProblem",
    "PoseRefinementProblem",
    "PoseTrack",
    "apply_twist",
    "effective_residual_count",
    "gauss_newton_step",
    "jitter_px",
    "loss_and_pose_grad",
    "nearest_psd",
    "pose_curves",
    "refine_round",
    "refinement_metrics",
    "twist_between",
]

POSE_DOF = 12  # of a picture: turn (rotation vector, rad, about the world's origin), shift (m); torso, head
# Log of the change of focal lengths and camera distance together (a dolly zoom: the size in the picture
# stays, for size alone is as well the Gaussians'), and the principal point's shift in px.
INTRINSICS_DOF = 3


class PoseTrack:
    """Torso and head of every row, [2, F, 4, 4], torso first, and the lens they were seen through."""

    def __init__(self, dataset: Dataset) -> None:
        frames = dataset.frames
        self.time_s: Float64Array = frames.time_ns / 1e9
        self.tracked = np.stack([frames.T_world_torso, frames.T_world_head]).astype(np.float64)
        self.T: Float64Array = self.tracked.copy()
        self.lens: Float64Array = np.zeros(INTRINSICS_DOF)
        self.rounds: list[dict[str, float]] = []  # what each refinement found, see refine_poses.py
        self._camera = dataset.camera

    @property
    def camera(self) -> Camera:
        """The data set's camera with the refined lens."""
        return self.with_intrinsics(self.lens)

    def with_intrinsics(self, lens: Float64Array) -> Camera:
        """The data set's camera with a lens [LENS]."""
        own, zoom = self._camera, float(np.exp(lens[0]))
        cx, cy = own.cx + float(lens[1]), own.cy + float(lens[2])
        T = own.T_camera_world.copy()
        T[2, 3] *= zoom
        return replace(own, fx=own.fx * zoom, fy=own.fy * zoom, cx=cx, cy=cy, T_camera_world=T)

    def at(self, row: int) -> Float64Array:
        """Both bones in a row, refined, [2, POSE]; see `pose_rows`."""
        return pack_bone_poses(self.T[1, row], self.T[0, row])

    def changes(self, rows: NDArray[np.int64]) -> Float64Array:
        """How far refinement moved rows [n], [n, FREEDOMS]."""
        return twist_between(self.tracked[:, rows], self.T[:, rows])


def twist_between(before: Float64Array, after: Float64Array) -> Float64Array:
    """The twists [n, FREEDOMS] that turn poses [2, n, 4, 4] into others; `moved` undoes it."""
    change = after @ np.linalg.inv(before)
    turns = [Rotation.from_matrix(bone[:, :3, :3]).as_rotvec() for bone in change]
    return np.concatenate([turns[0], change[0, :, :3, 3], turns[1], change[1, :, :3, 3]], axis=1)


def apply_twist(T: Float64Array, twists: Float64Array) -> Float64Array:
    """Poses [2, n, 4, 4] after twists [n, FREEDOMS]: a turn about the world's origin, then a shift."""
    change = np.tile(np.eye(4), (2, len(twists), 1, 1))
    for bone in (0, 1):
        own = twists[:, 6 * bone : 6 * bone + 6]
        change[bone, :, :3, :3] = Rotation.from_rotvec(own[:, :3]).as_matrix()
        change[bone, :, :3, 3] = own[:, 3:]
    found: Float64Array = change @ T
    return found


DAMPING = 0.2  # Levenberg and Marquardt: share of the curvature's diagonal
_ONE_RESIDUAL_PX = 150.0  # neighboring pixels are missed alike
_LEAST = 1e-3  # eigenvalue of a curvature, share of the mean


def effective_residual_count(camera: Camera) -> float:
    """How many independent residuals a picture has."""
    return camera.width * camera.height / _ONE_RESIDUAL_PX


def nearest_psd(bend: Float64Array) -> Float64Array:
    """The nearest symmetric matrix to a measured curvature [m, m] that bends upward in all directions."""
    values, ways = np.linalg.eigh((bend + bend.T) / 2)
    values = np.maximum(values, _LEAST * max(float(values.mean()), 1e-12))
    found: Float64Array = (ways * values) @ ways.T
    return found


@dataclass(frozen=True, slots=True, eq=False)
class PosePriors:
    """Standard deviations of what is expected before any picture is looked at."""

    anchor: Float64Array  # [FREEDOMS] rad and m, between tracking and truth
    inertia: Float64Array  # [FREEDOMS] rad/s^2 and m/s^2
    lens: Float64Array  # [LENS]; 0 keeps a value


@dataclass(frozen=True, slots=True, eq=False)
class PoseProblem:
    """What is known before the step: n pictures, rising in time."""

    time_s: Float64Array  # [n]
    T: Float64Array  # [2, n, 4, 4] now
    deviation: Float64Array  # [n, FREEDOMS] now, from tracking
    lens: Float64Array  # [LENS] now
    free: NDArray[np.bool_]  # [n] pictures that may move
    losses: Float64Array  # [n]
    grads: Float64Array  # [n, FREEDOMS + LENS]
    residuals: float  # of a picture, independent ones
    damping: float = 0.2  # share of the curvature's diagonal that is added


def gauss_newton_step(
    asked: PoseProblem, curvature: Float64Array, priors: PosePriors
) -> tuple[Float64Array, Float64Array]:
    """Twists [n, FREEDOMS] (0 where not free) and the lens's change [LENS].

    `curvature` [FREEDOMS + LENS] squared, positive, is the second derivative of a picture's loss.
    """
    free = np.flatnonzero(asked.free)
    lens = np.flatnonzero(priors.lens > 0) + POSE_DOF
    sure = asked.residuals / np.maximum(asked.losses[free], 1e-6)
    damped = curvature + asked.damping * np.diag(np.diag(curvature))
    own, across, shared = damped[:POSE_DOF, :POSE_DOF], damped[:POSE_DOF, lens], damped[np.ix_(lens, lens)]
    seconds, bends = _accelerations(asked)
    kept, still = 1 / priors.anchor**2, 1 / priors.inertia**2
    among = seconds[:, free]
    poses = sparse.kron(sparse.diags(sure), own) + sparse.kron(sparse.eye(len(free)), np.diag(kept))
    poses = poses + sparse.kron(among.T @ among, np.diag(still))
    pull = sure[:, None] * asked.grads[free, :POSE_DOF] + kept * asked.deviation[free]
    pull += among.T @ (bends * still)
    if len(lens):
        held = 1 / priors.lens[lens - POSE_DOF] ** 2
        border = sparse.kron(sure[:, None], across)
        corner = sparse.csr_matrix(sure.sum() * shared + np.diag(held))
        poses = sparse.bmat([[poses, border], [border.T, corner]])
        below = sure @ asked.grads[np.ix_(free, lens)] + held * asked.lens[lens - POSE_DOF]
        found = spsolve(poses.tocsc(), -np.concatenate([pull.ravel(), below]))
    else:
        found = spsolve(poses.tocsc(), -pull.ravel())
    twists, change = np.zeros((len(asked.time_s), POSE_DOF)), np.zeros(INTRINSICS_DOF)
    twists[free] = found[: pull.size].reshape(-1, POSE_DOF)
    change[lens - POSE_DOF] = found[pull.size :]
    return twists, change


def _accelerations(asked: PoseProblem) -> tuple[sparse.csr_matrix, Float64Array]:
    """The operator [n - 2, n] that makes accelerations of twists, and those [n - 2, FREEDOMS] there are."""
    count = len(asked.time_s)
    if count < 3:
        return sparse.csr_matrix((0, count)), np.zeros((0, POSE_DOF))
    gaps = np.diff(asked.time_s)
    middle = (gaps[1:] + gaps[:-1]) / 2
    before, after = 1 / (gaps[:-1] * middle), 1 / (gaps[1:] * middle)
    operator = sparse.diags([before, -before - after, after], [0, 1, 2], shape=(count - 2, count))
    speeds = np.empty((count - 1, POSE_DOF))
    for bone in (0, 1):
        turns = Rotation.from_matrix(asked.T[bone, :, :3, :3])
        speeds[:, 6 * bone : 6 * bone + 3] = (turns[1:] * turns[:-1].inv()).as_rotvec() / gaps[:, None]
        speeds[:, 6 * bone + 3 : 6 * bone + 6] = np.diff(asked.T[bone, :, :3, 3], axis=0) / gaps[:, None]
    return sparse.csr_matrix(operator), np.diff(speeds, axis=0) / middle[:, None]


@dataclass(frozen=True, slots=True, eq=False)
class PoseGradient:
    """A picture's loss and its slopes."""

    loss: float
    grads: Float64Array  # [FREEDOMS + LENS]

    @property
    def finite(self) -> bool:
        """Whether a step may follow it."""
        return bool(np.isfinite(self.loss) and np.isfinite(self.grads).all())


def loss_and_pose_grad(
    render_loss: RenderLoss | TorchRenderLoss,
    deformed: DeformedGaussians,
    pose: Float64Array,
    target: ImageTarget,
) -> PoseGradient:
    """The loss of a picture in a pose [2, POSE], with its slopes at twist 0 and at the easel's lens.

    Mouth and eyes count as they do in training: poses fitted without them lost 1.1 dB in the mouth, whose
    motion was tracked together with the pose.
    """
    grads = render_loss.loss_and_grads(deformed, pose, target)
    twist = torch.zeros(2, 6, dtype=torch.float64, requires_grad=True)
    above = torch.from_numpy(grads.pose.astype(np.float64))
    (apply_small_twist(torch.from_numpy(pose), twist) * above).sum().backward()
    assert twist.grad is not None
    found = np.empty(POSE_DOF + INTRINSICS_DOF)
    found[:POSE_DOF] = twist.grad.numpy().ravel()
    means = skin_gaussians(
        deformed.table, deformed.rows, deformed.deltas, pose, render_loss.workers
    ).splats.means
    found[POSE_DOF:] = _intrinsics_grad(grads, means, render_loss.camera)
    # A camera farther away is a person farther away.
    farther = found[3:6] + found[9:12]
    found[POSE_DOF] += render_loss.camera.T_camera_world[2, 3] * (
        render_loss.camera.T_camera_world[2, :3] @ farther
    )
    return PoseGradient(grads.loss, found)


def _intrinsics_grad(grads: Gradients, means: NDArray[np.float32], camera: Camera) -> Float64Array:
    """A longer lens moves every center away from the principal point and makes every ellipse larger."""
    seen = means @ camera.T_camera_world[:3, :3].T + camera.T_camera_world[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        away = seen[:, :2] / seen[:, 2:] * (camera.fx, camera.fy)
    pull = grads.means2d_grad.astype(np.float64)
    apart = np.where(pull != 0, pull * away, 0.0).sum()
    grown = grads.table[:, LOG_SCALES].sum(dtype=np.float64)
    return np.array([apart + grown, *pull.sum(axis=0)])


_PROBED = 4  # pictures whose curvature is measured
_STEPS = np.array([4e-3, 4e-3, 4e-3, 1e-3, 1e-3, 4e-3] * 2 + [1e-2, 0.5, 0.5])  # of the measuring
_WATCHED = 24
_FARTHEST = np.array([0.02, 0.02, 0.02, 4e-3, 4e-3, 0.02] * 2)  # in one sweep


@dataclass(frozen=True, slots=True, eq=False)
class PoseRefinementProblem:
    """What refinement looks at; nothing in it changes but the easel's camera."""

    render_loss: RenderLoss | TorchRenderLoss
    show: Callable[[int], DeformedGaussians]  # what a row is drawn from
    target: Callable[[int], ImageTarget]
    split: NDArray[np.uint8]  # [F]
    known: Int64Array  # rows with known poses, rising


def refine_round(
    poses: PoseTrack, scene: PoseRefinementProblem, how: RefineConfig, *, validation_only: bool = False
) -> bool:
    """Move the poses of known rows, and the lens; whether the pictures are hit better than before.

    Where they are not, everything stays as it was. `held_only`: only rows not trained on move.
    """
    rows = subsample_with_stride(scene.known, how.most)
    trained = scene.split[rows] == TRAIN
    moving = ~trained if validation_only else np.ones(len(rows), np.bool_)
    if not moving.any():
        return False
    before = poses.T.copy(), poses.lens.copy()
    curvature = _curvature(poses, scene, how, rows[trained] if trained.any() else rows)
    first = best = _looks(poses, scene, rows, moving)
    kept, damping = before, DAMPING
    for sweep in range(how.iterations):
        _steps(poses, scene, how, (rows, trained, validation_only), (best, curvature, damping))
        last = sweep == how.iterations - 1
        found = _looks(poses, scene, rows, _watched(moving) if last else moving)
        if _mean(found, moving, last) < _mean(best, moving, last):
            best, kept, damping = found, (poses.T.copy(), poses.lens.copy()), max(damping / 2, DAMPING)
        else:
            # Levenberg and Marquardt: near the optimum an absolute difference bends more than measured.
            poses.T, poses.lens, damping = kept[0].copy(), kept[1].copy(), 5 * damping
            scene.render_loss.camera = poses.camera
    if not validation_only and trained.any():
        _take_back_mean(poses, rows, trained)
    _fill_in(poses, scene, rows, validation_only)
    after = _looks(poses, scene, rows, _watched(moving))
    better = _mean(after, moving, True) < _mean(first, moving, True)
    if not better:
        poses.T, poses.lens = before
        scene.render_loss.camera = poses.camera
    return better


def _watched(moving: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A few of the rows that move, evenly spread."""
    rows = np.flatnonzero(moving)
    few = np.zeros(len(moving), np.bool_)
    few[subsample_evenly(rows, _WATCHED)] = True
    return few


def _mean(looks: tuple[Float64Array, Float64Array], moving: NDArray[np.bool_], few: bool) -> float:
    return float(looks[0][_watched(moving) if few else moving].mean())


def _steps(
    poses: PoseTrack,
    scene: PoseRefinementProblem,
    how: RefineConfig,
    which: tuple[Int64Array, NDArray[np.bool_], bool],
    known: tuple[tuple[Float64Array, Float64Array], Float64Array, float],
) -> None:
    """Pictures trained on first, by themselves, then the others beside them."""
    rows, trained, held_only = which
    looks, curvature, damping = known
    if not held_only and trained.any():
        own = np.ones(int(trained.sum()), np.bool_)
        turn = _Step(rows[trained], own, looks[0][trained], looks[1][trained], damping)
        _step(poses, scene, how, turn, curvature)
    if not trained.all():
        _step(poses, scene, how, _Step(rows, ~trained, *looks, damping), curvature)


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """One step of a sweep."""

    rows: Int64Array
    free: NDArray[np.bool_]  # [n]
    losses: Float64Array  # [n]
    grads: Float64Array  # [n, FREEDOMS + LENS]
    damping: float


def _look(scene: PoseRefinementProblem, pose: Float64Array, row: int) -> PoseGradient:
    return loss_and_pose_grad(scene.render_loss, scene.show(row), pose, scene.target(row))


def _looks(
    poses: PoseTrack, scene: PoseRefinementProblem, rows: Int64Array, moving: NDArray[np.bool_]
) -> tuple[Float64Array, Float64Array]:
    """Losses [n] and slopes [n, FREEDOMS + LENS]; a picture that cannot be looked at pulls nowhere."""
    losses, grads = np.ones(len(rows)), np.zeros((len(rows), POSE_DOF + INTRINSICS_DOF))
    for i in np.flatnonzero(moving):
        found = _look(scene, poses.at(int(rows[i])), int(rows[i]))
        if found.finite:
            losses[i], grads[i] = found.loss, found.grads
    return losses, grads


def _step(
    poses: PoseTrack, scene: PoseRefinementProblem, how: RefineConfig, turn: _Step, curvature: Float64Array
) -> None:
    camera, rows = scene.render_loss.camera, turn.rows
    asked = PoseProblem(
        time_s=poses.time_s[rows],
        T=poses.T[:, rows],
        deviation=poses.changes(rows),
        lens=poses.lens,
        free=turn.free,
        losses=turn.losses,
        grads=turn.grads,
        residuals=effective_residual_count(camera),
        damping=turn.damping,
    )
    trained = bool((scene.split[rows[turn.free]] == TRAIN).all())
    twists, lens = gauss_newton_step(asked, curvature, _priors(how, trained))
    poses.T[:, rows] = apply_twist(poses.T[:, rows], np.clip(twists, -_FARTHEST, _FARTHEST))
    poses.lens = poses.lens + lens
    scene.render_loss.camera = poses.camera


def _take_back_mean(poses: PoseTrack, rows: Int64Array, trained: NDArray[np.bool_]) -> None:
    """What all pictures share is the Gaussians' business: poses must not wander away with them."""
    mean = poses.changes(rows[trained]).mean(axis=0)
    poses.T[:, rows] = apply_twist(poses.T[:, rows], np.tile(-mean, (len(rows), 1)))


def _fill_in(poses: PoseTrack, scene: PoseRefinementProblem, rows: Int64Array, held_only: bool) -> None:
    """Pictures between those looked at go along with them."""
    others = np.setdiff1d(scene.known, rows)
    others = others[scene.split[others] != TRAIN] if held_only else others
    if len(others):
        changes, at = poses.changes(rows), poses.time_s
        between = np.stack([np.interp(at[others], at[rows], change) for change in changes.T], axis=1)
        poses.T[:, others] = apply_twist(poses.tracked[:, others], between)


def _priors(how: RefineConfig, trained: bool) -> PosePriors:
    turn, shift = np.radians(how.rotation_sigma_deg), how.translation_sigma_m
    # What sways least is the torso, whose picture is plainer too.
    anchor = np.repeat([turn / 2, shift, turn, shift], 3)
    inertia = np.repeat(
        [how.angular_accel_sigma / 2, how.shift_m_s2, how.angular_accel_sigma, how.shift_m_s2], 3
    )
    lens = np.array([how.focal, how.center_px, how.center_px]) if trained else np.zeros(INTRINSICS_DOF)
    return PosePriors(anchor, inertia, lens)


def _curvature(
    poses: PoseTrack, scene: PoseRefinementProblem, how: RefineConfig, rows: Int64Array
) -> Float64Array:
    """Mean second derivative of the loss at a few rows, from differences of slopes; positive."""
    picked = subsample_interior(rows, _PROBED)
    asked = POSE_DOF + (INTRINSICS_DOF if how.focal or how.center_px else 0)
    total = np.zeros((POSE_DOF + INTRINSICS_DOF, POSE_DOF + INTRINSICS_DOF))
    for row in picked.tolist():
        for k, size in enumerate(_STEPS[:asked]):
            ends = [_nudged(poses, scene, row, k, sign * size).grads for sign in (1, -1)]
            total[k] += (ends[0] - ends[1]) / (2 * size)
    in_steps = np.outer(_STEPS, _STEPS)
    found: Float64Array = nearest_psd(total * in_steps / len(picked)) / in_steps
    return found


def _nudged(
    poses: PoseTrack, scene: PoseRefinementProblem, row: int, freedom: int, size: float
) -> PoseGradient:
    """A look at a row with one freedom a little off."""
    off = np.zeros(POSE_DOF + INTRINSICS_DOF)
    off[freedom] = size
    T = apply_twist(poses.T[:, row : row + 1], off[None, :POSE_DOF])
    scene.render_loss.camera = poses.with_intrinsics(poses.lens + off[POSE_DOF:])
    found = _look(scene, pack_bone_poses(T[1, 0], T[0, 0]), row)
    scene.render_loss.camera = poses.camera
    return found


_FACE = np.array([[x, y, 0.0] for x in (-0.05, 0.05) for y in (-0.05, 0.08)] + [[0.0, 0.02, -0.05]])  # m
_CLOSE_S = 0.11  # farther apart, a difference is movement and not jitter


def refinement_metrics(
    poses: PoseTrack,
    before: tuple[Float64Array, Camera],
    rows: Int64Array,
    psnr_db: Callable[[], float],
    step: int,
) -> dict[str, float]:
    """Plain figures of a round.

    Args:
        poses: after the round.
        before: poses [2, F, 4, 4] and camera before it.
        rows: whose poses are known.
        psnr_db: of held-out pictures with the poses as they are when it is called.
        step: of the run.

    Turns, shifts and px are of the head from where it was tracked; jitter is that of tracking and now.
    """
    now = poses.T, poses.lens
    after = psnr_db()
    change = twist_between(poses.tracked[:, rows], poses.T[:, rows])[:, 6:]
    tracked = _places(poses.tracked[1, rows], before[1])
    places = _places(poses.T[1, rows], poses.camera)
    poses.T = before[0]
    earlier = psnr_db()
    poses.T, poses.lens = now
    figures = {
        "step": float(step),
        "psnr_before_db": earlier,
        "psnr_after_db": after,
        "turned_deg": float(np.degrees(_rms(change[:, :3]))),
        "shifted_mm": float(1000 * _rms(change[:, 3:])),
        "moved_px": _rms((places - tracked).reshape(-1, 2)),
        "jitter_before_px": jitter_px(poses.time_s[rows], tracked),
        "jitter_after_px": jitter_px(poses.time_s[rows], places),
        "focal_share": float(np.exp(poses.lens[0])),
    }
    return {name: round(value, 4) for name, value in figures.items()}


def pose_curves(poses: PoseTrack, rows: Int64Array) -> dict[str, list[float]]:
    """How far the head was moved from where it was tracked, over time: °, mm and "time_s", by name."""
    change = poses.changes(rows)[:, 6:]
    series = {
        "time_s": poses.time_s[rows],
        **{f"{name}, °": np.degrees(change[:, i]) for i, name in enumerate(("pitch", "yaw", "roll"))},
        **{f"{name}, mm": 1000 * change[:, 3 + i] for i, name in enumerate(("right", "down", "away"))},
    }
    return {name: np.round(values, 4).tolist() for name, values in series.items()}


def jitter_px(time_s: Float64Array, places: Float64Array) -> float:
    """Root mean square of what three pictures in a row do not have in common, places [n, P, 2] px.

    Second differences over sqrt 6: the standard deviation of white noise, were there no movement. 0 where
    no three pictures lie close together.
    """
    if len(time_s) < 3:
        return 0.0
    close = np.maximum(np.diff(time_s)[1:], np.diff(time_s)[:-1]) < _CLOSE_S
    bends = (places[2:] - 2 * places[1:-1] + places[:-2])[close]
    return _rms(bends.reshape(-1, 2)) / np.sqrt(6) if len(bends) else 0.0


def _places(T_world_head: Float64Array, camera: Camera) -> Float64Array:
    """Where points of the face [P] stand in the picture [n, P, 2]."""
    world = np.einsum("nij,pj->npi", T_world_head[:, :3, :3], _FACE) + T_world_head[:, None, :3, 3]
    seen = world @ camera.T_camera_world[:3, :3].T + camera.T_camera_world[:3, 3]
    found: Float64Array = seen[..., :2] / seen[..., 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    return found


def _rms(vectors: Float64Array) -> float:
    """Root mean square of the lengths of vectors [n, D]."""
    return float(np.sqrt((vectors**2).sum(axis=-1).mean()))
