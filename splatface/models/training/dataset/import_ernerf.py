# SPDX-License-Identifier: Apache-2.0
"""Import of data sets in the format of AD-NeRF, RAD-NeRF, ER-NeRF and GaussianTalker.

Read are transforms_train.json, transforms_val.json, gt_imgs (else ori_imgs), ori_imgs/ID.lms, parsing,
bc.jpg, au.csv, aud.wav and aud*.npy. torso_imgs are not needed: here a bone moves the torso, and no image
of it is composited behind the head.

The format has no mouth modes, gaze or initial points: a tracker adds them (`tracking.track_imported`);
without one they are NaN. The torso is aligned in the image plane (`track_torso`).
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from splatface.models.audio.audio_file import read_sound
from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.errors import AudioError, DatasetError
from splatface.models.messages import NS_PER_S
from splatface.models.training.dataset.body_poses import FrameReader, neck_joint, track_torso
from splatface.models.training.dataset.dataset_io import DatasetWriter
from splatface.models.training.dataset.ernerf_files import (
    TRANSFORMS,
    SourceFrames,
    read_action_units,
    read_feature_files,
    read_transforms,
)
from splatface.models.training.dataset.file_format import plain_path, read_regular_file, sha256_of
from splatface.models.training.dataset.types import (
    BACKGROUND,
    EYES,
    FACE,
    HAIR,
    LIPS,
    MOUTH,
    NECK,
    TEST,
    TORSO,
    TRAIN,
    VAL,
    Dataset,
    FrameTable,
    MotionTrack,
    Points,
    split_by_time,
)
from splatface.models.typing import BoolArray, Float32Array, Int64Array, UInt8Array

__all__ = ["FrameTracker", "ImportPlan", "import_ernerf", "labels_from_parsing"]

FrameTracker = Callable[[Dataset, FrameReader], tuple[Dataset, Points]]  # adds motion and initial points

_LANDMARKS = 68
_MAX_IMAGE_BYTES = 1 << 28
_VAL_FRACTION = 0.05  # of the train part's time, at its end
# ibug68: the parts of the face.
_JAW, _BROWS = slice(0, 17), slice(17, 27)
_EYES = (slice(36, 42), slice(42, 48))
_OUTER_LIPS, _INNER_LIPS = slice(48, 60), slice(60, 68)
_NOSE_BASE, _CHIN = 33, 8
_OVAL_SCALE = 1.06  # landmarks of the jaw lie a little inside its edge
_OPEN_PX = 1.5  # lips nearer than this are closed: fillPoly would still draw a line
_SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan:
    """Source, target, and what no file of the format contains."""

    source: Path  # folder with transforms_train.json
    target: Path  # new folder, or an interrupted import
    license: str  # of the images and the audio
    consent: str  # who consented, and to which use
    name: str = ""  # the source folder's name when left out
    fps: float = 25.0  # of the video whose frames are counted by img_id


def import_ernerf(
    plan: ImportPlan,
    progress: Callable[[int, int], None] | None = None,
    track: FrameTracker | None = None,
) -> Dataset:
    """Import a data set; run again after an interruption, it continues.

    Args:
        plan: what to import.
        progress: called with (frames imported, frames in all) after each.
        track: adds the motion and initial points from the imported frames, which training needs.

    Raises:
        DatasetError: when something is missing, damaged or does not fit; it names the file.
    """
    if not plan.license.strip() or not plan.consent.strip():
        raise DatasetError(
            "import: expected the license of the film and the consent of the person, found none: say both"
        )
    if not 1 <= plan.fps <= 1000:
        raise DatasetError(f"fps: expected 1..1000, found {plan.fps}: give the film's pictures per second")
    frames = read_transforms(plan.source)
    controls = read_action_units(plan.source, frames.image_ids)
    features = read_feature_files(plan.source, plan.fps)
    audio = _read_audio(plan.source)
    landmarks = np.stack([_read_landmarks(plan.source, int(image)) for image in frames.image_ids])
    width, height = frames.camera.width, frames.camera.height
    writer = DatasetWriter(plan.target, width, height, key=_import_key(plan))
    for row, image in enumerate(frames.image_ids):
        if not writer.has(row):
            writer.add(row, *_read_frame(plan.source, int(image), (width, height), landmarks[row]))
        if progress:
            progress(row + 1, len(frames.image_ids))
    dataset, points = _assemble_tables(plan, frames, controls, landmarks), None
    if track:
        dataset, points = track(dataset, writer.read)
    else:
        dataset = _with_torso(dataset, writer.read)
    return writer.finish(dataset, audio, points, features)


def _assemble_tables(
    plan: ImportPlan, frames: SourceFrames, controls: Float32Array, landmarks: Float32Array
) -> Dataset:
    """Assemble the tables from controls [F, 8] and landmarks [F, 68, 2]; the torso is at rest."""
    count = len(frames.image_ids)
    time_ns = np.round(frames.image_ids * (NS_PER_S / plan.fps)).astype(np.int64)
    mouth = np.full((count, len(MOUTH_MODES)), np.nan, np.float32)
    torso = np.tile(np.eye(4), (count, 1, 1))
    known = bool(np.isfinite(landmarks).any())
    return Dataset(
        folder=plan.target,
        name=plan.name or plan.source.resolve().name,
        source="import",
        license=plan.license,
        consent=plan.consent,
        camera=frames.camera,
        fps=plan.fps,
        background=_read_background(plan.source, (frames.camera.width, frames.camera.height)),
        pivot_m=neck_joint(frames.T_world_head),
        landmark_scheme="ibug68" if known else "none",
        frames=FrameTable(
            time_ns=time_ns,
            split=_split(time_ns, frames.in_val),
            T_world_head=frames.T_world_head,
            T_world_torso=torso,
            mouth=mouth,
            controls=controls,
            landmarks_px=landmarks if known else np.zeros((count, 0, 2), np.float32),
        ),
        motion=MotionTrack(time_ns, mouth, controls, frames.T_world_head, torso),
    )


def _with_torso(dataset: Dataset, read_frame: FrameReader) -> Dataset:
    torso = track_torso(read_frame, dataset.frames.T_world_head, dataset.camera)
    return replace(
        dataset,
        frames=replace(dataset.frames, T_world_torso=torso),
        motion=replace(dataset.motion, T_world_torso=torso),
    )


def _split(time_ns: Int64Array, in_val: BoolArray) -> UInt8Array:
    """Make the format's val part TEST (papers report it), where it is last in time as it should."""
    first = int(np.argmax(in_val)) if in_val.any() else 0
    if first < 2 or not in_val[first:].all():
        return split_by_time(time_ns)
    split = np.full(len(time_ns), TRAIN, np.uint8)
    split[in_val] = TEST
    elapsed = time_ns[:first] - time_ns[0]
    split[:first][elapsed >= (1 - _VAL_FRACTION) * elapsed[-1]] = VAL
    return split


