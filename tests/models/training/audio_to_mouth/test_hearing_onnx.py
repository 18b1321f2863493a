import dataclasses

import numpy as np
import pytest

from splatface.models.audio2motion.audio_to_mouth import zero_net
from splatface.models.audio2motion.convolution import Convolution
from splatface.models.audio2motion.weights import load_net, shipped_encoders
from splatface.models.training.audio_to_mouth.onnx_file import onnx_of, write_onnx

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


@pytest.mark.parametrize("name", shipped_encoders())
def test_the_exported_net_says_the_same(name):
    net = load_net(name)
    session = onnxruntime.InferenceSession(onnx_of(net), providers=["CPUExecutionProvider"])
    noise = np.random.default_rng(0).standard_normal((5, net.window, net.feature_dim))
    windows = (net.mean + net.std * noise).astype(np.float32)
    (modes,) = session.run(None, {"window": windows})
    assert modes == pytest.approx(np.stack([net(window) for window in windows]), abs=1e-5)
    about = session.get_modelmeta().custom_metadata_map
    assert about["encoder"] == name
    assert about["modes"].startswith("open,wide")
    assert float(about["lookahead_ms"]) == net.lookahead_ms


def test_what_goes_by_a_convolution_is_exported_too():
    rng = np.random.default_rng(1)

    def some(*shape):
        return 0.3 * rng.standard_normal(shape).astype(np.float32)

    convs = (Convolution(some(3, 20, 20), some(20)), Convolution(some(2, 20, 32), some(32)))
    still = zero_net("test", 7)
    net = dataclasses.replace(
        still,
        project=some(*still.project.shape),
        w1=some(16 * 44, 64),
        w2=some(*still.w2.shape),
        convs=convs,
    )
    window = rng.standard_normal((net.window, 7)).astype(np.float32)
    session = onnxruntime.InferenceSession(onnx_of(net), providers=["CPUExecutionProvider"])
    (modes,) = session.run(None, {"window": window[None]})
    assert modes[0] == pytest.approx(net(window), abs=1e-4)
    assert modes[0].std() > 0.1


@pytest.mark.parametrize("name", shipped_encoders())
def test_it_is_small(tmp_path, name):
    assert write_onnx(load_net(name), tmp_path / "net.onnx") < 2_000_000
