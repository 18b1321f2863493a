# SPDX-License-Identifier: Apache-2.0
"""`splatface render`: render a video of a head that speaks a sound file or a text."""

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from splatface.cli.progress_line import VideoProgress

if TYPE_CHECKING:
    from splatface.models.head.head import Head
    from splatface.models.talking_head import TalkingHead
    from splatface.models.video.video_audio import Sound
    from splatface.models.video.video_writer import VideoFormat

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("head", help="a shipped head's name or a head folder")
    speech = parser.add_mutually_exclusive_group(required=True)
    speech.add_argument("--audio", type=Path, metavar="FILE", help="a sound file to speak")
    speech.add_argument("--say", metavar="TEXT", help="a text to speak, or - to read it from stdin")
    parser.add_argument("--out", type=Path, required=True, metavar="FILM", help="a .mp4 or .webm file")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--size", default="", metavar="WxH", help="of the video, e.g. 1280x720")
    shape.add_argument("--aspect", default="", help="16:9, 9:16 or 1:1, at the resolution of the head")
    parser.add_argument("--fps", default="25", help="frames per second, 1 to 120 (default: 25)")
    parser.add_argument("--voice", default="", help="for --say, see `splatface voices` (default: the head's)")
    parser.add_argument("--rate", type=float, default=1.0, help="speaking rate of --say, 0.5 to 2.5")
    parser.add_argument("--background", default="", help="a color such as #2a3b4c or an image file")
    parser.add_argument("--encoder", default="fsmn", help="speech encoder: fsmn (fastest), whisper or logmel")
    parser.add_argument("--seed", type=int, default=0, help="of blinks, gaze and head sway")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of the renderer; the video encoder has its own"
    )


def main(args: argparse.Namespace) -> int:
    """Render the video; return 130 when Ctrl-C ended it early."""
    from splatface.models.head.head_file import head_folder, load_head
    from splatface.models.video.video_writer import parse_video_format

    head = load_head(head_folder(args.head))
    own = head.info.camera.width, head.info.camera.height
    shape = parse_video_format(args.size, args.aspect, args.fps, own)
    sound = _sound(args, head)
    return _render_video(args, head, shape, sound)


def _sound(args: argparse.Namespace, head: "Head") -> "Sound":
    from splatface.models.tts.voice_matching import voice_of_head
    from splatface.models.video.video_audio import audio_from_file, audio_from_text

    if args.audio is not None:
        return audio_from_file(args.audio)
    text = sys.stdin.read() if args.say == "-" else args.say
    return audio_from_text(text, args.voice or voice_of_head(head.info.reports), args.rate)


def _make_talking_head(args: argparse.Namespace, head: "Head", shape: "VideoFormat") -> "TalkingHead":
    from splatface.models.messages import HeadControl
    from splatface.models.render.render import parse_background, renderer
    from splatface.models.talking_head import TalkingHead

    size = shape.width, shape.height
    background = parse_background(args.background, size)
    talking_head = TalkingHead(head, renderer("cpu", threads=args.threads), size=size, background=background)
    talking_head.lookahead_ns(args.encoder)  # an encoder that the head does not know is refused here
    print("preparing (compiles for about 10 s the first time)", file=sys.stderr)
    talking_head.render([], HeadControl(), 0)
    return talking_head


def _render_video(args: argparse.Namespace, head: "Head", shape: "VideoFormat", sound: "Sound") -> int:
    from splatface.models.audio.encoder import encoder
    from splatface.models.behavior.controller import HeadMotionController, MotionConfig
    from splatface.models.video.video_frames import render_frames
    from splatface.models.video.video_writer import VideoFileWriter, metadata_tags

    controller = HeadMotionController(MotionConfig(seed=args.seed))
    with (
        VideoFileWriter(args.out, shape, sound.channels, metadata_tags(head.info)) as video,
        _end_requests() as end_requests,
    ):
        talking_head = _make_talking_head(args, head, shape)
        progress = VideoProgress(sys.stderr, time.monotonic)
        for frame in render_frames(sound, encoder(args.encoder), talking_head, controller, shape.fps):
            video.add(frame.image, frame.samples)
            progress.show(video.seconds, frame.fraction)
            if end_requests:
                break
        progress.end()
        seconds = video.seconds
    if not end_requests:
        print(f"{args.out}: {seconds:.1f} s, {shape.width}x{shape.height}, {float(shape.fps):g} fps")
        return 0
    result = f"{args.out} holds the first {seconds:.1f} s" if seconds else "no video was written"
    print(f"stopped: {result}", file=sys.stderr)
    return 130


@contextmanager
def _end_requests() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list: the first one ends the video cleanly, the next one interrupts."""
    requests: list[int] = []

    def on_signal(number: int, frame: object) -> None:
        if requests:
            signal.default_int_handler(signal.SIGINT, None)
        requests.append(number)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
