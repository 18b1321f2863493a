"""The one door to PyAV: pictures of a film at a fixed rate, upright, and its sound by the pictures' clock.

Film time 0 is when the first picture is shown. Pictures stand at i / fps, each the one of the film nearest
in time (so any rate, and a variable one, becomes a fixed one); nothing is held but the picture in hand.
"""

import importlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import TrackingError
from splatface.models.training.tracking.bright_film import HDR_TRANSFERS, hdr_to_sdr
from splatface.models.typing import UInt8Array

__all__ = [
    "VideoFrame",
    "VideoInfo",
    "damage",
    "film_rate",
    "iter_frames",
    "mono_mixer",
    "open_video",
    "packets_of",
    "probe_video",
]


_HD_LINES = 720  # from here on an untagged film is BT.709, below it BT.601
_FASTEST = 32.0  # pictures per second that are kept: a film of 50 or 60 gives every other one
_SLOWEST_FIXED = 20.0
_ODD_STEP, _ODD_SHARE = 0.25, 0.02  # a rate is variable when so many steps are so far from the middle one
_THREADS = 2
_BEFORE_S = 1.0  # decoding begins so long before what is asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What a film says of itself, and what its packets say."""

    width: int  # px, upright, of square pixels
    height: int  # px
    rate: float  # pictures per second, the middle one where it varies
    variable: bool
    pictures: int
    start_s: float  # of the first picture in the file's clock
    duration_s: float  # from the first picture to the end of the last
    container_duration_s: float  # what the header says; 0 where it says nothing
    rotation_deg: int  # 0, 90, 180 or 270, clockwise turn that sets it upright
    has_sound: bool
    hdr_transfer: str  # "HLG" or "PQ" where it is of high dynamic range, or ""


@dataclass(frozen=True, slots=True, eq=False)
class VideoFrame:
    """One picture at a moment of the fixed rate."""

    index: int  # time is index / fps
    picture: UInt8Array  # [H, W, 3] RGB
    time_error_s: float  # when the film showed it, minus index / fps
    repeated: bool  # the same picture as the one before: the film had none here


def open_video(path: Path) -> Any:
    """The opened container of a film, for use in a `with`.

    Raises:
        TrackingError: when PyAV is missing, or the file is no film.
    """
    av = _av()
    if not path.is_file():
        raise TrackingError(f"{path}: expected a video file, found none: check the path")
    try:
        container = av.open(str(path))
    except (damage(), OSError, ValueError) as error:
        raise TrackingError(
            f"{path}: expected a video file, found one that cannot be read ({_reason(error)}): "
            "record it again, or convert it, e.g. ffmpeg -i FILE clip.mp4"
        ) from error
    if _video_of(container) is None:
        container.close()
        raise TrackingError(f"{path}: expected pictures in it, found none: give a film of a person")
    return container


def probe_video(path: Path) -> VideoInfo:
    """Read all packets of a film without decoding them (but the first picture).

    Raises:
        TrackingError: when it is no film, or not one of its pictures can be decoded.
    """
    with open_video(path) as container:
        stream = _video_of(container)
        first = next(_decoded(container, stream, path), None)
        if first is None:
            raise TrackingError(
                f"{path}: expected pictures that can be decoded, found none: the file is damaged or its "
                "codec is unknown here, convert it, e.g. ffmpeg -i FILE clip.mp4"
            )
        width, height = _upright_size(stream, first)
        promised_s = float(container.duration or 0) / 1e6
        has_sound = bool(container.streams.audio)
        rotation_deg = -round(first.rotation / 90) * 90 % 360
        start_s = float(first.time or 0.0)
        bright = HDR_TRANSFERS.get(int(first.color_trc), "")
    times = _packet_times(path)
    times = times[times > start_s - 1e-6] if len(times) else np.array([start_s])
    steps = np.diff(times)
    step = float(np.median(steps)) if len(steps) else 1 / 25
    variable = bool(len(steps)) and bool((np.abs(steps - step) > _ODD_STEP * step).mean() > _ODD_SHARE)
    if not variable and len(steps):  # some containers round times to milliseconds
        step = float(steps.mean())
    return VideoInfo(
        width=width,
        height=height,
        rate=round(1 / max(step, 1e-3), 6),
        variable=variable,
        pictures=len(times),
        start_s=start_s,
        duration_s=float(times[-1] - start_s) + step,
        container_duration_s=promised_s,
        rotation_deg=rotation_deg,
        has_sound=has_sound,
        hdr_transfer=bright,
    )


def film_rate(info: VideoInfo) -> float:
    """The fixed rate for a film: its own, a whole fraction of a fast one, 25 or 30 for a variable one."""
    if not info.variable:
        return info.rate / math.ceil(info.rate / _FASTEST)
    mean = info.pictures / max(info.duration_s, 1e-3)
    if mean < _SLOWEST_FIXED:
        return float(max(mean, 1.0))
    return 25.0 if mean < 27.5 else 30.0


