# SPDX-License-Identifier: Apache-2.0
"""Video of a head that speaks a recording once per audio encoder, side by side, above a plot."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.encoder import encoder
from splatface.models.audio.vad import level_dbfs
from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.behavior.controller import HeadMotionController, MotionConfig
from splatface.models.talking_head import TalkingHead
from splatface.models.training.audio_to_mouth.net_evaluation import SHUT_BELOW
from splatface.models.training.speech_corpus.coarticulation import modes_from_phones
from splatface.models.training.speech_corpus.forced_alignment import closure_at
from splatface.models.training.speech_corpus.phonemes import Phone
from splatface.models.typing import Float32Array, UInt8Array
from splatface.models.video.video_audio import audio_from_file
from splatface.models.video.video_frames import RenderedFrame, render_frames
from splatface.models.video.video_writer import VideoFormat

__all__ = [
    "PLOT_HEIGHT",
    "SHOWN_S",
    "ComparisonFrame",
    "MouthPlot",
    "PlotSample",
    "comparison_format",
    "render_comparison",
    "write_on",
]

Color = tuple[int, int, int]

SHOWN_S = 4.0
PLOT_HEIGHT = 160  # px
_OPEN = MOUTH_MODES.index("open")
_GROUND: Color = (24, 26, 30)
_GRID: Color = (60, 64, 70)
_LEVEL: Color = (52, 66, 74)
_TEXT: Color = (200, 204, 208)
# Okabe & Ito's palette: distinguishable with any color vision.
_COLORS: tuple[Color, ...] = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167))
_LARGEST = 1.1  # opening at the top
_QUIET_DBFS = -60.0  # level at the bottom
_ROW = 8  # px of a row of closures
_TEXT_SIZE = 0.42


@dataclass(frozen=True, slots=True, eq=False)
class PlotSample:
    """One moment, as each encoder predicts it."""

    time_s: float
    level_dbfs: float
    mouths: tuple[Float32Array, ...]  # [n <= 8] modes, one a listener
    letter: str = ""  # what the lips close for just now, where the words are known


class MouthPlot:
    """The last `SHOWN_S` seconds; the newest moment is at the right edge.

    Args:
        width: px.
        names: of the encoders, in the order of `PlotSample.mouths`.
    """

    def __init__(self, width: int, names: Sequence[str]) -> None:
        self._width = width
        self._names = tuple(names)
        self._past: deque[PlotSample] = deque()

    def add(self, sample: PlotSample) -> UInt8Array:
        """Return the plot [PLOT_HEIGHT, width, 3] RGB after one more sample; times rise."""
        self._past.append(sample)
        while self._past[0].time_s < sample.time_s - SHOWN_S:
            self._past.popleft()
        picture = np.full((PLOT_HEIGHT, self._width, 3), _GROUND, np.uint8)
        x = [self._x(frame.time_s) for frame in self._past]
        self._draw_level(picture, x)
        self._draw_grid(picture)
        for number, name in enumerate(self._names):
            self._draw_listener(picture, x, number)
            write_on(picture, name, (6 + 90 * number, 14), _COLORS[number % len(_COLORS)])
        self._draw_letters(picture, x)
        return picture

    @property
    def _floor(self) -> int:
        """Return the height of an opening of 0, px from the top; rows of closures are below."""
        return PLOT_HEIGHT - 18 - _ROW * len(self._names)

    def _x(self, time_s: float) -> int:
        return round(self._width * (1 - (self._past[-1].time_s - time_s) / SHOWN_S)) - 1

    def _y(self, opening: float) -> int:
        return round(self._floor * (1 - min(max(opening, -0.1), _LARGEST) / _LARGEST))

    def _draw_level(self, picture: UInt8Array, x: list[int]) -> None:
        for left, right, frame in zip(x, x[1:], list(self._past)[1:], strict=False):
            share = min(max(1 - frame.level_dbfs / _QUIET_DBFS, 0.0), 1.0)
            picture[round(self._floor * (1 - share)) : self._floor, max(left, 0) : right] = _LEVEL

    def _draw_grid(self, picture: UInt8Array) -> None:
        for opening in (0.0, 0.5, 1.0):
            picture[self._y(opening)] = _GRID
        newest_s = self._past[-1].time_s
        for second in range(int(max(newest_s - SHOWN_S, 0.0)), int(newest_s) + 1):
            at = self._x(second)
            picture[: self._floor, max(at, 0)] = _GRID
            write_on(picture, f"{second} s", (at + 3, PLOT_HEIGHT - 3), _TEXT)

    def _draw_listener(self, picture: UInt8Array, x: list[int], number: int) -> None:
        mouths = [_whole(frame.mouths[number]) for frame in self._past]
        color = _COLORS[number % len(_COLORS)]
        line = np.array([(at, self._y(float(mouth[_OPEN]))) for at, mouth in zip(x, mouths, strict=True)])
        cv2.polylines(picture, [line.astype(np.int32)], False, color, 1, cv2.LINE_AA)
        top = self._floor + 3 + _ROW * number
        for left, right, mouth in zip(x, x[1:], mouths[1:], strict=False):
            if mouth[_OPEN] < SHUT_BELOW:
                picture[top : top + _ROW - 2, max(left, 0) : right] = color

    def _draw_letters(self, picture: UInt8Array, x: list[int]) -> None:
        before = ""
        for at, frame in zip(x, self._past, strict=True):
            if frame.letter and frame.letter != before:
                picture[16 : self._floor : 2, max(at, 0)] = _TEXT
                write_on(picture, frame.letter, (at + 2, 28), _TEXT)
            before = frame.letter


def write_on(picture: UInt8Array, text: str, at: tuple[int, int], color: Color = _TEXT) -> None:
    """Write a word into a picture [H, W, 3] on a dark ground, its lower left corner at (x, y) px."""
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, _TEXT_SIZE, 1)
    x, y = at
    picture[max(y - height - 2, 0) : y + below, max(x - 2, 0) : x + width + 2] = _GROUND
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, _TEXT_SIZE, color, 1, cv2.LINE_AA)


def _whole(mouth: Float32Array) -> Float32Array:
    """Return all modes; those that were not predicted are 0."""
    return np.pad(mouth, (0, len(MOUTH_MODES) - len(mouth)))


Face = tuple[NDArray[np.uint8], Float32Array]  # picture, mouth modes


@dataclass(frozen=True, slots=True, eq=False)
class ComparisonFrame:
    """One video frame: all faces, the plot below them, and the audio until the next frame."""

    picture: NDArray[np.uint8]  # [H, W, 3] RGB
    samples: Float32Array  # [T, channels] at VIDEO_HZ
    share: float  # fraction of the audio so far, 0..1
    sample: PlotSample


def comparison_format(face: VideoFormat, count: int) -> VideoFormat:
    """Return the format of a video with `count` faces side by side and the plot below them."""
    return VideoFormat(face.width * count, face.height + PLOT_HEIGHT, face.fps)


def render_comparison(
    path: Path, encoders: Sequence[str], talker: TalkingHead, fps: Fraction, phones: tuple[Phone, ...] = ()
) -> Iterator[ComparisonFrame]:
    """Yield the frames of an audio file, ceil(duration * fps) of them; only the last seconds are held.

    Args:
        path: any sound file.
        encoders: whose nets hear it, from left to right; the head knows them all.
        talker: the head.
        fps: pictures a second.
        phones: what is said in it; where given, one more face at the right moves as they do.

    Raises:
        AudioError, EncoderError, HeadError: as `audio_from_file`, `encoder` and `TalkingHead`.
    """
    streams = [
        render_frames(audio_from_file(path), encoder(name), talker, HeadMotionController(MotionConfig()), fps)
        for name in encoders
    ]
    names = [*encoders, *(["aligned"] if phones else [])]
    plot = MouthPlot(talker.camera.width * len(names), names)
    for number, frames in enumerate(zip(*streams, strict=True)):
        time_s = float(number / fps)
        faces = _faces(frames, talker, phones, time_s)
        for (picture, _), name in zip(faces, names, strict=True):
            write_on(picture, f"{name}  {time_s:.2f} s", (8, 18))
        level = level_dbfs(frames[0].samples.mean(axis=1))
        sample = PlotSample(time_s, level, tuple(mouth for _, mouth in faces), closure_at(phones, time_s))
        faces_row = np.concatenate([picture for picture, _ in faces], axis=1)
        image = np.concatenate([faces_row, plot.add(sample)])
        yield ComparisonFrame(image, frames[0].samples, frames[0].fraction, sample)


def _faces(
    frames: tuple[RenderedFrame, ...], talker: TalkingHead, phones: tuple[Phone, ...], time_s: float
) -> list[Face]:
    faces = [(side.image, side.mouth) for side in frames]
    if phones:
        mouth = modes_from_phones(phones, np.array([time_s]))[0]
        faces.append((talker.draw(mouth, frames[0].control), mouth))
    return faces
