# SPDX-License-Identifier: Apache-2.0
"""Tracking of a video: all stages from the file to a data set, each cached when it is complete."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from splatface.models.camera import Camera
from splatface.models.errors import TrackingError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.dataset.body_poses import track_torso
from splatface.models.training.dataset.dataset_io import DatasetWriter, load_dataset
from splatface.models.training.dataset.file_format import YAML, sha256_of
from splatface.models.training.dataset.findings import Finding, made_from, write_findings
from splatface.models.training.dataset.types import Dataset, FrameTable, MotionTrack, Points, split_by_time
from splatface.models.training.tracking.av_sync import (
    AudioOffset,
    Loudness,
    advance_audio,
    analyze_speech,
    applied_shift_ms,
    estimate_av_offset,
    mouth_shape_from_landmarks,
)
from splatface.models.training.tracking.extract_frames import AppearanceModel, fit_appearance, process_chunk
from splatface.models.training.tracking.face_detection import crop_window
from splatface.models.training.tracking.face_fit import ClipFit, fit_clip, save_tracking_result
from splatface.models.training.tracking.point_cloud import sample_person_point_cloud
from splatface.models.training.tracking.segmentation import BackgroundEstimate, ColorModel
from splatface.models.training.tracking.stage_cache import (
    ProgressCallback,
    StageArrays,
    StageCache,
    TrackingProgress,
    digest_of,
)
from splatface.models.training.tracking.video_analysis import (
    CroppedVideo,
    ShotSelection,
    VideoScan,
    expected_faces,
    scan_video,
    select_frames,
    select_shots,
)
from splatface.models.training.tracking.video_checks import (
    camera_moves,
    check_audio,
    check_background,
    check_landmarks,
    check_upscaling,
    check_video,
    raise_if_rejected,
    replaces_background,
)
from splatface.models.training.tracking.video_input import probe_video, read_audio, target_fps
from splatface.models.typing import BoolArray, Float32Array, Float64Array, Int64Array

__all__ = ["Provenance", "TrackOptions", "track"]

# Stages and their typical part of the time.
_PLAN = {"scan": 2.0, "appearance": 0.8, "frames": 4.0, "audio": 0.2, "fit": 1.5, "torso": 0.6, "points": 0.2}
_CHUNK_S = 10.0  # of video between two saves
_SCAN_VERSION = "2"  # raise it when the same video gives another scan
_VERSION = "6"  # raise it when the same video gives another data set
_DIGEST_KEYS = {"name": "name", "licence": "license", "consent": "consent"}
_MAX_GAP_S = 0.5  # a face lost for longer is not interpolated
_MAX_TEST_S, _TEST_FRACTION, _VAL_FRACTION = 30.0, 0.10, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Name of the person shown, license and consent."""

    name: str
    license: str
    consent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackOptions:
    """Provenance and size of the data set."""

    provenance: Provenance
    side_px: int = 512
    max_frames: int = 3000  # of a longer video, frames are chosen evenly
    cache_folder: Path | None = None  # of the stages; default: beside the data set


def track(
    video: Path,
    folder: Path,
    options: TrackOptions,
    *,
    clock: Callable[[], float],
    report: Callable[[TrackingProgress], None],
) -> Dataset:
    """Make a data set of a video; run again after an interruption, it continues.

    Findings about the video are written to the folder's findings.json (`read_findings`).

    Args:
        video: any video that PyAV decodes, of one person from the front for 5 s or more.
        folder: for the data set; new, empty, or left unfinished by the same command.
        options: see TrackOptions.
        clock: monotonic seconds.
        report: called with the progress.

    Raises:
        TrackingError: when it is no video, it is rejected, or mediapipe or PyAV is missing.
        DatasetError: when the folder holds something else, or the disk refuses.
    """
    for name, text in asdict(options.provenance).items():
        if not text.strip():
            raise TrackingError(f"{name}: expected text, found none: say who is shown and who allows what")
    key = _dataset_key(video, options)
    if (folder / YAML).is_file() and made_from(folder) == key:
        return load_dataset(folder)
    stages = StageCache(
        options.cache_folder or folder.with_name(f"{folder.name}-work"), _PLAN, clock=clock, report=report
    )
    clip = _analyze(video, options.side_px, options.max_frames, stages)
    writer = DatasetWriter(folder, options.side_px, options.side_px, key=key)
    appearance = _fit_appearance(clip, stages)
    landmarks, written = _extract_frames(clip, appearance, writer, stages)
    known = np.asarray(np.isfinite(landmarks).all(axis=(1, 2)), bool)
    moments = _moments_with_face(landmarks, clip.shots, clip.video.fps)
    findings = [*clip.findings, *check_background(appearance.background, clip.moving_camera)]
    findings += check_landmarks(known, clip.shots.used, clip.video.fps)
    raise_if_rejected(findings)
    samples, audio_findings = _audio(clip, landmarks, stages)
    frames = DatasetFrames(moments, np.flatnonzero(written), clip.time_ns, clip.video.fps)
    motion, points = _track_motion(clip, frames, writer, stages)
    write_findings(folder, [*findings, *audio_findings], key)
    dataset = _assemble(options.provenance, frames, motion, appearance.background)
    return writer.finish(dataset, samples, points)


