# SPDX-License-Identifier: Apache-2.0
"""Bag writer: a rosbag2 folder (one MCAP file, metadata.yaml), written by rosbags.

rosbags ends a chunk after 1 MiB, which is many seconds of sound that a crash would cost, and has no option
for less. So `BagWriter` ends chunks itself, through the storage that rosbags' writer holds. This and the scan
in bag_reader.py go beyond rosbags' documented interface, hence its narrow version in pyproject.toml.
rosbags writes index and metadata.yaml when a recording is closed; `repair` writes them when it never was.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from splatface.models.errors import RecordingError
from splatface.models.recording.bag_reader import mcap_files, open_readers, read_messages

__all__ = ["INFINITE_NS", "BagWriter", "OfferedQos", "installed_types", "repair"]

# About a third of a second of sound and features: what a crash may cost between two calls of `flush`.
CHUNK_BYTES = 32 * 1024
INFINITE_NS = 2**63 - 1  # as rmw's RMW_DURATION_INFINITE


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedQos:
    """QoS that a publisher offers, in ROS's own lower-case names; `unknown` where discovery does not tell."""

    reliability: str  # reliable, best_effort
    durability: str  # volatile, transient_local
    history: str  # keep_last, keep_all
    depth: int
    deadline_ns: int = INFINITE_NS
    lifespan_ns: int = INFINITE_NS
    liveliness: str = "automatic"  # or manual_by_topic
    liveliness_lease_ns: int = INFINITE_NS


class BagWriter:
    """A recording that is being written. Messages are CDR bytes as they came over the wire."""

    def __init__(self, folder: Path, types: Typestore | None = None) -> None:
        """Begin a recording.

        Args:
            folder: a new folder.
            types: definitions of the message types; by default those of `installed_types`.

        Raises:
            RecordingError: when the folder is there already or cannot be written.
        """
        self.folder = folder
        self._types = types or installed_types()
        self._connections: dict[str, Connection] = {}
        self._unsaved_bytes = 0
        self._saved = 0  # messages that a crash leaves readable
        self._failed = False
        # Without compression: sound and features do not shrink, and pictures are many.
        self._writer = _new_writer(folder)
        self.flush()

    @property
    def message_count(self) -> int:
        """Messages written so far."""
        return sum(self._writer.counts.values())

    def __contains__(self, topic: str) -> bool:
        return topic in self._connections

    def add_topic(self, name: str, type_name: str, offered_qos: Sequence[OfferedQos] = ()) -> None:
        """Add a topic, before its first message.

        Args:
            name: such as /face/audio.
            type_name: such as splatface_msgs/msg/AudioChunk.
            offered_qos: of each of the topic's publishers.
        """
        self._connect(name, type_name, [_rosbags_qos(offer) for offer in offered_qos])

    def write(self, topic: str, time_ns: int, cdr: bytes) -> None:
        """Add one message of a topic that was added.

        Raises:
            RecordingError: when the disk is full or gone; what was written stays readable.
        """
        with self._disk():
            self._writer.write(self._connections[topic], time_ns, cdr)
            self._unsaved_bytes += len(cdr)
            if self._unsaved_bytes > CHUNK_BYTES:
                self._end_chunk()

    def flush(self) -> None:
        """Hand what has been written so far to the disk. Raises RecordingError like `write`."""
        with self._disk():
            self._end_chunk()

    def close(self) -> None:
        """Write the index and metadata.yaml. After a failed `write`, leave the file as `repair` can read it.

        Raises:
            RecordingError: when the disk is full or gone; `repair` reads what was written.
        """
        try:
            if not self._failed:
                with self._disk():
                    self._writer.close()
        finally:
            with contextlib.suppress(OSError):
                self._writer.abort()

    def _connect(self, name: str, type_name: str, offered_qos: list[Qos]) -> None:
        self._connections[name] = self._writer.add_connection(
            name, type_name, typestore=self._types, offered_qos_profiles=offered_qos
        )

    def _end_chunk(self) -> None:
        storage = self._writer.storage
        if storage.chunk.msgs:
            storage.close_chunk()
        storage.bio.flush()
        self._unsaved_bytes = 0
        self._saved = self.message_count

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failed = True  # a record may be written in part: nothing may follow it
            raise RecordingError(
                f"recording {self.folder}: expected room to write, found: {error.strerror}: "
                f"make room; the first {self._saved} messages are kept: splatface record --repair"
            ) from None


