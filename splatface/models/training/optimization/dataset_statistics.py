"""x"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from splatface.models.head.head import MotionLimits, PoseLimits
from splatface.models.messages import NS_PER_S
from splatface.models.rotations import CANONICAL_REP103, rep103_angles
from splatface.models.training.dataset.types import TEST, TRAIN, Dataset
from splatface.models.training.optimization.train_config import (
    LearningRates,
    RegularizationConfig,
    TrainConfig,
)
from splatface.models.typing import Float32Array, Float64Array, Int64Array

__all__ = [
    "AdaptedConfig",
    "adapt_config_to_dataset",
    "all_motion",
    "bone_pose_parameters",
    "fit_torso_follow_ratio",
    "known_frame_indices",
    "motion_at",
    "motion_limits_from_dataset",
    "motion_std",
    "pose_limits_from_dataset",
    "subsample_evenly",
    "subsample_interior",
    "subsample_with_stride",
]

_LEAST_SPREAD = 0.05  # of a mode or control that this person hardly uses


def known_frame_indices(dataset: Dataset, part: int) -> NDArray[np.int64]:
    """Rows of a part (TRAIN, VAL, TEST) whose motion and poses are known."""
    frames = dataset.frames
    known = frames.split == part
    for values in (frames.mouth, frames.controls, frames.T_world_head, frames.T_world_torso):
        known = known & np.isfinite(values.reshape(len(frames), -1)).all(axis=1)
    return np.flatnonzero(known)


def motion_at(dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """[n, 16] mouth modes and controls of rows."""
    frames = dataset.frames
    return np.concatenate([frames.mouth[rows], frames.controls[rows]], axis=1).astype(np.float64)


def all_motion(dataset: Dataset) -> NDArray[np.float32]:
    """[F, 16] mouth modes and controls of all rows, 0 where they are not known."""
    return np.nan_to_num(motion_at(dataset, np.arange(len(dataset.frames)))).astype(np.float32)


def motion_std(motion: Float32Array) -> Float32Array:
    """Standard deviation [16] of motion [n, 16], never small: how much each mode and control is used."""
    spread: Float32Array = np.maximum(motion.std(axis=0), _LEAST_SPREAD).astype(np.float32)
    return spread


def subsample_evenly(rows: Int64Array, count: int, *, floor: bool = False) -> Int64Array:
    """Return at most `count` of the rows, evenly spread, both ends among them.

    Args:
        rows: [n] any indices.
        count: 1 or more.
        floor: round positions down instead of to the nearest (validation frames of runs).
    """
    positions = np.linspace(0, len(rows) - 1, count)
    selected: Int64Array = rows[np.unique((positions if floor else positions.round()).astype(int))]
    return selected


def subsample_with_stride(rows: Int64Array, count: int) -> Int64Array:
    """Return at most `count` of the rows at a constant stride, the first among them."""
    stride = -(-len(rows) // count)
    return rows[::stride]


def subsample_interior(rows: Int64Array, count: int) -> Int64Array:
    """Return at most `count` of the rows, at least one, evenly spread, without the ends if possible."""
    selected = rows[np.unique(np.linspace(0, len(rows) - 1, count + 2).round().astype(int))[1:-1]]
    return selected if len(selected) else rows[:1]


_MOTION_TAIL = 0.2  # %: closures and wide vowels are rare and yet seen
_LARGEST_RAD = 1.2
_LEAST_M = 0.02  # a head on a tripod may still sway this much
_FOLLOW = (0.25, 0.5)  # the share where the head did not move enough to tell


def bone_pose_parameters(
    T_world_bone: Float64Array, pivot_m: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Angles [F, 3] (yaw, pitch, roll; REP 103) and shifts [F, 3] (REP 103, m) of a bone about a pivot.

    The inverse of `bones_of`: T = shift, after a turn about the pivot.
    """
    pivot = np.asarray(pivot_m, np.float64)
    angles = np.array([rep103_angles(T[:3, :3]) for T in T_world_bone]).reshape(-1, 3)
    shifts = [CANONICAL_REP103.T @ (T[:3, 3] - pivot + T[:3, :3] @ pivot) for T in T_world_bone]
    return angles, np.array(shifts).reshape(-1, 3)


