"""The last layer of a net, fitted to a person."""

from dataclasses import replace

import numpy as np
import pytest

from splatface.models.audio2motion.audio_to_mouth import zero_net
from splatface.models.training.audio_to_mouth.last_layer import hidden_features_net, refit_last_layer

UNITS = 64


def speech(moments, seed=0):
    rng = np.random.default_rng(seed)
    return np.abs(np.cumsum(rng.normal(size=(moments, UNITS)) * 0.3, axis=0) % 2 - 1).astype(np.float32)


@pytest.fixture
def net():
    w2 = np.random.default_rng(1).normal(size=(UNITS, 8)).astype(np.float32) * 0.1
    return replace(zero_net("logmel", 3), w2=w2, b2=np.full(8, 0.1, np.float32))


def said(net, units):
    return units @ net.w2 + net.b2


def correlations(a, b):
    return np.array([np.corrcoef(a[:, k], b[:, k])[0, 1] for k in range(8)])


def test_a_person_who_moves_otherwise_is_foretold_better_in_words_not_heard_before(net):
    rng = np.random.default_rng(2)
    own = replace(net, w2=net.w2 + rng.normal(size=net.w2.shape).astype(np.float32) * 0.1)
    units = speech(1000)
    done = (said(own, units) + 0.05 * rng.normal(size=(1000, 8))).astype(np.float32)
    fitted = refit_last_layer(net, units[:600], done[:600])
    before = correlations(said(net, units[600:]), done[600:])
    after = correlations(said(fitted, units[600:]), done[600:])
    assert (after > before).all()
    assert after.mean() > before.mean() + 0.1


def test_means_and_spreads_stay(net):
    units = speech(500)
    done = np.random.default_rng(3).normal(size=(500, 8)).astype(np.float32)
    fitted = refit_last_layer(net, units, done)
    np.testing.assert_allclose(said(fitted, units).mean(axis=0), said(net, units).mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(said(fitted, units).std(axis=0), said(net, units).std(axis=0), rtol=1e-3)


def test_little_film_does_not_teach_its_noise(net):
    """Somebody who moves just as the net says, and a tracker that errs: four seconds of it."""
    units = speech(400)
    seen = said(net, units) + 0.1 * np.random.default_rng(4).normal(size=(400, 8))
    fitted = refit_last_layer(net, units[:100], seen[:100].astype(np.float32))
    assert correlations(said(fitted, units[100:]), said(net, units[100:])).min() > 0.9


def test_a_mode_that_the_net_never_moves_stays_at_rest(net):
    still = net.w2.copy()
    still[:, 3] = 0.0
    fitted = refit_last_layer(replace(net, w2=still), speech(300), speech(300, 5)[:, :8])
    assert not fitted.w2[:, 3].any()


def test_the_open_net_says_what_its_units_say(net):
    window = np.random.default_rng(6).normal(size=(net.window, 3)).astype(np.float32)
    units = hidden_features_net(net)(window)
    np.testing.assert_allclose(units @ net.w2 + net.b2, net(window), atol=1e-5)
