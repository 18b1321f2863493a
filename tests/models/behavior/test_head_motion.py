import numpy as np
import pytest
from transforms3d.euler import quat2euler

from splatface.models.behavior.controller import EXPRESSIONS, HeadMotionController, MotionConfig
from splatface.models.behavior.eyes import blink_stream, eyelid_closure_at, gaze_at, gaze_stream, saccade_s
from splatface.models.behavior.head_movements import make_sway, sway_at
from splatface.models.messages import NS_PER_S, AudioFrame

START_S = 1_790_000_000.0  # a time of today


def ns(time_s):
    return round(time_s * NS_PER_S)


def angles(control):
    """Yaw, pitch, roll in degrees."""
    return np.degrees(quat2euler(control.quat_world_head, "rzyx"))


def closures(per_minute, minutes, step_s=0.005, seed=3):
    line = blink_stream(seed, per_minute)
    times = START_S + np.arange(0, minutes * 60, step_s)
    return np.array([eyelid_closure_at(line, time) for time in times]), step_s


def runs_of(closed):
    edges = np.flatnonzero(np.diff(np.concatenate([[False], closed, [False]]).astype(int)))
    return edges[::2], edges[1::2]


@pytest.mark.parametrize("per_minute", [10.0, 18.0, 26.0])
def test_blinks_come_at_the_configured_rate(per_minute):
    line = blink_stream(1, per_minute)
    count = len(line.between(START_S, START_S + 3600))
    assert 0.85 * per_minute < count / 60 < 1.25 * per_minute  # doubles come on top


def test_blinks_have_human_timing():
    blinks, step_s = closures(18.0, 10)
    begins, ends = runs_of(blinks[:, 0] > 0.02)
    lengths_ms = (ends - begins) * step_s * 1e3
    assert lengths_ms.min() > 80
    assert lengths_ms.max() < 400
    gaps_s = np.diff(begins) * step_s
    # Log-normal, not regular and not without memory: the spread of the logarithms.
    assert 0.35 < np.std(np.log(gaps_s)) < 0.95
    assert blinks.max() <= 1.0
    assert blinks.min() == 0.0
    peaks = [blinks[a:b].max(axis=0) for a, b in zip(begins, ends, strict=True)]
    assert np.min(peaks) > 0.85  # both blinks, all the way
    assert np.abs(np.diff(peaks, axis=1)).max() < 0.06  # and alike


def test_eyelids_close_faster_than_they_open():
    blinks, step_s = closures(18.0, 3, step_s=0.001)
    speed = np.diff(blinks[:, 0]) / step_s
    assert speed.max() > 1.4 * -speed.min()


def test_no_blinks_at_zero():
    assert closures(0.0, 1)[0].max() == 0.0


def test_the_gaze_is_mostly_on_the_viewer_and_jumps():
    line = gaze_stream(4, 1.0)
    times = START_S + np.arange(0, 300, 0.01)
    yaw, pitch = np.degrees([gaze_at(line, time) for time in times]).T
    assert 0.6 < np.mean(np.hypot(yaw, pitch) < 3.0) < 0.97
    assert np.abs(yaw).max() > 8.0
    # Between saccades the eyes stand still.
    assert np.mean(np.abs(np.diff(yaw)) < 1e-9) > 0.85


def test_saccades_follow_the_main_sequence():
    assert saccade_s(np.radians(10.0)) == pytest.approx(0.043)


def test_sway_is_small_smooth_and_centered():
    sway = make_sway(5, 1.0)
    track = np.array([sway_at(sway, START_S + t) for t in np.arange(0, 600, 0.05)])
    degrees = np.degrees(track[:, :3])
    assert np.all(np.abs(degrees.mean(axis=0)) < 0.6)
    assert 1.5 < degrees[:, 0].std() < 3.5
    assert np.abs(np.diff(degrees, axis=0)).max() / 0.05 < 8.0  # degrees per second
    assert np.abs(track[:, 3:]).max() < 0.02


