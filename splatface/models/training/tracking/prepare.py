"""Everything that is known of a film before its pictures are worked on."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.training.dataset.file_format import sha256_of
from splatface.models.training.tracking.checks import (
    Finding,
    camera_moves,
    check_film,
    check_upscaling,
    raise_if_rejected,
)
from splatface.models.training.tracking.choose_face import crop_window
from splatface.models.training.tracking.follow import CroppedVideo, expected_places, select_frames
from splatface.models.training.tracking.scan import Scan, scan_film
from splatface.models.training.tracking.stages import Arrays, ProgressCallback, StageCache, digest_of
from splatface.models.training.tracking.story import ShotSelection, select_shots
from splatface.models.training.tracking.video import film_rate, probe_video

__all__ = ["Clip", "analyze_video"]

_MADE_BY = "1"  # raise it when the same film gives another scan


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A film that a head can come of."""

    digest: str  # of the file and of what was decided
    film: CroppedVideo
    story: ShotSelection
    time_ns: NDArray[np.int64]  # [F] film time of each picture
    wanted: NDArray[np.bool_]  # [F] pictures that should become rows
    moving_camera: bool
    findings: list[Finding]


def analyze_video(path: Path, side_px: int, most: int, stages: StageCache) -> Clip:
    """Scan a film, choose face, shots and window, and say what is odd.

    Raises:
        TrackingError: when it is no film, or no head can come of it.
    """
    info = probe_video(path)
    fps = film_rate(info)
    digest = digest_of(sha256_of(path), fps, _MADE_BY)

    def scanned(told: ProgressCallback) -> Arrays:
        scan = scan_film(path, info, fps, told)
        return {field.name: getattr(scan, field.name) for field in fields(Scan)}

    scan = Scan(**stages.run("scan", digest, scanned))
    story = select_shots(scan, fps)
    window = crop_window(story.boxes, info.width, info.height)
    time_ns = np.round(np.arange(len(scan.frame_difference)) * (1e9 / fps)).astype(np.int64)
    times_s = time_ns / 1e9
    findings = [*check_film(info, fps, scan, story), *check_upscaling(window, side_px)]
    raise_if_rejected(findings)
    places = expected_places(story, scan.look_s, times_s, (window, side_px))
    return Clip(
        digest=digest_of(digest, side_px, most, (window.left, window.top, window.side)),
        film=CroppedVideo(path, info, fps, window, side_px, places, bool(story.others.any())),
        story=story,
        time_ns=time_ns,
        wanted=select_frames(story, scan.look_s, scan.repeated, times_s, most),
        moving_camera=camera_moves(scan, story),
        findings=findings,
    )
