# SPDX-License-Identifier: Apache-2.0
"""Face motion with the head's pose held: mouth modes, brows, eyelids and gaze of every frame."""

from dataclasses import replace
from typing import Final

import numpy as np
from scipy.ndimage import minimum_filter1d, percentile_filter

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.training.tracking.face_detection import LIPS
from splatface.models.training.tracking.face_model import (
    IRISES,
    FaceModel,
    FacePoses,
    Intrinsics,
    apply_step,
    deform_landmarks,
    frame_normal_equations,
    project_landmarks,
    view_terms,
)
from splatface.models.training.tracking.smoothing import (
    SampleWeights,
    estimate_noise,
    interpolate_gaps,
    preserve_outliers,
    smooth,
)
from splatface.models.typing import AnyArray

__all__ = [
    "estimate_gaze",
    "eye_aspect_ratio",
    "eye_closure",
    "fit_motion",
    "fit_motion_coefficients",
    "unproject_landmarks",
]

_RIGID = 6  # unknowns of a rigid pose
_STEPS = 4
_CHUNK = 128
# Less than for poses, most of it in the lips: a mouth moves less than the detector makes of it. Chosen by how
# well a linear fit to most of a video predicts the lips in the rest (four videos).
_LANDMARK_WEIGHT: Final = 0.01
_LIP_ERROR: Final = 0.35  # relative to other landmarks
_CONTROLS_AT = len(MOUTH_MODES)
_JAW_SIDE = _CONTROLS_AT + CONTROLS.index("jaw_side")
_JAW_SIDE_STD_FACTOR: Final = 1.5  # the speech statistics underestimate sideways jaw motion
# Third differences are noise where a face is slow; of a talking mouth about half of them is speech.
_NOISE_FACTOR: Final = np.where(np.isin((*MOUTH_MODES, *CONTROLS), (*MOUTH_MODES, "jaw_side")), 0.5, 1.0)

# Left eye, then right eye.
_UPPER_LIDS: Final = ((385, 386, 387), (158, 159, 160))
_LOWER_LIDS: Final = ((380, 374, 373), (153, 145, 144))
_EYE_CORNERS: Final = ((362, 263), (33, 133))
_TYPICAL_CLOSED_RATIO = 0.18  # aspect ratio of closed eyes over that of open ones, as the detector has it
_BLINK_RATIO = 0.62  # a dip below this fraction of the open aspect ratio is a blink
_OPEN_PERCENTILE, _OPEN_WINDOW_S = 70, 6.0
_DEAD_ZONE = 0.12  # of the closure: lids are never quite still

# Measured on 560 images of 14 synthetic people with known gaze (tools/face_model): displacement of the irises
# from the center of the eye corners, m per radian of yaw and pitch (lids hide half of a vertical glance), and
# their apparent displacement when only the camera moves, m per unit of its direction's x and y.
_IRIS_PER_RAD_M = np.array([0.0145, 0.0075])
_IRIS_PER_VIEW_M = np.array([0.0072, 0.0088])
_MAX_GAZE_RAD = np.array([0.6, 0.45])
_MAX_CLOSURE_FOR_GAZE = 0.45


def fit_motion(
    model: FaceModel,
    shape_m: AnyArray,
    poses: FacePoses,
    landmarks_px: AnyArray,
    intrinsics: Intrinsics,
    samples: SampleWeights,
) -> tuple[AnyArray, AnyArray]:
    """Fit mouth [F, 8] and controls [F, 8] to landmarks [F, 478, 2] px, the poses held.

    Coefficients are those of least squares; eyelids and gaze come from their own landmarks, calibrated to the
    person. Noise is smoothed, events are kept.
    """
    weight, starts = samples.weight, samples.segment_start
    motion = interpolate_gaps(
        fit_motion_coefficients(model, shape_m, poses, landmarks_px, intrinsics), weight
    )
    noise = _NOISE_FACTOR * estimate_noise(motion)
    motion = preserve_outliers(motion, smooth(motion, noise, starts), noise)
    points_m = unproject_landmarks(model, shape_m, poses, landmarks_px, intrinsics)
    closure = eye_closure(interpolate_gaps(eye_aspect_ratio(points_m), weight), samples.fps)
    motion[:, _CONTROLS_AT : _CONTROLS_AT + 2] = closure
    views = view_terms(poses.rotations, poses.translations_m)
    gaze = interpolate_gaps(estimate_gaze(points_m, views, closure.max(1)), weight)
    noise = estimate_noise(gaze)
    gaze = preserve_outliers(gaze, smooth(gaze, noise, starts), noise)
    motion[:, _CONTROLS_AT + 2 : _CONTROLS_AT + 4] = gaze
    controls = motion[:, _CONTROLS_AT:]
    for name in ("brow_up", "brow_down", "smile"):
        column = CONTROLS.index(name)
        controls[:, column] = np.clip(controls[:, column], 0, 1)
    return motion[:, :_CONTROLS_AT], controls


def fit_motion_coefficients(
    model: FaceModel, shape_m: AnyArray, poses: FacePoses, landmarks_px: AnyArray, intrinsics: Intrinsics
) -> AnyArray:
    """Fit motion [F, 16] to landmarks [F, 478, 2] px by least squares, shape and poses held."""
    noise = model.noise.copy()
    noise[list(LIPS)] *= _LIP_ERROR
    covariance = model.motion_covariance.copy()
    covariance[_JAW_SIDE] *= _JAW_SIDE_STD_FACTOR
    covariance[:, _JAW_SIDE] *= _JAW_SIDE_STD_FACTOR
    weighted = replace(model, noise=noise, motion_covariance=covariance)
    chunks = [slice(i, i + _CHUNK) for i in range(0, len(poses), _CHUNK)]
    return np.concatenate(
        [_fit_chunk(weighted, shape_m, poses.subset(c), landmarks_px[c], intrinsics) for c in chunks]
    )


