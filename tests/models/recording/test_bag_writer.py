import os
import resource
import signal
import subprocess
import sys
import textwrap

import pytest
import yaml
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from recordings import OFFERED_QOS, TOPICS, begin, chunk, record
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import Reader

from splatface.models.errors import RecordingError
from splatface.models.recording.bag_reader import read_messages, read_topics
from splatface.models.recording.bag_writer import BagWriter, OfferedQos, repair


def test_what_was_written_is_read_back(tmp_path):
    record(tmp_path / "talk", 20).close()
    messages = list(read_messages(tmp_path / "talk"))
    assert [message.time_ns for message in messages] == list(range(1000, 1020))
    assert [message.cdr for message in messages] == [chunk(index) for index in range(20)]
    assert read_topics(tmp_path / "talk") == {"/face/audio": "splatface_msgs/msg/AudioChunk"}


def test_rosbags_reads_it_with_nothing_but_the_file(tmp_path):
    record(tmp_path / "talk", 20).close()
    with AnyReader([tmp_path / "talk"]) as reader:
        assert {c.topic for c in reader.connections} == set(TOPICS)
        decoded = [reader.deserialize(raw, c.msgtype) for c, _, raw in reader.messages()]
    assert [message.samples[0] for message in decoded] == list(range(20))
    assert decoded[0].utterance == 7


def test_mcap_tools_read_it_with_nothing_but_the_file(tmp_path):
    record(tmp_path / "talk", 5).close()
    with (tmp_path / "talk" / "talk.mcap").open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        decoded = [message for *_, message in reader.iter_decoded_messages()]
    assert [message.samples[0] for message in decoded] == [0, 1, 2, 3, 4]


def information(folder):
    """What is in metadata.yaml, by PyYAML, which rosbags does not use."""
    return yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]


def offers(folder):
    """Offered QoS of each topic by rosbags."""
    with Reader(folder) as reader:
        return {c.topic: [_plain(qos) for qos in c.ext.offered_qos_profiles] for c in reader.connections}


def _plain(qos):
    ns = [t.sec * 10**9 + t.nsec for t in (qos.deadline, qos.lifespan, qos.liveliness_lease_duration)]
    names = {name: getattr(qos, name).name.lower() for name in NAMES}
    return OfferedQos(
        **names, depth=qos.depth, deadline_ns=ns[0], lifespan_ns=ns[1], liveliness_lease_ns=ns[2]
    )


# The names in rmw/qos_string_conversions.h (Jazzy), and `unknown`, which rosbag2 adds.
NAMES = {
    "history": {"system_default", "keep_last", "keep_all", "unknown"},
    "reliability": {"system_default", "reliable", "best_effort", "best_available", "unknown"},
    "durability": {"system_default", "transient_local", "volatile", "best_available", "unknown"},
    "liveliness": {"system_default", "automatic", "manual_by_topic", "best_available", "unknown"},
}


def test_offered_qos_is_kept_also_by_repair(tmp_path):
    folder = tmp_path / "talk"
    record(folder, 3).close()
    assert offers(folder) == OFFERED_QOS
    (folder / "metadata.yaml").unlink()
    assert repair(folder) == 3
    assert offers(folder) == OFFERED_QOS


def test_metadata_has_the_form_of_version_9(tmp_path):
    """All that rosbag2 of Jazzy decodes (rosbag2_storage: yaml.hpp, qos.cpp), in the types it asks for."""
    record(tmp_path / "talk", 3).close()
    bag = information(tmp_path / "talk")
    assert bag["version"] == 9
    assert bag["storage_identifier"] == "mcap"
    assert bag["duration"] == {"nanoseconds": 2}
    assert bag["starting_time"] == {"nanoseconds_since_epoch": 1000}
    assert bag["message_count"] == 3
    assert bag["relative_file_paths"] == ["talk.mcap"]
    span = {"starting_time": bag["starting_time"], "duration": bag["duration"], "message_count": 3}
    assert bag["files"] == [{"path": "talk.mcap", **span}]
    assert (bag["compression_format"], bag["compression_mode"], bag["custom_data"]) == ("", "", None)
    assert isinstance(bag["ros_distro"], str)
    for topic in bag["topics_with_message_count"]:
        metadata = topic["topic_metadata"]
        assert topic["message_count"] == (3 if metadata["name"] == "/face/audio" else 0)
        assert metadata["type"] == TOPICS[metadata["name"]]
        assert metadata["serialization_format"] == "cdr"
        assert metadata["type_description_hash"].startswith("RIHS01_")
        check_offered_qos(metadata["offered_qos_profiles"], OFFERED_QOS[metadata["name"]])


