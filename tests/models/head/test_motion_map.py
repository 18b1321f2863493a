import numpy as np
import pytest

from splatface.models.errors import HeadError
from splatface.models.head.coefficients import CONTROLS, MOUTH_MODES
from splatface.models.head.migrate import migrate
from splatface.models.head.motion_map import MotionMap, linear_map, map_of_tensors, tensors_of_map

REST = np.zeros(8, np.float32), np.zeros(7, np.float32)


def bent_map(hidden=5, coefficients=11):
    rng = np.random.default_rng(0)
    shapes = ((15, coefficients), (15, hidden), (hidden,), (hidden, coefficients))
    return MotionMap(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))


def test_rest_is_rest():
    assert not bent_map()(*REST).any()


def test_a_line_is_a_matrix():
    line = np.random.default_rng(1).normal(size=(15, 4)).astype(np.float32)
    mouth, controls = np.arange(8, dtype=np.float32), np.arange(7, dtype=np.float32)
    np.testing.assert_allclose(
        linear_map(line)(mouth, controls), np.concatenate([mouth, controls]) @ line, 1e-5
    )


def test_it_agrees_with_torch():
    torch = pytest.importorskip("torch")
    bent, x = bent_map(), np.random.default_rng(2).normal(size=15).astype(np.float32)
    linear, w1, b1, w2 = (torch.from_numpy(part) for part in tensors_of_map(bent).values())
    gelu = torch.nn.GELU(approximate="tanh")
    wanted = torch.from_numpy(x) @ linear + (gelu(torch.from_numpy(x) @ w1 + b1) - gelu(b1)) @ w2
    np.testing.assert_allclose(bent(x[:8], x[8:]), wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_tensors_there_and_back():
    bent = bent_map()
    back = map_of_tensors(tensors_of_map(bent))
    np.testing.assert_array_equal(back.w1, bent.w1)
    with pytest.raises(HeadError, match="motion"):
        map_of_tensors({"motion.linear": bent.linear})


def test_heads_of_version_1_move_as_they_did():
    gain = np.random.default_rng(3).normal(size=(len(CONTROLS), 14)).astype(np.float32)
    old = {"format": "splatface-head", "version": 1}
    _, tensors = migrate(old, {"control_gain": gain}, to_version=2)
    heard, controls = np.arange(8, dtype=np.float32), np.linspace(0, 1, 7).astype(np.float32)
    wanted = controls @ gain
    wanted[: len(MOUTH_MODES)] += heard
    np.testing.assert_allclose(map_of_tensors(tensors)(heard, controls), wanted, rtol=1e-5)


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
