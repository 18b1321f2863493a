"""From a film of a person to a data set: all stages in order, each kept when it is done."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.camera import Camera
from splatface.models.errors import TrackingError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.storage import atomic_write
from splatface.models.training.dataset.body_poses import track_torso
from splatface.models.training.dataset.dataset_io import DatasetWriter, load_dataset
from splatface.models.training.dataset.file_format import YAML, sha256_of
from splatface.models.training.dataset.types import Dataset, Points
from splatface.models.training.tracking.assemble import (
    Provenance,
    Rows,
    Tracked,
    assemble,
    interpolate_poses,
    moments_of,
)
from splatface.models.training.tracking.checks import (
    Finding,
    applied_shift_ms,
    check_landmarks,
    check_plate,
    check_sound,
    raise_if_rejected,
    replaces_background,
)
from splatface.models.training.tracking.fit import Fit, fit
from splatface.models.training.tracking.fitted import write_fitted
from splatface.models.training.tracking.follow import AppearanceModel, fit_appearance, process_chunk
from splatface.models.training.tracking.masks import ColorModel
from splatface.models.training.tracking.plate import Plate
from splatface.models.training.tracking.points import sample_person_point_cloud
from splatface.models.training.tracking.prepare import Clip, analyze_video
from splatface.models.training.tracking.sound import (
    Loudness,
    Offset,
    advance_audio,
    analyze_speech,
    estimate_av_offset,
    mouth_shape_from_landmarks,
)
from splatface.models.training.tracking.stages import (
    Arrays,
    Progress,
    ProgressCallback,
    StageCache,
    digest_of,
)
from splatface.models.training.tracking.video_sound import film_sound

__all__ = ["FINDINGS", "TrackOptions", "read_findings", "track"]

FINDINGS = "findings.json"
_MAX_FINDINGS = 1 << 22  # bytes
_CHUNK_S = 10.0  # of film between two savings
# Stages and their usual share of the time.
_PLAN = {"scan": 2.0, "look": 0.8, "pictures": 4.0, "sound": 0.2, "fit": 1.5, "torso": 0.6, "points": 0.2}
_MADE_BY = "6"  # raise it when the same film gives another data set


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackOptions:
    """Who is shown, and how large the data set becomes."""

    owner: Provenance
    side_px: int = 512
    most_pictures: int = 3000  # of a longer film, pictures are chosen evenly
    work: Path | None = None  # for what is kept between stages; default: beside the data set


def track(
    video: Path,
    folder: Path,
    options: TrackOptions,
    *,
    clock: Callable[[], float],
    report: Callable[[Progress], None],
) -> Dataset:
    """Make a data set of a film; run again after being stopped, it goes on where it was.

    Args:
        video: any film that PyAV decodes, of one person from the front for 5 s or more.
        folder: for the data set; new, empty, or left unfinished by the same command.
        options: see TrackOptions.
        clock: seconds, rising.
        report: told of progress.

    What was odd, and what was done about it, stands in the folder's findings.json (`read_findings`).

    Raises:
        TrackingError: when it is no film, no head can come of it, or mediapipe or PyAV is missing.
        DatasetError: when the folder holds something else, or the disk refuses.
    """
    for name, text in asdict(options.owner).items():
        if not text.strip():
            raise TrackingError(f"{name}: expected text, found none: say who is shown and who allows what")
    key = _key(video, options)
    if (folder / YAML).is_file() and _read(folder).get("made_from") == key:
        return load_dataset(folder)
    work = options.work or folder.with_name(f"{folder.name}-work")
    stages = StageCache(work, _PLAN, clock=clock, report=report)
    clip = analyze_video(video, options.side_px, options.most_pictures, stages)
    writer = DatasetWriter(folder, options.side_px, options.side_px, key=key)
    look = _look(clip, stages)
    landmarks, kept = _pictures(clip, look, writer, stages)
    seen = np.asarray(np.isfinite(landmarks).all(axis=(1, 2)), bool)
    moments = moments_of(landmarks, clip.story, clip.film.fps)
    findings = [*clip.findings, *check_plate(look.plate, clip.moving_camera)]
    findings += check_landmarks(seen, clip.story.used, clip.film.fps)
    raise_if_rejected(findings)
    samples, heard = _sound(clip, landmarks, stages)
    rows = Rows(moments, np.flatnonzero(kept), clip.time_ns, clip.film.fps)
    tracked, points = _tracked(clip, rows, writer, stages)
    table = {"made_from": key, "findings": [asdict(finding) for finding in (*findings, *heard)]}
    atomic_write(folder / FINDINGS, (json.dumps(table, indent=1) + "\n").encode())
    return writer.finish(assemble(options.owner, rows, tracked, look.plate), samples, points)


def read_findings(folder: Path) -> list[Finding]:
    """What tracking found odd about the film of a data set; empty when it was not made from one.

    Raises TrackingError when the file is damaged.
    """
    try:
        rows = _read(folder).get("findings", [])
        return [
            Finding(
                level=str(row["level"]),
                subject=str(row["subject"]),
                found=str(row["found"]),
                done=str(row["done"]),
                spans_s=tuple((float(a), float(b)) for a, b in row["spans_s"]),
            )
            for row in rows
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise TrackingError(
            f"{folder / FINDINGS}: expected a table of findings, found {error}: track again"
        ) from error


def _read(folder: Path) -> dict[str, Any]:
    """findings.json; nothing where there is none."""
    path = folder / FINDINGS
    if not path.is_file():
        return {}
    try:
        table = json.loads(path.read_bytes()[:_MAX_FINDINGS])
    except ValueError as error:
        raise TrackingError(f"{path}: expected JSON, found {error}: track again") from error
    return table if isinstance(table, dict) else {}


def _key(video: Path, options: TrackOptions) -> str:
    """A digest of what a data set is made from."""
    if not video.is_file():
        raise TrackingError(f"{video}: expected a video file, found none: check the path")
    chosen = (asdict(options.owner), options.side_px, options.most_pictures)
    return digest_of(sha256_of(video), chosen, _MADE_BY)


def _fitted_by() -> str:
    """A digest of this room: another model or method fits anew."""
    room = Path(__file__).parent
    files = sorted(path for path in room.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return digest_of(*(sha256_of(path) for path in files))


def _look(clip: Clip, stages: StageCache) -> AppearanceModel:
    def learned(told: ProgressCallback) -> Arrays:
        colors, plate = fit_appearance(clip.film, clip.story.used, told)
        figures = np.array([plate.flat, plate.seen, plate.moving], np.float64)
        kept = {field.name: getattr(colors, field.name) for field in fields(ColorModel)}
        return {**kept, "plate": plate.picture, "figures": figures}

    arrays = stages.run("look", clip.digest, learned)
    flat, seen, moving = arrays.pop("figures").tolist()
    plate = Plate(arrays.pop("plate"), bool(flat), seen, moving)
    colors = ColorModel(**arrays)
    return AppearanceModel(colors, plate, replaces_background(plate, clip.moving_camera))


def _pictures(
    clip: Clip, look: AppearanceModel, writer: DatasetWriter, stages: StageCache
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Landmarks [F, 478, 3] and which pictures [F] became rows, chunk by chunk."""
    count, size = len(clip.time_ns), max(1, round(_CHUNK_S * clip.film.fps))
    landmarks: list[NDArray[np.float32]] = []
    kept: list[NDArray[np.bool_]] = []
    for number, first in enumerate(range(0, count, size)):
        span = range(first, min(first + size, count))
        row, name = sum(int(part.sum()) for part in kept), f"pictures{number:04d}"
        # Rows live in the data set's folder: one begun anew must be filled anew.
        made_from = digest_of(clip.digest, str(writer.folder.resolve()))
        arrays = stages.find(name, made_from)
        if arrays is None or not all(writer.has(r) for r in range(row, row + int(arrays["kept"].sum()))):
            found, rows = process_chunk(clip.film, look, span, clip.wanted, (writer, row))
            arrays = {"landmarks": found, "kept": rows}
            stages.keep(name, made_from, arrays)
        else:
            stages.mark_cached_fraction("pictures", len(span) / count)
        landmarks.append(arrays["landmarks"])
        kept.append(arrays["kept"])
        stages.tell("pictures", span.stop / count)
    return np.concatenate(landmarks), np.concatenate(kept)


