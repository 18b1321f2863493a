"""Message definitions that go into a recording, so that anyone can read it without this package."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from splatface.models.errors import RecordingError

__all__ = ["Definition", "definition_of", "own_types"]


@dataclass(frozen=True, slots=True)
class Definition:
    """A message type as a recording carries it."""

    name: str  # such as splatface_msgs/msg/AudioChunk
    text: str  # the .msg and all it needs, in the form of MCAP's ros2msg
    digest: str  # RIHS01, ROS's own hash of the type


def own_types() -> Typestore:
    """ROS's common types and those of the installed splatface_msgs.

    Raises:
        RecordingError: when splatface_msgs is not installed.
    """
    store = get_typestore(Stores.ROS2_JAZZY)  # these definitions are the same in later series
    for file in _own_files():
        store.register(get_types_from_msg(file.read_text(), f"splatface_msgs/msg/{file.stem}"))
    return store


def definition_of(store: Typestore, name: str) -> Definition:
    """The definition of one type, such as `sensor_msgs/msg/Image`."""
    text, _ = store.generate_msgdef(name, ros_version=2)
    return Definition(name=name, text=text, digest=store.hash_rihs01(name))


def _own_files() -> list[Path]:
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    for prefix in filter(None, prefixes):
        files = sorted(Path(prefix).glob("share/splatface_msgs/msg/*.msg"))
        if files:
            return files
    raise RecordingError(
        "recording: expected the message definitions of splatface_msgs below AMENT_PREFIX_PATH, found none: "
        "run make setup, or source the workspace"
    )