def iter_frames(
    path: Path,
    info: VideoInfo,
    fps: float,
    *,
    first: int = 0,
    longest_px: int | None = None,
    wanted: Callable[[int], bool] | None = None,
) -> Iterator[VideoFrame]:
    """Pictures number `first` and on of the film at `fps`, upright, at most `longest_px` on the longer side.

    `wanted` says of which numbers; the rest is decoded, but not made into pictures. A damaged stretch is
    skipped, a film cut off ends early.

    Raises:
        TrackingError: when the file cannot be opened.
    """
    for from_s in (first / fps - _BEFORE_S, -1.0):
        with open_video(path) as container:
            frames = _from(container, path, info.start_s + from_s if from_s > 0 else None)
            held = next(frames, None)
            # Some containers seek past what is wanted: those are read from their beginning.
            if held is None or (from_s > 0 and float(held.time) - info.start_s > first / fps):
                continue
            yield from _spaced(
                held, frames, _Grid(info, fps, first, longest_px, wanted or (lambda index: True))
            )
            return


@dataclass(frozen=True, slots=True)
class _Grid:
    info: VideoInfo
    fps: float
    first: int
    longest_px: int | None
    wanted: Callable[[int], bool]


def _spaced(held: Any, frames: Iterator[Any], grid: _Grid) -> Iterator[VideoFrame]:
    """The nearest picture for each moment of the grid."""
    index, last, picture = grid.first, None, np.zeros((0, 0, 3), np.uint8)
    time_s = float(held.time) - grid.info.start_s
    while True:
        following = next(frames, None)
        if following is None:
            until_s = max(time_s + 0.5 / grid.info.rate, grid.info.duration_s - 0.5 / grid.fps)
            until_s = min(until_s, time_s + 1.0 / grid.info.rate)
        else:
            until_s = (time_s + float(following.time) - grid.info.start_s) / 2
        while index / grid.fps < until_s:
            if grid.wanted(index):
                repeated = held is last
                if not repeated:
                    picture, last = _upright(held, grid.info, grid.longest_px), held
                yield VideoFrame(index, picture, time_s - index / grid.fps, repeated)
            index += 1
        if following is None:
            return
        held, time_s = following, float(following.time) - grid.info.start_s


def _from(container: Any, path: Path, from_s: float | None) -> Iterator[Any]:
    stream = _video_of(container)
    if from_s is not None:
        try:
            container.seek(int(from_s / stream.time_base), stream=stream, backward=True)
        except damage():
            return
    yield from _decoded(container, stream, path)


def _decoded(container: Any, stream: Any, path: Path) -> Iterator[Any]:
    """Pictures with rising times; damaged packets are left out."""
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = _THREADS
    last = None
    for packet in packets_of(container, stream):
        try:
            frames = packet.decode()
        except damage():
            continue
        for frame in frames:
            if frame.time is not None and not frame.is_corrupt and (last is None or frame.time > last):
                last = frame.time
                yield frame


def packets_of(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of a stream up to where the file is cut off or damaged beyond reading."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except damage():
            return
        if packet is None:
            return
        yield packet


def _upright(frame: Any, info: VideoInfo, longest_px: int | None) -> UInt8Array:
    """A picture as it is meant to be seen."""
    turns = info.rotation_deg // 90
    width, height = info.width, info.height
    if longest_px and max(width, height) > longest_px:
        scale = longest_px / max(width, height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
    size = (height, width) if turns % 2 else (width, height)
    untagged = int(frame.colorspace) == 2
    space = ("ITU709" if info.height >= _HD_LINES else "ITU601") if untagged else None
    array = frame.to_ndarray(
        format="rgb48le" if info.hdr_transfer else "rgb24",
        width=size[0],
        height=size[1],
        src_colorspace=space,
        interpolation="AREA",
    )
    if info.hdr_transfer:
        array = hdr_to_sdr(array, info.hdr_transfer)
    return np.ascontiguousarray(np.rot90(array, -turns))


def _upright_size(stream: Any, frame: Any) -> tuple[int, int]:
    """Width and height of square pixels, turned upright."""
    aspect = float(stream.sample_aspect_ratio or 1)
    width = round(frame.width * aspect) if 0.1 < aspect < 10 else frame.width
    turned = round(frame.rotation / 90) % 2
    return (frame.height, width) if turned else (width, frame.height)


def _packet_times(path: Path) -> NDArray[np.float64]:
    times = []
    with open_video(path) as container:
        stream = _video_of(container)
        for packet in packets_of(container, stream):
            if packet.pts is not None and packet.size:
                times.append(float(packet.pts * packet.time_base))
    return np.unique(np.array(times, np.float64))


def _video_of(container: Any) -> Any:
    """The first stream of moving pictures; cover pictures of songs are none."""
    for stream in container.streams.video:
        if "attached_pic" not in str(stream.disposition):
            return stream
    return None


def damage() -> type[Exception]:
    """What PyAV raises where a file is damaged."""
    kind: type[Exception] = _av().error.FFmpegError
    return kind


def mono_mixer() -> Any:
    """PyAV's mixer of blocks of sound to one channel of float32, at the rate they have."""
    return _av().AudioResampler(format="flt", layout="mono")


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)[:100]


def _av() -> Any:
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise TrackingError(
            "PyAV: expected the package av, found none: pip install 'splatface[train]'"
        ) from error