def _sound(
    clip: Clip, landmarks: NDArray[np.float32], stages: StageCache
) -> tuple[NDArray[np.float32], list[Finding]]:
    """The sound at its right place, silence where there is none, and what is odd about it."""
    info = clip.film.info

    def heard(told: ProgressCallback) -> Arrays:
        samples = film_sound(clip.film.path, info)
        if samples is None:
            return {"samples": np.zeros(0, np.float32)}
        told(0.3)
        found = analyze_speech(samples)
        offset = estimate_av_offset(
            found, mouth_shape_from_landmarks(landmarks.astype(np.float64)), clip.time_ns / 1e9
        )
        figures = [*asdict(found.loudness).values(), *asdict(offset).values()]
        return {"samples": samples, "figures": np.array(figures, np.float64)}

    arrays = stages.run("sound", digest_of(clip.digest, _MADE_BY), heard)
    if not len(arrays["samples"]):
        silence = np.zeros(round(info.duration_s * SAMPLE_RATE), np.float32)
        return silence, check_sound(info, None, Offset(0.0, 0.0, 0.0, reliable=False))
    *loudness, late_ms, correlation, unmoved, sure = arrays["figures"].tolist()
    offset = Offset(late_ms, correlation, unmoved, bool(sure))
    samples = advance_audio(arrays["samples"], applied_shift_ms(offset))
    return samples, check_sound(info, Loudness(*loudness), offset)


