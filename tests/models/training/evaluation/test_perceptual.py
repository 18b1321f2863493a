"""ST-LPIPS from its package, LPIPS and FID from files that a user brings."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from splatface.models.errors import MetricError
from splatface.models.training.evaluation.frechet import Inception, frechet_distance
from splatface.models.training.evaluation.image_metrics import load_weights, lpips, st_lpips


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    truth = cv2.resize(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8), (96, 96))
    noisy = np.clip(truth + rng.normal(0, 30, truth.shape), 0, 255).astype(np.uint8)
    return truth, noisy


def test_st_lpips_forgives_a_shift_and_not_a_blur(pictures):
    truth, noisy = pictures
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


def test_lpips_with_a_users_weights_is_its_definition(pictures, tmp_path):
    truth, noisy = pictures
    network = Lpips().eval()
    torch.save(network.state_dict(), tmp_path / "lpips.pth")
    distance = lpips(tmp_path / "lpips.pth")
    first, second = (
        torch.tensor(p / 127.5 - 1, dtype=torch.float32).permute(2, 0, 1)[None] for p in pictures
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
