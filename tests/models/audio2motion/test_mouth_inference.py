from dataclasses import replace

import numpy as np
import pytest

from splatface.models.audio2motion.mouth_inference import (
    ALWAYS_OPEN,
    VoiceGate,
    gate_openness,
    predict_mouth,
    receptive_field_ns,
    resample_window,
)
from splatface.models.errors import HeadError
from splatface.models.messages import AudioFrame

START_NS = 1_800_000_000_123_456_789  # a ROS time of today: float64 would lose its last 8 bits
FRAME_NS = 20_000_000
MS = 1_000_000


def sound(count=100, dim=12, voice=1.0, seed=0, start_ns=START_NS):
    rng = np.random.default_rng(seed)
    return [
        AudioFrame(
            values=rng.normal(size=dim).astype(np.float32),
            encoder="logmel",
            center_ns=start_ns + i * FRAME_NS,
            voice_probability=voice,
        )
        for i in range(count)
    ]


def test_at_a_frame_the_window_is_the_frames():
    frames = sound()
    values = np.stack([frame.values for frame in frames])
    centers = np.array([frame.center_ns for frame in frames])
    np.testing.assert_array_equal(resample_window(values, centers, frames[50].center_ns, 5), values[46:51])


def test_between_frames_features_are_interpolated():
    values = np.arange(20, dtype=np.float32)[:, None]
    centers = START_NS + np.arange(20, dtype=np.int64) * FRAME_NS
    sampled = resample_window(values, centers, START_NS + 10 * FRAME_NS + 5 * MS, 3)
    np.testing.assert_allclose(sampled[:, 0], [8.25, 9.25, 10.25], atol=1e-6)


def test_before_the_first_and_after_the_last_frame_features_are_constant():
    values = np.array([[1.0], [2.0]], np.float32)
    centers = START_NS + np.array([0, FRAME_NS])
    np.testing.assert_array_equal(
        resample_window(values, centers, START_NS + 3 * FRAME_NS, 6)[:, 0], [1, 1, 1, 2, 2, 2]
    )
    np.testing.assert_array_equal(resample_window(values[:1], centers[:1], START_NS + 7, 2)[:, 0], [1, 1])


def test_the_gate_is_shut_in_silence_and_open_in_speech():
    frames = sound(50)
    centers = np.array([frame.center_ns for frame in frames])
    late = int(centers[-1]) + 10 * MS
    gate = VoiceGate()
    assert gate_openness(gate, np.full(50, 0.05, np.float32), centers, late) == 0.0
    assert gate_openness(gate, np.full(50, 0.95, np.float32), centers, late) == 1.0
    assert gate_openness(gate, np.zeros(0, np.float32), centers[:0], late) == 0.0


def test_150_ms_after_the_last_voice_the_mouth_is_at_rest_without_a_jump():
    frames = sound(20)
    centers = np.array([frame.center_ns for frame in frames])
    voice = np.ones(20, np.float32)
    times = int(centers[0]) - 50 * MS + np.arange(0, 700, 2) * MS
    gate = np.array([gate_openness(VoiceGate(), voice, centers, int(time)) for time in times])
    assert (gate[times <= centers[0]] == 0).all()  # causal
    assert (gate[times >= centers[-1] + 150 * MS] == 0).all()
    assert gate.max() == 1.0
    assert np.abs(np.diff(gate)).max() < 0.12  # in 2 ms


def test_coefficients_depend_neither_on_the_image_rate_nor_on_distant_frames(net):
    frames = sound()
    for time_ns in (START_NS + 1_000_000_000, START_NS + 1_000_000_001, START_NS + 1_007_654_321):
        from_all_frames = predict_mouth(net, frames, ALWAYS_OPEN, time_ns)
        needed = [
            f
            for f in frames
            if time_ns - receptive_field_ns(net, ALWAYS_OPEN) <= f.center_ns <= time_ns + 60 * MS
        ]
        assert len(needed) < 14
        np.testing.assert_array_equal(predict_mouth(net, needed, ALWAYS_OPEN, time_ns), from_all_frames)


def test_at_a_frames_time_no_later_sound_is_used(net):
    frames = sound()
    time_ns = frames[60].center_ns - round(net.lookahead_ms * MS)
    np.testing.assert_array_equal(
        predict_mouth(net, frames[:61], ALWAYS_OPEN, time_ns),
        predict_mouth(net, frames, ALWAYS_OPEN, time_ns),
    )


def test_a_shifted_sound_moves_the_mouth_as_much_later(net):
    shift_ns = 123_456_789
    first = predict_mouth(net, sound(), VoiceGate(), START_NS + 900 * MS)
    later = predict_mouth(
        net, sound(start_ns=START_NS + shift_ns), VoiceGate(), START_NS + 900 * MS + shift_ns
    )
    np.testing.assert_array_equal(first, later)


def test_the_mouth_rests_in_silence_without_frames_and_with_nan(net):
    time_ns = START_NS + 1_000 * MS
    assert not predict_mouth(net, [], VoiceGate(), time_ns).any()
    assert not predict_mouth(net, sound(voice=0.0), VoiceGate(), time_ns).any()
    assert not predict_mouth(net, sound(), VoiceGate(), START_NS + 60_000 * MS).any()
    broken = [AudioFrame(np.full(12, np.nan, np.float32), "logmel", f.center_ns, 1.0) for f in sound()]
    assert not predict_mouth(net, broken, VoiceGate(), time_ns).any()
    assert predict_mouth(net, sound(), VoiceGate(), time_ns).any()


def test_a_net_of_a_smaller_encoder_uses_the_first_features(net):
    frames = sound()
    more = np.full(5, 7, np.float32)
    grown = [replace(frame, values=np.concatenate([frame.values, more])) for frame in frames]
    time_ns = frames[60].center_ns
    np.testing.assert_array_equal(
        predict_mouth(net, grown, ALWAYS_OPEN, time_ns), predict_mouth(net, frames, ALWAYS_OPEN, time_ns)
    )


def test_another_encoder_is_refused_by_name(net):
    with pytest.raises(HeadError, match=r"expected encoder 'logmel' \(12-d\), found 'logmel' \(9-d\)"):
        predict_mouth(net, sound(dim=9), VoiceGate(), START_NS + 500 * MS)