def repair(folder: Path) -> int:
    """Give a recording that a crash cut short its index and its metadata; return the count of messages kept.

    Definitions and offered QoS are those in the recording. It is replaced only when the new one is whole.

    Raises:
        RecordingError: when there is nothing to read or no room for the copy.
    """
    folder = folder.resolve()
    damaged = mcap_files(folder)
    if folder in damaged:
        raise RecordingError(f"recording {folder}: expected a folder, found a file: give the folder it is in")
    with tempfile.TemporaryDirectory(prefix=".repair-", dir=folder) as temporary:
        # A folder of the same name, because rosbags names the file after it.
        bag = _copy(folder, Path(temporary) / folder.name)
        file = folder / f"{folder.name}.mcap"
        (bag.folder / file.name).replace(file)
        (bag.folder / "metadata.yaml").replace(folder / "metadata.yaml")
    for old in damaged:
        if old != file:
            old.unlink()
    return bag.message_count


def _copy(folder: Path, target: Path) -> BagWriter:
    connections = [connection for reader in open_readers(folder) for connection in list(reader.connections)]
    bag = BagWriter(target, _types_of(connections, folder))
    for connection in connections:
        if connection.topic not in bag and isinstance(connection.ext, ConnectionExtRosbag2):
            bag._connect(connection.topic, connection.msgtype, connection.ext.offered_qos_profiles)
    for message in read_messages(folder):
        bag.write(message.topic, message.time_ns, message.cdr)
    bag.close()
    return bag


def _types_of(connections: Sequence[Connection], folder: Path) -> Typestore:
    store = get_typestore(Stores.EMPTY)
    types = {}
    try:
        for connection in connections:
            types.update(get_types_from_msg(connection.msgdef.data, connection.msgtype))
        store.register(types)
    except TypesysError as error:
        raise RecordingError(
            f"recording {folder}: expected message definitions of kind ros2msg, found: {error}: "
            "use the tool it was recorded with"
        ) from None
    return store


def installed_types() -> Typestore:
    """Return ROS's common types and those of the installed splatface_msgs.

    Raises:
        RecordingError: when splatface_msgs is not installed.
    """
    store = get_typestore(Stores.ROS2_JAZZY)  # these definitions are the same in later series
    for file in _own_files():
        store.register(get_types_from_msg(file.read_text(), f"splatface_msgs/msg/{file.stem}"))
    return store


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


def _new_writer(folder: Path) -> Writer:
    try:
        writer = Writer(folder, version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP)
        writer.open()
    except WriterError:
        raise RecordingError(
            f"recording {folder}: expected a new folder, found one that exists: choose another name"
        ) from None
    except OSError as error:
        raise RecordingError(
            f"recording {folder}: expected a place to write, found: {error.strerror}: choose another folder"
        ) from None
    return writer


def _rosbags_qos(offer: OfferedQos) -> Qos:
    return Qos(
        history=QosHistory[offer.history.upper()],
        depth=offer.depth,
        reliability=QosReliability[offer.reliability.upper()],
        durability=QosDurability[offer.durability.upper()],
        deadline=QosTime(*divmod(offer.deadline_ns, 10**9)),
        lifespan=QosTime(*divmod(offer.lifespan_ns, 10**9)),
        liveliness=QosLiveliness[offer.liveliness.upper()],
        liveliness_lease_duration=QosTime(*divmod(offer.liveliness_lease_ns, 10**9)),
        avoid_ros_namespace_conventions=False,
    )
