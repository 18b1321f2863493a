# SPDX-License-Identifier: Apache-2.0
"""Checks of a video: what is odd, when, and what tracking does about it; unusable videos are rejected."""

from collections.abc import Sequence

import numpy as np

from splatface.models.errors import TrackingError
from splatface.models.training.dataset.findings import CORRECTED, NOTE, REJECTED, Finding, TimeSpans
from splatface.models.training.tracking.av_sync import AudioOffset, Loudness, applied_shift_ms
from splatface.models.training.tracking.face_detection import CropWindow
from splatface.models.training.tracking.segmentation import BackgroundEstimate
from splatface.models.training.tracking.video_analysis import SAMPLE_INTERVAL_S, ShotSelection, VideoScan
from splatface.models.training.tracking.video_input import VideoInfo
from splatface.models.typing import BoolArray

__all__ = [
    "MIN_DURATION_S",
    "camera_moves",
    "check_audio",
    "check_background",
    "check_landmarks",
    "check_upscaling",
    "check_video",
    "find_spans_s",
    "raise_if_rejected",
    "replaces_background",
]

MIN_DURATION_S = 5.0
_ROUNDING_S = 0.25  # a film of "5 seconds" may lack some frames
_SHORT_S, _GOOD_S, _LONG_S = 20.0, 60.0, 600.0
_MIN_FACE_PX, _GOOD_FACE_PX = 40, 160
# Of the background between two samples, fraction of the image's width; fraction of samples that move so.
_MOTION_STEP, _MOVING_SAMPLES = 0.004, 0.2
_MAX_DRIFT = 0.03
_MOVING_BACKGROUND = 0.15  # fraction of its pixels
_MIN_BACKGROUND = 0.1  # fraction of its pixels that must be visible at some time
_SILENT_DBFS, _QUIET_DBFS = -55.0, -40.0  # of the loudest second
_NO_SPEECH, _LITTLE_SPEECH = 0.04, 0.25  # fraction of the time
_MAX_SPANS = 20


def raise_if_rejected(findings: Sequence[Finding]) -> None:
    """Raise TrackingError when a finding is REJECTED; it names all of them."""
    rejected = [finding for finding in findings if finding.level == REJECTED]
    if rejected:
        raise TrackingError("; ".join(f"{f.subject}: {f.observation}: {f.action}" for f in rejected))