def _read_frame(
    folder: Path, image_id: int, size: tuple[int, int], landmarks_px: Float32Array
) -> tuple[UInt8Array, UInt8Array]:
    """Read the image [H, W, 3] RGB and the labels [H, W] of a frame."""
    part = "gt_imgs" if (folder / "gt_imgs").is_dir() else "ori_imgs"
    image = _read_bgr(folder, f"{part}/{image_id}.jpg", size)
    parsing = _read_bgr(folder, f"parsing/{image_id}.png", size)
    return np.ascontiguousarray(image[..., ::-1]), labels_from_parsing(parsing, landmarks_px)


def _read_bgr(folder: Path, name: str, size: tuple[int, int]) -> UInt8Array:
    """Read an image [H, W, 3] BGR of exactly this size (width, height)."""
    content = np.frombuffer(read_regular_file(folder, name, _MAX_IMAGE_BYTES), np.uint8)
    try:
        image = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
    except cv2.error:
        image = None
    if image is None:
        raise DatasetError(f"{name}: expected a picture, found a damaged one: extract it again")
    if image.shape[1::-1] != size:
        found = f"{image.shape[1]}x{image.shape[0]}"
        raise DatasetError(
            f"{name}: expected {size[0]}x{size[1]} as {TRANSFORMS[0]} says, found {found}: "
            "use the pictures that were tracked"
        )
    return np.asarray(image, np.uint8)


def _read_landmarks(folder: Path, image_id: int) -> Float32Array:
    """Read landmarks [68, 2] px of ori_imgs/ID.lms; NaN where there is no file."""
    name = f"ori_imgs/{image_id}.lms"
    if not (folder / name).exists():
        return np.full((_LANDMARKS, 2), np.nan, np.float32)
    words = read_regular_file(folder, name, 1 << 20).split()
    try:
        values = np.array([float(word) for word in words], np.float32)
    except ValueError as error:
        raise DatasetError(f"{name}: expected numbers, found {error}: detect the landmarks again") from error
    if values.size != 2 * _LANDMARKS or not np.isfinite(values).all():
        raise DatasetError(
            f"{name}: expected {_LANDMARKS} rows of x and y, found {values.size} values: detect them again"
        )
    return values.reshape(_LANDMARKS, 2)


