"""Small recordings of sound, with messages made by rosbags and not by us."""

from functools import cache

import numpy as np

from splatface.models.recording.bag_writer import BagWriter, OfferedQos, installed_types

TOPICS = {
    "/face/audio": "splatface_msgs/msg/AudioChunk",
    "/face/head_control": "splatface_msgs/msg/HeadControl",
}
OFFERED_QOS = {
    "/face/audio": [
        OfferedQos(reliability="reliable", durability="volatile", history="keep_last", depth=100),
        OfferedQos(
            reliability="best_effort",
            durability="transient_local",
            history="keep_all",
            depth=0,
            deadline_ns=1_500_000_000,
            lifespan_ns=20,
            liveliness="manual_by_topic",
            liveliness_lease_ns=3_000_000_001,
        ),
    ],
    "/face/head_control": [],
}


types = cache(installed_types)


def chunk(index, samples=320):
    """A chunk of sound as CDR."""
    store = types()
    chunk_type = store.types["splatface_msgs/msg/AudioChunk"]
    header_type, time_type = store.types["std_msgs/msg/Header"], store.types["builtin_interfaces/msg/Time"]
    message = chunk_type(header_type(time_type(index, 0), ""), 7, 16000, np.full(samples, index, np.float32))
    return bytes(store.serialize_cdr(message, "splatface_msgs/msg/AudioChunk"))


def begin(folder):
    """A writer with both topics."""
    bag = BagWriter(folder)
    for name, type_name in TOPICS.items():
        bag.add_topic(name, type_name, OFFERED_QOS[name])
    return bag


def record(folder, count):
    """A writer that has `count` chunks of sound, 1 ns apart."""
    bag = begin(folder)
    for index in range(count):
        bag.write("/face/audio", 1000 + index, chunk(index))
    return bag
