import numpy as np
import pytest

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.errors import HeadError
from splatface.models.head.head import (
    MOTION_SIZE,
    MotionMap,
    linear_map,
    motion_map_from_tensors,
    motion_map_tensors,
)
from splatface.models.head.migrations import migrate

REST = np.zeros(8, np.float32), np.zeros(8, np.float32)


def bent_map(hidden=5, coefficients=11):
    rng = np.random.default_rng(0)
    shapes = ((MOTION_SIZE, coefficients), (MOTION_SIZE, hidden), (hidden,), (hidden, coefficients))
    return MotionMap(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))


def test_rest_is_rest():
    assert not bent_map()(*REST).any()


def test_a_line_is_a_matrix():
    line = np.random.default_rng(1).normal(size=(MOTION_SIZE, 4)).astype(np.float32)
    mouth, controls = np.arange(8, dtype=np.float32), np.arange(8, dtype=np.float32)
    np.testing.assert_allclose(
        linear_map(line)(mouth, controls), np.concatenate([mouth, controls]) @ line, 1e-5
    )


def test_it_agrees_with_torch():
    torch = pytest.importorskip("torch")
    bent, x = bent_map(), np.random.default_rng(2).normal(size=MOTION_SIZE).astype(np.float32)
    linear, w1, b1, w2 = (torch.from_numpy(part) for part in motion_map_tensors(bent).values())
    gelu = torch.nn.GELU(approximate="tanh")
    wanted = torch.from_numpy(x) @ linear + (gelu(torch.from_numpy(x) @ w1 + b1) - gelu(b1)) @ w2
    np.testing.assert_allclose(bent(x[:8], x[8:]), wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_tensors_there_and_back():
    bent = bent_map()
    back = motion_map_from_tensors(motion_map_tensors(bent))
    np.testing.assert_array_equal(back.w1, bent.w1)
    with pytest.raises(HeadError, match="motion"):
        motion_map_from_tensors({"motion.linear": bent.linear})


def test_heads_of_version_1_move_as_they_did():
    gain = np.random.default_rng(3).normal(size=(7, 14)).astype(np.float32)
    old = {"format": "splatface-head", "version": 1}
    _, tensors = migrate(old, {"control_gain": gain})
    heard, controls = np.arange(8, dtype=np.float32), np.linspace(0, 1, 8).astype(np.float32)
    wanted = controls[:7] @ gain  # they knew no jaw_side
    wanted[: len(MOUTH_MODES)] += heard
    np.testing.assert_allclose(motion_map_from_tensors(tensors)(heard, controls), wanted, rtol=1e-5)


def test_heads_of_version_2_keep_to_the_range_of_the_motion_space():
    old = {"format": "splatface-head", "version": 2}
    found, _ = migrate(old, {}, to_version=3)
    assert list(found["motion_limits"]["mouth"]) == list(MOUTH_MODES)
    assert found["motion_limits"]["mouth"]["press"] == [-0.1, 1.0]
    assert found["motion_limits"]["controls"]["gaze_yaw"] == [-0.6, 0.6]


def test_heads_of_version_3_are_called_after_who_they_show():
    found, _ = migrate({"format": "splatface-head", "version": 3, "name": "alice"}, {})
    assert found["person"] == "alice"


def test_a_head_of_version_1_without_its_gain_is_refused():
    with pytest.raises(HeadError, match="control_gain"):
        migrate({"format": "splatface-head", "version": 1}, {}, to_version=2)


def test_heads_of_version_4_do_not_know_where_a_jaw_may_go():
    bent = bent_map()
    then = {
        name: tensor[:-1] if name in ("motion.linear", "motion.w1") else tensor
        for name, tensor in motion_map_tensors(bent).items()
    }
    limits = {"mouth": {}, "controls": {"smile": [0.0, 0.8]}}
    old = {"format": "splatface-head", "version": 4, "motion_limits": limits}
    found, tensors = migrate(old, then, to_version=5)
    assert found["motion_limits"]["controls"] == {"smile": [0.0, 0.8], "jaw_side": [0.0, 0.0]}
    today = motion_map_from_tensors(tensors)
    heard, controls = np.linspace(0, 1, 8, dtype=np.float32), np.linspace(1, 0, 8, dtype=np.float32)
    straight = controls * (np.arange(8) < 7)
    np.testing.assert_allclose(today(heard, controls), bent(heard, straight), rtol=1e-6)
