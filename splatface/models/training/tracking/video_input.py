# SPDX-License-Identifier: Apache-2.0
"""Video input with PyAV: frames at a fixed rate, upright, HDR as SDR; audio in the video's time.

Video time 0 is the first frame. Frame i is at time i / fps and is the frame of the file nearest in time, so a
variable rate becomes a fixed one; only one frame is in memory.
"""

import importlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numba
import numpy as np
import soxr
from numpy.typing import NDArray

from splatface.models.errors import TrackingError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.typing import Float32Array, Float64Array, UInt8Array

__all__ = ["VideoFrame", "VideoInfo", "hdr_to_sdr", "iter_frames", "probe_video", "read_audio", "target_fps"]

HDR_TRANSFERS: Final = {16: "PQ", 18: "HLG"}  # by the transfer characteristics' number of ITU-T H.273

_BT709_MIN_HEIGHT = 720  # from here on an untagged video is BT.709, below it BT.601
_UNTAGGED_COLORSPACE = 2
_MAX_FPS = 32.0  # of a video of 50 or 60 fps every other frame is used
_MIN_FIXED_FPS = 20.0
# A rate is variable when so many steps differ so much from the median one.
_STEP_TOLERANCE, _MAX_ODD_STEPS = 0.25, 0.02
_THREADS = 2
_SEEK_MARGIN_S = 1.0  # decoding begins so long before the first frame that is requested
_AUDIO_TOLERANCE_S = 0.03  # of a block's time, before silence is inserted or samples are dropped

# HDR: reference white is 203 cd/m2 (ITU-R BT.2408); colors are kept up to 80 % of it and rolled off above.
_WHITE_NITS, _HLG_PEAK_NITS, _PQ_PEAK_NITS = 203.0, 1000.0, 10000.0
_HLG_GAMMA = 1.2  # of the whole system at that peak (ITU-R BT.2100)
_LUMA_2020 = (0.2627, 0.678, 0.0593)
_2020_TO_709: Final = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]],
    np.float32,
)  # ITU-R BT.2407
_LINEAR_PART = 0.8
_CODES, _LEVELS = 4096, 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """Properties of a video, from its headers and its packets."""

    width: int  # px, upright, of square pixels
    height: int  # px
    fps: float  # frames per second, the median where it varies
    variable_rate: bool
    frame_count: int
    start_s: float  # of the first frame in the file's time
    duration_s: float  # from the first frame to the end of the last
    container_duration_s: float  # by the header; 0 where it has none
    rotation_deg: int  # 0, 90, 180 or 270, clockwise, that sets it upright
    has_sound: bool
    hdr_transfer: str  # "HLG" or "PQ" where it is of high dynamic range, or ""


@dataclass(frozen=True, slots=True, eq=False)
class VideoFrame:
    """One frame at the fixed rate."""

    index: int  # time is index / fps
    image: UInt8Array  # [H, W, 3] RGB
    time_error_s: float  # time of the frame in the file, minus index / fps
    repeated: bool  # the same image as the frame before: the file has none here


def probe_video(path: Path) -> VideoInfo:
    """Read all packets of a video without decoding them (but the first frame).

    Raises:
        TrackingError: when it is no video, or no frame can be decoded.
    """
    with _open(path) as container:
        stream = _video_stream(container)
        first = next(_decode(container, stream), None)
        if first is None:
            raise TrackingError(
                f"{path}: expected pictures that can be decoded, found none: the file is damaged or its "
                "codec is unknown here, convert it, e.g. ffmpeg -i FILE clip.mp4"
            )
        width, height = _upright_size(stream, first)
        container_duration_s = float(container.duration or 0) / 1e6
        has_sound = bool(container.streams.audio)
        rotation_deg = -round(first.rotation / 90) * 90 % 360
        start_s = float(first.time or 0.0)
        hdr_transfer = HDR_TRANSFERS.get(int(first.color_trc), "")
    times = _packet_times(path)
    times = times[times > start_s - 1e-6] if len(times) else np.array([start_s])
    steps = np.diff(times)
    step = float(np.median(steps)) if len(steps) else 1 / 25
    odd = np.abs(steps - step) > _STEP_TOLERANCE * step
    variable = bool(len(steps)) and bool(odd.mean() > _MAX_ODD_STEPS)
    if not variable and len(steps):  # some containers round times to milliseconds
        step = float(steps.mean())
    return VideoInfo(
        width=width,
        height=height,
        fps=round(1 / max(step, 1e-3), 6),
        variable_rate=variable,
        frame_count=len(times),
        start_s=start_s,
        duration_s=float(times[-1] - start_s) + step,
        container_duration_s=container_duration_s,
        rotation_deg=rotation_deg,
        has_sound=has_sound,
        hdr_transfer=hdr_transfer,
    )


