import numpy as np
import pytest

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.audio2motion.pretrained_nets import load_net, shipped_encoders
from splatface.models.training.audio_to_mouth.encoded_clips import Clips
from splatface.models.training.audio_to_mouth.net_postprocessing import (
    opening_correlation,
    scale_outputs,
    variance_gains,
)
from splatface.models.training.audio_to_mouth.predictors import (
    gated_predictor,
    loudness_baseline,
    predict_frames,
    predict_recording,
)

OPEN = MOUTH_MODES.index("open")


@pytest.mark.parametrize("name", shipped_encoders())
def test_predicting_all_frames_equals_the_net_on_each_window(name):
    net = load_net(name)
    rng = np.random.default_rng(0)
    values = (net.mean + net.std * rng.standard_normal((40, net.feature_dim))).astype(np.float32)
    together = predict_frames(net, values)
    for i in range(net.window - 1, 40):
        assert np.allclose(net(values[i + 1 - net.window : i + 1]), together[i], atol=1e-4)


def test_the_loudness_baseline_opens_with_the_level():
    t = np.arange(32000) / 16000
    tone = (0.3 * np.sin(2 * np.pi * 200 * t) * (t > 1)).astype(np.float32)
    modes, times_s = loudness_baseline(tone)
    assert modes[(times_s > 1.1) & (times_s < 1.9), OPEN].min() > 0.4
    assert modes[times_s < 0.9, OPEN].max() < 0.05


def test_the_voice_gate_shuts_the_mouth_at_a_tone():
    net = load_net("logmel")
    t = np.arange(16000) / 16000
    tone = (0.2 * np.sin(2 * np.pi * 300 * t) * (np.sin(2 * np.pi * 3 * t) > 0)).astype(np.float32)
    alone, alone_s = predict_recording(net, tone)
    gated, gated_s = gated_predictor(net)(tone)
    assert np.allclose(alone_s, gated_s, atol=1e-6)
    assert np.abs(gated[:, OPEN]).max() <= np.abs(alone[:, OPEN]).max() + 1e-4
    assert gated[15:, OPEN].max() < 0.08


def clips_of(values, modes):
    return Clips("test", values.astype(np.float16), modes.astype(np.float32), np.array([0, len(values)]))


@pytest.mark.parametrize("muted", [0.8, 0.3, 1.5])
def test_variance_gains_restore_half_of_a_muted_amplitude(muted):
    net = load_net("fsmn")
    rng = np.random.default_rng(2)
    values = (net.mean + net.std * rng.standard_normal((400, net.feature_dim))).astype(np.float16)
    predicted = predict_frames(net, values.astype(np.float32))
    lookahead = round(net.lookahead_ms / 20)
    target = np.concatenate([predicted[lookahead:], np.repeat(predicted[-1:], lookahead, axis=0)])
    moving = target.std(axis=0) > 0.02
    gains = variance_gains(scale_outputs(net, muted), clips_of(values, target))
    assert opening_correlation(net, clips_of(values, target)) > 0.99
    assert gains[moving] == pytest.approx(np.full(moving.sum(), np.clip(muted**-0.5, 1.0, 1.3)), rel=0.02)
