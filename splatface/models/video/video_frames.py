# SPDX-License-Identifier: Apache-2.0
"""Frames of a video from audio: each image with the audio that plays while it is shown."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.encoder import Encoder
from splatface.models.behavior.controller import HeadMotionController
from splatface.models.frame_scheduler import FrameGrid
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk, AudioFrame, HeadControl
from splatface.models.talking_head import TalkingHead
from splatface.models.timeline import Timeline
from splatface.models.video.video_audio import VIDEO_HZ, Sound, resample_for_video_and_encoder

__all__ = ["RenderedFrame", "render_frames"]

_STEP = SAMPLE_RATE // 50
_FLUSH_STEPS = 100  # 2 s of silence: more than any encoder looks ahead


@dataclass(frozen=True, slots=True, eq=False)
class RenderedFrame:
    """Image k shows media time k / fps; its audio lasts until the next image's time."""

    image: NDArray[np.uint8]  # [H, W, 3] RGB
    samples: NDArray[np.float32]  # [T, channels] at VIDEO_HZ
    fraction: float  # fraction of the whole audio up to this frame's end, 0..1
    mouth: NDArray[np.float32]  # [n <= 8] predicted mouth modes
    control: HeadControl  # pose and motion besides speaking


def render_frames(
    sound: Sound, encoder: Encoder, talker: TalkingHead, controller: HeadMotionController, fps: Fraction
) -> Iterator[RenderedFrame]:
    """Render ceil(duration * fps) frames of a video, the last one with the remaining audio.

    Audio goes in block by block, as it does live, and a frame is rendered as soon as the features it needs
    are there; so only the last seconds are in memory, and the images are those of a live head.
    """
    mouth_stream = _MouthStream(encoder, controller)
    slicer = _AudioSlicer(sound.channels, fps)
    for block in resample_for_video_and_encoder(sound):
        slicer.push(block.video_samples, block.fraction)
        # A block may be a long sentence: in steps, for only the last seconds of features are kept.
        for first in range(0, len(block.encoder_samples), _STEP):
            mouth_stream.push(block.encoder_samples[first : first + _STEP])
            while slicer.has_next() and mouth_stream.covered_ns(talker) >= slicer.time_ns:
                yield _render_frame(mouth_stream, talker, slicer)
    for _ in range(_FLUSH_STEPS):
        mouth_stream.push(np.zeros(_STEP, np.float32))
        while slicer.has_audio() and mouth_stream.covered_ns(talker) >= slicer.time_ns:
            yield _render_frame(mouth_stream, talker, slicer)


def _render_frame(mouth_stream: "_MouthStream", talker: TalkingHead, slicer: "_AudioSlicer") -> RenderedFrame:
    mouth, control = mouth_stream.at(talker, slicer.time_ns)
    image = talker.draw(mouth, control)
    return RenderedFrame(image, slicer.next_slice(), slicer.fraction, mouth, control)


class _MouthStream:
    """The last seconds of encoder frames, and the mouth and control computed from them."""

    def __init__(self, encoder: Encoder, controller: HeadMotionController) -> None:
        self._encoder = encoder
        self._controller = controller
        self._frames = Timeline[AudioFrame](lambda frame: frame.center_ns)
        self._count = 0  # samples received

    def push(self, samples: NDArray[np.float32]) -> None:
        chunk = AudioChunk(samples, SAMPLE_RATE, self._count * NS_PER_S // SAMPLE_RATE)
        self._count += len(samples)
        for frame in self._encoder.push(chunk):
            self._frames.push(frame)
            # A nod follows its syllable by more than any look-ahead: none begins in a frame already rendered.
            self._controller.push_speech(frame, frame.center_ns)

    def covered_ns(self, talker: TalkingHead) -> int:
        """Return the time up to which images need no later audio."""
        latest_ns = self._frames.latest_ns
        return -1 if latest_ns is None else latest_ns - talker.lookahead_ns(self._encoder.name)

    def at(self, talker: TalkingHead, time_ns: int) -> tuple[NDArray[np.float32], HeadControl]:
        """Return mouth modes and control at a time."""
        return talker.mouth(self._frames.values, time_ns), self._controller.control_at(time_ns)


class _AudioSlicer:
    """Audio of the video whose image is not rendered yet."""

    def __init__(self, channels: int, fps: Fraction) -> None:
        self._fps = fps
        self._grid = FrameGrid(float(fps))
        self._samples = np.zeros((0, channels), np.float32)
        self._index = 0  # of the next image
        self._samples_received = self._samples_emitted = 0  # samples
        self._fraction_received = 0.0

    @property
    def time_ns(self) -> int:
        """Time of the next image."""
        return self._grid.time_ns(self._index)

    @property
    def fraction(self) -> float:
        """Fraction of the whole audio that has been emitted, 0..1."""
        return self._fraction_received * self._samples_emitted / max(self._samples_received, 1)

    def push(self, samples: NDArray[np.float32], fraction: float) -> None:
        """Append audio, with which `fraction` of the whole has arrived."""
        self._samples = np.concatenate([self._samples, samples])
        self._samples_received += len(samples)
        self._fraction_received = fraction

    def has_next(self) -> bool:
        """Return whether all audio of the next image has arrived."""
        return len(self._samples) >= self._size()

    def has_audio(self) -> bool:
        """Return whether any audio is left."""
        return len(self._samples) > 0

    def next_slice(self) -> NDArray[np.float32]:
        """Return the audio of the next image and advance."""
        size = self._size()
        slice_samples, self._samples = self._samples[:size], self._samples[size:]
        self._index += 1
        self._samples_emitted += len(slice_samples)
        return slice_samples

    def _size(self) -> int:
        # Counted from the beginning: at 29.97 images a second stretches differ by a sample, never drift.
        return round((self._index + 1) * VIDEO_HZ / self._fps) - round(self._index * VIDEO_HZ / self._fps)
