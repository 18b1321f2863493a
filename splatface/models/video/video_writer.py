# SPDX-License-Identifier: Apache-2.0
"""Write frames and audio into a video file that is whole or absent; PyAV is imported only here."""

import importlib
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import VideoError
from splatface.models.head.head import HeadInfo
from splatface.models.storage import PART
from splatface.models.video.video_audio import VIDEO_HZ

__all__ = ["ASPECTS", "SUFFIXES", "VideoFileWriter", "VideoFormat", "metadata_tags", "parse_video_format"]

ASPECTS = {"16:9": (16, 9), "9:16": (9, 16), "1:1": (1, 1)}
SMALLEST, LARGEST = 64, 4096
SLOWEST, FASTEST = 1, 120


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """Size and frame rate of a video."""

    width: int  # px, even: color is stored for two pixels at a time
    height: int  # px, even
    fps: Fraction


def parse_video_format(size: str, aspect: str, fps: str, native_size: tuple[int, int]) -> VideoFormat:
    """Parse size, aspect and frame rate as the user writes them.

    Args:
        size: such as 1280x720; empty to follow the aspect.
        aspect: one of ASPECTS; empty for the size the head was made for.
        fps: images per second, such as 25, 29.97 or 30000/1001.
        native_size: width and height of the head's own camera; with an aspect its shorter side is kept.

    Raises:
        VideoError: for anything else, or an odd size.
    """
    width, height = _parse_size(size) if size else _round_to_even(_fit_aspect(aspect, native_size))
    fits = min(width, height) >= SMALLEST and max(width, height) <= LARGEST
    if width % 2 or height % 2 or not fits:
        raise VideoError(
            f"size: expected even numbers of {SMALLEST} to {LARGEST} such as 512x512, found "
            f"{width}x{height}: choose another"
        )
    return VideoFormat(width, height, _parse_rate(fps))


def _parse_size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise VideoError(f"size: expected width x height such as 1280x720, found {text!r}")
    return int(parts[0]), int(parts[1])


def _fit_aspect(aspect: str, native_size: tuple[int, int]) -> tuple[float, float]:
    if not aspect:
        return native_size
    if aspect not in ASPECTS:
        raise VideoError(f"aspect: expected one of {', '.join(ASPECTS)}, found {aspect!r}")
    across, down = ASPECTS[aspect]
    unit = min(native_size) / min(across, down)
    return across * unit, down * unit


def _round_to_even(size: tuple[float, float]) -> tuple[int, int]:
    return 2 * round(size[0] / 2), 2 * round(size[1] / 2)


def _parse_rate(text: str) -> Fraction:
    try:
        fps = Fraction(text).limit_denominator(1001)
    except (ValueError, ZeroDivisionError):
        fps = Fraction(0)
    if not SLOWEST <= fps <= FASTEST:
        raise VideoError(f"fps: expected {SLOWEST} to {FASTEST} pictures per second, found {text!r}")
    return fps


# IPTC's word for it, which platforms look for: cv.iptc.org/newscodes/digitalsourcetype
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def metadata_tags(info: HeadInfo) -> dict[str, str]:
    """Return title, comment and copyright; nothing that differs between two runs."""
    return {
        "title": f"{info.name} (synthetic)",
        "comment": (
            f"Synthetic media made by splatface: the face is computed, nobody was filmed. {SOURCE_TYPE} "
            "Every picture carries an invisible mark (SPLF)."
        ),
        "copyright": f"face: {info.name}, {info.license}. {info.consent}",
    }


_THREADS = 2


@dataclass(frozen=True, slots=True)
class _Encoding:
    """Encoding of the videos of one suffix; the first codec that is available is taken."""

    container: str
    muxer: dict[str, str]
    video: tuple[tuple[str, dict[str, str]], ...]
    audio: str
    audio_format: str


# No B-frames: images then need no edit list, which some players ignore and show them two late.
# crf 18: the watermark's half level survives. Hybrid: a video that a power cut ends can be played, too;
# with delay_moov AAC's first 1024 samples are cut off again, without it all images come 21 ms late.
_ENCODINGS = {
    ".mp4": _Encoding(
        "mp4",
        {"movflags": "+hybrid_fragmented+delay_moov", "frag_duration": "5000000"},
        (
            ("libx264", {"preset": "veryfast", "crf": "18", "bf": "0"}),
            ("libopenh264", {"rc_mode": "quality", "b": "4M"}),
        ),
        "aac",
        "fltp",
    ),
    ".webm": _Encoding(
        "webm",
        {},
        (("libvpx-vp9", {"deadline": "realtime", "cpu-used": "6", "crf": "24", "b": "0", "row-mt": "1"}),),
        "libopus",
        "flt",
    ),
}
SUFFIXES = tuple(_ENCODINGS)


def _av() -> Any:
    try:
        return importlib.import_module("av")
    except ImportError:
        raise VideoError(
            "expected PyAV, which codes films, found none: pip install splatface[film]"
        ) from None