def target_fps(info: VideoInfo) -> float:
    """Choose the fixed rate: the video's, an integer fraction of a fast one, 25 or 30 for a variable one."""
    if not info.variable_rate:
        return info.fps / math.ceil(info.fps / _MAX_FPS)
    mean = info.frame_count / max(info.duration_s, 1e-3)
    if mean < _MIN_FIXED_FPS:
        return float(max(mean, 1.0))
    return 25.0 if mean < 27.5 else 30.0


def iter_frames(
    path: Path,
    info: VideoInfo,
    fps: float,
    *,
    first: int = 0,
    max_side_px: int | None = None,
    wanted: Callable[[int], bool] | None = None,
) -> Iterator[VideoFrame]:
    """Iterate over frames at `fps` from number `first` on, upright.

    A damaged part is skipped, a truncated video ends early.

    Args:
        path: the video.
        info: of the video.
        fps: fixed rate.
        first: number of the first frame.
        max_side_px: frames are scaled down to this longer side.
        wanted: tells which frame numbers to return; the rest is decoded, but not converted.

    Raises:
        TrackingError: when the file cannot be opened.
    """
    sampling = _Sampling(info, fps, first, max_side_px, wanted or (lambda index: True))
    for seek_s in (first / fps - _SEEK_MARGIN_S, -1.0):
        with _open(path) as container:
            frames = _decode_from(container, info.start_s + seek_s if seek_s > 0 else None)
            current = next(frames, None)
            # Some containers seek past the requested time: those are read from their beginning.
            if current is None or (seek_s > 0 and float(current.time) - info.start_s > first / fps):
                continue
            yield from _resample_frames(current, frames, sampling)
            return


def read_audio(path: Path, info: VideoInfo) -> Float32Array | None:
    """Read samples [n], -1..1, mono at 16 kHz, from the first frame to the end of the video.

    Gaps in the file are filled with silence, so that the rest stays at its time. None when the video has no
    audio that can be decoded.

    Raises:
        TrackingError: when the file cannot be opened.
    """
    if not info.has_sound:
        return None
    count = round(info.duration_s * SAMPLE_RATE)
    with _open(path) as container:
        blocks = list(_resample_audio(_continuous_audio(container, info)))
    if not blocks:
        return None
    samples = np.concatenate(blocks)[:count]
    samples = np.pad(samples, (0, count - len(samples)))
    return np.clip(np.nan_to_num(samples), -1.0, 1.0).astype(np.float32)


