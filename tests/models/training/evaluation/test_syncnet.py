"""SyncNet's inputs against their definitions, and its score on a network whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from splatface.models.errors import MetricError
from splatface.models.training.evaluation.evaluate_frames import Truth
from splatface.models.training.evaluation.syncnet import (
    FACE_PX,
    FaceCrops,
    SyncNet,
    face_boxes,
    face_crop,
    mfcc,
)

PREFIXES = ("netcnnaud", "netfcaud", "netcnnlip", "netfclip")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of chance under the names and shapes of the published file."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "syncnet.model"
    shapes = {}
    sound = [(0, (64, 1, 3, 3)), (4, (192, 64, 3, 3)), (8, (384, 192, 3, 3)), (11, (256, 384, 3, 3))]
    sound += [(14, (256, 256, 3, 3)), (18, (512, 256, 5, 4))]
    lips = [(0, (96, 3, 5, 7, 7)), (4, (256, 96, 1, 5, 5)), (8, (256, 256, 1, 3, 3))]
    lips += [(11, (256, 256, 1, 3, 3)), (14, (256, 256, 1, 3, 3)), (18, (512, 256, 1, 6, 6))]
    tops = [(0, (512, 512)), (3, (1024, 512))]
    layers = dict(zip(PREFIXES, (sound, tops, lips, tops), strict=True))
    for prefix, parts in layers.items():
        for index, shape in parts:
            shapes[f"{prefix}.{index}.weight"] = shape
            shapes[f"{prefix}.{index}.bias"] = shape[:1]
            if len(shape) > 2 or shape == (512, 512):
                for name in ("weight", "bias", "running_mean", "running_var"):
                    shapes[f"{prefix}.{index + 1}.{name}"] = shape[:1]
    state = {name: torch.randn(shape) * 0.02 for name, shape in shapes.items()}
    for name in list(state):
        if name.endswith("running_var"):
            state[name] = torch.ones_like(state[name])
            state[name.replace("running_var", "num_batches_tracked")] = torch.tensor(1)
    torch.save(state, file)
    return file


@pytest.fixture(scope="module")
def network(weights):
    return SyncNet(weights)


def test_the_published_layout_loads_and_scores(network):
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (6, FACE_PX, FACE_PX, 3)).astype(np.uint8)
    sound = rng.normal(0, 0.1, 6 * 640).astype(np.float32)
    score = network.score(faces, sound)
    assert np.isfinite([score.confidence, score.distance]).all()
    assert score.distance > 0
    assert score.confidence >= 0
    with pytest.raises(MetricError, match="longer film"):
        network.score(faces[:5], sound)


def test_the_offset_is_where_sound_and_lips_agree(network, monkeypatch):
    """Both sides are told which window they see; the sound tells it three pictures late."""
    codes = torch.randn(60, 1024)
    monkeypatch.setattr(network, "lip_embeddings", lambda faces, count: iter([codes[10 : 10 + count]]))
    monkeypatch.setattr(network, "audio_embeddings", lambda samples, count: iter([codes[7 : 7 + count]]))
    score = network.score(np.zeros((45, 1, 1, 3), np.uint8), np.zeros(45 * 640, np.float32))
    assert score.offset_ms == -120
    assert score.confidence > 5
    # windows at the rim have nothing to be compared with
    assert score.distance < 5


def test_other_weights_are_refused(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.model")
    with pytest.raises(MetricError, match=r"syncnet_v2\.model"):
        SyncNet(tmp_path / "other.model")


def test_cepstra_of_a_tone_and_of_silence():
    time_s = np.arange(16_000) / 16_000
    tone = (0.5 * np.sin(2 * np.pi * 1000 * time_s)).astype(np.float32)
    cepstra = mfcc(tone)
    assert cepstra.shape == (99, 13)  # 1 + ceil((16000 - 400) / 160) - every frame begun
    # the sum over rfft bins of |X|²/512 is half the frame's energy, sharpened by 1 - 0.97 z⁻¹
    gain = np.abs(1 - 0.97 * np.exp(-2j * np.pi * 1000 / 16_000)) ** 2
    energy = 0.5 * 400 * (0.5 * 32768) ** 2 / 2 * gain
    assert cepstra[5, 0] == pytest.approx(np.log(energy), abs=0.02)
    assert np.allclose(cepstra[5:90], cepstra[5], atol=0.1)
    assert np.isfinite(mfcc(np.zeros(1000, np.float32))).all()


def test_boxes_are_steady_and_the_crop_holds_face_and_neck():
    places = np.zeros((30, 478, 3))
    places[:, :468, 0] = 100 + 40 * np.cos(np.linspace(0, 2 * np.pi, 468))
    places[:, :468, 1] = 80 + 60 * np.sin(np.linspace(0, 2 * np.pi, 468))
    places[12] += 30  # one bad sight
    places[20] = np.nan
    boxes = face_boxes(places)
    assert boxes == pytest.approx(np.tile([100, 80, 60], (30, 1)), abs=0.1)
    assert np.isnan(face_boxes(np.full((30, 478, 3), np.nan))).all()
    picture = np.zeros((240, 320, 3), np.uint8)
    picture[20:140, 60:140] = 200
    crop = face_crop(picture, boxes[0])
    assert crop.shape == (FACE_PX, FACE_PX, 3)
    frame_indices, columns = np.nonzero(crop[..., 0] == 200)
    scale = FACE_PX / (2 * 60 * 1.4)
    assert frame_indices.min() <= 1
    assert frame_indices.max() == pytest.approx(120 * scale, abs=2)
    assert columns.mean() == pytest.approx(FACE_PX / 2, abs=1)
    outside = face_crop(picture, np.array([0.0, 0.0, 60.0]))
    assert tuple(outside[0, 0]) == (110, 110, 110)


def test_the_face_film_is_even_and_has_its_sound(film):
    frame_indices = np.arange(20, 40)
    time_ns = film.frames.time_ns.copy()
    time_ns[frame_indices] = 1_000_000_000 + 20_000_000 * np.arange(
        20
    )  # 50 pictures a second, two of them lost
    time_ns[frame_indices[10:]] += 120_000_000
    frames = replace(film.frames, time_ns=time_ns)
    sights = np.random.default_rng(0).uniform(50, 200, (20, 478, 3))
    truth = Truth(replace(film, frames=frames), frame_indices, np.zeros(20, bool), sights, frozenset())
    faces = FaceCrops(truth)
    assert not faces.long_enough  # five before the gap, five after it
    time_ns[frame_indices] = 1_000_000_000 + 20_000_000 * np.arange(20)
    faces = FaceCrops(truth)
    for at in range(20):
        faces.add(at, np.full((256, 256, 3), at, np.uint8))
    crops, samples = faces.crops_and_audio()
    assert crops[:, 100, 100, 0].tolist() == list(range(0, 20, 2))
    assert len(samples) == 10 * 640
