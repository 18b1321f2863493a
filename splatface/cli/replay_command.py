# SPDX-License-Identifier: Apache-2.0
"""`splatface replay`: render the images of a recording again, bit for bit."""

import argparse
import os
import signal
import subprocess
import sys

from splatface.cli.launcher import run_file
from splatface.cli.launcher.packages import package_share
from splatface.models.errors import RecordingError
from splatface.nodes.observer import hash_images

__all__ = ["add_arguments", "main", "set_image_transport"]


def set_image_transport() -> None:
    """Set the DDS profile launch/fastdds.xml for this process and its children, unless another one is set.

    It sends images between processes through shared memory.
    """
    profile = str(package_share("splatface", os.environ) / "launch" / "fastdds.xml")
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        os.environ.setdefault(name, profile)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("recording", help="a folder made by `splatface record` or the recorder node")
    parser.add_argument("--head", default="mira", help="a shipped head's name or the path of a head folder")
    parser.add_argument("--encoder", default="fsmn", help="the encoder that was recorded")
    parser.add_argument("--fps", default="25", help="frames per second")
    parser.add_argument("--size", default="512x512", help="width x height in pixels")
    parser.add_argument("--rate", default="1.0", help="playback speed, 1 is real time")
    parser.add_argument("--port", default="8600", help="TCP port of the page")
    parser.add_argument(
        "--sha256", action="store_true", help="no page: print number and SHA-256 of all images"
    )


def main(args: argparse.Namespace) -> int:
    """Replay on the page, or hash the rendered images."""
    names = ("recording", "head", "encoder", "fps", "size", "rate", "port")
    arguments = {name: str(getattr(args, name)) for name in names}
    return _print_hash(arguments) if args.sha256 else run_file("replay.launch.yaml", arguments)


def _print_hash(arguments: dict[str, str]) -> int:
    os.environ["ROS_DOMAIN_ID"] = str(60 + os.getpid() % 40)
    set_image_transport()
    # The player does not wait for our subscription to `image`: give discovery more time.
    arguments = {**arguments, "page": "false", "namespace": "replay", "settle": "3.0"}
    command = [sys.executable, "-m", "splatface.cli.main", "launch", "replay.launch.yaml"]
    command += [f"{name}:={value}" for name, value in arguments.items()]
    graph = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        digest = hash_images("replay", 24 * 3600.0, lambda _: graph.poll() is None)
    finally:
        if graph.poll() is None:
            graph.send_signal(signal.SIGINT)
        code = graph.wait(timeout=30)
    if code or not digest.count:
        raise RecordingError(
            f"replay: expected images, found {digest.count} (exit code {code}): "
            "run it without --sha256 to see why"
        )
    print(f"{digest.hexdigest}  {digest.count} images")
    return 0
