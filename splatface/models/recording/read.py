"""Reads a recording back: ours, rosbag2's, or one that a crash cut short."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mcap.exceptions import McapError
from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader

from splatface.models.errors import RecordingError

__all__ = ["Recorded", "messages_of", "topics_of"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One message as it was on the wire."""

    topic: str
    type_name: str
    time_ns: int  # when it was recorded
    cdr: bytes


def _files(folder: Path) -> list[Path]:
    files = [folder] if folder.suffix == ".mcap" and folder.is_file() else sorted(folder.glob("*.mcap"))
    if not files:
        raise RecordingError(
            f"recording {folder}: expected a folder with an .mcap file, found none: check the path, "
            "or make one with splatface record"
        )
    return files


def messages_of(folder: Path) -> Iterator[Recorded]:
    """All messages in the order in which they were written, in constant memory.

    A file that ends in the middle of a record gives all that is whole before it.

    Raises:
        RecordingError: when there is no recording, or a file is none.
    """
    for file in _files(folder):
        yield from _messages_of_file(file)


def _messages_of_file(file: Path) -> Iterator[Recorded]:
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    with file.open("rb") as stream:
        records = StreamReader(stream).records
        begun = False
        while True:
            try:
                record = next(records)
            except (StopIteration, EOFError):
                return
            except (McapError, ValueError, struct.error) as error:
                if begun:
                    return  # cut short: what came before is whole
                raise RecordingError(
                    f"recording {file}: expected an MCAP file, found: {error}: record again"
                ) from None
            begun = True
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Message):
                channel = channels[record.channel_id]
                name = schemas[channel.schema_id].name
                yield Recorded(channel.topic, name, record.log_time, record.data)


def topics_of(folder: Path) -> dict[str, str]:
    """Topic name to type name of everything in the recording."""
    return {message.topic: message.type_name for message in messages_of(folder)}
