import numpy as np
import pytest

from splatface.models.audio.offline_features import extract_features

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_other_encoders_are_unchanged():
    from splatface.models.training.audio_to_mouth.bf16_features import extract_features_bf16

    sound = np.random.default_rng(0).standard_normal(8000).astype(np.float32) * 0.1
    expected, features = extract_features("logmel", sound), extract_features_bf16("logmel", sound)
    assert np.array_equal(features.values, expected.values)
    assert np.array_equal(features.times_s, expected.times_s)


def test_bf16_whisper_is_close_to_the_streaming_whisper():
    from splatface.models.training.audio_to_mouth.bf16_features import extract_features_bf16

    t = np.arange(16000) / 16000
    sound = (0.3 * np.sin(2 * np.pi * 180 * t) * np.sin(2 * np.pi * 3 * t)).astype(np.float32)
    for _ in range(2):  # independent of earlier calls
        expected, features = extract_features("whisper", sound), extract_features_bf16("whisper", sound)
        assert np.array_equal(features.times_s, expected.times_s)
        assert features.values.shape == expected.values.shape
        error = np.square(features.values - expected.values).mean()
        assert error < 0.003 * expected.values.var()


def test_an_onnx_graph_in_torch_equals_onnxruntime():
    onnxruntime = pytest.importorskip("onnxruntime")
    from splatface.models.audio.whisper_encoder import WIDTH, whisper_network
    from splatface.models.training.audio_to_mouth.bf16_features import torch_from_onnx

    rng = np.random.default_rng(1)

    def some(*shape):
        return (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    weights = {"position_encodings/encodings": some(50, WIDTH)}
    for name, shape in (("conv1", (WIDTH, 80, 3)), ("conv2", (WIDTH, WIDTH, 3))):
        weights |= {f"{name}/weight": some(*shape) * 0.1, f"{name}/bias": some(WIDTH)}
    for block in range(3):
        for part, sizes in (
            ("self_attention", ((3 * WIDTH, WIDTH), (WIDTH, WIDTH))),
            ("ffn", ((4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH))),
        ):
            at = f"layer_{block}/{part}"
            weights |= {
                f"{at}/layer_norm/gamma": np.ones(WIDTH, np.float32),
                f"{at}/layer_norm/beta": some(WIDTH),
            }
            for i, size in enumerate(sizes):
                weights |= {f"{at}/linear_{i}/weight": some(*size), f"{at}/linear_{i}/bias": some(size[0])}
    model = whisper_network(weights, 20, (4, 5))
    mel = some(3, 80, 20)
    run = torch_from_onnx(model, torch.float32)
    with torch.no_grad():
        mine = run(torch.from_numpy(mel)).numpy()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    theirs = np.concatenate([session.run(None, {"mel": one[None]})[0] for one in mel])
    assert np.allclose(mine, theirs, atol=1e-4)
