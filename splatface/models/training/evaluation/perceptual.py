"""How alike two pictures look: ST-LPIPS from its package, LPIPS from a user's weights. The door to both."""

import importlib
import importlib.util
import pickle
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from splatface.models.errors import MetricError

__all__ = [
    "PerceptualDistance",
    "load_weights",
    "lpips",
    "lpips_network",
    "st_lpips",
    "st_lpips_network",
    "to_minus1_1",
]

# Two pictures [H, W, 3] RGB uint8 to a distance: 0 for the same.
PerceptualDistance = Callable[[NDArray[np.uint8], NDArray[np.uint8]], float]

_ABSENT = ("torchvision", "torchsummary", "IPython")  # imported by stlpips_pytorch, used by none of its parts


def st_lpips() -> PerceptualDistance:
    """ST-LPIPS (Ghildyal and Liu 2022): a distance that forgives a shift by a pixel or two.

    About 0 for pictures that look the same, up to about 1 for pictures with nothing in common.

    Raises:
        MetricError: when the package is not installed or not sound.
    """
    return _likeness(st_lpips_network())


def st_lpips_network() -> nn.Module:
    """The network of ST-LPIPS: two pictures [1, 3, H, W] in -1..1 to a distance; its package has the weights.

    Raises:
        MetricError: when the package is not installed or not sound.
    """
    if importlib.util.find_spec("stlpips_pytorch") is None:
        raise MetricError(
            "st_lpips: expected stlpips_pytorch, found none: pip install --no-deps stlpips-pytorch==0.0.2"
        )
    try:
        with _stand_ins(_ABSENT):
            package = importlib.import_module("stlpips_pytorch.stlpips")
        network: nn.Module = package.LPIPS(net="alex", variant="shift_tolerant", verbose=False).eval()
    except (ImportError, AttributeError, OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise MetricError(
            f"st_lpips: expected stlpips-pytorch 0.0.2, found {error}: "
            "pip install --no-deps --force-reinstall stlpips-pytorch==0.0.2"
        ) from error
    return network.requires_grad_(False)


def lpips(file: Path) -> PerceptualDistance:
    """LPIPS (Zhang et al. 2018) with AlexNet, from a user's file: no package carries its weights.

    Args:
        file: what `torch.save(lpips.LPIPS(net="alex").state_dict(), file)` writes where that is installed.

    Raises:
        MetricError: when the file is missing, damaged or of another network.
    """
    return _likeness(lpips_network(file))


def lpips_network(file: Path) -> nn.Module:
    """The network of LPIPS with a user's weights, see `lpips`; it takes what `st_lpips_network` takes."""
    return _AlexDistance(load_weights(file), file)


def to_minus1_1(picture: Tensor) -> Tensor:
    """A picture [H, W, 3] in 0..1 as networks ask for it: [1, 3, H, W] in -1..1."""
    return picture.permute(2, 0, 1)[None] * 2 - 1


def _likeness(network: nn.Module) -> PerceptualDistance:
    def distance(truth: NDArray[np.uint8], found: NDArray[np.uint8]) -> float:
        pictures = (torch.from_numpy(picture.astype(np.float32)) / 255 for picture in (truth, found))
        with torch.no_grad():
            return float(network(*(to_minus1_1(picture) for picture in pictures)))

    return distance


def load_weights(file: Path) -> dict[str, Tensor]:
    """Named tensors of a file that torch saved; nothing in it is executed.

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
    """Unit-length features of five layers of AlexNet, squared differences weighed by channel."""

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
        wanted = [f"{name}.{part}" for name in layers for part in ("weight", "bias")]
        wanted += [f"lin{k}.model.1.weight" for k in range(len(layers))]
        missing = [name for name in wanted if name not in weights]
        if missing:
            raise MetricError(
                f"{file}: expected LPIPS with AlexNet, found no tensor {missing[0]!r}: "
                'save lpips.LPIPS(net="alex").state_dict()'
            )
        self._weights = {name: weights[name].float() for name in wanted}
        self._shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
        self._scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Distance [] of two pictures [1, 3, H, W], -1..1."""
        total = first.new_zeros(())
        layers = zip(self._features(first), self._features(second), strict=True)
        for k, (a, b) in enumerate(layers):
            weigh = self._weights[f"lin{k}.model.1.weight"].to(a)
            total = total + F.conv2d((a - b).square(), weigh).mean()
        return total

    def _features(self, picture: Tensor) -> Iterator[Tensor]:
        x = (picture - self._shift.to(picture)) / self._scale.to(picture)
        for name, stride, padding, pooled in self._LAYERS:
            x = F.max_pool2d(x, 3, 2) if pooled else x
            weight, bias = (self._weights[f"{name}.{part}"].to(x) for part in ("weight", "bias"))
            x = F.relu(F.conv2d(x, weight, bias, stride=stride, padding=padding))
            yield x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


class _StandIn(types.ModuleType):
    """Looks like a module that has everything; nothing of it is ever called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


@contextmanager
def _stand_ins(names: tuple[str, ...]) -> Iterator[None]:
    """Let modules that are not installed be imported, until the end of the block."""
    absent = [name for name in names if name not in sys.modules and importlib.util.find_spec(name) is None]
    sys.modules.update({name: _StandIn(name) for name in absent})
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)
