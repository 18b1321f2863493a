"""What a face does that is talked to."""

import numpy as np
import pytest
from transforms3d.euler import quat2euler

from splatface.models.behavior.controller import HeadMotionController, MotionConfig
from splatface.models.messages import NS_PER_S, AudioFrame

pytestmark = pytest.mark.slow

START_NS = 1_790_000_000 * NS_PER_S
STEP_NS = 10_000_000


def random_speech(seed, seconds, pause_s=0.7):
    """When a person speech_intervals: stretches of a few seconds, s."""
    random, speech_intervals, at = np.random.default_rng(seed), [], 1.0
    while at < seconds:
        end = min(at + random.uniform(1.5, 6.0), seconds)
        speech_intervals.append((at, end))
        at = end + pause_s
    return speech_intervals


def listener_controls(speech_intervals, seconds, config, reports_per_s=2.0, speech=lambda time_s: False):
    """Controls every 10 ms; the person's talk told on change and so often."""
    controller, controls = HeadMotionController(config), []
    reports = [(at, True) for a, b in speech_intervals for at in np.arange(a, b, 1 / reports_per_s)]
    reports = sorted([*reports, *[(b, False) for _, b in speech_intervals]])
    for step in range(round(seconds * 100)):
        now_ns = START_NS + step * STEP_NS
        while reports and reports[0][0] <= step / 100:
            controller.set_user_speaking(reports.pop(0)[1], now_ns)
        if step % 2 == 0:
            spoken = speech(step / 100)
            level, voice = (-20.0, 0.95) if spoken else (-90.0, 0.0)
            controller.push_speech(AudioFrame(np.zeros(1, np.float32), "x", now_ns, voice, level), now_ns)
        controls.append(controller.control_at(now_ns))
    return controls


def angles(controls):
    """Yaw, pitch, roll in degrees [T, 3]."""
    return np.degrees([quat2euler(control.quat_world_head, "rzyx") for control in controls])


def aims(controls):
    """Where the eyes point, yaw and pitch in degrees [T, 2]."""
    eyes = np.degrees([(c.gaze_yaw_rad, c.gaze_pitch_rad) for c in controls])
    return eyes + angles(controls)[:, :2]


def nods_in(controls):
    """Times (s) at which a nod of a still head is lowest."""
    pitch = angles(controls)[:, 1]
    inner = pitch[1:-1]
    return 0.01 * (1 + np.flatnonzero((inner > 0.5) & (inner > pitch[:-2]) & (inner >= pitch[2:])))


STILL = {"sway": 0.0, "gaze_variability": 0.0}


def test_the_gaze_stays_on_a_speaking_user():
    free, held = (
        np.hypot(*aims(listener_controls(speech_intervals, 60, MotionConfig(sway=0.0))).T)
        for speech_intervals in ([], [(0.0, 60.0)])
    )
    assert np.mean(free > 3.0) > 0.08
    assert held[30:].max() < 2.0


def test_the_gaze_stays_on_its_target():
    controller = HeadMotionController(MotionConfig(sway=0.0))
    controller.look_at(np.array([1.0, 0.3, 0.0]), START_NS)
    track = []
    for step in range(1000):
        now_ns = START_NS + step * STEP_NS
        if step % 50 == 0:
            controller.set_user_speaking(True, now_ns)
        track.append(controller.control_at(now_ns))
    off = aims(track)[100:, 0] - np.degrees(np.arctan(0.3))
    assert np.abs(off).max() < 2.0


def test_nods_come_every_few_seconds_and_after_pauses_and_are_small():
    speech_intervals = random_speech(0, 120)
    controls = listener_controls(speech_intervals, 122, MotionConfig(**STILL))
    at_s = nods_in(controls)
    assert 6 < len(at_s) / 2 < 25  # a minute
    assert np.std(np.diff(at_s)) > 0.8
    assert 1.0 < angles(controls)[:, 1].max() < 5.0
    since_pause_s = at_s[:, None] - np.array([b for _, b in speech_intervals])
    in_pause = ((since_pause_s > 0.1) & (since_pause_s < 1.0)).any(axis=1)
    assert in_pause.mean() > 1.5 * len(speech_intervals) * 0.9 / 120


