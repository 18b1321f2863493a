import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from recordings import chunk, record
from rosbags.rosbag2 import Reader, StoragePlugin, Writer

from splatface.models.errors import RecordingError
from splatface.models.recording.bag_reader import read_messages, read_topics
from splatface.models.recording.bag_writer import installed_types, repair

pytestmark = pytest.mark.slow

# Written before splatface used rosbags' writer: 20 times audio and head_control, closed or cut in a chunk.
BEFORE_ROSBAGS = Path(__file__).parent / "before_rosbags"
OLD_TOPICS = {
    "/face/audio": "splatface_msgs/msg/AudioChunk",
    "/face/head_control": "splatface_msgs/msg/HeadControl",
}


@pytest.mark.parametrize(("name", "count"), [("whole", 20), ("cut", 15)])
def test_recordings_made_before_are_read(name, count):
    messages = list(read_messages(BEFORE_ROSBAGS / name))
    assert [message.topic for message in messages] == [*OLD_TOPICS] * count
    audio = [message for message in messages if message.topic == "/face/audio"]
    assert [message.cdr for message in audio] == [chunk(index, samples=80) for index in range(count)]
    assert [message.time_ns for message in audio] == [10**9 + 20_000_000 * index for index in range(count)]
    store = installed_types()
    control = [store.deserialize_cdr(m.cdr, m.type_name) for m in messages if m not in audio]
    assert [message.blink_left for message in control] == pytest.approx(np.arange(count) / 100)
    assert read_topics(BEFORE_ROSBAGS / name) == OLD_TOPICS


@pytest.mark.parametrize("name", ["whole", "cut"])
def test_recordings_made_before_are_repaired(tmp_path, name):
    folder = shutil.copytree(BEFORE_ROSBAGS / name, tmp_path / name)
    before = list(read_messages(folder))
    assert repair(folder) == len(before)
    assert {path.name for path in folder.iterdir()} == {"metadata.yaml", f"{name}.mcap"}
    assert list(read_messages(folder)) == before
    with Reader(folder) as reader:
        assert reader.message_count == len(before)


def test_one_file_of_a_folder_is_read(tmp_path):
    record(tmp_path / "talk", 3).close()
    assert len(list(read_messages(tmp_path / "talk" / "talk.mcap"))) == 3


def test_sqlite_recordings_are_read(tmp_path):
    with Writer(tmp_path / "talk", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        audio = writer.add_connection(
            "/face/audio", "splatface_msgs/msg/AudioChunk", typestore=installed_types()
        )
        writer.write(audio, 5, chunk(1))
    assert [message.cdr for message in read_messages(tmp_path / "talk")] == [chunk(1)]


@pytest.mark.parametrize("content", [b"", b"not an mcap file at all, but long enough to look like one"])
def test_a_file_that_is_no_recording(tmp_path, content):
    (tmp_path / "x.mcap").write_bytes(content)
    with pytest.raises(RecordingError, match="expected an MCAP file"):
        list(read_messages(tmp_path))


def test_no_recording_at_all(tmp_path):
    with pytest.raises(RecordingError, match=r"expected a folder with an \.mcap file"):
        list(read_messages(tmp_path / "nothing"))


def test_every_length_of_a_cut_file_gives_the_whole_chunks_before(tmp_path):
    bag = record(tmp_path / "talk", 0)
    for index in range(4):
        bag.write("/face/audio", index, chunk(index, samples=8))
        bag.flush()
    whole = (tmp_path / "talk" / "talk.mcap").read_bytes()
    bag.close()
    file = tmp_path / "cut.mcap"
    counts = []
    for length in range(8, len(whole) + 1):
        file.write_bytes(whole[:length])
        counts.append(len(list(read_messages(file))))
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2, 3, 4}


def test_garbage_anywhere_is_a_short_recording_never_a_crash(tmp_path):
    record(tmp_path / "talk", 60).close()
    file = tmp_path / "talk" / "talk.mcap"
    whole = file.read_bytes()
    random = np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(whole)
        place = int(random.integers(8, len(whole)))
        damaged[place : place + 8] = random.bytes(8)
        file.write_bytes(bytes(damaged[: int(random.integers(place, len(whole) + 1))]))
        with contextlib.suppress(RecordingError):
            assert len(list(read_messages(tmp_path / "talk"))) <= 60


def test_what_lies_before_damage_is_read(tmp_path):
    record(tmp_path / "talk", 60).close()
    file = tmp_path / "talk" / "talk.mcap"
    damaged = bytearray(file.read_bytes()[:-8])  # no end, as after a crash
    middle = len(damaged) // 2
    damaged[middle : middle + 2000] = b"\xff" * 2000
    file.write_bytes(damaged)
    assert len(list(read_messages(tmp_path / "talk"))) >= 20
