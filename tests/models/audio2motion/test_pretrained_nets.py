import dataclasses
from pathlib import Path

import numpy as np
import pytest

from splatface.models.audio.encoder import encoder
from splatface.models.audio2motion import pretrained_nets
from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES, zero_net
from splatface.models.audio2motion.pretrained_nets import load_net, shipped_encoders, store_net
from splatface.models.errors import EncoderError
from splatface.models.training.audio_to_mouth.predictors import predict_recording

OPEN = MOUTH_MODES.index("open")


@pytest.mark.parametrize("name", shipped_encoders())
def test_pretrained_nets_fit_their_encoder(name):
    net = load_net(name)
    assert net.encoder == name
    assert net.feature_dim == encoder(name).dim
    assert net.outputs == len(MOUTH_MODES)
    assert net.w1.dtype == np.float32
    assert (
        Path(pretrained_nets.__file__).parent / "weights" / f"{name}.safetensors"
    ).stat().st_size < 2_000_000


@pytest.mark.parametrize("name", shipped_encoders())
def test_silence_and_noise_keep_the_mouth_shut(name):
    rng = np.random.default_rng(0)
    for samples in (np.zeros(32000), 0.003 * rng.standard_normal(32000)):
        modes, _ = predict_recording(load_net(name), samples.astype(np.float32))
        assert np.mean(modes[15:, OPEN] < 0.1) > 0.95


@pytest.mark.parametrize("name", shipped_encoders())
def test_a_vowel_opens_the_mouth_and_the_pause_after_it_shuts_it(name):
    """A made vowel: a pulse train through the three resonances of [a]."""
    modes, times_s = predict_recording(load_net(name), vowel())
    within = (times_s > 0.8) & (times_s < 1.1)
    after = times_s > 1.6
    assert modes[within, OPEN].mean() > 0.15
    assert modes[after, OPEN].max() < 0.15


def vowel():
    t = np.arange(int(2.2 * 16000)) / 16000
    source = np.zeros(len(t))
    source[(t > 0.6) & (t < 1.2) & (np.arange(len(t)) % 133 == 0)] = 1.0
    spectrum = np.fft.rfft(source)
    hz = np.fft.rfftfreq(len(t), 1 / 16000)
    shape = sum(1 / (1 + ((hz - f) / width) ** 2) for f, width in ((750, 60), (1200, 80), (2500, 120)))
    sound = np.fft.irfft(spectrum * shape, len(t))
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def test_an_unknown_encoder_is_refused_with_the_choices():
    with pytest.raises(EncoderError, match=r"fsmn.*found 'wavlm'"):
        load_net("wavlm")


def test_a_stored_net_comes_back(tmp_path, monkeypatch):
    net = dataclasses.replace(zero_net("mine", 7, lookahead_ms=20.0), b2=np.arange(8, dtype=np.float32))
    monkeypatch.setattr(pretrained_nets, "_FOLDER", tmp_path)
    store_net(net)
    again = load_net("mine")
    assert again.lookahead_ms == 20.0
    assert np.array_equal(again.b2, net.b2)


def test_a_truncated_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained_nets, "_FOLDER", tmp_path)
    path = store_net(zero_net("mine", 7))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(EncoderError, match="damaged"):
        load_net("mine")
