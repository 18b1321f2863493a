"""The sound of a film by the clock of its pictures: mono at 16 kHz, its first sample at the first picture."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.tracking.video import VideoInfo, damage, mono_mixer, open_video, packets_of
from splatface.models.typing import Float32Array

__all__ = ["film_sound"]


_SLACK_S = 0.03  # a stretch may begin so much early or late before silence is put in or sound left out


def film_sound(path: Path, info: VideoInfo) -> Float32Array | None:
    """Samples [n] f32, -1..1, as long as the pictures; None when the film has no sound that can be decoded.

    Where the file has a gap there is silence, so that what follows stays at its time.

    Raises:
        TrackingError: when the file cannot be opened.
    """
    if not info.has_sound:
        return None
    wanted = round(info.duration_s * SAMPLE_RATE)
    with open_video(path) as container:
        blocks = list(_resampled(_placed(container, info)))
    if not blocks:
        return None
    samples = np.concatenate(blocks)[:wanted]
    samples = np.pad(samples, (0, wanted - len(samples)))
    return np.clip(np.nan_to_num(samples), -1.0, 1.0).astype(np.float32)


def _resampled(blocks: Iterator[tuple[int, Float32Array]]) -> Iterator[Float32Array]:
    """Blocks of (rate, samples) at 16 kHz; all have the same rate."""
    resampler = None
    for rate, block in blocks:
        resampler = resampler or soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        yield resampler.resample_chunk(block)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _placed(container: Any, info: VideoInfo) -> Iterator[tuple[int, Float32Array]]:
    """Mono blocks without a gap, the first at the first picture."""
    done, rate = 0, 0  # samples given so far
    for frame_rate, begin_s, samples in _mono(container):
        rate = rate or frame_rate
        if frame_rate != rate:
            samples = soxr.resample(samples, frame_rate, rate).astype(np.float32)
        behind = round((begin_s - info.start_s) * rate) - done
        if not done or abs(behind) > _SLACK_S * rate:
            # A clock gone wild must not fill the memory with silence.
            gap = min(max(behind, 0), round(info.duration_s * rate) - done)
            samples = np.concatenate([np.zeros(max(gap, 0), np.float32), samples[max(-behind, 0) :]])
        if len(samples):
            done += len(samples)
            yield rate, samples
        if done > (info.duration_s + 1) * rate:
            return


def _mono(container: Any) -> Iterator[tuple[int, float, Float32Array]]:
    """Rate, time in the file's clock, and samples of each block; damaged ones are left out."""
    stream = container.streams.audio[0]
    mixer = mono_mixer()
    for packet in packets_of(container, stream):
        try:
            frames = [mixed for frame in packet.decode() for mixed in mixer.resample(frame)]
        except (damage(), ValueError):  # ValueError: the film changes its layout on the way
            mixer = mono_mixer()
            continue
        for frame in frames:
            if frame.time is not None:
                yield frame.sample_rate, float(frame.time), frame.to_ndarray().reshape(-1)