def test_motion_does_not_depend_on_the_query_times():
    often, seldom = (HeadMotionController(MotionConfig(seed=9)) for _ in range(2))
    times = [ns(START_S + t) for t in np.arange(0, 20, 0.01)]
    all_of_them = [often.control_at(time) for time in times]
    backwards = [seldom.control_at(time) for time in reversed(times[::7])][::-1]
    for a, b in zip(all_of_them[::7], backwards, strict=True):
        np.testing.assert_array_equal(a.quat_world_head, b.quat_world_head)
        assert (a.blink_left, a.gaze_yaw_rad, a.expression) == (b.blink_left, b.gaze_yaw_rad, b.expression)


def test_another_seed_is_another_motion():
    one, two = (HeadMotionController(MotionConfig(seed=seed)).control_at(ns(START_S)) for seed in (1, 2))
    assert np.abs(one.quat_world_head - two.quat_world_head).max() > 1e-4


def test_the_head_turns_to_a_target_within_its_limits():
    controller = HeadMotionController(MotionConfig(sway=0.0, gaze_variability=0.0))
    controller.look_at(np.array([1.0, 1.0, 0.0]), ns(START_S))  # 45 degrees to its left
    control = controller.control_at(ns(START_S + 1))
    yaw = angles(control)[0]
    assert 15 < yaw <= 22.0
    assert np.degrees(control.gaze_yaw_rad) > 20
    controller.look_at(np.array([-1.0, 0.001, 5.0]), ns(START_S + 1))  # behind and far above
    control = controller.control_at(ns(START_S + 2))
    assert -14.0 <= angles(control)[1] < -8  # pitch is positive down
    assert abs(np.degrees(control.gaze_pitch_rad)) <= 20.001


def test_eyes_stay_on_the_viewer_while_the_head_sways():
    controller = HeadMotionController(MotionConfig(gaze_variability=0.0))
    for t in np.arange(0, 30, 0.5):
        control = controller.control_at(ns(START_S + t))
        yaw, pitch, _ = angles(control)
        assert yaw + np.degrees(control.gaze_yaw_rad) == pytest.approx(0.0, abs=1e-6)
        assert pitch + np.degrees(control.gaze_pitch_rad) == pytest.approx(0.0, abs=1e-6)


def test_motion_is_continuous():
    controller = HeadMotionController(MotionConfig())
    controller.look_at(np.array([1.0, 0.4, 0.3]), ns(START_S + 1))
    controller.set_expression("smile", 1.0, ns(START_S + 1.2))
    controller.look_at(np.array([1.0, -0.6, 0.0]), ns(START_S + 1.3))  # in the middle of the turn
    controls = [controller.control_at(ns(START_S + t)) for t in np.arange(0.5, 4, 0.005)]
    turned = np.array([angles(control) for control in controls])
    assert np.abs(np.diff(turned, axis=0)).max() / 0.005 < 220.0  # degrees per second
    smile = np.array([dict(control.expression).get("smile", 0.0) for control in controls])
    assert np.abs(np.diff(smile)).max() < 0.04
    assert smile[-1] == 1.0


def test_stressed_syllables_nod_and_silence_does_not():
    def pitch_track(level_of, voice):
        controller = HeadMotionController(MotionConfig(sway=0.0, gaze_variability=0.0, seed=2))
        track = []
        for index in range(250):
            time_ns = ns(START_S + index * 0.02)
            level = level_of(index)
            controller.push_speech(AudioFrame(np.zeros(1, np.float32), "x", time_ns, voice, level), time_ns)
            track.append(angles(controller.control_at(time_ns))[1])
        return np.array(track)

    def syllables(index):
        loud = -14.0 if index // 12 % 3 == 2 else -22.0
        return loud if index % 12 < 7 else -34.0

    nods = pitch_track(syllables, 0.9)
    assert nods.max() > 1.0  # downwards
    assert np.mean(np.diff(nods) > 0.05) < np.mean(np.diff(nods) < -0.02)  # down faster than up
    assert np.abs(pitch_track(syllables, 0.1)).max() < 1e-6


def test_unknown_expressions_are_refused():
    with pytest.raises(KeyError):
        HeadMotionController(MotionConfig()).set_expression("wink", 1.0, 0)


