"""FID: how far the rendered images are from the true ones as two clouds of features (Heusel et al. 2017)."""

import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from splatface.models.errors import MetricError
from splatface.models.typing import Float64Array

__all__ = ["Inception", "frechet_distance"]


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

    def __call__(self, picture: NDArray[np.uint8]) -> Float64Array:
        """Return features [D] of an image [H, W, 3] RGB."""
        batch = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]
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
    apart = first.mean(axis=0) - second.mean(axis=0)
    # With C = AᵀA and B likewise, (C1 C2)^½ has the trace of the singular values of A Bᵀ.
    a, b = _centerd(first), _centerd(second)
    together = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    spread = np.square(a).sum() + np.square(b).sum() - 2 * together
    return float(max(0.0, apart @ apart + spread))


def _centerd(points: Float64Array) -> Float64Array:
    centerd: Float64Array = (points - points.mean(axis=0)) / np.sqrt(len(points) - 1)
    return centerd
