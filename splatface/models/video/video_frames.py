"""From sound to the moments of a video: each image with the sound that is heard while it stands."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.encoder import Encoder
from splatface.models.behavior.controller import HeadMotionController
from splatface.models.frame_scheduler import Grid
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk, AudioFrame, HeadControl
from splatface.models.talking_head import TalkingHead
from splatface.models.timeline import Timeline
from splatface.models.video.video_audio import VIDEO_HZ, Sound, resample_for_video_and_encoder

__all__ = ["VideoFrame", "render_frames"]

_STEP = SAMPLE_RATE // 50
_FLUSH_STEPS = 100  # 2 s of silence: more than any encoder looks ahead


@dataclass(frozen=True, slots=True, eq=False)
class VideoFrame:
    """Image k shows media time k / fps; its sound reaches from there to the next image's time."""

    picture: NDArray[np.uint8]  # [H, W, 3] RGB
    samples: NDArray[np.float32]  # [T, channels] at VIDEO_HZ
    share: float  # how much of the whole sound has been shown, 0..1
    mouth: NDArray[np.float32]  # [n <= 8] mouth modes that were heard
    control: HeadControl  # what the face does besides


def render_frames(
    sound: Sound, encoder: Encoder, talker: TalkingHead, controller: HeadMotionController, fps: Fraction
) -> Iterator[VideoFrame]:
    """The video of `sound`: ceil(duration * fps) moments, the last one's sound as short as it comes.

    Sound goes in block by block, as it does live, and an image comes as soon as what it listens to has
    been heard; so nothing is held but the last seconds, and an image is the one a live face would show.
    """
    heard = _Hearing(encoder, controller)
    waiting = _AudioSlicer(sound.channels, fps)
    for piece in resample_for_video_and_encoder(sound):
        waiting.push(piece.film, piece.share)
        # A block may be a long sentence: in steps, for only the last seconds of features are kept.
        for first in range(0, len(piece.heard), _STEP):
            heard.push(piece.heard[first : first + _STEP])
            while waiting.whole() and heard.covered_ns(talker) >= waiting.time_ns:
                yield _moment(heard, talker, waiting)
    for _ in range(_FLUSH_STEPS):
        heard.push(np.zeros(_STEP, np.float32))
        while waiting.left() and heard.covered_ns(talker) >= waiting.time_ns:
            yield _moment(heard, talker, waiting)


def _moment(heard: "_Hearing", talker: TalkingHead, waiting: "_AudioSlicer") -> VideoFrame:
    mouth, control = heard.at(talker, waiting.time_ns)
    picture = talker.draw(mouth, control)
    return VideoFrame(picture, waiting.take(), waiting.share, mouth, control)


class _Hearing:
    """The last seconds of what was heard, and what they make of the face."""

    def __init__(self, encoder: Encoder, controller: HeadMotionController) -> None:
        self._encoder = encoder
        self._controller = controller
        self._frames = Timeline[AudioFrame](lambda frame: frame.center_ns)
        self._count = 0  # samples heard

    def push(self, samples: NDArray[np.float32]) -> None:
        chunk = AudioChunk(samples, SAMPLE_RATE, self._count * NS_PER_S // SAMPLE_RATE)
        self._count += len(samples)
        for frame in self._encoder.push(chunk):
            self._frames.push(frame)
            # A nod follows its syllable by more than any look-ahead: none begins in a frame already rendered.
            self._controller.push_speech(frame, frame.center_ns)

    def covered_ns(self, talker: TalkingHead) -> int:
        """Up to where images need no later sound."""
        latest_ns = self._frames.latest_ns
        return -1 if latest_ns is None else latest_ns - talker.lookahead_ns(self._encoder.name)

    def at(self, talker: TalkingHead, time_ns: int) -> tuple[NDArray[np.float32], HeadControl]:
        """The mouth and the rest of the face."""
        return talker.mouth(self._frames.values, time_ns), self._controller.control_at(time_ns)


class _AudioSlicer:
    """Sound of the video whose image is not rendered yet."""

    def __init__(self, channels: int, fps: Fraction) -> None:
        self._fps = fps
        self._grid = Grid(float(fps))
        self._samples = np.zeros((0, channels), np.float32)
        self._index = 0  # of the next image
        self._come = self._shown = 0  # samples
        self._share_come = 0.0

    @property
    def time_ns(self) -> int:
        """When the next image shows."""
        return self._grid.time_ns(self._index)

    @property
    def share(self) -> float:
        """How much of the whole sound has been shown, 0..1."""
        return self._share_come * self._shown / max(self._come, 1)

    def push(self, samples: NDArray[np.float32], share: float) -> None:
        """More sound, with which `fraction` of the whole has come."""
        self._samples = np.concatenate([self._samples, samples])
        self._come += len(samples)
        self._share_come = share

    def whole(self) -> bool:
        """Whether all the sound of the next image is there."""
        return len(self._samples) >= self._size()

    def left(self) -> bool:
        """Whether any sound is left to be shown."""
        return len(self._samples) > 0

    def take(self) -> NDArray[np.float32]:
        """The sound of the next image."""
        size = self._size()
        taken, self._samples = self._samples[:size], self._samples[size:]
        self._index += 1
        self._shown += len(taken)
        return taken

    def _size(self) -> int:
        # Counted from the beginning: at 29.97 images a second stretches differ by a sample, never drift.
        return round((self._index + 1) * VIDEO_HZ / self._fps) - round(self._index * VIDEO_HZ / self._fps)
