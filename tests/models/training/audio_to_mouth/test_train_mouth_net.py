import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch")

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.training.audio_to_mouth.encoded_clips import Clips
from splatface.models.training.audio_to_mouth.net_evaluation import EvaluationTrial
from splatface.models.training.audio_to_mouth.predictors import predict_frames, predict_recording
from splatface.models.training.audio_to_mouth.train_mouth_net import (
    MouthTrainingConfig,
    NetConfig,
    train_mouth_net,
    train_single_speaker_net,
)

pytestmark = pytest.mark.slow

SHORT = MouthTrainingConfig(
    net=NetConfig(window=4, projected=6, convs=2, kernel=2, channels=12, hidden=24),
    steps=400,
    batch_size=8,
    lookahead_frames=1,
    speaker_mixup=0.0,
    dropout=0.0,
    hidden_dropout=0.0,
    learning_rate=1e-2,
)


@pytest.fixture(autouse=True)
def one_thread():
    """Small products: a second thread would only spin."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def clips():
    """The mouth opens with one of six features."""
    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.standard_normal((2000, 6)), axis=0)
    values = np.sin(0.3 * smooth).astype(np.float16)
    modes = np.zeros((2000, 8), np.float32)
    modes[:, 0] = 0.4 * values[:, 2] + 0.4
    return Clips("test", values, modes, np.arange(0, 2001, 200))


def test_a_net_learns_the_target_and_its_lookahead(clips):
    lines = []
    net = train_mouth_net(clips, SHORT, lines.append)
    assert lines[0].startswith("step 250 of 400: loss ")
    assert net.lookahead_ms == 20.0
    assert [conv.weight.shape for conv in net.convs] == [(2, 6, 12), (2, 12, 12)]
    assert (net.window, net.context_frames) == (4, 2)
    predicted = predict_frames(net, clips.values.astype(np.float32))
    assert np.corrcoef(predicted[20:, 0], clips.modes[19:-1, 0])[0, 1] > 0.95


def test_an_interrupted_training_continues(clips, tmp_path):
    class Stopped(Exception):
        pass

    def stop(_):
        if len(lines) == 1:
            raise Stopped
        lines.append(_)

    lines, state, config = [], tmp_path / "run.state", dataclasses.replace(SHORT, steps=500)
    with pytest.raises(Stopped):
        train_mouth_net(clips, config, stop, state)
    assert state.is_file()
    again = []
    train_mouth_net(clips, config, again.append, state)
    assert [line.split(":")[0] for line in again] == ["step 500 of 500"]
    assert not state.exists()


def test_a_state_with_other_settings_is_ignored(clips, tmp_path):
    state, lines = tmp_path / "run.state", []

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_mouth_net(clips, dataclasses.replace(SHORT, steps=500), stop, state)
    train_mouth_net(clips, SHORT, lines.append, state)
    assert len(lines) == 1


pytest.importorskip("torch")


def loud_tone_trial(seconds=20):
    """The mouth opens with the loudness of a tone."""
    t = np.arange(seconds * 16000) / 16000
    loud = 0.5 + 0.5 * np.sin(2 * np.pi * 0.9 * t)
    sound = (0.3 * loud * np.sin(2 * np.pi * 200 * t)).astype(np.float32)
    times_s = np.arange(0, seconds, 0.04)
    modes = np.full((len(times_s), len(MOUTH_MODES)), np.nan, np.float32)
    modes[:, 0] = 0.5 + 0.5 * np.sin(2 * np.pi * 0.9 * times_s)
    return EvaluationTrial("film", "en", "tracked", sound, times_s, modes)


def test_a_trial_is_split_in_time():
    trial = loud_tone_trial()
    beginning, rest = trial.split(0.5)
    assert beginning.times_s[-1] < rest.times_s[0]
    assert len(beginning.times_s) + len(rest.times_s) == len(trial.times_s)
    assert len(rest.samples) == len(beginning.samples)


def test_a_single_speaker_net_predicts_the_rest_of_its_video():
    config = MouthTrainingConfig(
        net=NetConfig(window=4, projected=8, convs=1, kernel=2, hidden=24),
        steps=250,
        batch_size=8,
        dropout=0.0,
        learning_rate=1e-2,
        speaker_mixup=0.0,
    )
    beginning, rest = loud_tone_trial().split(0.6)
    net = train_single_speaker_net(beginning, "logmel", config)
    assert net.lookahead_ms == 20
    predicted, times_s = predict_recording(net, rest.samples)
    inside = (times_s >= rest.times_s[0]) & (times_s <= rest.times_s[-1])
    target = rest.target_modes(times_s[inside])
    assert np.corrcoef(predicted[inside, 0], target[:, 0])[0, 1] > 0.8
