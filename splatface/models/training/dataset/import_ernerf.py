"""x"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.audio_file import read_sound
from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.errors import AudioError, DatasetError
from splatface.models.messages import NS_PER_S
from splatface.models.training.dataset.body_poses import neck_joint, track_torso
from splatface.models.training.dataset.dataset_io import DatasetWriter
from splatface.models.training.dataset.ernerf_files import (
    TRANSFORMS,
    ImportedFrames,
    controls_of_action_units,
    read_foreign_features,
    read_shots,
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
    split_by_time,
)
from splatface.models.typing import Float32Array, Float64Array, UInt8Array

__all__ = ["ImportPlan", "import_transforms", "labels_of_parsing"]

LANDMARKS = 68
_MAX_PICTURE_BYTES = 1 << 28
_LAST_OF_TRAIN = 0.05  # of the train part's time: validation


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan:
    """Where from, where to, and what no file of the format says."""

    source: Path  # folder with transforms_train.json
    target: Path  # new folder, or an import that was cut short
    license: str  # of the pictures and the sound
    consent: str  # who agreed to be shown, and to what
    name: str = ""  # the source folder's name when left out
    fps: float = 25.0  # of the film whose pictures are counted by img_id


def import_transforms(plan: ImportPlan, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """Write the data set; run again after a crash it goes on where it was.

    Args:
        plan: what to import.
        progress: told (pictures done, pictures in all) after each.

    Raises:
        DatasetError: when something is missing, damaged or does not fit; it names the file.
    """
    if not plan.license.strip() or not plan.consent.strip():
        raise DatasetError(
            "import: expected the license of the film and the consent of the person, found none: say both"
        )
    if not 1 <= plan.fps <= 1000:
        raise DatasetError(f"fps: expected 1..1000, found {plan.fps}: give the film's pictures per second")
    shots = read_shots(plan.source)
    controls = controls_of_action_units(plan.source, shots.image_ids)
    heard = read_foreign_features(plan.source, plan.fps)
    audio = _sound(plan.source)
    landmarks = np.stack([_landmarks(plan.source, int(image)) for image in shots.image_ids])
    width, height = shots.camera.width, shots.camera.height
    writer = DatasetWriter(plan.target, width, height, key=_key(plan))
    for row, image in enumerate(shots.image_ids):
        if not writer.has(row):
            writer.add(row, *_picture_and_labels(plan.source, int(image), (width, height), landmarks[row]))
        if progress:
            progress(row + 1, len(shots.image_ids))
    torso = track_torso(writer.read, shots.T_world_head, shots.camera)
    return writer.finish(_dataset(plan, shots, (controls, landmarks, torso)), audio, heard=heard)


def _dataset(
    plan: ImportPlan, shots: ImportedFrames, tracks: tuple[Float32Array, Float32Array, Float64Array]
) -> Dataset:
    """`tracks`: controls [F, 7], landmarks [F, 68, 2] and T_world_torso [F, 4, 4]."""
    controls, landmarks, torso = tracks
    count = len(shots.image_ids)
    time_ns = np.round(shots.image_ids * (NS_PER_S / plan.fps)).astype(np.int64)
    mouth = np.full((count, len(MOUTH_MODES)), np.nan, np.float32)
    known = bool(np.isfinite(landmarks).any())
    return Dataset(
        folder=plan.target,
        name=plan.name or plan.source.resolve().name,
        source="import",
        license=plan.license,
        consent=plan.consent,
        camera=shots.camera,
        fps=plan.fps,
        background=_background(plan.source, (shots.camera.width, shots.camera.height)),
        pivot_m=neck_joint(shots.T_world_head),
        landmark_scheme="ibug68" if known else "none",
        frames=FrameTable(
            time_ns=time_ns,
            split=_split(time_ns, shots.tested),
            T_world_head=shots.T_world_head,
            T_world_torso=torso,
            mouth=mouth,
            controls=controls,
            landmarks_px=landmarks if known else np.zeros((count, 0, 2), np.float32),
        ),
        motion=MotionTrack(time_ns, mouth, controls, shots.T_world_head, torso),
    )


def _split(time_ns: NDArray[np.int64], tested: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The val part of the format is our TEST (their papers report it), where it lies last as it should."""
    first = int(np.argmax(tested)) if tested.any() else 0
    if first < 2 or not tested[first:].all():
        return split_by_time(time_ns)
    split = np.full(len(time_ns), TRAIN, np.uint8)
    split[tested] = TEST
    seen = time_ns[:first] - time_ns[0]
    split[:first][seen >= (1 - _LAST_OF_TRAIN) * seen[-1]] = VAL
    return split


def _picture_and_labels(
    folder: Path, image: int, size: tuple[int, int], landmarks: Float32Array
) -> tuple[UInt8Array, UInt8Array]:
    part = "gt_imgs" if (folder / "gt_imgs").is_dir() else "ori_imgs"
    picture = _decoded(folder, f"{part}/{image}.jpg", size)
    parsing = _decoded(folder, f"parsing/{image}.png", size)
    return np.ascontiguousarray(picture[..., ::-1]), labels_of_parsing(parsing, landmarks)


