# SPDX-License-Identifier: Apache-2.0
"""Bag reader: the messages of a rosbag2 recording, also of one that a crash cut short.

rosbags reads every whole recording: folders with metadata.yaml, single files, MCAP and SQLite. A file that
was not closed has no footer, which rosbags refuses; for it `UnclosedMcapReader` finds the end of the last
whole record, and rosbags' own scan of files without an index reads up to there.
"""

import contextlib
import os
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.storage_mcap import McapReader

from splatface.models.errors import RecordingError

__all__ = ["RecordedMessage", "mcap_files", "open_readers", "read_messages", "read_topics"]

MAGIC = b"\x89MCAP0\r\n"
RECORD_HEAD = struct.Struct("<BQ")  # opcode, length of what follows
LAST_OPCODE = 0x0E  # DataEnd (0x0F) and what is unknown end the data


@dataclass(frozen=True, slots=True)
class RecordedMessage:
    """One message as it was on the wire."""

    topic: str
    type_name: str
    time_ns: int  # when it was recorded
    cdr: bytes


def read_messages(path: Path) -> Iterator[RecordedMessage]:
    """Yield all messages by time of recording, a chunk at a time in memory.

    A file that ends in the middle of a record gives all that is whole before it.

    Args:
        path: a recording's folder or one of its .mcap files.

    Raises:
        RecordingError: when there is no recording, or a file is none.
    """
    for reader in open_readers(path):
        for connection, time_ns, cdr in _until_damaged(reader.messages()):
            yield RecordedMessage(connection.topic, connection.msgtype, time_ns, bytes(cdr))


def read_topics(path: Path) -> dict[str, str]:
    """Return topic name to type name of everything that has messages. Raises like `read_messages`."""
    return {message.topic: message.type_name for message in read_messages(path)}


def open_readers(path: Path) -> Iterator[Any]:
    """Yield rosbags readers with `connections` and `messages()`: one of the folder, or one per unclosed file.

    Each is closed when the next one is asked for. Raises RecordingError like `read_messages`.
    """
    whole = _open_whole(path)
    if whole is not None:
        with contextlib.closing(whole):
            yield whole
        return
    for file in mcap_files(path):
        with contextlib.closing(_open_whole(file) or _open_unclosed(file)) as reader:
            yield reader


def mcap_files(path: Path) -> list[Path]:
    """Return the .mcap files of a folder, in the order of their names, or the one that `path` is.

    Raises:
        RecordingError: when there is none.
    """
    files = [path] if path.suffix == ".mcap" and path.is_file() else sorted(path.glob("*.mcap"))
    if not files:
        raise RecordingError(
            f"recording {path}: expected a folder with an .mcap file, found none: check the path, "
            "or make one with splatface record"
        )
    return files


def _open_whole(path: Path) -> Any:
    try:
        reader = Reader(path)
        reader.open()
    except Exception:  # an unclosed or damaged file can raise anything in rosbags' parser
        return None
    return reader


def _open_unclosed(file: Path) -> "UnclosedMcapReader":
    reader = UnclosedMcapReader(file)
    try:
        reader.open()
    except OSError as error:
        raise RecordingError(
            f"recording {file}: expected a readable file, found: {error.strerror}: check its permissions"
        ) from None
    return reader


class UnclosedMcapReader(McapReader):
    """rosbags' MCAP reader for a file without footer and index, in the order in which it was written."""

    def open(self) -> None:
        """Find the whole records and the topics in them. Raises RecordingError when it is no MCAP file."""
        self.bio = self.path.open("rb")
        if self.bio.read(len(MAGIC)) != MAGIC:
            self.bio.close()
            raise RecordingError(
                f"recording {self.path}: expected an MCAP file, found other content: record again"
            )
        self.data_start = len(MAGIC)
        self.data_end = _end_of_whole_records(self.bio, self.data_start)
        with contextlib.suppress(Exception):  # damaged: the topics before the damage are known
            self.meta_scan()

    def messages(self, connections: Collection[Connection] = (), *_: object) -> Iterator[Any]:
        """Yield connection, time in ns and CDR bytes of each message. Stops where the file is damaged."""
        yield from self.messages_scan(connections or self.connections)


def _end_of_whole_records(stream: BinaryIO, start: int) -> int:
    size = os.fstat(stream.fileno()).st_size
    end = start
    while end + RECORD_HEAD.size <= size:
        stream.seek(end)
        opcode, length = RECORD_HEAD.unpack(stream.read(RECORD_HEAD.size))
        following = end + RECORD_HEAD.size + length
        if not 0 < opcode <= LAST_OPCODE or following > size:
            break
        end = following
    return end


def _until_damaged(messages: Iterator[Any]) -> Iterator[Any]:
    while True:
        try:
            message = next(messages)
        except StopIteration:
            return
        except OSError:
            raise
        except Exception:  # damaged bytes can raise anything in rosbags' parser; what came before is whole
            return
        yield message