def test_the_jaw_moves_to_both_sides_within_its_limits():
    controller = HeadMotionController(MotionConfig())
    for told, wanted in ((-0.5, -0.5), (7.0, 1.0), (-7.0, -1.0)):
        controller.set_expression("jaw_side", told, ns(START_S))
        controller.set_expression("smile", told, ns(START_S))
        shown = dict(controller.control_at(ns(START_S + 2)).expression)
        assert shown["jaw_side"] == pytest.approx(wanted, abs=1e-3)
        assert shown.get("smile", 0.0) == pytest.approx(max(wanted, 0.0), abs=1e-3)


def test_expressions_are_controls_of_a_head():
    from splatface.models.audio2motion.audio_to_mouth import CONTROLS

    assert set(EXPRESSIONS) <= set(CONTROLS)


def aim_deg(control):
    """Where the eyes point in the world, yaw in degrees."""
    return angles(control)[0] + np.degrees(control.gaze_yaw_rad)


@pytest.mark.parametrize("updates_per_s", [10, 30, 60])
def test_a_repeated_target_is_reached_as_fast(updates_per_s):
    controller = HeadMotionController(MotionConfig(sway=0.0, gaze_variability=0.0))
    for index in range(updates_per_s):
        controller.look_at(np.array([1.0, 0.5, 0.0]), ns(START_S + index / updates_per_s))
    assert aim_deg(controller.control_at(ns(START_S + 1.0))) == pytest.approx(26.57, abs=0.5)


def test_the_eyes_arrive_before_the_head():
    controller = HeadMotionController(MotionConfig(sway=0.0, gaze_variability=0.0))
    controller.look_at(np.array([1.0, 0.4, 0.0]), ns(START_S))
    early, late = (controller.control_at(ns(START_S + t)) for t in (0.13, 0.6))
    assert aim_deg(early) == pytest.approx(21.8, abs=0.1)
    assert angles(early)[0] < 0.3 * angles(late)[0]
    assert aim_deg(late) == pytest.approx(21.8, abs=0.1)


def test_head_acceleration_is_limited():
    controller = HeadMotionController(MotionConfig(gaze_variability=0.0))
    step_s, turned = 0.005, []
    for index in range(600):
        time_ns = ns(START_S + index * step_s)
        if index % 7 == 0:  # a point that jumps from side to side, told about 30 times a second
            controller.look_at(np.array([1.0, 0.5 if index // 84 % 2 else -0.5, 0.1]), time_ns)
        turned.append(angles(controller.control_at(time_ns)))
    acceleration = np.diff(turned, n=2, axis=0) / step_s**2  # degrees per second squared
    assert np.abs(acceleration).max() < 3000.0


def test_a_nod_does_not_jump_when_features_are_late():
    controller = HeadMotionController(MotionConfig(sway=0.0, gaze_variability=0.0, seed=2))
    pitches = []
    for index in range(300):
        frames = index - 9  # 180 ms late
        if frames >= 0:
            loud = -14.0 if frames // 12 % 5 == 4 else -22.0
            level = loud if frames % 12 < 7 else -34.0
            frame = AudioFrame(np.zeros(1, np.float32), "x", ns(START_S + frames * 0.02), 0.9, level)
            controller.push_speech(frame, ns(START_S + index * 0.02))
        pitches.append(angles(controller.control_at(ns(START_S + index * 0.02)))[1])
    assert max(pitches) > 1.0
    # The steepest a late nod of 3.6 degrees in 120 ms gets is 56 degrees per second.
    assert np.abs(np.diff(pitches)).max() < 1.13


def test_a_limit_of_zero_prevents_motion():
    controller = HeadMotionController(
        MotionConfig(yaw_limit_rad=0.0, pitch_limit_rad=0.0, roll_limit_rad=0.0)
    )
    assert angles(controller.control_at(ns(START_S))) == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)


def test_a_weight_that_is_no_number_is_refused_without_effect():
    controller = HeadMotionController(MotionConfig(nod=0.0))
    with pytest.raises(ValueError, match="expected a weight"):
        controller.set_expression("smile", float("nan"), ns(START_S))
    controller.set_expression("smile", 0.5, ns(START_S))
    assert dict(controller.control_at(ns(START_S + 1)).expression)["smile"] == pytest.approx(0.5)
