import numpy as np
import pytest
import torch
from fields_fixture import FEATURES, condition, generator, still

from splatface.models.errors import TrainingError
from splatface.models.training.fields.audio_conditioning import (
    AudioAttNet,
    AudioWindowEncoder,
    MotionConditionEncoder,
    audio_windows,
    make_condition_encoder,
)
from splatface.models.training.fields.field_config import ConditioningConfig

FRAME_NS = 20_000_000
SOUND = ConditioningConfig(drive="sound", lookahead_ms=40.0)


def film(frames=100):
    values = np.arange(frames, dtype=np.float32)[:, None] * np.ones(FEATURES, np.float32)
    return values, np.arange(frames, dtype=np.int64) * FRAME_NS


def test_windows_end_at_the_look_ahead_and_step_by_a_frame():
    values, centers = film()
    windows = audio_windows(values, centers, 50 * FRAME_NS, SOUND)
    assert windows.shape == (8, 16, FEATURES)
    newest = 52.0  # 40 ms are two frames
    wanted = newest - 7 + np.arange(8)[:, None] - 15 + np.arange(16)
    np.testing.assert_array_equal(windows[:, :, 0], wanted)


def test_the_first_picture_hears_the_beginning_held():
    values, centers = film()
    windows = audio_windows(values + 3, centers, 0, SOUND)
    assert windows[0].max() == 3.0
    assert windows[-1, -1, 0] == 5.0


@pytest.mark.parametrize("time_ns", [50 * FRAME_NS, 50 * FRAME_NS + 7_000_000])
def test_what_comes_later_changes_nothing(time_ns):
    values, centers = film()
    before = audio_windows(values, centers, time_ns, SOUND)
    later = values.copy()
    # On a frame's time the newest frame is the last one read; between two the next is the other end.
    first_unread = 53 if time_ns % FRAME_NS == 0 else 54
    later[first_unread:] = 1e6
    np.testing.assert_array_equal(audio_windows(later, centers, time_ns, SOUND), before)
    later[first_unread - 1] = -1e6
    assert not np.array_equal(audio_windows(later, centers, time_ns, SOUND), before)
    cut = audio_windows(values[:first_unread], centers[:first_unread], time_ns, SOUND)
    np.testing.assert_array_equal(cut, before)


def test_a_windows_net_output_depends_on_its_frames_alone():
    made = AudioWindowEncoder(SOUND, 32, FEATURES, generator(), controls=False)
    windows = condition(conditioning=SOUND).audio
    heard = made.window_net(windows)
    changed = windows.clone()
    changed[-1] += 1
    torch.testing.assert_close(made.window_net(changed)[:-1], heard[:-1])
    assert heard.shape == (8, 64)


def test_neighbors_are_weighed_to_one():
    smoother = AudioAttNet(8, generator())
    windows = torch.randn(8, 64)
    weights = smoother.weights(windows)
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
    torch.testing.assert_close(smoother(windows), (weights[:, None] * windows).sum(0))


def test_without_the_second_smoothing_only_the_newest_window_counts():
    config = ConditioningConfig(drive="sound", smoothing="none")
    made = AudioWindowEncoder(config, 32, FEATURES, generator(), controls=False)
    first, second = condition(0), condition(1)
    second.audio[-1] = first.audio[-1]
    torch.testing.assert_close(made(first), made(second))


@pytest.mark.parametrize("frames", [2, 5, 16, 20])
@pytest.mark.parametrize("windows", [1, 3, 8])
def test_windows_of_any_size_give_one_vector(frames, windows):
    config = ConditioningConfig(drive="sound", frames=frames, windows=windows)
    made = make_condition_encoder(config, 24, FEATURES, generator(), controls=True)
    assert made(condition(conditioning=config)).shape == (24,)


def test_features_are_standardised_by_the_films():
    made = AudioWindowEncoder(SOUND, 32, FEATURES, generator(), controls=False)
    now = condition()
    heard = made(now)
    values = now.audio.reshape(-1, FEATURES)
    made.fit_normalization(values * 5 + 2)
    scaled = type(now)(now.mouth, now.controls, now.pose, now.audio * 5 + 2)
    again = made(scaled)
    made.fit_normalization(values)
    torch.testing.assert_close(again, made(now), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(heard, again)


def test_motion_stands_for_sound():
    made = make_condition_encoder(ConditioningConfig(), 24, 0, generator(), controls=False)
    assert isinstance(made, MotionConditionEncoder)
    first, second = condition(0), condition(1)
    same_mouth = type(first)(first.mouth, second.controls, second.pose, None)
    torch.testing.assert_close(made(first), made(same_mouth))
    both = make_condition_encoder(ConditioningConfig(), 24, 0, generator(), controls=True)
    assert not torch.allclose(both(first), both(same_mouth))


def test_wrong_windows_are_refused():
    made = AudioWindowEncoder(SOUND, 32, FEATURES, generator(), controls=False)
    with pytest.raises(TrainingError, match=r"expected \[8, 16, 12\] .* found none"):
        made(still())
    with pytest.raises(TrainingError, match=r"found \[4, 16, 12\]"):
        made(condition(conditioning=ConditioningConfig(windows=4)))
    with pytest.raises(TrainingError, match=r"lookahead_ms: expected 0\.\.500, found -1"):
        ConditioningConfig(lookahead_ms=-1)