def unproject_landmarks(
    model: FaceModel, shape_m: AnyArray, poses: FacePoses, landmarks_px: AnyArray, intrinsics: Intrinsics
) -> AnyArray:
    """Compute x and y [F, 478, 2] of landmarks in the head's frame, m, at the depth of the model."""
    points = deform_landmarks(model, shape_m, poses)
    px, points_camera = project_landmarks(points, poses, intrinsics)
    residual = np.zeros_like(points_camera)
    residual[..., :2] = (landmarks_px - px) * points_camera[..., 2:] / intrinsics.focal_px
    # The landmark lies in the head's xy plane through the model's point: solve for x and y there.
    in_plane = poses.rotations[:, :2, :2]
    offset = np.linalg.solve(in_plane, residual[..., :2].transpose(0, 2, 1)).transpose(0, 2, 1)
    unprojected: AnyArray = points[..., :2] + offset
    return unprojected


def eye_aspect_ratio(points_m: AnyArray) -> AnyArray:
    """Compute the height of both eye openings over their width [F, 2], left then right.

    points_m: landmarks [F, 478, 2+] in the head's frame.
    """
    ratios = []
    for upper, lower, corners in zip(_UPPER_LIDS, _LOWER_LIDS, _EYE_CORNERS, strict=True):
        height = (points_m[:, lower, 1] - points_m[:, upper, 1]).mean(1)
        width = np.linalg.norm(points_m[:, corners[0], :2] - points_m[:, corners[1], :2], axis=1)
        ratios.append(height / np.median(width))
    return np.stack(ratios, axis=1)


def eye_closure(aspect_ratio: AnyArray, fps: float) -> AnyArray:
    """Compute the closure of each eye [F, 2], 0..1, from aspect ratios [F, 2] at `fps` frames per second.

    Open is the typical aspect ratio within six seconds; closed is the median of the person's own blinks, or
    the typical fraction of open where the clip has none.
    """
    window = max(int(_OPEN_WINDOW_S * fps) | 1, 3)
    both = []
    for side in range(2):
        ratio = aspect_ratio[:, side]
        overall = float(np.percentile(ratio, _OPEN_PERCENTILE))
        local = percentile_filter(ratio, _OPEN_PERCENTILE, window, mode="nearest")
        opened = 0.5 * overall + 0.5 * local
        closed = overall * _closed_ratio(ratio / opened, fps)
        both.append((opened - ratio) / np.maximum(opened - closed, 1e-9))
    closure = np.clip(np.stack(both, axis=1), 0, 1)
    blinks: AnyArray = np.clip((closure - _DEAD_ZONE) / (1 - _DEAD_ZONE), 0, 1)
    return blinks


def estimate_gaze(points_m: AnyArray, views: AnyArray, closure: AnyArray) -> AnyArray:
    """Estimate yaw (to the face's left) and pitch (down) [F, 2], rad; 0 is the median gaze.

    Args:
        points_m: landmarks [F, 478, 2] in the head's frame.
        views: [F, 2+] direction of the camera in the head's frame, x and y (`face_model.view_terms`).
        closure: [F] 0..1 of the more closed eye; the gaze is interpolated over closed eyes.
    """
    visible = closure < _MAX_CLOSURE_FOR_GAZE
    if not visible.any():
        return np.zeros((len(points_m), 2))
    offset = np.mean([_iris_offset_m(points_m, eye) for eye in range(2)], axis=0)
    offset = offset - _IRIS_PER_VIEW_M * views[:, :2]
    gaze = (offset - np.median(offset[visible], axis=0)) / _IRIS_PER_RAD_M
    frames = np.arange(len(gaze))
    filled = np.stack([np.interp(frames, frames[visible], gaze[visible, axis]) for axis in range(2)], axis=1)
    limited: AnyArray = np.clip(filled, -_MAX_GAZE_RAD, _MAX_GAZE_RAD)
    return limited


def _fit_chunk(
    model: FaceModel, shape_m: AnyArray, poses: FacePoses, landmarks_px: AnyArray, intrinsics: Intrinsics
) -> AnyArray:
    for _ in range(_STEPS):
        left, right = frame_normal_equations(
            model, shape_m, poses, landmarks_px, intrinsics, landmark_weight=_LANDMARK_WEIGHT
        )
        step = np.zeros(right.shape)
        solved = np.linalg.solve(left[:, _RIGID:, _RIGID:], right[:, _RIGID:, None])
        step[:, _RIGID:] = solved[..., 0]
        poses = apply_step(poses, step)
    return poses.motion


def _closed_ratio(relative: AnyArray, fps: float) -> float:
    """Estimate the aspect ratio of the closed eye over that of the open one: the median minimum of blinks."""
    floor = minimum_filter1d(relative, max(int(0.3 * fps) | 1, 3), mode="nearest")
    dips = relative[(relative <= floor) & (relative < _BLINK_RATIO)]
    if not len(dips):
        return _TYPICAL_CLOSED_RATIO
    deep = dips[dips < np.median(dips) + 0.05]
    return float(np.clip(np.median(deep), 0.05, 0.5))


def _iris_offset_m(points_m: AnyArray, eye: int) -> AnyArray:
    """Compute the offset of the iris [F, 2] from the center of its eye's corners; 0 is the right eye."""
    center = points_m[:, _EYE_CORNERS[1 - eye], :2].mean(1)
    offset: AnyArray = points_m[:, IRISES[eye], :2].mean(1) - center
    return offset