def pose_limits_from_dataset(dataset: Dataset) -> PoseLimits:
    """The poses that the pictures trained on cover; TEST pictures do not count.

    The lowest and highest of 100 are left out where there are many: one bad frame sets no limit.
    """
    known = (dataset.frames.split != TEST) & np.isfinite(dataset.frames.T_world_head).all(axis=(1, 2))
    if not known.any():
        return PoseLimits()
    angles, shifts = bone_pose_parameters(dataset.frames.T_world_head[known], dataset.pivot_m)
    tail = 1.0 if len(angles) >= 200 else 0.0
    low, high = np.percentile(angles, (tail, 100 - tail), axis=0).clip(-_LARGEST_RAD, _LARGEST_RAD)
    pairs = [(min(float(a), 0.0), max(float(b), 0.0)) for a, b in zip(low, high, strict=True)]
    far = float(np.percentile(np.abs(shifts).max(axis=1), 100 - tail))
    return PoseLimits(
        yaw_rad=pairs[0],
        pitch_rad=pairs[1],
        roll_rad=pairs[2],
        translation_m=round(max(far, _LEAST_M), 4),
        margin_rad=0.05,
    )


def motion_limits_from_dataset(dataset: Dataset) -> MotionLimits:
    """How far mouth modes and controls go in the pictures trained on; TEST pictures do not count.

    The farthest of 500 are left out: one bad frame sets no limit.
    """
    frames = dataset.frames
    mouth, controls = (_ranges(x[frames.split != TEST]) for x in (frames.mouth, frames.controls))
    usual = MotionLimits()
    return MotionLimits(mouth or usual.mouth, controls or usual.controls)


def _ranges(values: NDArray[np.float32]) -> tuple[tuple[float, float], ...]:
    """Lowest and highest of each column [F, n], 0 between them; none where no row is known."""
    known = values[np.isfinite(values).all(axis=1)]
    if not len(known):
        return ()
    low, high = np.percentile(known, (_MOTION_TAIL, 100 - _MOTION_TAIL), axis=0)
    return tuple(
        (round(min(float(a), 0.0), 4), round(max(float(b), 0.0), 4)) for a, b in zip(low, high, strict=True)
    )


def fit_torso_follow_ratio(dataset: Dataset) -> tuple[float, float]:
    """Which share 0..1 of the head's angles and of its shift the torso takes over, by least squares.

    Means are taken out first: how the torso sits is the canonical pose's business.
    """
    track = dataset.motion
    known = np.isfinite(track.T_world_head).all(axis=(1, 2)) & np.isfinite(track.T_world_torso).all(
        axis=(1, 2)
    )
    if known.sum() < 2:
        return _FOLLOW
    head = bone_pose_parameters(track.T_world_head[known], dataset.pivot_m)
    torso = bone_pose_parameters(track.T_world_torso[known], dataset.pivot_m)
    shares = []
    for a, b, enough, otherwise in zip(head, torso, (0.01, 0.001), _FOLLOW, strict=True):
        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
        square = float((a * a).sum())
        moved = np.sqrt(square / len(a)) > enough
        shares.append(float(np.clip((a * b).sum() / square, 0.0, 1.0)) if moved else otherwise)
    return round(shares[0], 3), round(shares[1], 3)


_ROUNDS = 3  # of refinement
_SHORTEST_S, _ENOUGH_S = 5.0, 15.0  # of film trained on; between them the short-clip mode fades out
_FEW, _MANY = 100, 300  # pictures: the same by their count
_LITTLE_S, _MUCH_S = 20.0, 60.0  # of a tracked film: between them the fear of learning by heart fades
_TRACKER_ERRS = 0.25  # of the spread of mouth and controls
# What goes with the head is not seen where it hardly turns, well seen where it turns far.
_SKIN_HOLDS = (5e-3, 2e-4)
_NEVER_TURNED_DEG, _TURNED_DEG = 6.0, 20.0  # of yaw, from one side to the other


@dataclass(frozen=True, slots=True)
class AdaptedConfig:
    """A config and, in words, what about it is the data set's doing."""

    config: TrainConfig
    notes: tuple[str, ...]