def _decoded(folder: Path, name: str, size: tuple[int, int]) -> UInt8Array:
    """A picture [H, W, 3] BGR of just this size (width, height)."""
    content = np.frombuffer(read_regular_file(folder, name, _MAX_PICTURE_BYTES), np.uint8)
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


def _landmarks(folder: Path, image: int) -> Float32Array:
    """Landmarks [68, 2] (x, y) of ori_imgs/ID.lms; NaN where the detector found no face."""
    name = f"ori_imgs/{image}.lms"
    if not (folder / name).exists():
        return np.full((LANDMARKS, 2), np.nan, np.float32)
    words = read_regular_file(folder, name, 1 << 20).split()
    try:
        values = np.array([float(word) for word in words], np.float32)
    except ValueError as error:
        raise DatasetError(f"{name}: expected numbers, found {error}: detect the landmarks again") from error
    if values.size != 2 * LANDMARKS or not np.isfinite(values).all():
        raise DatasetError(
            f"{name}: expected {LANDMARKS} rows of x and y, found {values.size} values: detect them again"
        )
    return values.reshape(LANDMARKS, 2)


def _background(folder: Path, size: tuple[int, int]) -> Float32Array:
    """bc.jpg, scaled to the pictures as the field's trainers do."""
    content = np.frombuffer(read_regular_file(folder, "bc.jpg", _MAX_PICTURE_BYTES), np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
    if image is None:
        raise DatasetError("bc.jpg: expected a picture of the background, found a damaged one: make it again")
    if image.shape[1::-1] != size:
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[..., ::-1]).astype(np.float32) / np.float32(255)


def _sound(folder: Path) -> Float32Array:
    if not (folder / "aud.wav").exists():
        raise DatasetError(
            "aud.wav: expected the film's sound, found none: ffmpeg -i FILM -ac 1 -ar 16000 aud.wav"
        )
    try:
        return read_sound(plain_path(folder, "aud.wav"))
    except AudioError as error:
        raise DatasetError(str(error)) from error


def _key(plan: ImportPlan) -> str:
    """What an import that was cut short must have been made from to be continued."""
    digests = [sha256_of(plain_path(plan.source, name)) for name in TRANSFORMS]
    names = [str(plan.source.resolve()), *digests, str(math.floor(plan.fps * 1000))]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


_JAW, _BROWS = slice(0, 17), slice(17, 27)
_EYES = (slice(36, 42), slice(42, 48))
_OUTER, _INNER = slice(48, 60), slice(60, 68)
_NOSE_BASE, _CHIN = 33, 8
_WIDER = 1.06  # landmarks of the jaw lie a little inside its edge
_OPEN_PX = 1.5  # lips nearer than this are shut: fillPoly would still draw a line
_SUBPIXEL = 4  # bits


def labels_of_parsing(parsing_bgr: UInt8Array, landmarks_px: Float32Array) -> UInt8Array:
    """Labels [H, W] of a parsing picture [H, W, 3] BGR and landmarks [68, 2], which may be NaN."""
    blue, green, red = (parsing_bgr[..., i] > 127 for i in range(3))
    labels = np.full(parsing_bgr.shape[:2], BACKGROUND, np.uint8)
    labels[red & ~green & ~blue] = TORSO
    labels[green & ~red & ~blue] = NECK
    head = blue & ~green & ~red
    labels[head] = FACE
    if not np.isfinite(landmarks_px).all():
        return labels
    labels[head & ~_fill_polygon(labels.shape, _oval(landmarks_px))] = HAIR
    for eye in _EYES:
        labels[head & _fill_polygon(labels.shape, landmarks_px[eye])] = EYES
    labels[head & _fill_polygon(labels.shape, landmarks_px[_OUTER])] = LIPS
    opening = np.linalg.norm(landmarks_px[61:64].mean(axis=0) - landmarks_px[65:68].mean(axis=0))
    if opening > _OPEN_PX:
        labels[head & _fill_polygon(labels.shape, landmarks_px[_INNER])] = MOUTH
    return labels


def _oval(landmarks_px: Float32Array) -> Float32Array:
    """Corners [n, 2] of the face from chin to hairline, which lies a third of it above the brows."""
    brows = landmarks_px[_BROWS]
    up = brows.mean(axis=0) - landmarks_px[_CHIN]
    up = up / max(float(np.linalg.norm(up)), 1e-6)
    lift = np.linalg.norm(brows.mean(axis=0) - landmarks_px[_NOSE_BASE])
    arch = 0.8 * lift * np.sin(np.linspace(0.15, 0.85, len(brows)) * np.pi)
    hull = cv2.convexHull(np.concatenate([landmarks_px[_JAW], brows + up * arch[:, None]]).astype(np.float32))
    corners, middle = hull[:, 0], hull[:, 0].mean(axis=0)
    return np.asarray(middle + _WIDER * (corners - middle), np.float32)


def _fill_polygon(shape: tuple[int, ...], corners: Float32Array) -> NDArray[np.bool_]:
    mask = np.zeros(shape[:2], np.uint8)
    fixed = np.round((np.clip(corners, -1e4, 1e4) - 0.5) * 2**_SUBPIXEL).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 1, shift=_SUBPIXEL)
    inside: NDArray[np.bool_] = mask > 0
    return inside