def _read_background(folder: Path, size: tuple[int, int]) -> Float32Array:
    """Read bc.jpg [H, W, 3], scaled to the size of the frames as in the format's trainers."""
    content = np.frombuffer(read_regular_file(folder, "bc.jpg", _MAX_IMAGE_BYTES), np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
    if image is None:
        raise DatasetError("bc.jpg: expected a picture of the background, found a damaged one: make it again")
    if image.shape[1::-1] != size:
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[..., ::-1]).astype(np.float32) / np.float32(255)


def _read_audio(folder: Path) -> Float32Array:
    if not (folder / "aud.wav").exists():
        raise DatasetError(
            "aud.wav: expected the film's sound, found none: ffmpeg -i FILM -ac 1 -ar 16000 aud.wav"
        )
    try:
        return read_sound(plain_path(folder, "aud.wav"))
    except AudioError as error:
        raise DatasetError(str(error)) from error


def _import_key(plan: ImportPlan) -> str:
    """Compute the digest that an interrupted import must have to be continued."""
    digests = [sha256_of(plain_path(plan.source, name)) for name in TRANSFORMS]
    names = [str(plan.source.resolve()), *digests, str(math.floor(plan.fps * 1000))]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def labels_from_parsing(parsing_bgr: UInt8Array, landmarks_px: Float32Array) -> UInt8Array:
    """Convert a parsing image [H, W, 3] BGR and landmarks [68, 2], which may be NaN, to labels [H, W].

    The format's parser knows three parts and draws them in pure blue (head with hair and ears), green (neck)
    and red (torso) on white: written and read as BGR, so what its code calls (255, 0, 0) is blue in the PNG.
    Eyes, lips and mouth come from the landmarks; hair is the head outside the face oval, with the ears.
    """
    blue, green, red = (parsing_bgr[..., i] > 127 for i in range(3))
    labels = np.full(parsing_bgr.shape[:2], BACKGROUND, np.uint8)
    labels[red & ~green & ~blue] = TORSO
    labels[green & ~red & ~blue] = NECK
    head = blue & ~green & ~red
    labels[head] = FACE
    if not np.isfinite(landmarks_px).all():
        return labels
    labels[head & ~_fill_polygon(labels.shape, _face_oval(landmarks_px))] = HAIR
    for eye in _EYES:
        labels[head & _fill_polygon(labels.shape, landmarks_px[eye])] = EYES
    labels[head & _fill_polygon(labels.shape, landmarks_px[_OUTER_LIPS])] = LIPS
    opening = np.linalg.norm(landmarks_px[61:64].mean(axis=0) - landmarks_px[65:68].mean(axis=0))
    if opening > _OPEN_PX:
        labels[head & _fill_polygon(labels.shape, landmarks_px[_INNER_LIPS])] = MOUTH
    return labels


def _face_oval(landmarks_px: Float32Array) -> Float32Array:
    """Compute corners [n, 2] of the face from chin to hairline, which is estimated above the brows."""
    brows = landmarks_px[_BROWS]
    up = brows.mean(axis=0) - landmarks_px[_CHIN]
    up = up / max(float(np.linalg.norm(up)), 1e-6)
    height = np.linalg.norm(brows.mean(axis=0) - landmarks_px[_NOSE_BASE])
    arch = 0.8 * height * np.sin(np.linspace(0.15, 0.85, len(brows)) * np.pi)
    hull = cv2.convexHull(np.concatenate([landmarks_px[_JAW], brows + up * arch[:, None]]).astype(np.float32))
    corners, center = hull[:, 0], hull[:, 0].mean(axis=0)
    return np.asarray(center + _OVAL_SCALE * (corners - center), np.float32)


def _fill_polygon(shape: tuple[int, ...], corners: Float32Array) -> BoolArray:
    mask = np.zeros(shape[:2], np.uint8)
    fixed = np.round((np.clip(corners, -1e4, 1e4) - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 1, shift=_SUBPIXEL_BITS)
    inside: BoolArray = mask > 0
    return inside
