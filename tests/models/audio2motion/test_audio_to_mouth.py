from dataclasses import replace

import numpy as np
import pytest

from splatface.models.audio2motion.audio_to_mouth import (
    MOUTH_MODES,
    Convolution,
    check_net,
    gelu,
    net_from_tensors,
    net_to_tensors,
    zero_net,
)
from splatface.models.errors import HeadError


def test_a_net_agrees_with_torch(net):
    rng = np.random.default_rng(3)
    torch = pytest.importorskip("torch")
    window = rng.normal(size=(net.window, net.feature_dim)).astype(np.float32)
    t = {name: torch.from_numpy(tensor).double() for name, tensor in net_to_tensors(net).items()}

    def part(name):
        return t[f"net.logmel.{name}"]

    x = ((torch.from_numpy(window).double() - part("mean")) / part("std")) @ part("project")
    for name in ("conv0", "conv1"):
        weight, bias = part(name).permute(2, 1, 0), part(f"{name}_bias")
        channels_out, channels_in, kernel = weight.shape
        out = torch.nn.functional.conv1d(x[:, :channels_in].T, weight, bias).T
        out = torch.nn.functional.gelu(out, approximate="tanh")
        x = x[kernel - 1 :]
        x = torch.cat(
            [out + x[:, :channels_in] if channels_out == channels_in else out, x[:, channels_in:]], 1
        )
    x = torch.nn.functional.gelu(x.flatten() @ part("w1") + part("b1"), approximate="tanh")
    np.testing.assert_allclose(net(window), (x @ part("w2") + part("b2")).numpy(), atol=2e-5)


def test_sizes_follow_from_the_tensors(net):
    assert (net.feature_dim, net.width, net.context_frames, net.window, net.outputs) == (12, 6, 5, 8, 8)


def test_a_zero_net_never_moves():
    rng = np.random.default_rng(0)
    net = zero_net("whisper", 384)
    check_net(net)
    heard = net(rng.normal(size=(net.window, 384)).astype(np.float32))
    assert heard.shape == (len(MOUTH_MODES),)
    assert not heard.any()


def test_tensors_and_back(net):
    again = net_from_tensors("logmel", 40.0, net_to_tensors(net))
    for name, tensor in net_to_tensors(net).items():
        assert net_to_tensors(again)[name] is tensor


def test_a_missing_tensor_is_named(net):
    tensors = net_to_tensors(net)
    del tensors["net.logmel.w2"]
    with pytest.raises(HeadError, match="w2"):
        net_from_tensors("logmel", 40.0, tensors)


def test_half_a_convolution_is_refused(net):
    tensors = net_to_tensors(net)
    del tensors["net.logmel.conv1_bias"]
    with pytest.raises(HeadError, match="conv1_bias"):
        net_from_tensors("logmel", 40.0, tensors)


def conv(weight, bias):
    return (Convolution(np.zeros(weight, np.float32), np.zeros(bias, np.float32)),)


@pytest.mark.parametrize(
    "change",
    [
        {"std": np.zeros(12, np.float32)},
        {"mean": np.full(12, np.nan, np.float32)},
        {"w1": np.zeros((29, 6), np.float32)},
        {"w1": np.zeros((0, 6), np.float32)},
        {"b1": np.zeros((6, 1), np.float32)},
        {"project": np.zeros((12, 0), np.float32)},
        {"w2": np.zeros((6, 8), np.float64)},
        {"lookahead_ms": float("nan")},
        {"convs": conv((2, 3, 2), 3)},
        {"convs": conv((2, 0, 4), 4)},
        {"convs": conv((2, 1, 4), 4)},
        {"convs": conv((2, 5, 5), 5)},
        {"convs": conv((2, 4, 4), (4, 1))},
        {"convs": conv((0, 4, 4), 4)},
    ],
)
def test_tensors_that_do_not_fit_are_refused(net, change):
    with pytest.raises(HeadError, match="expected"):
        check_net(replace(net, **change))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_is_that_of_torch_in_the_precision_of_its_input(dtype):
    x = np.linspace(-6, 6, 241).astype(dtype)
    y = gelu(x)
    assert y.dtype == dtype
    torch = pytest.importorskip("torch")
    expected = torch.nn.functional.gelu(torch.from_numpy(x), approximate="tanh").numpy()
    np.testing.assert_allclose(y, expected, atol=1e-6 if dtype == np.float32 else 1e-12)
