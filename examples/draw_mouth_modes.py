# SPDX-License-Identifier: Apache-2.0
"""Draw one image of a head at given mouth modes and controls.

    python examples/draw_mouth_modes.py mouth.png open=0.7 round=0.4
    python examples/draw_mouth_modes.py smile.png smile=0.8 brow_up=0.5 jaw_side=-0.5

Expect a PNG of the head with an open, rounded mouth. Names: open, wide, round, press, upper_lip,
lower_lip, funnel, smile, brow_up, brow_down, jaw_side. Values are about 0 to 1; the limits are those that the
person showed.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

import splatface
from splatface.models.head.controls import EXPRESSIONS


def main() -> None:
    """Read the command line and write the image."""
    parser = argparse.ArgumentParser(description="draw a head at given mouth modes and controls")
    parser.add_argument("image", type=Path, help="a .png to write")
    parser.add_argument("values", nargs="*", metavar="NAME=VALUE", help=", ".join(EXPRESSIONS))
    parser.add_argument("--head", default="mira", help="a shipped head's name or a head folder")
    parser.add_argument("--size", type=int, default=512, help="width and height in pixels")
    args = parser.parse_args()

    weights = {name: float(value) for name, value in (pair.split("=") for pair in args.values)}
    unknown = set(weights) - set(EXPRESSIONS)
    if unknown:
        parser.error(f"expected names of {', '.join(EXPRESSIONS)}, found {', '.join(unknown)}")

    head = splatface.load_head(splatface.head_folder(args.head))
    talking_head = splatface.TalkingHead(head, splatface.renderer("cpu"), size=(args.size, args.size))
    control = splatface.HeadControl(expression=tuple(weights.items()))
    image = talking_head.draw(np.zeros(8, np.float32), control)  # [H, W, 3] RGB
    cv2.imwrite(str(args.image), image[..., ::-1])
    print(f"{args.image}: {args.size}x{args.size}")


if __name__ == "__main__":
    main()