def adapt_config_to_dataset(dataset: Dataset, config: TrainConfig) -> AdaptedConfig:
    """Fit a preset's config to a data set.

    Poses that were tracked in a film ("video") are refined, its motion is taken less exactly and, below a
    minute, learned more slowly; what goes with the head stays the nearer to its start the less the head
    turned. An actor's are exact. Little film (below 15 s or 300 pictures) is learned with
    fewer Gaussians that move, in fewer directions, with less freedom: see `_for_short`. A head that never
    turned keeps the depths of its start, which are those of a symmetric face, and colors that are the same
    from all sides. All of it stands in config.yaml.
    """
    notes = []
    if dataset.is_tracked:
        config = replace(config, refine=replace(config.refine, rounds=_ROUNDS))
        notes.append(f"poses come from tracking: refined {_ROUNDS} times through the renderer")
    rows = known_frame_indices(dataset, TRAIN)
    if not len(rows):
        return AdaptedConfig(config, tuple(notes))
    times = dataset.frames.time_ns[rows]
    seconds = float(times[-1] - times[0]) / NS_PER_S
    shortage = _data_scarcity(seconds, len(rows))
    errs, little = 0.0, shortage
    turned = _turned_deg(dataset, rows)
    if dataset.is_tracked:
        errs = _TRACKER_ERRS
        little = max(shortage, _share(seconds, _MUCH_S, _LITTLE_S))
        hold = _log_lerp(*_SKIN_HOLDS, _share(turned, _NEVER_TURNED_DEG, _TURNED_DEG))
        config = replace(
            config,
            rates=_slowed(config.rates, little),
            shape=replace(config.shape, skinning_anchor_rate=hold),
        )
    config = replace(config, steady=_steadied(config.steady, little, errs))
    if shortage > 0:
        config = _for_short(config, shortage)
        notes.append(
            f"short clip: {seconds:.1f} s, {len(rows)} pictures to train on: regularised at "
            f"{shortage:.0%} strength, {config.dynamic} Gaussians may move"
        )
    if shortage > 0 and turned < _NEVER_TURNED_DEG:
        config = _for_frontal_only(config)
        notes.append(f"the head turned by {turned:.1f} degrees only: depths stay those of a symmetric face")
    return AdaptedConfig(config, tuple(notes))


def _data_scarcity(seconds: float, pictures: int) -> float:
    """0 where there is enough to learn from, 1 at the least that a head can come of."""
    return round(max(_share(seconds, _ENOUGH_S, _SHORTEST_S), _share(pictures, _MANY, _FEW)), 2)


def _turned_deg(dataset: Dataset, rows: NDArray[np.int64]) -> float:
    """From one side to the other."""
    yaw = bone_pose_parameters(dataset.frames.T_world_head[rows], dataset.pivot_m)[0][:, 0]
    return float(np.degrees(np.ptp(yaw)))


def _share(value: float, first: float, last: float) -> float:
    """How far a value is on its way from `first` to `last`, 0..1."""
    return float(np.clip((value - first) / (last - first), 0.0, 1.0))


def _log_lerp(usual: float, other: float, share: float) -> float:
    """A plain number on its way to another, so that config.yaml tells all."""
    return float(f"{usual * (other / usual) ** share:.3g}")


def _slowed(rates: LearningRates, little: float) -> LearningRates:
    """Of little film, what moves is learned slowly: otherwise its pictures are learned by heart.

    Tried on 20 s of a real film: lips of unseen pictures 1.05 to 0.88 px, their mouth 31.5 to 32.0 dB.
    """
    return replace(rates, basis=_log_lerp(rates.basis, rates.basis / 10, little))


def _steadied(steady: RegularizationConfig, little: float, errs: float) -> RegularizationConfig:
    """For little film, and for motion that errs by a share of its spread.

    Tried on 20 s of a real film: mouth 30.2 to 30.6 dB, by sound 27.6 to 28.2.
    """
    return replace(
        steady,
        motion_noise_std=max(_log_lerp(steady.motion_noise_std, 1.5 * steady.motion_noise_std, little), errs),
        basis_weight_decay=_log_lerp(steady.basis_weight_decay, 4 * steady.basis_weight_decay, little),
        residual_init_scale=_log_lerp(steady.residual_init_scale, steady.residual_init_scale / 3, little),
    )


def _for_short(config: TrainConfig, shortage: float) -> TrainConfig:
    """Each value on its way to what suits 5 s."""
    refine, hold = config.refine, config.shape.depth_anchor_rate
    return replace(
        config,
        dynamic=round(_log_lerp(config.dynamic, 0.75 * config.dynamic, shortage)),
        shape=replace(config.shape, depth_anchor_rate=_log_lerp(hold, 4 * hold, shortage)),
        refine=replace(
            refine,
            rotation_sigma_deg=_log_lerp(refine.rotation_sigma_deg, refine.rotation_sigma_deg / 2, shortage),
            translation_sigma_m=_log_lerp(
                refine.translation_sigma_m, refine.translation_sigma_m / 2, shortage
            ),
        ),
    )


def _for_frontal_only(config: TrainConfig) -> TrainConfig:
    hold = max(config.shape.depth_anchor_rate, config.shape.mouth_hold)
    return replace(config, sh_degree=0, shape=replace(config.shape, depth_anchor_rate=hold))