@dataclass(frozen=True, slots=True, eq=False)
class AnalyzedVideo:
    """An analyzed video of a usable person."""

    digest: str  # of the file and of all decisions
    video: CroppedVideo
    shots: ShotSelection
    time_ns: Int64Array  # [F] video time of each frame
    selected: BoolArray  # [F] frames for the data set
    moving_camera: bool
    findings: list[Finding]


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFrames:
    """The M frames of a video at which the face is known, or lost for so short that it is interpolated."""

    index: NDArray[np.intp]  # [M] of the video's frames
    landmarks: Float64Array  # [M, 478, 3] px, NaN where lost
    segment_start: BoolArray  # [M] the video was cut before


@dataclass(frozen=True, slots=True, eq=False)
class DatasetFrames:
    """The R frames of a video that are in the data set."""

    moments: TrackedFrames
    index: NDArray[np.intp]  # [R] of the video's frames, all among the moments
    time_ns: Int64Array  # [F] of the video's frames
    fps: float

    def moment_index(self) -> NDArray[np.intp]:
        """Return the index [R] of the data set's frames in the moments."""
        return np.searchsorted(self.moments.index, self.index)


@dataclass(frozen=True, slots=True, eq=False)
class TrackedMotion:
    """Motion of the person at M moments."""

    camera: Camera
    T_world_head: Float64Array  # [M, 4, 4]
    T_world_torso: Float64Array  # [M, 4, 4]
    mouth: Float64Array  # [M, 8]
    controls: Float64Array  # [M, 8]
    pivot_m: Float64Array  # [3] neck joint, canonical frame


def _dataset_key(video: Path, options: TrackOptions) -> str:
    """Compute the digest of everything a data set is made from."""
    if not video.is_file():
        raise TrackingError(f"{video}: expected a video file, found none: check the path")
    # The spelling of data sets tracked before 0.2, so that they are recognized.
    owner = {key: getattr(options.provenance, name) for key, name in _DIGEST_KEYS.items()}
    settings = (owner, options.side_px, options.max_frames)
    return digest_of(sha256_of(video), settings, _VERSION)


def _method_digest() -> str:
    """Compute the digest of this folder: another face model or method fits anew."""
    folder = Path(__file__).parent
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return digest_of(*(sha256_of(path) for path in files))


def _analyze(path: Path, side_px: int, max_frames: int, stages: StageCache) -> AnalyzedVideo:
    """Scan a video, choose face, shots and crop window, and check it.

    Raises:
        TrackingError: when it is no video, or it is rejected.
    """
    info = probe_video(path)
    fps = target_fps(info)
    digest = digest_of(sha256_of(path), fps, _SCAN_VERSION)

    def compute(report: ProgressCallback) -> StageArrays:
        scan = scan_video(path, info, fps, report)
        return {field.name: getattr(scan, field.name) for field in fields(VideoScan)}

    scan = VideoScan(**stages.run("scan", digest, compute))
    shots = select_shots(scan, fps)
    window = crop_window(shots.boxes, info.width, info.height)
    time_ns = np.round(np.arange(len(scan.frame_difference)) * (1e9 / fps)).astype(np.int64)
    times_s = time_ns / 1e9
    findings = [*check_video(info, fps, scan, shots), *check_upscaling(window, side_px)]
    raise_if_rejected(findings)
    faces = expected_faces(shots, scan.sample_s, times_s, window, side_px)
    multiple_faces = bool(shots.other_faces.any())
    return AnalyzedVideo(
        digest=digest_of(digest, side_px, max_frames, (window.left, window.top, window.side)),
        video=CroppedVideo(path, info, fps, window, side_px, faces, multiple_faces),
        shots=shots,
        time_ns=time_ns,
        selected=select_frames(shots, scan.sample_s, scan.repeated, times_s, max_frames),
        moving_camera=camera_moves(scan, shots),
        findings=findings,
    )


