"""Small films for the tests of tracking: drawn pictures, written with PyAV."""

from fractions import Fraction
from functools import cache

import av
import cv2
import numpy as np

from splatface.models.head.head_file import head_folder

RATE = 16_000
TICKS = 90_000


@cache
def robin():
    """A face [512, 512, 3] that mediapipe finds."""
    return np.ascontiguousarray(cv2.imread(str(head_folder("robin") / "preview.png"))[..., ::-1])


def gray_steps(count, size=(64, 48)):
    """Pictures that say their number by how bright they are: 4 levels a step."""
    return [np.full((size[1], size[0], 3), 20 + 4 * i, np.uint8) for i in range(count)]


def number_of(picture):
    """The number that a picture of `gray_steps` says."""
    return round((float(picture.mean()) - 20) / 4)


def write_film(path, pictures, times_s, *, sound=None, sound_from_s=0.0, rotation_deg=0):
    """A film of pictures [H, W, 3] shown at given times, with sound at 16 kHz if there is any."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(
            "libx264", rate=25, options={"preset": "ultrafast", "crf": "8", "bf": "0"}
        )
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, TICKS)
        video.gop_size = 12
        if rotation_deg:
            video.set_display_rotation(rotation_deg)
        audio = (
            container.add_stream("pcm_s16le" if path.suffix == ".mkv" else "aac", rate=RATE)
            if sound is not None
            else None
        )
        if audio is not None:
            audio.layout = "mono"
        for picture, time_s in zip(pictures, times_s, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(time_s * TICKS), Fraction(1, TICKS)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None:
            write_sound(container, audio, sound, sound_from_s)
    return path


def write_sound(container, stream, sound, from_s):
    for first in range(0, len(sound), 1024):
        part = np.ascontiguousarray(sound[None, first : first + 1024], np.float32)
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
        frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
        frame.pts = round(from_s * RATE) + first
        if stream.codec_context.format.name != "fltp":
            frame = av.AudioResampler(format=stream.codec_context.format.name, layout="mono").resample(frame)[
                0
            ]
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def at_rate(count, fps):
    """Times [count] of pictures at a fixed rate."""
    return [i / fps for i in range(count)]