def _fit(clip: Clip, rows: Rows, stages: StageCache) -> Fit:
    side = clip.film.side_px

    def fitted(_: ProgressCallback) -> Arrays:
        found = fit(rows.moments.landmarks, side, side, rows.fps, begins=rows.moments.begins)
        kept = {f.name: np.asarray(getattr(found, f.name)) for f in fields(Fit) if f.name != "camera"}
        lens = np.array([found.camera.fx, found.camera.fy, found.camera.cx, found.camera.cy])
        return {**kept, "lens": lens, "T_camera_world": found.camera.T_camera_world}

    arrays = dict(stages.run("fit", digest_of(clip.digest, _fitted_by()), fitted))
    fx, fy, cx, cy = arrays.pop("lens").tolist()
    camera = Camera(side, side, fx, fy, cx, cy, arrays.pop("T_camera_world").astype(np.float64))
    return Fit(camera=camera, **arrays)


def _tracked(clip: Clip, rows: Rows, writer: DatasetWriter, stages: StageCache) -> tuple[Tracked, Points]:
    """What the person did at all moments, and where training may start."""
    found = _fit(clip, rows, stages)
    at = np.searchsorted(rows.moments.numbers, rows.numbers)

    def followed(_: ProgressCallback) -> Arrays:
        return {"torso": track_torso(writer.read, found.T_world_head[at], found.camera)}

    def placed(_: ProgressCallback) -> Arrays:
        points = sample_person_point_cloud(found, writer.read, at)
        return {f.name: getattr(points, f.name) for f in fields(Points)}

    made_from = digest_of(clip.digest, _fitted_by())
    torsos = stages.run("torso", made_from, followed)["torso"]
    points = Points(**stages.run("points", made_from, placed))
    write_fitted(writer.folder, found)
    tracked = Tracked(
        camera=found.camera,
        T_world_head=found.T_world_head,
        T_world_torso=interpolate_poses(torsos, at, len(found.T_world_head)),
        mouth=found.mouth,
        controls=found.controls,
        pivot_m=found.pivot_m,
    )
    return tracked, points
