"""`splatface hear film`: a head says a recording as each net hears it, side by side, over a running plot."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from splatface.cli.progress_line import VideoProgress

if TYPE_CHECKING:
    from splatface.models.head.head import Head
    from splatface.models.training.speech_corpus.phonemes import Phone
    from splatface.models.video.video_writer import VideoFormat

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("sound", type=Path, help="a recording of speech")
    parser.add_argument("--head", default="mira", help="a shipped head's name or a head folder")
    parser.add_argument("--out", type=Path, required=True, metavar="FILM", help="a .mp4 or .webm")
    parser.add_argument(
        "--encoder", nargs="+", default=["whisper", "fsmn"], help="side by side (default: whisper fsmn)"
    )
    parser.add_argument("--size", default="", metavar="WxH", help="of one face, e.g. 384x384")
    parser.add_argument("--fps", default="25", help="pictures per second, 1 to 120 (default: 25)")
    parser.add_argument("--words", default="", help="all that is said: one more face, moved by its phones")
    parser.add_argument(
        "--voice", default="flite/slt", help="says --words to align with: flite/NAME, espeak/LANGUAGE"
    )


def main(args: argparse.Namespace) -> None:
    """Make the film."""
    from splatface.models.head.head_file import head_folder, load_head
    from splatface.models.training.speech_corpus.forced_alignment import align_phones
    from splatface.models.video.video_writer import parse_video_format

    head = load_head(head_folder(args.head))
    own = head.info.camera.width, head.info.camera.height
    face = parse_video_format(args.size, "", args.fps, own)
    phones = align_phones(args.sound, args.words, args.voice) if args.words else ()
    _shoot(args, head, face, phones)


def _shoot(args: argparse.Namespace, head: "Head", face: "VideoFormat", phones: "tuple[Phone, ...]") -> None:
    from splatface.models.render.render import renderer
    from splatface.models.talking_head import TalkingHead
    from splatface.models.training.report.encoder_comparison import heard_moments, shape_around
    from splatface.models.video.video_audio import audio_from_file
    from splatface.models.video.video_writer import VideoFileWriter, metadata_tags

    talker = TalkingHead(head, renderer("cpu"), size=(face.width, face.height))
    for name in args.encoder:
        talker.lookahead_ns(name)  # an encoder that the head does not know is refused here
    shape = shape_around(face, len(args.encoder) + bool(phones))
    channels = audio_from_file(args.sound).channels
    with VideoFileWriter(args.out, shape, channels, metadata_tags(head.info)) as film:
        line = VideoProgress(sys.stderr, time.monotonic)
        for moment in heard_moments(args.sound, args.encoder, talker, face.fps, phones):
            film.add(moment.picture, moment.samples)
            line.show(film.seconds, moment.share)
        line.end()
        seconds = film.seconds
    print(f"{args.out}: {seconds:.1f} s, {shape.width}x{shape.height}, {float(shape.fps):g} fps")
