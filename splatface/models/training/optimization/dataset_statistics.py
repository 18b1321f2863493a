# SPDX-License-Identifier: Apache-2.0
"""Statistics of a data set: usable frames, motion, pose limits; and a config adapted to them."""

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

_MIN_MOTION_STD = 0.05  # of a mode or control that this person hardly uses
_MOTION_TAIL_PERCENT = 0.2  # closures and wide vowels are rare and yet seen
_MAX_ANGLE_RAD = 1.2
_MIN_TRANSLATION_M = 0.02  # a head on a tripod may still sway this much
_DEFAULT_FOLLOW_RATIO = (0.25, 0.5)  # of the torso, where the head did not move enough to measure it

_REFINEMENT_ROUNDS = 3
_SHORT_CLIP_S, _FULL_CLIP_S = 5.0, 15.0  # of training video; between them the short-clip mode fades out
_FEW_FRAMES, _MANY_FRAMES = 100, 300  # the same by the number of frames
_LITTLE_VIDEO_S, _MUCH_VIDEO_S = 20.0, 60.0  # of tracked video; between them overfitting becomes unlikely
_TRACKED_MOTION_NOISE = 0.25  # of the standard deviation of mouth and controls
# The skinning of a head is not observable where it hardly turns, well observable where it turns far.
_SKINNING_ANCHOR_RATES = (5e-3, 2e-4)
_FRONTAL_YAW_DEG, _WIDE_YAW_DEG = 6.0, 20.0  # range of yaw, from one side to the other


@dataclass(frozen=True, slots=True)
class AdaptedConfig:
    """A config and, in words, what the data set changed in it."""

    config: TrainConfig
    notes: tuple[str, ...]


def adapt_config_to_dataset(dataset: Dataset, config: TrainConfig) -> AdaptedConfig:
    """Adapt a preset's config to a data set.

    Poses that were tracked in a video are refined, its motion is trusted less and, below a minute, learned
    more slowly; the skinning stays the nearer to its start the less the head turned. Poses of a synthetic
    actor are exact. Little video (below 15 s or 300 frames) is learned with fewer dynamic Gaussians and
    stronger regularization: see `_for_short_clip`. A head that never turned keeps the depths of its start,
    those of a symmetric face, and colors that do not depend on the view. All of it stands in config.yaml.
    """
    notes = []
    if dataset.is_tracked:
        config = replace(config, refine=replace(config.refine, rounds=_REFINEMENT_ROUNDS))
        notes.append(f"poses come from tracking: refined {_REFINEMENT_ROUNDS} times through the renderer")
    frame_indices = known_frame_indices(dataset, TRAIN)
    if not len(frame_indices):
        return AdaptedConfig(config, tuple(notes))
    times = dataset.frames.time_ns[frame_indices]
    seconds = float(times[-1] - times[0]) / NS_PER_S
    scarcity = _data_scarcity(seconds, len(frame_indices))
    motion_noise, overfitting_risk = 0.0, scarcity
    yaw_range_deg = _yaw_range_deg(dataset, frame_indices)
    if dataset.is_tracked:
        motion_noise = _TRACKED_MOTION_NOISE
        overfitting_risk = max(scarcity, _fraction_between(seconds, _MUCH_VIDEO_S, _LITTLE_VIDEO_S))
        anchor_rate = _log_lerp(
            *_SKINNING_ANCHOR_RATES, _fraction_between(yaw_range_deg, _FRONTAL_YAW_DEG, _WIDE_YAW_DEG)
        )
        config = replace(
            config,
            rates=_with_slower_basis(config.rates, overfitting_risk),
            constraints=replace(config.constraints, skinning_anchor_rate=anchor_rate),
        )
    config = replace(
        config, regularization=_with_less_freedom(config.regularization, overfitting_risk, motion_noise)
    )
    if scarcity > 0:
        config = _for_short_clip(config, scarcity)
        notes.append(
            f"short clip: {seconds:.1f} s, {len(frame_indices)} pictures to train on: regularised at "
            f"{scarcity:.0%} strength, {config.dynamic} Gaussians may move"
        )
    if scarcity > 0 and yaw_range_deg < _FRONTAL_YAW_DEG:
        config = _for_frontal_only(config)
        notes.append(
            f"the head turned by {yaw_range_deg:.1f} degrees only: depths stay those of a symmetric face"
        )
    return AdaptedConfig(config, tuple(notes))


def _data_scarcity(seconds: float, frame_count: int) -> float:
    """Return 0 where there is enough to learn from, 1 at the least that a head can be trained on."""
    by_time = _fraction_between(seconds, _FULL_CLIP_S, _SHORT_CLIP_S)
    return round(max(by_time, _fraction_between(frame_count, _MANY_FRAMES, _FEW_FRAMES)), 2)


