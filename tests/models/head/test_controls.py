import numpy as np

from splatface.models.head.coefficients import CONTROLS, MOUTH_MODES
from splatface.models.head.controls import EXPRESSIONS, MAX_GAZE_RAD, coefficients_of, controls_of
from splatface.models.values import HeadControl


def test_a_control_is_read_by_name():
    control = HeadControl(
        blink_left=0.25,
        blink_right=0.5,
        gaze_yaw_rad=0.1,
        gaze_pitch_rad=-0.2,
        expression=(("brow_up", 0.75),),
    )
    expected = dict.fromkeys(CONTROLS, 0.0)
    expected |= {"blink_left": 0.25, "blink_right": 0.5, "gaze_yaw": 0.1, "gaze_pitch": -0.2, "brow_up": 0.75}
    np.testing.assert_allclose(controls_of(control), list(expected.values()), rtol=1e-6)


def test_controls_stay_in_their_ranges():
    wild = HeadControl(
        blink_left=7,
        blink_right=-3,
        gaze_yaw_rad=9,
        gaze_pitch_rad=float("nan"),
        expression=(("smile", 2), ("smile", 3)),
    )
    np.testing.assert_allclose(controls_of(wild), [1, 0, MAX_GAZE_RAD, 0, 0, 0, 1], rtol=1e-6)


def test_what_is_heard_and_what_is_meant_add_up(head):
    heard = np.arange(8, dtype=np.float32)
    control = HeadControl(blink_left=1.0, expression=(("funnel", 0.5), ("nonsense", 1.0)))
    c = coefficients_of(head, heard, control)
    mouth = heard.copy()
    mouth[MOUTH_MODES.index("funnel")] += 0.5
    np.testing.assert_array_equal(c, head.motion_map(mouth, np.eye(len(CONTROLS), dtype=np.float32)[0]))


def test_neutral_is_rest(head):
    assert not coefficients_of(head, np.zeros(8, np.float32), HeadControl()).any()
    assert {"smile", "brow_up", "open"} <= set(EXPRESSIONS)