def check_offered_qos(profiles, expected):
    """The form of rosbag2's convert<rclcpp::QoS> from version 9 on: a list, policies by name."""
    assert isinstance(profiles, list)
    assert len(profiles) == len(expected)
    for profile, offer in zip(profiles, expected, strict=True):
        for policy, names in NAMES.items():
            assert profile.pop(policy) in names & {getattr(offer, policy)}
        assert profile.pop("depth") == offer.depth
        assert profile.pop("deadline") == time(offer.deadline_ns)
        assert profile.pop("lifespan") == time(offer.lifespan_ns)
        assert profile.pop("liveliness_lease_duration") == time(offer.liveliness_lease_ns)
        assert profile == {"avoid_ros_namespace_conventions": False}


def time(ns):
    """As rmw_time_t; RMW_DURATION_INFINITE is 9223372036 s and 854775807 ns."""
    return {"sec": ns // 10**9, "nsec": ns % 10**9}


def test_the_mcap_file_alone_tells_the_same(tmp_path):
    """What rosbag2's MCAP plugin reads when metadata.yaml is lost: channels, and the metadata record."""
    record(tmp_path / "talk", 3).close()
    with (tmp_path / "talk" / "talk.mcap").open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        header, summary = reader.get_header(), reader.get_summary()
        (record_of_rosbag2,) = reader.iter_metadata()
    assert header.profile == "ros2"
    assert summary.statistics.message_count == 3
    for channel in summary.channels.values():
        profiles = yaml.safe_load(channel.metadata["offered_qos_profiles"])
        check_offered_qos(profiles, OFFERED_QOS[channel.topic])
    assert record_of_rosbag2.name == "rosbag2"
    inside = yaml.safe_load(record_of_rosbag2.metadata["serialized_metadata"])
    assert inside == information(tmp_path / "talk")


def test_the_type_hash_is_the_installed_one(tmp_path):
    record(tmp_path / "talk", 1).close()
    topics = information(tmp_path / "talk")["topics_with_message_count"]
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
        from splatface.models.recording.bag_writer import BagWriter
        bag = BagWriter(Path({str(folder)!r}))
        bag.add_topic("/face/audio", {TOPICS["/face/audio"]!r})
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
    messages = list(read_messages(folder))
    # What stands in the last, unfinished chunk of 32 kB is the price.
    assert len(messages) > written - 32
    assert {message.cdr for message in messages} == {chunk(3)}
    assert repair(folder) == len(messages)
    with AnyReader([folder]) as reader:
        assert reader.message_count == len(messages)
    assert sorted(os.listdir(folder)) == ["metadata.yaml", "talk.mcap"]


def test_a_crash_costs_32_kb_between_flushes(tmp_path):
    bag = record(tmp_path / "talk", 100)  # 1.3 kB each
    assert len(list(read_messages(tmp_path / "talk"))) > 100 - 32
    bag.close()


def fill(bag):
    for index in range(1000):
        bag.write("/face/audio", index, chunk(1))


def test_what_was_flushed_is_readable_however_little_it_is(tmp_path):
    bag = record(tmp_path / "talk", 3)
    bag.flush()
    assert len(list(read_messages(tmp_path / "talk"))) == 3
    bag.close()


def test_a_full_disk_keeps_what_is_written(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    bag = begin(tmp_path / "talk")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        with pytest.raises(RecordingError, match="expected room to write, found: File too large") as raised:
            fill(bag)
        bag.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    kept = len(list(read_messages(tmp_path / "talk")))
    assert kept > 80
    assert f"the first {kept} messages are kept" in str(raised.value)
    assert repair(tmp_path / "talk") == kept


def test_a_disk_that_is_full_at_the_end_is_said_and_repaired(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    bag = record(tmp_path / "talk", 20)
    bag.flush()
    size = (tmp_path / "talk" / "talk.mcap").stat().st_size
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
        with pytest.raises(RecordingError, match="the first 20 messages are kept"):
            bag.close()
        with pytest.raises(RecordingError, match="expected room to write"):
            repair(tmp_path / "talk")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert os.listdir(tmp_path / "talk") == ["talk.mcap"]
    assert repair(tmp_path / "talk") == 20


def test_an_existing_folder_is_not_touched(tmp_path):
    with pytest.raises(RecordingError, match="expected a new folder"):
        BagWriter(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match="expected a place to write"):
        BagWriter(tmp_path / "file" / "talk")
