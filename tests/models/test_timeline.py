import numpy as np

from splatface.models.messages import HeadControl
from splatface.models.timeline import Timeline, control_between


def line_of(*times):
    line = Timeline(lambda pair: pair[0], span_s=1.0)
    for time_ns in times:
        line.push((time_ns, f"v{time_ns}"))
    return line


def test_between_two_values_the_fraction_is_linear():
    assert line_of(0, 100).around(25) == ((0, "v0"), (100, "v100"), 0.25)


def test_outside_the_line_the_nearest_value_stands():
    line = line_of(10, 20)
    assert line.around(5)[:2] == ((10, "v10"), (10, "v10"))
    assert line.around(99)[:2] == ((20, "v20"), (20, "v20"))
    assert Timeline(lambda v: v).around(0) is None


def test_going_back_in_time_replaces_what_came_after():
    line = line_of(0, 100, 200, 300)
    line.push((150, "again"))
    assert [time for time, _ in line.values] == [0, 100, 150]


def test_a_long_stream_stays_bounded():
    line = line_of(*range(0, 400 * 10_000_000, 10_000_000))
    assert len(line) < 200


def test_controls_blend_along_the_shorter_arc():
    a = HeadControl(time_ns=0, blink_left=0.0, expression=(("smile", 1.0),))
    half_turn = np.array([np.cos(0.2), 0.0, 0.0, np.sin(0.2)])
    b = HeadControl(time_ns=100, quat_world_head=-half_turn, blink_left=1.0)
    middle = control_between(a, b, 0.5)
    np.testing.assert_allclose(np.abs(middle.quat_world_head), [np.cos(0.1), 0, 0, np.sin(0.1)], atol=1e-12)
    assert middle.time_ns == 50
    assert middle.blink_left == 0.5
    assert middle.expression == (("smile", 0.5),)