def _fit_appearance(clip: AnalyzedVideo, stages: StageCache) -> AppearanceModel:
    def compute(report: ProgressCallback) -> StageArrays:
        colors, background = fit_appearance(clip.video, clip.shots.used, report)
        scalars = [background.uniform, background.visible_fraction, background.moving_fraction]
        arrays = {field.name: getattr(colors, field.name) for field in fields(ColorModel)}
        return {**arrays, "background": background.image, "scalars": np.array(scalars, np.float64)}

    arrays = stages.run("appearance", clip.digest, compute)
    uniform, visible, moving = arrays.pop("scalars").tolist()
    background = BackgroundEstimate(arrays.pop("background"), bool(uniform), visible, moving)
    colors = ColorModel(**arrays)
    return AppearanceModel(colors, background, replaces_background(background, clip.moving_camera))


def _extract_frames(
    clip: AnalyzedVideo, appearance: AppearanceModel, writer: DatasetWriter, stages: StageCache
) -> tuple[Float32Array, BoolArray]:
    """Detect landmarks [F, 478, 3], and write frames [F] to the data set, chunk by chunk."""
    count, size = len(clip.time_ns), max(1, round(_CHUNK_S * clip.video.fps))
    landmarks: list[Float32Array] = []
    written: list[BoolArray] = []
    for number, first in enumerate(range(0, count, size)):
        span = range(first, min(first + size, count))
        row, name = sum(int(part.sum()) for part in written), f"frames{number:04d}"
        # Images are in the data set's folder: another folder needs them again.
        digest = digest_of(clip.digest, str(writer.folder.resolve()))
        arrays = stages.load(name, digest)
        if arrays is None or not all(writer.has(r) for r in range(row, row + int(arrays["written"].sum()))):
            px, rows = process_chunk(clip.video, appearance, span, clip.selected, writer, row)
            arrays = {"landmarks": px, "written": rows}
            stages.save(name, digest, arrays)
        else:
            stages.mark_cached_fraction("frames", len(span) / count)
        landmarks.append(arrays["landmarks"])
        written.append(arrays["written"])
        stages.report_progress("frames", span.stop / count)
    return np.concatenate(landmarks), np.concatenate(written)


def _moments_with_face(landmarks: Float32Array, shots: ShotSelection, fps: float) -> TrackedFrames:
    """Select the moments of the shots among F frames with landmarks [F, 478, 3], NaN where lost."""
    known = np.flatnonzero(np.isfinite(landmarks).all(axis=(1, 2)) & shots.used)
    frames = np.arange(len(shots.used))
    before = known[np.clip(np.searchsorted(known, frames, side="right") - 1, 0, len(known) - 1)]
    after = known[np.clip(np.searchsorted(known, frames), 0, len(known) - 1)]
    short_gap = (after - before) / fps <= _MAX_GAP_S
    index = np.flatnonzero(shots.used & short_gap & (frames >= known[0]) & (frames <= known[-1]))
    segment_start = np.r_[True, (np.diff(np.cumsum(shots.cut)[index]) > 0) | (np.diff(index) > 1)]
    return TrackedFrames(index, landmarks[index].astype(np.float64), segment_start)


def _audio(
    clip: AnalyzedVideo, landmarks: Float32Array, stages: StageCache
) -> tuple[Float32Array, list[Finding]]:
    """Read the audio and correct its delay; silence where there is none."""
    info = clip.video.info

    def compute(report: ProgressCallback) -> StageArrays:
        samples = read_audio(clip.video.path, info)
        if samples is None:
            return {"samples": np.zeros(0, np.float32)}
        report(0.3)
        evidence = analyze_speech(samples)
        mouth = mouth_shape_from_landmarks(landmarks.astype(np.float64))
        offset = estimate_av_offset(evidence, mouth, clip.time_ns / 1e9)
        scalars = [*asdict(evidence.loudness).values(), *asdict(offset).values()]
        return {"samples": samples, "scalars": np.array(scalars, np.float64)}

    arrays = stages.run("audio", digest_of(clip.digest, _VERSION), compute)
    if not len(arrays["samples"]):
        silence = np.zeros(round(info.duration_s * SAMPLE_RATE), np.float32)
        return silence, check_audio(info, None, AudioOffset(0.0, 0.0, 0.0, reliable=False))
    *loudness, delay_ms, correlation, correlation_at_zero, reliable = arrays["scalars"].tolist()
    offset = AudioOffset(delay_ms, correlation, correlation_at_zero, bool(reliable))
    samples = advance_audio(arrays["samples"], applied_shift_ms(offset))
    return samples, check_audio(info, Loudness(*loudness), offset)