def hdr_to_sdr(image: NDArray[np.uint16], transfer: str) -> UInt8Array:
    """Convert an image [H, W, 3] of HLG or PQ values, RGB of BT.2020, 0..65535, to sRGB of BT.709.

    Phones record HDR by default; decoded as SDR it would look gray and flat.

    Args:
        image: HDR values.
        transfer: "HLG" or "PQ".
    """
    gamma = _HLG_GAMMA - 1 if transfer == "HLG" else 0.0
    light, levels = _hdr_tables(transfer)
    converted = np.empty((image.size // 3, 3), np.uint8)
    _convert_hdr(image.reshape(-1, 3), light, np.float32(gamma), levels, converted)
    return converted.reshape(image.shape)


def _open(path: Path) -> Any:
    """Open the container of a video, for use in a `with`.

    Raises:
        TrackingError: when PyAV is missing, or the file is no video.
    """
    av = _import_av()
    if not path.is_file():
        raise TrackingError(f"{path}: expected a video file, found none: check the path")
    try:
        container = av.open(str(path))
    except (_decode_error(), OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error)[:100]
        raise TrackingError(
            f"{path}: expected a video file, found one that cannot be read ({reason}): "
            "record it again, or convert it, e.g. ffmpeg -i FILE clip.mp4"
        ) from error
    if _video_stream(container) is None:
        container.close()
        raise TrackingError(f"{path}: expected pictures in it, found none: give a film of a person")
    return container


@dataclass(frozen=True, slots=True)
class _Sampling:
    """Frames that are requested."""

    info: VideoInfo
    fps: float
    first: int
    max_side_px: int | None
    wanted: Callable[[int], bool]


def _resample_frames(current: Any, frames: Iterator[Any], sampling: _Sampling) -> Iterator[VideoFrame]:
    """Return the nearest of the decoded frames for each frame of the fixed rate."""
    info, fps = sampling.info, sampling.fps
    index, converted, image = sampling.first, None, np.zeros((0, 0, 3), np.uint8)
    time_s = float(current.time) - info.start_s
    while True:
        following = next(frames, None)
        if following is None:
            until_s = max(time_s + 0.5 / info.fps, info.duration_s - 0.5 / fps)
            until_s = min(until_s, time_s + 1.0 / info.fps)
        else:
            until_s = (time_s + float(following.time) - info.start_s) / 2
        while index / fps < until_s:
            if sampling.wanted(index):
                repeated = current is converted
                if not repeated:
                    image, converted = _upright_image(current, info, sampling.max_side_px), current
                yield VideoFrame(index, image, time_s - index / fps, repeated)
            index += 1
        if following is None:
            return
        current, time_s = following, float(following.time) - info.start_s


def _decode_from(container: Any, start_s: float | None) -> Iterator[Any]:
    stream = _video_stream(container)
    if start_s is not None:
        try:
            container.seek(int(start_s / stream.time_base), stream=stream, backward=True)
        except _decode_error():
            return
    yield from _decode(container, stream)


def _decode(container: Any, stream: Any) -> Iterator[Any]:
    """Decode frames with increasing times; damaged packets are left out."""
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = _THREADS
    last = None
    for packet in _iter_packets(container, stream):
        try:
            frames = packet.decode()
        except _decode_error():
            continue
        for frame in frames:
            if frame.time is not None and not frame.is_corrupt and (last is None or frame.time > last):
                last = frame.time
                yield frame


def _iter_packets(container: Any, stream: Any) -> Iterator[Any]:
    """Iterate over the packets of a stream up to where the file is truncated or damaged."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except _decode_error():
            return
        if packet is None:
            return
        yield packet


def _upright_image(frame: Any, info: VideoInfo, max_side_px: int | None) -> UInt8Array:
    """Convert a frame to an upright RGB image of square pixels."""
    quarter_turns = info.rotation_deg // 90
    width, height = info.width, info.height
    if max_side_px and max(width, height) > max_side_px:
        scale = max_side_px / max(width, height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
    size = (height, width) if quarter_turns % 2 else (width, height)
    untagged = int(frame.colorspace) == _UNTAGGED_COLORSPACE
    colorspace = ("ITU709" if info.height >= _BT709_MIN_HEIGHT else "ITU601") if untagged else None
    array = frame.to_ndarray(
        format="rgb48le" if info.hdr_transfer else "rgb24",
        width=size[0],
        height=size[1],
        src_colorspace=colorspace,
        interpolation="AREA",
    )
    if info.hdr_transfer:
        array = hdr_to_sdr(array, info.hdr_transfer)
    return np.ascontiguousarray(np.rot90(array, -quarter_turns))


def _upright_size(stream: Any, frame: Any) -> tuple[int, int]:
    """Compute width and height of square pixels, upright."""
    aspect = float(stream.sample_aspect_ratio or 1)
    width = round(frame.width * aspect) if 0.1 < aspect < 10 else frame.width
    rotated = round(frame.rotation / 90) % 2
    return (frame.height, width) if rotated else (width, frame.height)


def _packet_times(path: Path) -> Float64Array:
    times = []
    with _open(path) as container:
        for packet in _iter_packets(container, _video_stream(container)):
            if packet.pts is not None and packet.size:
                times.append(float(packet.pts * packet.time_base))
    return np.unique(np.array(times, np.float64))


def _video_stream(container: Any) -> Any:
    """Return the first stream of moving images (cover art of songs is not); None when there is none."""
    for stream in container.streams.video:
        if "attached_pic" not in str(stream.disposition):
            return stream
    return None


def _resample_audio(blocks: Iterator[tuple[int, Float32Array]]) -> Iterator[Float32Array]:
    """Resample blocks of (rate, samples), all of the same rate, to 16 kHz."""
    resampler = None
    for rate, block in blocks:
        resampler = resampler or soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        yield resampler.resample_chunk(block)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _continuous_audio(container: Any, info: VideoInfo) -> Iterator[tuple[int, Float32Array]]:
    """Return mono blocks of (rate, samples) without gaps, the first at the first frame."""
    count, rate = 0, 0  # samples so far
    for block_rate, start_s, samples in _decode_mono(container):
        rate = rate or block_rate
        if block_rate != rate:
            samples = soxr.resample(samples, block_rate, rate).astype(np.float32)
        missing = round((start_s - info.start_s) * rate) - count
        if not count or abs(missing) > _AUDIO_TOLERANCE_S * rate:
            # A wrong time stamp must not fill the memory with silence.
            gap = min(max(missing, 0), round(info.duration_s * rate) - count)
            samples = np.concatenate([np.zeros(max(gap, 0), np.float32), samples[max(-missing, 0) :]])
        if len(samples):
            count += len(samples)
            yield rate, samples
        if count > (info.duration_s + 1) * rate:
            return


def _decode_mono(container: Any) -> Iterator[tuple[int, float, Float32Array]]:
    """Decode rate, time in the file and samples of each block; damaged ones are left out."""
    resampler = _mono_resampler()
    for packet in _iter_packets(container, container.streams.audio[0]):
        try:
            frames = [mono for frame in packet.decode() for mono in resampler.resample(frame)]
        except (_decode_error(), ValueError):  # ValueError: the channel layout changes within the file
            resampler = _mono_resampler()
            continue
        for frame in frames:
            if frame.time is not None:
                yield frame.sample_rate, float(frame.time), frame.to_ndarray().reshape(-1)


def _mono_resampler() -> Any:
    """Return PyAV's converter to one channel of float32, at the rate of the input."""
    return _import_av().AudioResampler(format="flt", layout="mono")


def _decode_error() -> type[Exception]:
    """Return the exception that PyAV raises for damaged files."""
    kind: type[Exception] = _import_av().error.FFmpegError
    return kind


def _import_av() -> Any:
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise TrackingError(
            "PyAV: expected the package av, found none: pip install 'splatface[train]'"
        ) from error


@cache
def _hdr_tables(transfer: str) -> tuple[Float32Array, UInt8Array]:
    """Compute the linear light of each code, and sRGB levels by the square root of light."""
    light = (_hlg_light if transfer == "HLG" else _pq_light)(np.arange(_CODES) / (_CODES - 1))
    return light.astype(np.float32), _srgb_levels((np.arange(_LEVELS) / (_LEVELS - 1)) ** 2)


def _hlg_light(code: Float64Array) -> Float64Array:
    """Compute scene light (ITU-R BT.2100 table 5), 1 where the system gamma makes it white."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    scaled: Float64Array = scene * (_HLG_PEAK_NITS / _WHITE_NITS) ** (1 / _HLG_GAMMA)
    return scaled


def _pq_light(code: Float64Array) -> Float64Array:
    """Compute display light (ITU-R BT.2100 table 4), 1 is white."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = code ** (1 / m2)
    light: Float64Array = (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return light * (_PQ_PEAK_NITS / _WHITE_NITS)


def _srgb_levels(light: Float64Array) -> UInt8Array:
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    levels: UInt8Array = np.rint(255 * coded).astype(np.uint8)
    return levels


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _convert_hdr(
    codes: NDArray[np.uint16],
    light: Float32Array,
    gamma: np.float32,
    levels: UInt8Array,
    converted: UInt8Array,
) -> None:
    for i in range(len(codes)):
        r, g, b = light[codes[i, 0] >> 4], light[codes[i, 1] >> 4], light[codes[i, 2] >> 4]
        luma = _LUMA_2020[0] * r + _LUMA_2020[1] * g + _LUMA_2020[2] * b
        gain = max(luma, 1e-6) ** gamma
        brightest = np.float32(1e-6)
        for k in range(3):
            value = _2020_TO_709[k, 0] * r + _2020_TO_709[k, 1] * g + _2020_TO_709[k, 2] * b
            brightest = max(brightest, gain * value)
        if brightest > _LINEAR_PART:
            headroom = 1 - _LINEAR_PART
            rolled_off = _LINEAR_PART + headroom * (1 - np.exp((_LINEAR_PART - brightest) / headroom))
            gain *= rolled_off / brightest
        for k in range(3):
            value = _2020_TO_709[k, 0] * r + _2020_TO_709[k, 1] * g + _2020_TO_709[k, 2] * b
            coded = np.sqrt(min(max(gain * value, 0.0), 1.0))
            converted[i, k] = levels[int(coded * (_LEVELS - 1) + 0.5)]
