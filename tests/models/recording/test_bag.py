import contextlib
import os
import resource
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import yaml
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader

from splatface.models.errors import RecordingError
from splatface.models.recording.read import messages_of, topics_of
from splatface.models.recording.types import own_types
from splatface.models.recording.write import Bag, repair

TOPICS = {
    "/face/audio": "splatface_msgs/msg/AudioChunk",
    "/face/head_control": "splatface_msgs/msg/HeadControl",
}


def chunk(index):
    """A chunk of sound as CDR, made by rosbags and not by us."""
    store = own_types()
    chunk_type = store.types["splatface_msgs/msg/AudioChunk"]
    header_type, time_type = store.types["std_msgs/msg/Header"], store.types["builtin_interfaces/msg/Time"]
    samples = np.full(320, index, np.float32)
    message = chunk_type(header_type(time_type(index, 0), ""), 7, 16000, samples)
    return bytes(store.serialize_cdr(message, "splatface_msgs/msg/AudioChunk"))


def record(folder, count):
    bag = Bag(folder, TOPICS)
    for index in range(count):
        bag.write("/face/audio", 1000 + index, chunk(index))
    return bag


def test_what_was_written_is_read_back(tmp_path):
    record(tmp_path / "talk", 20).close()
    messages = list(messages_of(tmp_path / "talk"))
    assert [message.time_ns for message in messages] == list(range(1000, 1020))
    assert [message.cdr for message in messages] == [chunk(index) for index in range(20)]
    assert topics_of(tmp_path / "talk") == {"/face/audio": "splatface_msgs/msg/AudioChunk"}


def test_rosbags_reads_it_with_nothing_but_the_file(tmp_path):
    record(tmp_path / "talk", 20).close()
    with AnyReader([tmp_path / "talk"]) as reader:
        assert {c.topic for c in reader.connections} == set(TOPICS)
        decoded = [reader.deserialize(raw, c.msgtype) for c, _, raw in reader.messages()]
    assert [message.samples[0] for message in decoded] == list(range(20))
    assert decoded[0].utterance == 7


def test_mcap_tools_read_it_with_nothing_but_the_file(tmp_path):
    from mcap_ros2.decoder import DecoderFactory

    record(tmp_path / "talk", 5).close()
    with (tmp_path / "talk" / "talk_0.mcap").open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        decoded = [message for *_, message in reader.iter_decoded_messages()]
    assert [message.samples[0] for message in decoded] == [0, 1, 2, 3, 4]


def test_the_type_hash_is_the_installed_one(tmp_path):
    record(tmp_path / "talk", 1).close()
    metadata = yaml.safe_load((tmp_path / "talk" / "metadata.yaml").read_text())
    topics = metadata["rosbag2_bagfile_information"]["topics_with_message_count"]
    ours = {t["topic_metadata"]["type"]: t["topic_metadata"]["type_description_hash"] for t in topics}
    share = f"{sys.prefix}/share/splatface_msgs/msg"
    for name in ("AudioChunk", "HeadControl"):
        with open(f"{share}/{name}.json") as file:
            hashes = {h["type_name"]: h["hash_string"] for h in yaml.safe_load(file)["type_hashes"]}
        assert ours[f"splatface_msgs/msg/{name}"] == hashes[f"splatface_msgs/msg/{name}"]


def test_a_recording_killed_in_the_middle_is_read_and_repaired(tmp_path):
    folder = tmp_path / "talk"
    code = f"""
        import itertools, sys
        sys.path.insert(0, {str(tmp_path.parent)!r})
        from pathlib import Path
        from splatface.models.recording.write import Bag
        bag = Bag(Path({str(folder)!r}), {TOPICS!r})
        cdr = bytes.fromhex({chunk(3).hex()!r})
        for index in itertools.count():
            bag.write("/face/audio", index, cdr)
            if index % 100 == 99:
                bag.flush()
                print(index, flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    written = [int(next(process.stdout)) for _ in range(5)][-1]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    messages = list(messages_of(folder))
    # What stands in the last, unfinished chunk of 32 kB is the price.
    assert len(messages) > written - 32
    assert {message.cdr for message in messages} == {chunk(3)}
    assert repair(folder) == len(messages)
    with AnyReader([folder]) as reader:
        assert reader.message_count == len(messages)
    assert sorted(os.listdir(folder)) == ["metadata.yaml", "talk_0.mcap"]


def fill(bag):
    for index in range(1000):
        bag.write("/face/audio", index, chunk(1))


def test_what_was_flushed_is_readable_however_little_it_is(tmp_path):
    bag = record(tmp_path / "talk", 3)
    bag.flush()
    assert len(list(messages_of(tmp_path / "talk"))) == 3
    bag.close()


def test_a_full_disk_keeps_what_is_written(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    bag = Bag(tmp_path / "talk", TOPICS)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        with pytest.raises(RecordingError, match="expected room to write, found: File too large"):
            fill(bag)
        bag.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert len(list(messages_of(tmp_path / "talk"))) > 80


def test_an_existing_folder_is_not_touched(tmp_path):
    with pytest.raises(RecordingError, match="expected a new folder"):
        Bag(tmp_path, TOPICS)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match="expected a place to write"):
        Bag(tmp_path / "file" / "talk", TOPICS)


@pytest.mark.parametrize("content", [b"", b"not an mcap file at all, but long enough to look like one"])
def test_a_file_that_is_no_recording(tmp_path, content):
    (tmp_path / "x.mcap").write_bytes(content)
    with pytest.raises(RecordingError, match="expected an MCAP file"):
        list(messages_of(tmp_path))


def test_no_recording_at_all(tmp_path):
    with pytest.raises(RecordingError, match=r"expected a folder with an \.mcap file"):
        list(messages_of(tmp_path / "nothing"))


def test_garbage_anywhere_is_a_short_recording_never_a_crash(tmp_path):
    record(tmp_path / "talk", 60).close()
    file = tmp_path / "talk" / "talk_0.mcap"
    whole = file.read_bytes()
    random = np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(whole)
        place = int(random.integers(8, len(whole)))
        damaged[place : place + 8] = random.bytes(8)
        file.write_bytes(bytes(damaged[: int(random.integers(place, len(whole) + 1))]))
        with contextlib.suppress(RecordingError):
            assert len(list(messages_of(tmp_path / "talk"))) <= 60