def _yaw_range_deg(dataset: Dataset, frame_indices: Int64Array) -> float:
    yaw = bone_pose_parameters(dataset.frames.T_world_head[frame_indices], dataset.pivot_m)[0][:, 0]
    return float(np.degrees(np.ptp(yaw)))


def _fraction_between(value: float, first: float, last: float) -> float:
    """Return the position of a value on the way from `first` to `last`, clipped to 0..1."""
    return float(np.clip((value - first) / (last - first), 0.0, 1.0))


def _log_lerp(usual: float, other: float, fraction: float) -> float:
    """Interpolate geometrically and round to three digits, so that config.yaml stays readable."""
    return float(f"{usual * (other / usual) ** fraction:.3g}")


def _with_slower_basis(rates: LearningRates, overfitting_risk: float) -> LearningRates:
    """Learn motion slowly from little video: otherwise its frames are learned by heart.

    Measured on 20 s of a real video: lips of unseen frames 1.05 to 0.88 px, their mouth 31.5 to 32.0 dB.
    """
    return replace(rates, basis=_log_lerp(rates.basis, rates.basis / 10, overfitting_risk))


def _with_less_freedom(
    config: RegularizationConfig, overfitting_risk: float, motion_noise: float
) -> RegularizationConfig:
    """Regularize for little video, and for motion known to a fraction of its standard deviation only.

    Measured on 20 s of a real video: mouth 30.2 to 30.6 dB, from audio 27.6 to 28.2.
    """
    noise, decay, scale = config.motion_noise_std, config.basis_weight_decay, config.residual_init_scale
    return replace(
        config,
        motion_noise_std=max(_log_lerp(noise, 1.5 * noise, overfitting_risk), motion_noise),
        basis_weight_decay=_log_lerp(decay, 4 * decay, overfitting_risk),
        residual_init_scale=_log_lerp(scale, scale / 3, overfitting_risk),
    )


def _for_short_clip(config: TrainConfig, scarcity: float) -> TrainConfig:
    """Move each setting towards what suits 5 s of video."""
    refine, anchor_rate = config.refine, config.constraints.depth_anchor_rate
    rotation, translation = refine.rotation_sigma_deg, refine.translation_sigma_m
    return replace(
        config,
        dynamic=round(_log_lerp(config.dynamic, 0.75 * config.dynamic, scarcity)),
        constraints=replace(
            config.constraints, depth_anchor_rate=_log_lerp(anchor_rate, 4 * anchor_rate, scarcity)
        ),
        refine=replace(
            refine,
            rotation_sigma_deg=_log_lerp(rotation, rotation / 2, scarcity),
            translation_sigma_m=_log_lerp(translation, translation / 2, scarcity),
        ),
    )


def _for_frontal_only(config: TrainConfig) -> TrainConfig:
    anchor_rate = max(config.constraints.depth_anchor_rate, config.constraints.mouth_anchor_rate)
    return replace(
        config, sh_degree=0, constraints=replace(config.constraints, depth_anchor_rate=anchor_rate)
    )


def known_frame_indices(dataset: Dataset, part: int) -> Int64Array:
    """Return the frames of a part (TRAIN, VAL, TEST) whose motion and poses are known."""
    frames = dataset.frames
    known = frames.split == part
    for values in (frames.mouth, frames.controls, frames.T_world_head, frames.T_world_torso):
        known = known & np.isfinite(values.reshape(len(frames), -1)).all(axis=1)
    return np.flatnonzero(known)


def motion_at(dataset: Dataset, frame_indices: Int64Array) -> Float64Array:
    """Return mouth modes and controls [n, 16] of frames."""
    frames = dataset.frames
    motion = [frames.mouth[frame_indices], frames.controls[frame_indices]]
    return np.concatenate(motion, axis=1).astype(np.float64)


def all_motion(dataset: Dataset) -> Float32Array:
    """Return mouth modes and controls [F, 16] of all frames, 0 where they are not known."""
    return np.nan_to_num(motion_at(dataset, np.arange(len(dataset.frames)))).astype(np.float32)


def motion_std(motion: Float32Array) -> Float32Array:
    """Return the standard deviation [16] of motion [n, 16], with a floor for modes that are hardly used."""
    std: Float32Array = np.maximum(motion.std(axis=0), _MIN_MOTION_STD).astype(np.float32)
    return std


def subsample_evenly(indices: Int64Array, count: int, *, floor: bool = False) -> Int64Array:
    """Return at most `count` of the indices, evenly spread, both ends among them.

    Args:
        indices: [n].
        count: 1 or more.
        floor: round positions down instead of to the nearest (validation frames of runs).
    """
    positions = np.linspace(0, len(indices) - 1, count)
    selected: Int64Array = indices[np.unique((positions if floor else positions.round()).astype(int))]
    return selected


