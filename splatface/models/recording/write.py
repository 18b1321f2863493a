"""Writes a rosbag2 folder (one MCAP file, metadata.yaml); a crash costs half a second at most."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import yaml
from mcap.writer import CompressionType, Writer

from splatface.models.errors import RecordingError
from splatface.models.recording.read import messages_of, topics_of
from splatface.models.recording.types import definition_of, own_types

__all__ = ["Bag", "metadata_of", "repair", "write_metadata"]

# About a third of a second of sound and features: what a crash may cost.
CHUNK_BYTES = 32 * 1024


@dataclass
class _Topic:
    name: str
    type_name: str
    digest: str
    channel: int
    count: int = 0


class Bag:
    """A recording that is being written. Messages are CDR bytes as they came over the wire."""

    def __init__(self, folder: Path, topics: dict[str, str]) -> None:
        """Begin a recording.

        Args:
            folder: a new folder.
            topics: topic name to type, such as {"/face/audio": "splatface_msgs/msg/AudioChunk"}.

        Raises:
            RecordingError: when the folder is there already or cannot be written.
        """
        self.folder = folder
        self.first_ns: int | None = None
        self.last_ns = 0
        self._file = _new_file(folder)
        # Unchanged bytes: sound and features do not shrink, and pictures are many.
        self._writer = Writer(self._file, chunk_size=CHUNK_BYTES, compression=CompressionType.NONE)
        self._writer.start(profile="ros2", library="splatface")
        store = own_types()
        self._topics: dict[str, _Topic] = {}
        for name, type_name in topics.items():
            definition = definition_of(store, type_name)
            schema = self._writer.register_schema(type_name, "ros2msg", definition.text.encode())
            channel = self._writer.register_channel(name, "cdr", schema, {"offered_qos_profiles": ""})
            self._topics[name] = _Topic(name, type_name, definition.digest, channel)
        self._save_metadata()

    @property
    def message_count(self) -> int:
        """Messages written so far."""
        return sum(topic.count for topic in self._topics.values())

    def write(self, topic: str, time_ns: int, cdr: bytes) -> None:
        """Add one message.

        Raises:
            RecordingError: when the disk is full or gone; what was written stays readable.
        """
        entry = self._topics[topic]
        with self._room():
            self._writer.add_message(entry.channel, time_ns, cdr, time_ns, entry.count)
        entry.count += 1
        self.first_ns = time_ns if self.first_ns is None else min(self.first_ns, time_ns)
        self.last_ns = max(self.last_ns, time_ns)

    def flush(self) -> None:
        """Hand what has been written so far to the disk. Raises RecordingError like `write`."""
        with self._room():
            self._writer.flush()

    def close(self) -> None:
        """Finish the file and its metadata. On a full disk the file stays as `repair` can read it."""
        try:
            self._writer.finish()
            self._file.close()
            self._save_metadata()
        except OSError:
            # A full disk: the file stays without an end, which reading and `repair` understand.
            with contextlib.suppress(OSError):
                self._file.close()

    @contextlib.contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RecordingError(
                f"recording {self.folder}: expected room to write, found: {error.strerror}: "
                f"make room; the first {self.message_count} messages are kept"
            ) from None

    def _save_metadata(self) -> None:
        topics = [(topic.name, topic.type_name, topic.digest, topic.count) for topic in self._topics.values()]
        write_metadata(self.folder, metadata_of(topics, (self.first_ns or 0, self.last_ns)))


def _new_file(folder: Path) -> BinaryIO:
    try:
        folder.mkdir(parents=True)
        return (folder / f"{folder.name}_0.mcap").open("wb")
    except FileExistsError:
        raise RecordingError(
            f"recording {folder}: expected a new folder, found one that exists: choose another name"
        ) from None
    except OSError as error:
        raise RecordingError(
            f"recording {folder}: expected a place to write, found: {error.strerror}: choose another folder"
        ) from None


def repair(folder: Path) -> int:
    """Give a recording that a crash cut short its end and its metadata; returns the count of messages kept.

    Raises:
        RecordingError: when there is nothing to read or no room for the copy.
    """
    topics = topics_of(folder)
    whole = folder.with_name(f"{folder.name}.repaired")
    bag = Bag(whole, topics)
    for message in messages_of(folder):
        bag.write(message.topic, message.time_ns, message.cdr)
    bag.close()
    (whole / f"{whole.name}_0.mcap").replace(folder / f"{folder.name}_0.mcap")
    write_metadata(
        folder, yaml.safe_load((whole / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    )
    (whole / "metadata.yaml").unlink()
    whole.rmdir()
    return bag.message_count


def metadata_of(topics: list[tuple[str, str, str, int]], span_ns: tuple[int, int]) -> dict[str, object]:
    """What stands in metadata.yaml (rosbag2, version 9), without the name of the file.

    Args:
        topics: name, type, RIHS01 and message count of each.
        span_ns: time of the first and of the last message.
    """
    count = sum(topic[3] for topic in topics)
    return {
        "version": 9,
        "storage_identifier": "mcap",
        "duration": {"nanoseconds": span_ns[1] - span_ns[0] if count else 0},
        "starting_time": {"nanoseconds_since_epoch": span_ns[0]},
        "message_count": count,
        "topics_with_message_count": [
            {
                "topic_metadata": {
                    "name": name,
                    "type": type_name,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": [],
                    "type_description_hash": digest,
                },
                "message_count": messages,
            }
            for name, type_name, digest, messages in topics
        ],
        "compression_format": "",
        "compression_mode": "",
        "custom_data": None,
        "ros_distro": "jazzy",
    }


def write_metadata(folder: Path, metadata: dict[str, object]) -> None:
    """Write metadata.yaml whole or not at all."""
    name = f"{folder.name}_0.mcap"
    part = {key: metadata[key] for key in ("starting_time", "duration", "message_count")}
    metadata = {**metadata, "relative_file_paths": [name], "files": [{"path": name, **part}]}
    temporary = folder / "metadata.yaml.part"
    temporary.write_text(yaml.safe_dump({"rosbag2_bagfile_information": metadata}, sort_keys=False))
    temporary.replace(folder / "metadata.yaml")
