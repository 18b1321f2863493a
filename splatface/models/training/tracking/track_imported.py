# SPDX-License-Identifier: Apache-2.0
"""Tracking of an imported data set: motion and initial points from its frames, with its own head poses."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from splatface.models.training.dataset.body_poses import FrameReader, track_torso
from splatface.models.training.dataset.findings import CORRECTED, NOTE, Finding, write_findings
from splatface.models.training.dataset.types import Dataset, MotionTrack, Points
from splatface.models.training.tracking.face_detection import detect_landmarks
from splatface.models.training.tracking.face_fit import fit_clip_with_poses, save_tracking_result
from splatface.models.training.tracking.point_cloud import sample_person_point_cloud
from splatface.models.training.tracking.video_checks import check_landmarks, raise_if_rejected
from splatface.models.typing import UInt8Array

__all__ = ["track_imported"]

_MAX_STEP_FRAMES = 1.5  # between neighboring frames; a longer one is a cut


def track_imported(
    dataset: Dataset, read_frame: FrameReader, progress: Callable[[int, int], None] | None = None
) -> tuple[Dataset, Points]:
    """Return the data set with mouth, controls, landmarks and poses in the canonical frame, and its points.

    The given head poses are used unless they contradict the landmarks. tracking.safetensors and findings.json
    are written to the data set's folder.

    Args:
        dataset: the imported tables.
        read_frame: returns a row's image [H, W, 3] RGB and labels [H, W].
        progress: called with (frames searched for the face, frames in all) after each.

    Raises:
        TrackingError: when hardly any frame shows a face, or mediapipe is missing.
        DatasetError: when a frame cannot be read, or the disk refuses.
    """
    frames = dataset.frames
    landmarks = detect_landmarks(_iter_images(len(frames), read_frame, progress), tracked=True)
    known = np.asarray(np.isfinite(landmarks).all(axis=(1, 2)))
    findings = check_landmarks(known, np.ones(len(frames), bool), dataset.fps)
    raise_if_rejected(findings)
    steps = np.diff(frames.time_ns, prepend=frames.time_ns[0]) * dataset.fps / 1e9
    fit, given_poses = fit_clip_with_poses(
        landmarks,
        dataset.camera.T_camera_world @ frames.T_world_head,
        dataset.camera,
        dataset.fps,
        segment_start=steps > _MAX_STEP_FRAMES,
    )
    findings.append(_poses_finding(given_poses))
    torso = track_torso(read_frame, fit.T_world_head, fit.camera)
    points = sample_person_point_cloud(fit, read_frame, np.arange(len(frames)))
    save_tracking_result(dataset.folder, fit)
    write_findings(dataset.folder, findings, made_from="import")
    motion = MotionTrack(
        time_ns=frames.time_ns,
        mouth=fit.mouth.astype(np.float32),
        controls=fit.controls.astype(np.float32),
        T_world_head=fit.T_world_head,
        T_world_torso=torso,
    )
    table = replace(
        frames,
        mouth=motion.mouth,
        controls=motion.controls,
        T_world_head=motion.T_world_head,
        T_world_torso=torso,
        landmarks_px=landmarks[:, :, :2].astype(np.float32),
    )
    tracked = replace(
        dataset,
        camera=fit.camera,
        pivot_m=fit.pivot_m,
        landmark_scheme="mediapipe478",
        frames=table,
        motion=motion,
    )
    return tracked, points


def _iter_images(
    count: int, read_frame: FrameReader, progress: Callable[[int, int], None] | None
) -> Iterator[UInt8Array]:
    for row in range(count):
        yield read_frame(row)[0]
        if progress:
            progress(row + 1, count)


def _poses_finding(given_poses: bool) -> Finding:
    if given_poses:
        return Finding(NOTE, "poses", "those of the imported data set fit the landmarks", "used")
    return Finding(
        CORRECTED, "poses", "those of the imported data set contradict the landmarks", "tracked anew"
    )
