# SPDX-License-Identifier: Apache-2.0
"""Conversions between ROS messages and the values of `models/`, and the QoS of the topics."""

from array import array

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from splatface_msgs.msg import AudioChunk as AudioChunkMsg
from splatface_msgs.msg import AudioFeatures as AudioFeaturesMsg
from splatface_msgs.msg import HeadControl as HeadControlMsg

from splatface.models.messages import NS_PER_S, AudioChunk, AudioFrame, Frame, HeadControl

__all__ = [
    "AUDIO_QOS",
    "audio_chunk",
    "audio_chunk_msg",
    "audio_features_msg",
    "audio_frame",
    "compressed_msg",
    "head_control",
    "head_control_msg",
    "image_from_msg",
    "image_msg",
    "image_qos",
    "time_msg",
    "time_ns",
]


def _reliable(depth: int) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=ReliabilityPolicy.RELIABLE)


# Two seconds of 20 ms messages: how long a node may take to compile or to load a head.
AUDIO_QOS = _reliable(100)


def image_qos(depth: int = 1) -> QoSProfile:
    """Return the QoS of images: reliable for generic tools, keep-last as a late image is worthless."""
    return _reliable(depth)


def time_ns(msg: Time) -> int:
    """Decode a time, ns."""
    return int(msg.sec) * NS_PER_S + int(msg.nanosec)


def time_msg(ns: int) -> Time:
    """Encode a time, ns."""
    return Time(sec=ns // NS_PER_S, nanosec=ns % NS_PER_S)


def _float32(values: NDArray[np.float32]) -> "array[float]":
    # rclpy takes an array.array as it is and checks every element of anything else: 100 times slower.
    out = array("f")
    out.frombytes(np.ascontiguousarray(values, np.float32).tobytes())
    return out


def audio_chunk(msg: AudioChunkMsg) -> AudioChunk:
    """Decode a chunk of audio."""
    return AudioChunk(
        samples=np.array(msg.samples, np.float32),
        sample_rate=int(msg.sample_rate),
        start_ns=time_ns(msg.header.stamp),
        utterance=int(msg.utterance),
    )


def audio_chunk_msg(chunk: AudioChunk) -> AudioChunkMsg:
    """Encode a chunk of audio."""
    msg = AudioChunkMsg(utterance=chunk.utterance, sample_rate=chunk.sample_rate)
    msg.header.stamp = time_msg(chunk.start_ns)
    msg.samples = _float32(chunk.samples)
    return msg


def audio_frame(msg: AudioFeaturesMsg) -> AudioFrame:
    """Decode one frame of features."""
    return AudioFrame(
        values=np.array(msg.values, np.float32),
        encoder=msg.encoder,
        center_ns=time_ns(msg.header.stamp),
        voice_probability=float(msg.voice_probability),
        level_dbfs=float(msg.level_dbfs),
        utterance=int(msg.utterance),
    )


def audio_features_msg(frame: AudioFrame) -> AudioFeaturesMsg:
    """Encode one frame of features."""
    msg = AudioFeaturesMsg(
        utterance=frame.utterance,
        encoder=frame.encoder,
        voice_probability=float(frame.voice_probability),
        level_dbfs=float(frame.level_dbfs),
    )
    msg.header.stamp = time_msg(frame.center_ns)
    msg.values = _float32(frame.values)
    return msg


def head_control(msg: HeadControlMsg) -> HeadControl:
    """Decode head pose, lids, gaze and expression. An all-zero quaternion is read as the neutral pose."""
    quat = np.array([msg.orientation.w, msg.orientation.x, msg.orientation.y, msg.orientation.z])
    norm = float(np.linalg.norm(quat))
    return HeadControl(
        time_ns=time_ns(msg.header.stamp),
        quat_world_head=quat / norm if norm > 1e-9 else np.array([1.0, 0.0, 0.0, 0.0]),
        translation_m=np.array([msg.translation.x, msg.translation.y, msg.translation.z]),
        blink_left=float(msg.blink_left),
        blink_right=float(msg.blink_right),
        gaze_yaw_rad=float(msg.gaze_yaw),
        gaze_pitch_rad=float(msg.gaze_pitch),
        expression=tuple(zip(msg.expression_names, map(float, msg.expression_weights), strict=False)),
    )


def head_control_msg(control: HeadControl) -> HeadControlMsg:
    """Encode head pose, lids, gaze and expression."""
    msg = HeadControlMsg(
        blink_left=float(control.blink_left),
        blink_right=float(control.blink_right),
        gaze_yaw=float(control.gaze_yaw_rad),
        gaze_pitch=float(control.gaze_pitch_rad),
        expression_names=[name for name, _ in control.expression],
        expression_weights=[float(weight) for _, weight in control.expression],
    )
    msg.header.stamp = time_msg(control.time_ns)
    msg.header.frame_id = "world"
    quat, vector = msg.orientation, msg.translation
    quat.w, quat.x, quat.y, quat.z = (float(v) for v in control.quat_world_head)
    vector.x, vector.y, vector.z = (float(v) for v in control.translation_m)
    return msg


def image_msg(frame: Frame) -> Image:
    """Encode an image as rgb8."""
    height, width = frame.image.shape[:2]
    msg = Image(height=height, width=width, encoding="rgb8", is_bigendian=0, step=3 * width)
    msg.header.stamp = time_msg(frame.time_ns)
    msg.header.frame_id = "camera"
    data = array("B")
    data.frombytes(np.ascontiguousarray(frame.image).data.cast("B"))
    msg.data = data
    return msg


def compressed_msg(jpeg: bytes, stamp_ns: int) -> CompressedImage:
    """Encode a JPEG image."""
    msg = CompressedImage(format="rgb8; jpeg compressed bgr8")
    msg.header.stamp = time_msg(stamp_ns)
    msg.header.frame_id = "camera"
    msg.data = array("B", jpeg)
    return msg


def image_from_msg(msg: Image) -> NDArray[np.uint8]:
    """Decode an rgb8 image, [H, W, 3], without copying.

    Raises:
        ValueError: for any other encoding.
    """
    if msg.encoding != "rgb8":
        raise ValueError(f"image: expected rgb8, found {msg.encoding!r}: convert it before it comes here")
    flat = np.frombuffer(msg.data, np.uint8)
    return flat.reshape(msg.height, msg.step)[:, : 3 * msg.width].reshape(msg.height, msg.width, 3)