def find_spans_s(marked: BoolArray, step_s: float) -> TimeSpans:
    """Return begin and end of each run of marked samples [n] that are `step_s` apart."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    return tuple((round(float(a) * step_s, 2), round(float(b) * step_s, 2)) for a, b in edges.reshape(-1, 2))


def check_video(info: VideoInfo, fps: float, scan: VideoScan, shots: ShotSelection) -> list[Finding]:
    """Check the result of the first pass, before any work is done."""
    return [
        *_check_file(info, fps, scan),
        *_check_duration(float(shots.used.sum()) / fps),
        *_check_shots(fps, shots),
        *_check_face(shots),
        *_check_people(shots),
        *_check_camera(scan, shots),
        *_check_hands(shots),
    ]


def check_background(background: BackgroundEstimate, moving_camera: bool) -> list[Finding]:
    """Check the background behind the person."""
    findings = []
    if background.moving_fraction > _MOVING_BACKGROUND and not moving_camera:
        findings.append(
            Finding(
                CORRECTED,
                "background",
                f"{100 * background.moving_fraction:.0f} % of it moves",
                "its median over time replaces it in all pictures",
            )
        )
    if background.visible_fraction < _MIN_BACKGROUND:
        findings.append(
            Finding(
                NOTE,
                "background",
                f"{100 * background.visible_fraction:.0f} % of it is ever seen",
                "the rest is made up",
            )
        )
    return findings


def check_landmarks(known: BoolArray, used: BoolArray, fps: float) -> list[Finding]:
    """Check in which of the frames [F] that are used the face is known."""
    lost = used & ~known
    visible_s = float((used & known).sum()) / fps
    if visible_s < MIN_DURATION_S - 1.0:
        return [
            Finding(
                REJECTED,
                "face",
                f"seen for {visible_s:.1f} s",
                f"give a film that shows one face from the front for {MIN_DURATION_S:g} s or more",
            )
        ]
    if not lost.any():
        return []
    text = f"lost in {int(lost.sum())} of {int(used.sum())} pictures"
    return [Finding(CORRECTED, "face", text, "these pictures are left out", find_spans_s(lost, 1 / fps))]


def check_audio(info: VideoInfo, loudness: Loudness | None, offset: AudioOffset) -> list[Finding]:
    """Check whether there is speech, and whether it fits the lips."""
    action = "the head is made; its mouth is moved by the shared voice model, not set to this person"
    if loudness is None:
        text = "it cannot be decoded" if info.has_sound else "the film has none"
        return [Finding(NOTE, "sound", text, action)]
    if loudness.loudest_dbfs < _SILENT_DBFS:
        return [Finding(NOTE, "sound", f"silence ({loudness.level_dbfs:.0f} dBFS)", action)]
    if loudness.speech < _NO_SPEECH:
        return [Finding(NOTE, "sound", "music or noise, no speech", action)]
    findings = []
    if loudness.loudest_dbfs < _QUIET_DBFS:
        findings.append(Finding(NOTE, "sound", f"quiet ({loudness.level_dbfs:.0f} dBFS)", "used as it is"))
    if loudness.speech < _LITTLE_SPEECH:
        findings.append(
            Finding(NOTE, "sound", f"speech {100 * loudness.speech:.0f} % of the time", "used as it is")
        )
    return [*findings, _check_offset(offset)]


def replaces_background(background: BackgroundEstimate, moving_camera: bool) -> bool:
    """Tell whether the estimated background should replace one that moves."""
    return moving_camera or background.moving_fraction > _MOVING_BACKGROUND


def camera_moves(scan: VideoScan, shots: ShotSelection) -> bool:
    """Tell whether the background moves between samples within the shots that are used."""
    steps = scan.background_motion[shots.sampled & ~shots.shot_start]
    steps = steps[np.isfinite(steps).all(axis=1)]
    if len(steps) < 4:
        return False
    moving = np.hypot(steps[:, 0], steps[:, 1]) > _MOTION_STEP
    drift = np.ptp(np.cumsum(np.where(np.abs(steps) > _MOTION_STEP / 4, steps, 0), axis=0), axis=0).max()
    return bool(moving.mean() > _MOVING_SAMPLES or drift > _MAX_DRIFT)


def _check_offset(offset: AudioOffset) -> Finding:
    if not offset.reliable:
        return Finding(
            NOTE,
            "sound offset",
            f"no clear peak (correlation {offset.correlation:.2f})",
            "sound stays where it is; the film may be dubbed, or another person speaks",
        )
    text = f"{abs(offset.audio_delay_ms):.0f} ms {'late' if offset.audio_delay_ms > 0 else 'early'}"
    gain = f"correlation with the lips {offset.correlation_at_zero:.2f} -> {offset.correlation:.2f}"
    if applied_shift_ms(offset) == 0.0:
        return Finding(NOTE, "sound offset", f"{text}, correlation {offset.correlation:.2f}", "none needed")
    return Finding(CORRECTED, "sound offset", text, f"sound moved: {gain}")


def _check_file(info: VideoInfo, fps: float, scan: VideoScan) -> list[Finding]:
    findings = []
    read_s = len(scan.frame_difference) / fps
    expected_s = max(info.duration_s, min(info.container_duration_s, 1e6))
    if read_s < expected_s - 1.0:
        findings.append(
            Finding(
                CORRECTED,
                "file",
                f"pictures end after {read_s:.1f} s of {expected_s:.1f} s: cut off or damaged",
                "what is there is used",
                ((round(read_s, 2), round(expected_s, 2)),),
            )
        )
    if info.variable_rate:
        findings.append(
            Finding(
                CORRECTED,
                "rate",
                f"varies, {info.frame_count / max(info.duration_s, 1e-3):.1f} pictures a second on average",
                f"resampled by time to {fps:g}; moments without a picture are left out",
                find_spans_s(scan.repeated, 1 / fps)[:_MAX_SPANS],
            )
        )
    elif info.fps < 20:
        findings.append(Finding(NOTE, "rate", f"{info.fps:.1f} pictures a second", "fast lips are missed"))
    if info.hdr_transfer:
        findings.append(
            Finding(
                CORRECTED, "colors", f"high dynamic range ({info.hdr_transfer})", "brought to ordinary ones"
            )
        )
    return findings


def _check_duration(used_s: float) -> list[Finding]:
    text = f"{used_s:.1f} s of one person"
    if used_s < MIN_DURATION_S - _ROUNDING_S:
        action = f"give a film of at least {MIN_DURATION_S:g} s, best 1 to 5 minutes"
        return [Finding(REJECTED, "duration", text, action)]
    if used_s < _SHORT_S:
        return [
            Finding(NOTE, "duration", text, "short: training regularises strongly, expect a plainer head")
        ]
    if used_s < _GOOD_S:
        return [Finding(NOTE, "duration", text, "enough; 1 to 5 minutes give a better mouth")]
    if used_s > _LONG_S:
        return [Finding(NOTE, "duration", text, "pictures are chosen evenly from it")]
    return []


def _check_shots(fps: float, shots: ShotSelection) -> list[Finding]:
    if shots.shot_count < 2:
        return []
    unused = find_spans_s(~shots.used, 1 / fps)
    text = f"{shots.shot_count} shots"
    if not unused:
        return [Finding(NOTE, "cuts", text, "all show the same view and are used", ())]
    return [Finding(CORRECTED, "cuts", text, "others than the longest view are left out", unused)]


def _check_face(shots: ShotSelection) -> list[Finding]:
    height_px = shots.face_height_px
    text = f"{height_px:.0f} px from forehead to chin"
    if height_px < _MIN_FACE_PX:
        action = f"film nearer: {_MIN_FACE_PX} px are the least, {_GOOD_FACE_PX} or more are good"
        return [Finding(REJECTED, "face size", text, action)]
    if height_px < _GOOD_FACE_PX:
        return [Finding(NOTE, "face size", text, "enlarged; the head will be soft")]
    return []


def _check_people(shots: ShotSelection) -> list[Finding]:
    if not shots.other_faces.any():
        return []
    spans = find_spans_s(shots.other_faces, SAMPLE_INTERVAL_S)
    return [Finding(CORRECTED, "people", "more than one face", "the largest is followed", spans)]


def _check_camera(scan: VideoScan, shots: ShotSelection) -> list[Finding]:
    if not camera_moves(scan, shots):
        return []
    action = "the head's pose takes up the movement; a still background replaces the real one"
    return [Finding(CORRECTED, "camera", "it moves", action)]


def _check_hands(shots: ShotSelection) -> list[Finding]:
    if not shots.hands.any():
        return []
    spans = find_spans_s(shots.hands, SAMPLE_INTERVAL_S)
    return [Finding(CORRECTED, "hands", "over the face", "these pictures are left out", spans)]


def check_upscaling(window: CropWindow, side_px: int) -> list[Finding]:
    """Check whether the crop window has to be upscaled."""
    if window.side >= 0.75 * side_px:
        return []
    text = f"{window.side} px around head and shoulders"
    return [Finding(NOTE, "resolution", text, f"enlarged to {side_px} px")]
