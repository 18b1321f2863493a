"""What the face does once it is known where the head is: mouth, brows, lids and gaze of every picture."""

from dataclasses import replace
from typing import Final

import numpy as np

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.training.tracking.blink import eye_aspect_ratio, eye_closure
from splatface.models.training.tracking.calm import SampleWeights
from splatface.models.training.tracking.face_model import FaceModel, view_terms
from splatface.models.training.tracking.face_solve import (
    Lens,
    Poses,
    deform_landmarks,
    own_sums_of,
    projected,
    updated,
)
from splatface.models.training.tracking.gaze import gaze_of
from splatface.models.training.tracking.landmarks import LIPS
from splatface.models.training.tracking.smooth import noise_of, preserve_outliers, smooth
from splatface.models.training.tracking.steady import interpolate_gaps
from splatface.models.typing import AnyArray

__all__ = ["fit_motion_coefficients", "motion_of", "unproject_landmarks"]


_RIGID = 6
_STEPS = 4
_CHUNK = 128
# Less than for poses, most of it in the lips: a mouth does less than what the tracker makes of it. Chosen by
# how well a line through the motion of most of a film foretells the lips of the rest (four films).
_TRUST: Final = 0.01
_LIPS_ERR: Final = 0.35  # share of what other landmarks err by
_CONTROLS_AT = len(MOUTH_MODES)
_JAW_SIDE = _CONTROLS_AT + CONTROLS.index("jaw_side")
_JAW_FREE: Final = 1.5  # times as far to the side as the habits of speech, which know little of it
# Third differences are noise where a face is slow; of a talking mouth about half of them is talk.
_NOISE: Final = np.where(np.isin((*MOUTH_MODES, *CONTROLS), (*MOUTH_MODES, "jaw_side")), 0.5, 1.0)


def motion_of(
    model: FaceModel, person: AnyArray, poses: Poses, found_px: AnyArray, by: tuple[Lens, SampleWeights]
) -> tuple[AnyArray, AnyArray]:
    """Mouth [F, 8] and controls [F, 8] of a person [478, 3] whose head's poses are known.

    Weights by least squares with the poses held; lids and gaze from their own landmarks, calibrated to the
    person; freed of noise, events kept. `found_px` is the landmarks [F, 478, 2].
    """
    lens, trail = by
    trust, begins = trail.weight, trail.segment_start
    motion = interpolate_gaps(fit_motion_coefficients(model, person, poses, found_px, lens), trust)
    noise = _NOISE * noise_of(motion)
    motion = preserve_outliers(motion, smooth(motion, noise, begins), noise)
    flat = unproject_landmarks(model, person, poses, found_px, lens)
    blinks = eye_closure(interpolate_gaps(eye_aspect_ratio(flat), trust), trail.fps)
    motion[:, _CONTROLS_AT : _CONTROLS_AT + 2] = blinks
    gaze = interpolate_gaps(
        gaze_of(flat, view_terms(poses.rotations, poses.translations_m), blinks.max(1)), trust
    )
    noise = noise_of(gaze)
    motion[:, _CONTROLS_AT + 2 : _CONTROLS_AT + 4] = preserve_outliers(
        gaze, smooth(gaze, noise, begins), noise
    )
    controls = motion[:, _CONTROLS_AT:]
    for name in ("brow_up", "brow_down", "smile"):
        column = CONTROLS.index(name)
        controls[:, column] = np.clip(controls[:, column], 0, 1)
    return motion[:, :_CONTROLS_AT], controls


def unproject_landmarks(
    model: FaceModel, person: AnyArray, poses: Poses, found_px: AnyArray, lens: Lens
) -> AnyArray:
    """Landmarks [F, 478, 2] as they lie in the head's frame, m, at the depth that the model says."""
    points = deform_landmarks(model, person, poses)
    px, seen = projected(points, poses, lens)
    off = np.zeros_like(seen)
    off[..., :2] = (found_px - px) * seen[..., 2:] / lens.focal_px
    # The landmark lies in the plane through the model's point that faces the person: solve for x and y there.
    across = poses.rotations[:, :2, :2]
    moved_by = np.linalg.solve(across, off[..., :2].transpose(0, 2, 1)).transpose(0, 2, 1)
    flat: AnyArray = points[..., :2] + moved_by
    return flat


def fit_motion_coefficients(
    model: FaceModel, person: AnyArray, poses: Poses, found_px: AnyArray, lens: Lens
) -> AnyArray:
    """Motion [F, 16] that explains landmarks [F, 478, 2] px of a person best, the head's poses held."""
    noise = model.noise.copy()
    noise[list(LIPS)] *= _LIPS_ERR
    habits = model.motion_covariance.copy()
    habits[_JAW_SIDE] *= _JAW_FREE
    habits[:, _JAW_SIDE] *= _JAW_FREE
    sure = replace(model, noise=noise, motion_covariance=habits)
    chunks = [slice(i, i + _CHUNK) for i in range(0, len(poses), _CHUNK)]
    return np.concatenate([_weights(sure, person, poses.rows(c), found_px[c], lens) for c in chunks])


def _weights(model: FaceModel, person: AnyArray, poses: Poses, found_px: AnyArray, lens: Lens) -> AnyArray:
    for _ in range(_STEPS):
        left, right = own_sums_of(model, person, poses, found_px, lens, trust=_TRUST)
        step = np.zeros(right.shape)
        solved = np.linalg.solve(left[:, _RIGID:, _RIGID:], right[:, _RIGID:, None])
        step[:, _RIGID:] = solved[..., 0]
        poses = updated(poses, step)
    return poses.motion
