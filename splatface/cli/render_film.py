"""`splatface render`: a sound file or a text becomes a film of a head speaking it."""

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from splatface.cli.film_line import FilmLine

if TYPE_CHECKING:
    from splatface.models.head.head import Head
    from splatface.models.talking_head import TalkingHead
    from splatface.models.video.video_audio import Sound
    from splatface.models.video.video_writer import VideoFormat

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("head", help="a shipped head's name or a head folder")
    said = parser.add_mutually_exclusive_group(required=True)
    said.add_argument("--audio", type=Path, metavar="FILE", help="a sound file that it speaks")
    said.add_argument("--say", metavar="TEXT", help="a text that it speaks, or - to read it from stdin")
    parser.add_argument("--out", type=Path, required=True, metavar="FILM", help="a .mp4 or .webm")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--size", default="", metavar="WxH", help="of the pictures, e.g. 1280x720")
    shape.add_argument("--aspect", default="", help="16:9, 9:16 or 1:1, as large as the head was made")
    parser.add_argument("--fps", default="25", help="pictures per second, 1 to 120 (default: 25)")
    parser.add_argument("--voice", default="", help="for --say, see `splatface voices` (default: the head's)")
    parser.add_argument("--rate", type=float, default=1.0, help="pace of --say, 0.5 to 2.5")
    parser.add_argument("--background", default="", help="a color such as #2a3b4c or a picture")
    parser.add_argument(
        "--encoder", default="fsmn", help="how speech is heard: fsmn (quickest), whisper or logmel"
    )
    parser.add_argument("--seed", type=int, default=0, help="of blinks, gaze and sway")
    parser.add_argument("--threads", type=int, default=1, help="that draw; the film is coded on others")


def main(args: argparse.Namespace) -> int:
    """Make the film; 130 when Ctrl-C ended it early."""
    from splatface.models.head.head_file import head_folder, load_head
    from splatface.models.video.video_writer import shape_of

    head = load_head(head_folder(args.head))
    own = head.info.camera.width, head.info.camera.height
    shape = shape_of(args.size, args.aspect, args.fps, own)
    sound = _sound(args, head)
    return _shoot(args, head, shape, sound)


def _sound(args: argparse.Namespace, head: "Head") -> "Sound":
    from splatface.models.tts.voice_matching import voice_of_head
    from splatface.models.video.video_audio import sound_of_file, sound_of_text

    if args.audio is not None:
        return sound_of_file(args.audio)
    text = sys.stdin.read() if args.say == "-" else args.say
    return sound_of_text(text, args.voice or voice_of_head(head.info.reports), args.rate)


def _talker(args: argparse.Namespace, head: "Head", shape: "VideoFormat") -> "TalkingHead":
    from splatface.models.messages import HeadControl
    from splatface.models.render.render import background_of, renderer
    from splatface.models.talking_head import TalkingHead

    size = shape.width, shape.height
    background = background_of(args.background, size)
    talker = TalkingHead(head, renderer("cpu", threads=args.threads), size=size, background=background)
    talker.lookahead_ns(args.encoder)  # an encoder that the head does not know is refused here
    print("preparing (compiles for about 10 s the first time)", file=sys.stderr)
    talker.render([], HeadControl(), 0)
    return talker


def _shoot(args: argparse.Namespace, head: "Head", shape: "VideoFormat", sound: "Sound") -> int:
    from splatface.models.audio.encoder import encoder
    from splatface.models.behavior.controller import HeadMotionController, MotionConfig
    from splatface.models.video.video_frames import render_frames
    from splatface.models.video.video_writer import FilmWriter, tags_of

    controller = HeadMotionController(MotionConfig(seed=args.seed))
    with FilmWriter(args.out, shape, sound.channels, tags_of(head.info)) as film, _asked_to_end() as ending:
        talker = _talker(args, head, shape)
        line = FilmLine(sys.stderr, time.monotonic)
        for moment in render_frames(sound, encoder(args.encoder), talker, controller, shape.fps):
            film.add(moment.picture, moment.samples)
            line.show(film.seconds, moment.share)
            if ending:
                break
        line.end()
        seconds = film.seconds
    if not ending:
        print(f"{args.out}: {seconds:.1f} s, {shape.width}x{shape.height}, {float(shape.fps):g} fps")
        return 0
    held = f"{args.out} holds the first {seconds:.1f} s" if seconds else "no film was made"
    print(f"stopped: {held}", file=sys.stderr)
    return 130


@contextmanager
def _asked_to_end() -> Iterator[list[int]]:
    """The signals that asked for the end: after the first the film is finished, the next one ends all."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        if asked:
            signal.default_int_handler(signal.SIGINT, None)
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
