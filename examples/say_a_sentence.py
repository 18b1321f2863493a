# SPDX-License-Identifier: Apache-2.0
"""Write a film of a head that says a sentence.

    python examples/say_a_sentence.py "Good morning." film.mp4

Expect a film with sound, as long as the sentence plus 0.8 s of rest, drawn faster than real time on one core.
The command line does the same: splatface render mira --say "Good morning." --out film.mp4
"""

import argparse
from pathlib import Path

import splatface
from splatface.models.behavior.controller import HeadMotionController, MotionConfig
from splatface.models.video.video_audio import audio_from_text
from splatface.models.video.video_frames import render_frames
from splatface.models.video.video_writer import VideoFileWriter, metadata_tags, parse_video_format


def main() -> None:
    """Read the command line and write the film."""
    parser = argparse.ArgumentParser(description="write a film of a head that says a sentence")
    parser.add_argument("text")
    parser.add_argument("film", type=Path, help="a new .mp4 or .webm")
    parser.add_argument("--head", default="mira", help="a shipped head's name or a head folder")
    parser.add_argument("--size", default="512x512", help="width x height in pixels")
    args = parser.parse_args()

    head = splatface.load_head(splatface.head_folder(args.head))
    video_format = parse_video_format(args.size, aspect="", fps="25", native_size=(512, 512))
    talking_head = splatface.TalkingHead(
        head, splatface.renderer("cpu"), size=(video_format.width, video_format.height)
    )
    audio = audio_from_text(args.text)
    motion = HeadMotionController(MotionConfig(seed=1))  # blinks, gaze and nods; another seed, another motion
    encoder = splatface.encoder("fsmn")
    with VideoFileWriter(args.film, video_format, audio.channels, metadata_tags(head.info)) as film:
        for frame in render_frames(audio, encoder, talking_head, motion, video_format.fps):
            film.add(frame.image, frame.samples)
        print(f"{args.film}: {film.seconds:.1f} s")


if __name__ == "__main__":
    main()