def test_without_speech_there_are_no_nods():
    assert np.abs(angles(listener_controls([], 20, MotionConfig(**STILL)))).max() < 1e-9


def test_backchannel_zero_has_no_effect():
    config = MotionConfig(backchannel=0.0, blink_per_minute=0.0)
    with_talk, without = (
        listener_controls(speech_intervals, 20, config) for speech_intervals in (random_speech(1, 20), [])
    )
    np.testing.assert_array_equal(angles(with_talk), angles(without))
    np.testing.assert_array_equal(aims(with_talk), aims(without))


def test_listeners_blink_less():
    def per_minute(speech_intervals):
        closed = (
            np.array(
                [c.blink_left for c in listener_controls(speech_intervals, 90, MotionConfig(**STILL, seed=2))]
            )
            > 0.02
        )
        return np.sum(np.diff(closed.astype(int)) == 1) / 1.5

    assert 0.4 < per_minute([(0.0, 90.0)]) / per_minute([]) < 0.95


def test_a_user_without_reports_is_silent():
    controller = HeadMotionController(MotionConfig(**STILL, seed=1))
    controller.set_user_speaking(True, START_NS)
    rolls = angles([controller.control_at(START_NS + step * STEP_NS) for step in range(1000)])[:, 2]
    assert np.abs(rolls[200:299]).max() > 1.0
    assert np.abs(rolls[400:]).max() < 1e-9


def test_a_face_that_speaks_does_not_nod_as_a_listener():
    controls = listener_controls(
        [(0.0, 30.0)], 30, MotionConfig(**STILL, nod=0.0), speech=lambda time_s: True
    )
    assert np.abs(angles(controls)[150:, 1]).max() < 0.05


@pytest.mark.parametrize("reports_per_s", [1.0, 30.0])
def test_more_reports_add_no_nods(reports_per_s):
    config = MotionConfig(**STILL, seed=3)
    expected = listener_controls([(1.0, 25.0)], 25, config, reports_per_s=2.0)
    np.testing.assert_allclose(
        angles(listener_controls([(1.0, 25.0)], 25, config, reports_per_s=reports_per_s)),
        angles(expected),
        atol=1e-9,
    )


@pytest.mark.parametrize("amount", [1.0, 3.0])
def test_motion_is_smooth_when_listening_and_speaking_alternate(amount):
    config = MotionConfig(backchannel=amount, nod=amount, brow=amount)
    # Talk that comes and goes quickly, over speech that does too.
    speech_intervals = [(at, at + 0.4 + at % 1.7) for at in np.arange(0.5, 38.0, 2.3)]
    controls = listener_controls(speech_intervals, 40, config, speech=lambda time_s: time_s % 3.1 < 1.2)
    rotations = angles(controls)
    # A nod of 3.6 degrees in 120 ms: 1.875 way / time, 5.77 way / time^2 at the most.
    assert np.abs(np.diff(rotations, axis=0)).max() / 0.01 < amount * 70.0
    acceleration = np.diff(rotations, n=2, axis=0) / 0.01**2
    assert np.abs(acceleration).max() < amount * 1800.0
    brows = np.array([dict(control.expression).get("brow_up", 0.0) for control in controls])
    assert np.abs(np.diff(brows)).max() / 0.01 < amount * 1.9 / 0.18
    assert np.abs(np.diff(brows, n=2)).max() / 0.01**2 < amount * 5.8 / 0.18**2
    assert brows.max() <= 1.0
    # A saccade of 25 degrees lasts 76 ms.
    assert np.abs(np.diff(aims(controls), axis=0)).max() / 0.01 < 700.0
    limits = np.array([22.0, 14.0, 10.0])
    assert np.all(np.abs(rotations) <= limits)


def test_a_clock_set_back_restarts():
    controller = HeadMotionController(MotionConfig(**STILL))
    controller.set_user_speaking(True, START_NS + 100 * NS_PER_S)
    controller.set_user_speaking(True, START_NS)
    controller.set_user_speaking(False, START_NS + NS_PER_S)
    assert np.abs(angles([controller.control_at(START_NS + 8 * NS_PER_S)])).max() < 1e-9
