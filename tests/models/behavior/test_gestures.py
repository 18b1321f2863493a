"""What one's own speech does to head, brows and blinks."""

import numpy as np
import pytest
from transforms3d.euler import quat2euler

from splatface.models.behavior.controller import HeadMotionController, MotionConfig
from splatface.models.behavior.eyes import BlinkScheduler, gaze_stream, gaze_toward_viewer_at, random_blink
from splatface.models.behavior.head_movements import Posture, PostureShift, fuzzy_or
from splatface.models.behavior.prosody import PhraseBegin, PhraseDetector, PhraseEnd, StressDetector
from splatface.models.behavior.trajectories import ActivityIntervals
from splatface.models.messages import NS_PER_S, AudioFrame

START_NS = 1_790_000_000 * NS_PER_S
STEP_NS = 20_000_000
SILENT = (-90.0, 0.0)


def frame(index, level_dbfs, voice, utterance=0):
    center_ns = START_NS + index * STEP_NS
    return AudioFrame(np.zeros(1, np.float32), "x", center_ns, voice, level_dbfs, utterance)


def syllable(peak_dbfs, frames=8):
    """Levels of a syllable and the dip after it."""
    shape = [-6.0, -2.0, *[0.0] * (frames - 4), -3.0, -9.0, -14.0, -14.0]
    return [(peak_dbfs + db, 0.95) for db in shape]


def phrase(random, syllables):
    """Unlike syllables, every fourth or so stressed; and where (frame) the stressed ones are loudest."""
    frames, stressed = [], []
    for index in range(syllables):
        is_stressed = index % 4 == 3
        if is_stressed:
            stressed.append(len(frames) + 4)
        peak = random.normal(-14.0 if is_stressed else -22.0, 0.7)
        frames += syllable(peak, 11 if is_stressed else 7)
    return frames, stressed


def talk(seed=0, phrases=8, pause_frames=30):
    random = np.random.default_rng(seed)
    frames, stressed, pauses = [SILENT] * 20, [], []
    for _ in range(phrases):
        more, where = phrase(random, 16)
        stressed += [len(frames) + at for at in where]
        frames += more
        pauses.append(len(frames))
        frames += [SILENT] * pause_frames
    return frames, stressed, pauses


def at_s(frames):
    return START_NS / NS_PER_S + 0.02 * np.asarray(frames, float)