def subsample_with_stride(indices: Int64Array, count: int) -> Int64Array:
    """Return at most `count` of the indices at a constant stride, the first among them."""
    stride = -(-len(indices) // count)
    return indices[::stride]


def subsample_interior(indices: Int64Array, count: int) -> Int64Array:
    """Return at most `count` of the indices, at least one, evenly spread, without the ends if possible."""
    selected = subsample_evenly(indices, count + 2)[1:-1]
    return selected if len(selected) else indices[:1]


def bone_pose_parameters(
    T_world_bone: Float64Array, pivot_m: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Return angles [F, 3] (yaw, pitch, roll) and translations [F, 3] (m) of a bone about a pivot, REP 103.

    The inverse of `bone_poses`: T is a translation after a rotation about the pivot.
    """
    pivot = np.asarray(pivot_m, np.float64)
    angles = np.array([rep103_angles(T[:3, :3]) for T in T_world_bone]).reshape(-1, 3)
    translations = [CANONICAL_REP103.T @ (T[:3, 3] - pivot + T[:3, :3] @ pivot) for T in T_world_bone]
    return angles, np.array(translations).reshape(-1, 3)


def pose_limits_from_dataset(dataset: Dataset) -> PoseLimits:
    """Return the poses that the training frames cover; TEST frames do not count.

    Of 200 poses or more the lowest and highest percent are left out: one bad frame sets no limit.
    """
    known = (dataset.frames.split != TEST) & np.isfinite(dataset.frames.T_world_head).all(axis=(1, 2))
    if not known.any():
        return PoseLimits()
    angles, translations = bone_pose_parameters(dataset.frames.T_world_head[known], dataset.pivot_m)
    tail = 1.0 if len(angles) >= 200 else 0.0
    low, high = np.percentile(angles, (tail, 100 - tail), axis=0).clip(-_MAX_ANGLE_RAD, _MAX_ANGLE_RAD)
    ranges = [(min(float(a), 0.0), max(float(b), 0.0)) for a, b in zip(low, high, strict=True)]
    farthest_m = float(np.percentile(np.abs(translations).max(axis=1), 100 - tail))
    return PoseLimits(
        yaw_rad=ranges[0],
        pitch_rad=ranges[1],
        roll_rad=ranges[2],
        translation_m=round(max(farthest_m, _MIN_TRANSLATION_M), 4),
        margin_rad=0.05,
    )


def motion_limits_from_dataset(dataset: Dataset) -> MotionLimits:
    """Return the ranges of mouth modes and controls in the training frames; TEST frames do not count.

    The farthest of 500 are left out: one bad frame sets no limit.
    """
    frames = dataset.frames
    mouth, controls = (_ranges(x[frames.split != TEST]) for x in (frames.mouth, frames.controls))
    default = MotionLimits()
    return MotionLimits(mouth or default.mouth, controls or default.controls)


def _ranges(values: NDArray[np.float32]) -> tuple[tuple[float, float], ...]:
    """Return lowest and highest of each column of [F, n], 0 between them; empty where no row is known."""
    known = values[np.isfinite(values).all(axis=1)]
    if not len(known):
        return ()
    low, high = np.percentile(known, (_MOTION_TAIL_PERCENT, 100 - _MOTION_TAIL_PERCENT), axis=0)
    return tuple(
        (round(min(float(a), 0.0), 4), round(max(float(b), 0.0), 4)) for a, b in zip(low, high, strict=True)
    )


def fit_torso_follow_ratio(dataset: Dataset) -> tuple[float, float]:
    """Fit the fractions 0..1 of the head's angles and of its translation that the torso follows.

    Least squares after the means are subtracted: how the torso sits belongs to the canonical pose.
    """
    track = dataset.motion
    known = np.isfinite(track.T_world_head).all(axis=(1, 2)) & np.isfinite(track.T_world_torso).all(
        axis=(1, 2)
    )
    if known.sum() < 2:
        return _DEFAULT_FOLLOW_RATIO
    head = bone_pose_parameters(track.T_world_head[known], dataset.pivot_m)
    torso = bone_pose_parameters(track.T_world_torso[known], dataset.pivot_m)
    ratios = []
    for a, b, min_rms, default in zip(head, torso, (0.01, 0.001), _DEFAULT_FOLLOW_RATIO, strict=True):
        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
        square = float((a * a).sum())
        moved = np.sqrt(square / len(a)) > min_rms
        ratios.append(float(np.clip((a * b).sum() / square, 0.0, 1.0)) if moved else default)
    return round(ratios[0], 3), round(ratios[1], 3)
