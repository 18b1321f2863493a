"""`splatface replay`: a recording becomes the same pictures again."""

import argparse
import os
import signal
import subprocess
import sys

from splatface.cli.launcher import run_file
from splatface.cli.transport import use_picture_transport
from splatface.models.errors import RecordingError
from splatface.nodes.observer import watch_pictures

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("recording", help="a folder made by `splatface record` or the recorder node")
    parser.add_argument("--head", default="mira", help="a shipped head's name or the path of a head folder")
    parser.add_argument("--encoder", default="fsmn", help="the encoder that was recorded")
    parser.add_argument("--fps", default="25", help="pictures per second")
    parser.add_argument("--size", default="512x512", help="width x height")
    parser.add_argument("--rate", default="1.0", help="speed, 1 is as it was")
    parser.add_argument("--port", default="8600", help="TCP port of the page")
    parser.add_argument(
        "--sha256", action="store_true", help="no page: print count and SHA-256 of all decoded pictures"
    )


def main(args: argparse.Namespace) -> int:
    """Replay on the page, or hash what the renderer draws."""
    names = ("recording", "head", "encoder", "fps", "size", "rate", "port")
    arguments = {name: str(getattr(args, name)) for name in names}
    return _hash(arguments) if args.sha256 else run_file("replay.launch.yaml", arguments)


def _hash(arguments: dict[str, str]) -> int:
    os.environ["ROS_DOMAIN_ID"] = str(60 + os.getpid() % 40)
    use_picture_transport()
    # Our own match with the renderer is nobody's to wait for, so it gets time.
    arguments = {**arguments, "page": "false", "namespace": "replay", "settle": "3.0"}
    command = [sys.executable, "-m", "splatface.cli.cli", "launch", "replay.launch.yaml"]
    command += [f"{name}:={value}" for name, value in arguments.items()]
    graph = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        digest = watch_pictures("replay", 24 * 3600.0, lambda _: graph.poll() is None)
    finally:
        if graph.poll() is None:
            graph.send_signal(signal.SIGINT)
        code = graph.wait(timeout=30)
    if code or not digest.count:
        raise RecordingError(
            f"replay: expected pictures, found {digest.count} (exit code {code}): "
            "run it without --sha256 to see why"
        )
    print(f"{digest.hexdigest}  {digest.count} pictures")
    return 0
