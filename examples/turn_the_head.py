# SPDX-License-Identifier: Apache-2.0
"""Draw a head turned from one side to the other, as a strip of images.

    python examples/turn_the_head.py strip.png

Expect five images side by side: the head turned to its right, half right, to the front, half left, left. A
head turns only as far as it did in training (see `splatface info mira`): the outer images may look alike.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

import splatface


def main() -> None:
    """Read the command line and write the strip."""
    parser = argparse.ArgumentParser(description="draw a head turned to both sides")
    parser.add_argument("image", type=Path, help="a .png to write")
    parser.add_argument("--head", default="mira", help="a shipped head's name or a head folder")
    parser.add_argument("--size", type=int, default=320, help="width and height of one image in pixels")
    parser.add_argument("--yaw", type=float, default=20.0, help="degrees to each side")
    args = parser.parse_args()

    head = splatface.load_head(splatface.head_folder(args.head))
    talking_head = splatface.TalkingHead(head, splatface.renderer("cpu"), size=(args.size, args.size))
    images = []  # of a head that turns while its eyes stay on the viewer
    for yaw_rad in np.radians(np.linspace(-args.yaw, args.yaw, 5)):  # REP 103: positive to the head's left
        pose = np.array([np.cos(yaw_rad / 2), 0.0, 0.0, np.sin(yaw_rad / 2)])  # quaternion w x y z
        control = splatface.HeadControl(quat_world_head=pose, gaze_yaw_rad=-float(yaw_rad))
        images.append(talking_head.draw(np.zeros(8, np.float32), control))
    cv2.imwrite(str(args.image), np.hstack(images)[..., ::-1])
    print(f"{args.image}: {len(images)} images")


if __name__ == "__main__":
    main()