def _track_motion(
    clip: AnalyzedVideo, frames: DatasetFrames, writer: DatasetWriter, stages: StageCache
) -> tuple[TrackedMotion, Points]:
    """Track the person's motion at all moments, and sample the initial points."""
    fit = _fit(clip, frames, stages)
    index = frames.moment_index()

    def compute_torso(_: ProgressCallback) -> StageArrays:
        return {"torso": track_torso(writer.read, fit.T_world_head[index], fit.camera)}

    def compute_points(_: ProgressCallback) -> StageArrays:
        points = sample_person_point_cloud(fit, writer.read, index)
        return {f.name: getattr(points, f.name) for f in fields(Points)}

    digest = digest_of(clip.digest, _method_digest())
    torsos = stages.run("torso", digest, compute_torso)["torso"]
    points = Points(**stages.run("points", digest, compute_points))
    save_tracking_result(writer.folder, fit)
    motion = TrackedMotion(
        camera=fit.camera,
        T_world_head=fit.T_world_head,
        T_world_torso=_interpolate_poses(torsos, index, len(fit.T_world_head)),
        mouth=fit.mouth,
        controls=fit.controls,
        pivot_m=fit.pivot_m,
    )
    return motion, points


def _fit(clip: AnalyzedVideo, frames: DatasetFrames, stages: StageCache) -> ClipFit:
    side = clip.video.side_px

    def compute(_: ProgressCallback) -> StageArrays:
        moments = frames.moments
        fit = fit_clip(moments.landmarks, side, side, frames.fps, segment_start=moments.segment_start)
        arrays = {f.name: np.asarray(getattr(fit, f.name)) for f in fields(ClipFit) if f.name != "camera"}
        intrinsics = np.array([fit.camera.fx, fit.camera.fy, fit.camera.cx, fit.camera.cy])
        return {**arrays, "intrinsics": intrinsics, "T_camera_world": fit.camera.T_camera_world}

    arrays = dict(stages.run("fit", digest_of(clip.digest, _method_digest()), compute))
    fx, fy, cx, cy = arrays.pop("intrinsics").tolist()
    camera = Camera(side, side, fx, fy, cx, cy, arrays.pop("T_camera_world").astype(np.float64))
    return ClipFit(camera=camera, **arrays)


def _interpolate_poses(poses: Float64Array, index: NDArray[np.intp], count: int) -> Float64Array:
    """Interpolate poses [R, 4, 4] at an increasing index [R] to [count, 4, 4]; constant before and after."""
    rotations = Slerp(index, Rotation.from_matrix(poses[:, :3, :3]))
    frames = np.clip(np.arange(count), index[0], index[-1])
    interpolated = np.tile(np.eye(4), (count, 1, 1))
    interpolated[:, :3, :3] = rotations(frames).as_matrix()
    for axis in range(3):
        interpolated[:, axis, 3] = np.interp(frames, index, poses[:, axis, 3])
    return interpolated


def _assemble(
    provenance: Provenance, frames: DatasetFrames, tracked: TrackedMotion, background: BackgroundEstimate
) -> Dataset:
    """Assemble the data set's tables; its folder is set when it is written."""
    index = frames.moment_index()
    time_ns = frames.time_ns[frames.index]
    motion = MotionTrack(
        time_ns=frames.time_ns[frames.moments.index],
        mouth=tracked.mouth.astype(np.float32),
        controls=tracked.controls.astype(np.float32),
        T_world_head=tracked.T_world_head,
        T_world_torso=tracked.T_world_torso,
    )
    seconds = float(time_ns[-1] - time_ns[0]) / 1e9
    test = min(_TEST_FRACTION, _MAX_TEST_S / seconds)
    table = FrameTable(
        time_ns=time_ns,
        split=split_by_time(time_ns, test_fraction=test, val_fraction=min(_VAL_FRACTION, test)),
        T_world_head=motion.T_world_head[index],
        T_world_torso=motion.T_world_torso[index],
        mouth=motion.mouth[index],
        controls=motion.controls[index],
        landmarks_px=frames.moments.landmarks[index, :, :2].astype(np.float32),
    )
    mean_color = background.image.reshape(-1, 3).mean(axis=0).astype(np.float32)
    return Dataset(
        folder=Path(),
        name=provenance.name,
        source="video",
        license=provenance.license,
        consent=provenance.consent,
        camera=tracked.camera,
        fps=frames.fps,
        background=mean_color if background.uniform else background.image,
        pivot_m=tracked.pivot_m,
        landmark_scheme="mediapipe478",
        frames=table,
        motion=motion,
    )
