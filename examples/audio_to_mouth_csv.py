# SPDX-License-Identifier: Apache-2.0
"""Predict the eight mouth modes of a recording and write them as a table, 25 rows a second.

    python examples/audio_to_mouth_csv.py speech.wav mouth.csv

Expect a row for every 40 ms: the time in s, then the eight modes from open to smile. In pauses all are 0. Use
it to drive your own animated character.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

import splatface
from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk

FPS = 25


def main() -> None:
    """Read the command line and write the table."""
    parser = argparse.ArgumentParser(description="write the mouth modes of a recording as CSV")
    parser.add_argument("audio", type=Path, help="a sound file")
    parser.add_argument("csv", type=Path, help="a .csv to write")
    parser.add_argument("--head", default="mira", help="whose network: a shipped head or a head folder")
    parser.add_argument("--encoder", default="fsmn", help="fsmn, whisper or logmel")
    args = parser.parse_args()

    samples = splatface.read_sound(args.audio)  # [T] mono at 16 kHz
    silence = np.zeros(SAMPLE_RATE, np.float32)  # covers the encoder's look-ahead at the end
    chunk = AudioChunk(np.concatenate([samples, silence]), SAMPLE_RATE, start_ns=0)
    frames = splatface.encoder(args.encoder).push(chunk)
    head = splatface.load_head(splatface.head_folder(args.head))
    talking_head = splatface.TalkingHead(head, splatface.renderer("cpu"))
    count = len(samples) * FPS // SAMPLE_RATE
    with args.csv.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["time_s", *MOUTH_MODES])
        for index in range(count):
            modes = talking_head.mouth(frames, index * NS_PER_S // FPS)
            table.writerow([f"{index / FPS:.3f}", *(f"{mode:.4f}" for mode in modes)])
    print(f"{args.csv}: {count} rows, {count / FPS:.1f} s")


if __name__ == "__main__":
    main()
