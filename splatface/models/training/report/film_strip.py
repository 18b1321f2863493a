"""Pictures side by side, moving: a small film that a browser plays, a moving picture where no encoder is."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from splatface.models.errors import TrainingError
from splatface.models.typing import UInt8Array

__all__ = ["Film", "difference", "film_of", "side_by_side"]


_KINDS = (("vp09", "mp4"), ("VP80", "webm"))  # free of patents, and every browser plays them
_GAIN = 4.0  # a difference of a quarter of the scale is shown as the whole


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """A film as a browser takes it."""

    content: bytes
    mime: str  # "video/mp4", "video/webm" or "image/webp"


def difference(shown: UInt8Array, truth: UInt8Array) -> UInt8Array:
    """Where two pictures differ, four times as strongly: black where they agree."""
    apart = np.abs(shown.astype(np.float32) - truth.astype(np.float32)).mean(axis=2) * _GAIN
    return np.asarray(cv2.applyColorMap(np.clip(apart, 0, 255).astype(np.uint8), cv2.COLORMAP_INFERNO))[
        ..., ::-1
    ]


def side_by_side(pictures: Sequence[UInt8Array], height: int) -> UInt8Array:
    """Pictures of one size in a row, scaled to `height` (even, as encoders want it)."""
    tall, wide = pictures[0].shape[:2]
    size = (2 * round(wide * height / tall / 2), 2 * (height // 2))
    way = cv2.INTER_AREA if height < tall else cv2.INTER_LINEAR
    return np.hstack([np.asarray(cv2.resize(p, size, interpolation=way), np.uint8) for p in pictures])


def film_of(pictures: Iterable[UInt8Array], fps: float) -> Film:
    """Encode pictures of one even size: VP9, VP8 or, where OpenCV can neither, animated WebP.

    Raises:
        TrainingError: when there is no picture.
    """
    moving = iter(pictures)
    first = next(moving, None)
    if first is None:
        raise TrainingError("film: expected one or more pictures, found none: give frames to show")
    with tempfile.TemporaryDirectory(prefix="splatface-film-") as folder:
        for kind, ending in _KINDS:
            path = Path(folder) / f"film.{ending}"
            writer = _writer(path, kind, fps, first)
            if writer is not None:
                for picture in chain([first], moving):
                    writer.write(picture[..., ::-1])
                writer.release()
                return Film(path.read_bytes(), f"video/{ending}")
    return _webp(chain([first], moving), fps)


def _writer(path: Path, kind: str, fps: float, first: UInt8Array) -> "cv2.VideoWriter | None":
    """A writer of this kind; None where OpenCV cannot."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it tells of each kind it lacks
    try:
        size = (first.shape[1], first.shape[0])
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*kind), fps, size)
        return writer if writer.isOpened() else None
    finally:
        cv2.utils.logging.setLogLevel(level)


def _webp(pictures: Iterator[UInt8Array], fps: float) -> Film:
    animation = cv2.Animation()
    animation.frames = [np.ascontiguousarray(picture[..., ::-1]) for picture in pictures]
    animation.durations = [round(1000 / fps)] * len(animation.frames)
    done, content = cv2.imencodeanimation(".webp", animation, [cv2.IMWRITE_WEBP_QUALITY, 80])
    if not done:
        raise TrainingError("film: expected OpenCV to write WebP, found it cannot: pip install opencv-python")
    return Film(content.tobytes(), "image/webp")
