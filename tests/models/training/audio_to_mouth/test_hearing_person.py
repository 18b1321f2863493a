from functools import partial

import numpy as np
import pytest

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.training.audio_to_mouth.listening import heard_modes
from splatface.models.training.audio_to_mouth.trials import Trial

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def one_thread():
    """Small products: a second thread would only spin."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def a_film(seconds=20):
    """The mouth opens with the loudness of a tone."""
    t = np.arange(seconds * 16000) / 16000
    loud = 0.5 + 0.5 * np.sin(2 * np.pi * 0.9 * t)
    sound = (0.3 * loud * np.sin(2 * np.pi * 200 * t)).astype(np.float32)
    times_s = np.arange(0, seconds, 0.04)
    modes = np.full((len(times_s), len(MOUTH_MODES)), np.nan, np.float32)
    modes[:, 0] = 0.5 + 0.5 * np.sin(2 * np.pi * 0.9 * times_s)
    return Trial("film", "en", "tracked", sound, times_s, modes)


def test_a_film_is_parted_in_time():
    from splatface.models.training.audio_to_mouth.person import split_trial

    known, rest = split_trial(a_film(), 0.5)
    assert known.times_s[-1] < rest.times_s[0]
    assert len(known.times_s) + len(rest.times_s) == len(a_film().times_s)
    assert len(rest.samples) == len(known.samples)


def test_a_person_is_learnt_from_the_beginning_of_their_film(monkeypatch):
    from splatface.models.training.audio_to_mouth import person
    from splatface.models.training.audio_to_mouth.train import NetConfig

    shape = NetConfig(window=4, projected=8, convs=1, kernel=2, hidden=24)
    small = partial(person.Training, shape=shape, batch=8, dropout=0.0, rate=1e-2)
    monkeypatch.setattr(person, "Training", small)
    monkeypatch.setattr(person, "_STEPS", 250)
    known, rest = person.split_trial(a_film())
    net = person.person_net("logmel", known, 1, lambda told: None)
    assert net.lookahead_ms == 20
    heard, times_s = heard_modes(net, rest.samples)
    inside = (times_s >= rest.times_s[0]) & (times_s <= rest.times_s[-1])
    truth = rest.truth(times_s[inside])
    assert np.corrcoef(heard[inside, 0], truth[:, 0])[0, 1] > 0.8
