"""A film about hearing: a head says a recording as each encoder's net hears it, side by side, with a plot."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.encoder import encoder
from splatface.models.audio.voice import level_dbfs
from splatface.models.behavior.controller import HeadMotionController, MotionConfig
from splatface.models.talking_head import TalkingHead
from splatface.models.training.report.mode_plot import PLOT_HEIGHT, Plot, PlotSample, write_on
from splatface.models.training.speech_corpus.coarticulation import mode_track
from splatface.models.training.speech_corpus.forced_alignment import closed_for
from splatface.models.training.speech_corpus.phonemes import Phone
from splatface.models.typing import Float32Array
from splatface.models.video.moments import VideoFrame, render_frames
from splatface.models.video.shape import VideoFormat
from splatface.models.video.sound import sound_of_file

__all__ = ["HeardMoment", "heard_moments", "shape_around"]


Face = tuple[NDArray[np.uint8], Float32Array]  # picture, mouth modes


@dataclass(frozen=True, slots=True, eq=False)
class HeardMoment:
    """All faces and the plot below them, and the sound until the next such picture."""

    picture: NDArray[np.uint8]  # [H, W, 3] RGB
    samples: Float32Array  # [T, channels] at FILM_HZ
    share: float  # how much of the whole sound has been shown, 0..1
    heard: PlotSample


def shape_around(face: VideoFormat, count: int) -> VideoFormat:
    """The shape of a film with `count` faces side by side and the plot below them."""
    return VideoFormat(face.width * count, face.height + PLOT_HEIGHT, face.fps)


def heard_moments(
    path: Path, encoders: Sequence[str], talker: TalkingHead, fps: Fraction, phones: tuple[Phone, ...] = ()
) -> Iterator[HeardMoment]:
    """The film of a sound file, ceil(duration * fps) moments; only the last seconds are held.

    Args:
        path: any sound file.
        encoders: whose nets hear it, from left to right; the head knows them all.
        talker: the head.
        fps: pictures a second.
        phones: what is said in it; where given, one more face at the right moves as they do.

    Raises:
        AudioError, EncoderError, HeadError: as `sound_of_file`, `encoder` and `Talker`.
    """
    takes = [
        render_frames(sound_of_file(path), encoder(name), talker, HeadMotionController(MotionConfig()), fps)
        for name in encoders
    ]
    names = [*encoders, *(["aligned"] if phones else [])]
    plot = Plot(talker.camera.width * len(names), names)
    for number, sides in enumerate(zip(*takes, strict=True)):
        time_s = float(number / fps)
        faces = _faces(sides, talker, phones, time_s)
        for (picture, _), name in zip(faces, names, strict=True):
            write_on(picture, f"{name}  {time_s:.2f} s", (8, 18))
        level = level_dbfs(sides[0].samples.mean(axis=1))
        heard = PlotSample(time_s, level, tuple(mouth for _, mouth in faces), closed_for(phones, time_s))
        above = np.concatenate([picture for picture, _ in faces], axis=1)
        whole = np.concatenate([above, plot.add(heard)])
        yield HeardMoment(whole, sides[0].samples, sides[0].share, heard)


def _faces(
    sides: tuple[VideoFrame, ...], talker: TalkingHead, phones: tuple[Phone, ...], time_s: float
) -> list[Face]:
    faces = [(side.picture, side.mouth) for side in sides]
    if phones:
        mouth = mode_track(phones, np.array([time_s]))[0]
        faces.append((talker.draw(mouth, sides[0].control), mouth))
    return faces