class VideoFileWriter:
    """A video file being written, for use in a `with`: complete when left without an error, else absent.

    Memory is bounded but for the index of an .mp4: 200 bytes an image, 18 MB for an hour.

    Args:
        path: ends in .mp4 (H.264, AAC) or .webm (VP9, Opus); an older video there is replaced at the end.
        shape: of the images.
        channels: of the sound, 1 or 2.
        tags: what the file says about itself, such as title and comment.

    Raises:
        VideoError: when PyAV or a codec is missing, for another suffix, when the file cannot be written.
    """

    def __init__(self, path: Path, shape: VideoFormat, channels: int, tags: dict[str, str]) -> None:
        if path.suffix.lower() not in _ENCODINGS:
            raise VideoError(f"{path}: expected a name that ends in {' or '.join(SUFFIXES)}")
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise VideoError(f"{path}: expected a file in a folder that is there: make it, or choose another")
        self._av = _av()
        self.path, self._part = path, path.with_name(path.name + PART)
        self._shape = shape
        kind = _ENCODINGS[path.suffix.lower()]
        codec, options = self._codec(kind)
        try:
            self._file = self._av.open(str(self._part), "w", format=kind.container, options=kind.muxer)
        except self._errors as error:
            raise self._write_error(error) from None
        self._file.metadata.update(tags)
        self._video = self._video_stream(codec, options)
        self._audio = self._audio_stream(kind, channels)
        self._layout, self._format = self._audio.layout.name, kind.audio_format
        self._frame_count = self._samples = 0
        self._reformatter = self._av.video.reformatter.VideoReformatter()

    @property
    def _errors(self) -> tuple[type[BaseException], ...]:
        return (self._av.FFmpegError, OSError)

    @property
    def seconds(self) -> float:
        """Duration of the video so far."""
        return float(self._frame_count / self._shape.fps)

    def add(self, image: NDArray[np.uint8], samples: NDArray[np.float32]) -> None:
        """Append an image [H, W, 3] RGB and the audio [T, channels] until the next one, -1..1."""
        try:
            for packet in self._video.encode(self._video_frame(image)):
                self._file.mux(packet)
            if len(samples):
                for packet in self._audio.encode(self._audio_frame(samples)):
                    self._file.mux(packet)
        except self._errors as error:
            raise self._write_error(error) from None

    def __enter__(self) -> "VideoFileWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._frame_count:
            self._close()
        else:
            self._discard()

    def _close(self) -> None:
        try:
            for stream in (self._video, self._audio):
                for packet in stream.encode(None):
                    self._file.mux(packet)
            self._file.close()
            self._part.replace(self.path)
        except self._errors as error:
            self._discard()
            raise self._write_error(error) from None

    def _discard(self) -> None:
        with suppress(*self._errors):  # a full disk is full for the last bytes, too
            self._file.close()
        self._part.unlink(missing_ok=True)

    def _video_frame(self, image: NDArray[np.uint8]) -> Any:
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        # AREA: color is the mean of its four pixels, others are off where colors meet.
        coded = self._reformatter.reformat(
            frame, format="yuv420p", dst_colorspace="itu709", interpolation="AREA", threads=1
        )
        coded.pts, coded.time_base = self._frame_count, 1 / self._shape.fps
        self._frame_count += 1
        return coded

    def _audio_frame(self, samples: NDArray[np.float32]) -> Any:
        clipped = np.clip(samples, -1.0, 1.0)
        planes = clipped.T if self._format == "fltp" else clipped.reshape(1, -1)
        frame = self._av.AudioFrame.from_ndarray(
            np.ascontiguousarray(planes), format=self._format, layout=self._layout
        )
        frame.sample_rate, frame.pts, frame.time_base = (
            VIDEO_HZ,
            self._samples,
            Fraction(1, VIDEO_HZ),
        )
        self._samples += len(samples)
        return frame

    def _codec(self, kind: _Encoding) -> tuple[str, dict[str, str]]:
        available = self._av.codecs_available
        for name, options in kind.video:
            if name in available and kind.audio in available:
                return name, options
        other = next(suffix for suffix in SUFFIXES if _ENCODINGS[suffix] is not kind)
        raise VideoError(
            f"{self.path}: expected PyAV with {kind.video[0][0]} and {kind.audio}, found one without: "
            f"choose a name that ends in {other}, or pip install --only-binary=av av"
        )

    def _video_stream(self, codec: str, options: dict[str, str]) -> Any:
        stream = self._file.add_stream(codec, rate=self._shape.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = self._shape.width, self._shape.height, "yuv420p"
        context = stream.codec_context
        context.time_base = 1 / self._shape.fps
        context.thread_count = _THREADS
        # BT.709, limited range, said in the file: else players guess by the size.
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 1, 1, 1, 1
        return stream

    def _audio_stream(self, kind: _Encoding, channels: int) -> Any:
        layout = "mono" if channels == 1 else "stereo"
        stream = self._file.add_stream(kind.audio, rate=VIDEO_HZ, layout=layout, format=kind.audio_format)
        stream.bit_rate = 96_000 * channels
        return stream

    def _write_error(self, error: BaseException) -> VideoError:
        reason = getattr(error, "strerror", None) or str(error)
        return VideoError(
            f"{self.path}: expected to write a film, found: {reason}: free space or mend the rights, "
            "then try again"
        )