def controls_of(frames, config, ahead_ns=60_000_000):
    """Controls every 10 ms of a face whose sound comes a little before it is frames."""
    controller = HeadMotionController(config)
    controls, index = [], 0
    for now_ns in range(START_NS, START_NS + len(frames) * STEP_NS, STEP_NS // 2):
        while index < len(frames) and START_NS + index * STEP_NS <= now_ns + ahead_ns:
            controller.push_speech(frame(index, *frames[index]), now_ns)
            index += 1
        controls.append(controller.control_at(now_ns))
    return controller, controls


STILL = {"sway": 0.0, "gaze_variability": 0.0}


def pitches(controls):
    return np.degrees([quat2euler(c.quat_world_head, "rzyx")[1] for c in controls])


def stresses_of(frames):
    detector = StressDetector()
    detected = [(index, detector.push(frame(index, *values))) for index, values in enumerate(frames)]
    return [(index, stress) for index, stress in detected if stress]


def test_stressed_syllables_are_detected_soon_and_others_are_not():
    frames, stressed, _ = talk()
    detected = stresses_of(frames)
    assert len(detected) >= 0.8 * len(stressed)
    for index, stress in detected:
        assert np.abs(at_s(stressed) - stress.peak_s).min() < 0.08
        assert at_s(index) - stress.peak_s < 0.1
        assert 0.0 < stress.prominence <= 1.0


def test_louder_recordings_have_the_same_stresses():
    frames, _, _ = talk()
    louder = [(level + 12.0, voice) for level, voice in frames]
    assert [index for index, _ in stresses_of(louder)] == [index for index, _ in stresses_of(frames)]


@pytest.mark.parametrize("values", [(-20.0, 0.95), (-20.0, 0.1), (-100.0, 0.0)])
def test_constant_levels_have_no_stresses(values):
    assert not stresses_of([values] * 400)


def test_phrases_begin_and_end_at_pauses_in_turn():
    frames, _, pauses = talk()
    detector = PhraseDetector()
    events = [event for index, values in enumerate(frames) if (event := detector.push(frame(index, *values)))]
    assert [type(event) for event in events] == [PhraseBegin, PhraseEnd] * 8
    ends_s = np.array([event.time_s for event in events[1::2]])
    # The last frames of a syllable are its dip.
    assert np.abs(ends_s - at_s(pauses)).max() < 0.1
    assert events[2].pause_s == pytest.approx(0.6, abs=0.1)


def test_a_stop_consonant_is_no_pause():
    detector = PhraseDetector()
    frames = [*syllable(-15.0), *[SILENT] * 6, *syllable(-15.0), *syllable(-15.0)]
    events = [event for index, values in enumerate(frames) if (event := detector.push(frame(index, *values)))]
    assert len(events) == 1


def test_nods_are_lowest_on_stressed_syllables_and_not_on_all():
    frames, stressed, _ = talk(phrases=12)
    controller, _ = controls_of(frames, MotionConfig(**STILL))
    lowest_s = np.array([nod.begin_s + nod.down_s for nod in controller.speech_gestures.nods])
    off_s = np.abs(lowest_s[:, None] - at_s(stressed)).min(axis=1)
    assert np.mean(off_s < 0.15) > 0.8
    assert 0.3 * len(stressed) < len(lowest_s) < 0.95 * len(stressed)
    gaps_s = np.diff(lowest_s)
    assert gaps_s.min() > 0.4
    assert np.std(gaps_s) > 0.2  # no metronome


def test_nods_stay_within_bounds_for_any_amount():
    frames, _, _ = talk()
    _, controls = controls_of(frames, MotionConfig(**STILL, nod=3.0, backchannel=3.0))
    assert 4.0 < pitches(controls).max() <= 14.0
    assert np.abs(pitches(controls)).max() <= 14.0


def test_amounts_of_zero_leave_the_head_and_the_brows_still():
    frames, _, _ = talk(phrases=4)
    _, controls = controls_of(frames, MotionConfig(**STILL, nod=0.0, brow=0.0))
    assert np.abs(pitches(controls)).max() < 1e-9
    assert not any(control.expression for control in controls)


def test_brows_go_up_now_and_then_and_come_down():
    frames, _, _ = talk(phrases=12)
    _, controls = controls_of(frames, MotionConfig(**STILL))
    brows = np.array([dict(control.expression).get("brow_up", 0.0) for control in controls])
    assert 0.3 < brows.max() <= 1.0
    assert 0.4 < np.mean(brows < 0.01) < 0.95


def test_blinks_gather_at_pauses_and_are_about_as_many_as_configured():
    in_pauses, shown, minutes = 0, 0, 0.0
    for seed in range(6):
        frames, _, pauses = talk(seed, phrases=12)
        controller = HeadMotionController(MotionConfig(seed=seed))
        for index, values in enumerate(frames):
            controller.push_speech(frame(index, *values), START_NS + index * STEP_NS - 60_000_000)
        begins_s = np.array([at for at, _ in controller.blinks.blinks_between(at_s(0), at_s(len(frames)))])
        since_s = begins_s[:, None] - at_s(pauses)
        in_pauses += np.sum(((since_s > -0.1) & (since_s < 0.6)).any(axis=1))
        shown += len(begins_s)
        minutes += len(frames) * 0.02 / 60
    share_of_time = 12 * 0.7 / (minutes / 6 * 60)
    assert in_pauses / shown > 1.7 * share_of_time
    assert 0.75 * 18 < shown / minutes < 1.4 * 18


def test_no_blinks_are_requested_at_zero():
    frames, _, _ = talk(phrases=4)
    _, controls = controls_of(frames, MotionConfig(blink_per_minute=0.0))
    assert max(control.blink_left for control in controls) == 0.0


def test_a_requested_blink_replaces_the_next_one():
    blinks, plain = (BlinkScheduler(3, 18.0, lambda time_s: 1.0) for _ in range(2))
    start_s = START_NS / NS_PER_S
    own = [at for at, _ in plain.blinks_between(start_s, start_s + 20)]
    begin_s = own[1] - 1.0
    blinks.request_blink(begin_s, begin_s, random_blink(np.random.default_rng(0)))
    now = sorted(at for at, _ in blinks.blinks_between(start_s, start_s + 20))
    assert now == sorted([begin_s, *own[:1], *own[2:]])


def test_a_request_close_to_another_blink_is_ignored():
    blinks = BlinkScheduler(3, 18.0, lambda time_s: 1.0)
    start_s = START_NS / NS_PER_S
    own = blinks.blinks_between(start_s, start_s + 20)[0][0]
    before = blinks.blinks_between(start_s, start_s + 20)
    blinks.request_blink(own + 0.2, own + 0.1)
    assert blinks.blinks_between(start_s, start_s + 20) == before


def test_motion_does_not_depend_on_the_lead_of_the_audio_or_the_query_rate():
    frames, _, _ = talk(phrases=3)
    config = MotionConfig(seed=5)
    _, often = controls_of(frames, config)
    controller, seldom = HeadMotionController(config), []
    index = 0
    for step, now_ns in enumerate(range(START_NS, START_NS + len(frames) * STEP_NS, STEP_NS // 2)):
        while index < len(frames) and START_NS + index * STEP_NS <= now_ns + 60_000_000:
            controller.push_speech(frame(index, *frames[index]), now_ns)
            index += 1
        if step % 7 == 0:
            seldom.append(controller.control_at(now_ns))
    for a, b in zip(often[::7], seldom, strict=True):
        np.testing.assert_array_equal(a.quat_world_head, b.quat_world_head)
        assert (a.blink_left, a.gaze_yaw_rad, a.expression) == (b.blink_left, b.gaze_yaw_rad, b.expression)


def test_later_frames_do_not_change_the_past():
    # Films ask for a moment when later sound has come, live faces before.
    frames, _, _ = talk(phrases=3)
    controller, controls = controls_of(frames, MotionConfig(seed=4))
    for index in range(0, len(controls), 31):
        again = controller.control_at(START_NS + index * STEP_NS // 2)
        np.testing.assert_array_equal(again.quat_world_head, controls[index].quat_world_head)
        assert again.blink_left == controls[index].blink_left
        assert again.expression == controls[index].expression


def test_an_interruption_cancels_nods_smoothly():
    frames, stressed, _ = talk(phrases=3)
    controller = HeadMotionController(MotionConfig(**STILL, seed=1))
    cut = stressed[5] + 4
    track = []
    for step in range(4 * cut + 400):
        now_ns = START_NS + step * STEP_NS // 4
        index, part = divmod(step, 4)
        if part == 0:
            if index < cut:
                controller.push_speech(frame(index, *frames[index]), now_ns - 60_000_000)
            elif index < cut + 60:
                # The new utterance begins at the present: 60 ms before the words that were published.
                controller.push_speech(frame(index - 3, *SILENT, utterance=1), now_ns - 60_000_000)
        track.append(controller.control_at(now_ns - 60_000_000))
    pitch = pitches(track)
    assert np.abs(np.diff(pitch)).max() / 0.005 < 90.0
    assert np.abs(np.diff(pitch[4 * cut + 200 :])).max() < 0.02


def test_a_repeated_recording_gives_the_same_gestures():
    frames, _, _ = talk(phrases=3)
    once, _ = controls_of(frames, MotionConfig(seed=2))
    twice, _ = controls_of(frames, MotionConfig(seed=2))
    for index, values in enumerate(frames):
        twice.push_speech(frame(index, *values), START_NS + index * STEP_NS - 60_000_000)
    assert twice.speech_gestures.nods[0].begin_s == once.speech_gestures.nods[0].begin_s
    assert len(twice.speech_gestures.nods) == len(once.speech_gestures.nods)


def test_intervals_rise_and_fall_smoothly_and_are_never_more_than_one():
    intervals, levels = ActivityIntervals(), []
    random = np.random.default_rng(0)
    times_s = np.arange(0, 60, 0.01)
    for time_s in times_s:
        if random.random() < 0.02:
            intervals.extend(time_s, time_s + random.uniform(0.05, 1.5))
        if random.random() < 0.01:
            intervals.end(time_s)
        levels.append(intervals.level_at(time_s, 0.5))
    levels = np.array(levels)
    assert levels.min() >= 0.0
    assert levels.max() <= 1.0 + 1e-12
    # Minimum jerk reaches 1.875 of the mean speed.
    assert np.abs(np.diff(levels)).max() / 0.01 < 1.9 / 0.5
    for time_s, level in list(zip(times_s, levels, strict=True))[-200::20]:
        assert intervals.level_at(time_s, 0.5) == level


def test_postures_follow_each_other_smoothly():
    posture, track = Posture(), []
    random = np.random.default_rng(0)
    for step in range(6000):
        if step % 60 == 0:
            posture.add(PostureShift(step / 100, 0.8, random.normal(0, 1.0, 3)))
        track.append(posture.angles_at(step / 100))
    acceleration = np.diff(track, n=2, axis=0) / 0.01**2
    # 5.77 times way over time squared is the hardest of a minimum-jerk way; two overlap here.
    assert np.abs(acceleration).max() < 2 * 5.8 * 6.0 / 0.8**2


def test_two_raises_are_at_most_one():
    assert fuzzy_or(0.0, 0.4) == pytest.approx(0.4)
    assert fuzzy_or(1.0, 0.7) == 1.0


def test_an_attentive_gaze_stays_on_the_face_and_a_free_one_is_limited():
    line = gaze_stream(4, 1.0)
    times_s = START_NS / NS_PER_S + np.arange(0, 300, 0.02)
    held = np.degrees([gaze_toward_viewer_at(line, time_s, 1.0) for time_s in times_s])
    free = np.degrees([gaze_toward_viewer_at(line, time_s, 0.0) for time_s in times_s])
    assert np.hypot(*held.T).max() < 1.7
    assert 6.0 < np.hypot(*free.T).max() <= 14.0
    assert np.std(held[:, 0]) > 0.3  # alive
