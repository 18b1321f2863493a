import numpy as np
import pytest

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.training.synthetic.blendshape_mapping import ACTIONS, REST_FACE, to_arkit_blendshapes


def of(**amounts):
    mouth = np.array([amounts.get(name, 0.0) for name in MOUTH_MODES])
    controls = np.array([amounts.get("c_" + name, 0.0) for name in CONTROLS])
    return to_arkit_blendshapes(mouth, controls)


def test_rest_is_the_resting_face():
    assert {name: value for name, value in of().items() if value} == dict(REST_FACE)


def test_every_action_is_always_there():
    assert tuple(of(open=1.0)) == ACTIONS


def test_a_jaw_goes_to_one_side_at_a_time():
    left, right = of(c_jaw_side=0.5), of(c_jaw_side=-0.5)
    for part in ("jaw", "mouth"):
        assert left[part + "Left"] == right[part + "Right"] > 0
        assert left[part + "Right"] == right[part + "Left"] == 0


@pytest.mark.parametrize("name", [*(m for m in MOUTH_MODES if m != "press"), *("c_" + c for c in CONTROLS)])
def test_alone_and_inside_the_range_the_map_is_a_line(name):
    full = 0.15 if "gaze" in name else 1.0
    whole, half, rest = of(**{name: full}), of(**{name: full / 2}), of()
    for action in ACTIONS:
        assert half[action] == pytest.approx((whole[action] + rest[action]) / 2, abs=1e-9)


def test_pressed_lips_leave_nothing_open():
    pressed = of(press=1.0, open=0.8, upper_lip=0.5, lower_lip=0.5, funnel=0.5)
    assert pressed["jawOpen"] == pytest.approx(0, abs=1e-9)
    assert pressed["mouthLowerDownLeft"] == pytest.approx(0, abs=1e-9)
    assert pressed["mouthFunnel"] == pytest.approx(0, abs=1e-9)


def test_a_lip_goes_under_the_teeth_for_f_but_not_for_p():
    f, p = of(press=0.5, upper_lip=0.45), of(press=1.0, upper_lip=0.0)
    assert f["mouthRollLower"] > 0.5 > p["mouthRollLower"]
    assert f["mouthUpperUpLeft"] > 0.25


def test_pursed_lips_are_not_wide():
    assert of(wide=1.0, round=1.0)["mouthStretchLeft"] < 0.3 * of(wide=1.0)["mouthStretchLeft"]


def test_both_halves_are_alike_but_for_blinks_and_gaze():
    actions = of(open=0.4, wide=0.3, smile=0.2, c_brow_up=0.5, c_smile=0.4)
    for name, value in actions.items():
        if name.endswith("Left"):
            assert value == actions[name.removesuffix("Left") + "Right"]


def test_a_look_to_the_left_turns_the_left_eye_out():
    actions = of(c_gaze_yaw=0.2)
    assert actions["eyeLookOutLeft"] == actions["eyeLookInRight"] > 0
    assert actions["eyeLookInLeft"] == actions["eyeLookOutRight"] == 0


@pytest.mark.parametrize("wild", [-5.0, 5.0])
def test_wild_values_stay_what_a_rig_can_do(wild):
    actions = to_arkit_blendshapes(np.full(8, wild), np.full(8, wild))
    assert all(0 <= value <= (2.5 if name.startswith("eyeLook") else 1) for name, value in actions.items())
