"""aud*.npy of the format the field shares: features of other people's encoders, on our grid.

Their trainers hand each picture a window, and write the windows: [F, 16, D] for DeepSpeech and wav2vec
(frames 20 ms apart, from 8 before the picture's moment to 7 after, stride 2), [F, 2, D] for HuBERT (the two
frames of the picture's 40 ms), [F, D] or [F, 1, D] for AVE. Unrolled they are one stream again.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import DatasetError
from splatface.models.messages import NS_PER_S
from splatface.models.training.dataset.disk import plain_path

__all__ = ["read_foreign_features"]

_WINDOW = 16  # frames of a DeepSpeech or wav2vec window, the picture's two in its middle
_MAX_BYTES = 1 << 33

Heard = tuple[NDArray[np.float32], NDArray[np.int64]]


def read_foreign_features(folder: Path, fps: float) -> dict[str, Heard]:
    """Every aud*.npy by its name without .npy: values [n, D] and the film times [n] of their centers.

    Raises:
        DatasetError: when a file is no array of such a shape, or holds what is not finite.
    """
    return {path.stem: _unrolled(folder, path.name, fps) for path in sorted(folder.glob("aud*.npy"))}


def _unrolled(folder: Path, name: str, fps: float) -> Heard:
    windows = _loaded(folder, name)
    if windows.ndim == 3 and windows.shape[1] == _WINDOW:
        windows = windows[:, _WINDOW // 2 : _WINDOW // 2 + 2]
    per_picture = windows.shape[1] if windows.ndim == 3 else 1
    if windows.ndim not in (2, 3) or per_picture not in (1, 2) or not windows.size:
        raise DatasetError(
            f"{name}: expected [pictures, 16 | 2 | 1, features] or [pictures, features], found "
            f"{list(windows.shape)}: extract the features again or delete the file"
        )
    values = np.asarray(windows, np.float32).reshape(len(windows) * per_picture, -1)
    if not np.isfinite(values).all():
        raise DatasetError(f"{name}: expected finite numbers, found others: extract the features again")
    centers_ns = np.round((np.arange(len(values)) + 0.5) * NS_PER_S / (fps * per_picture)).astype(np.int64)
    return values, centers_ns


def _loaded(folder: Path, name: str) -> NDArray[np.floating]:
    path = plain_path(folder, name)
    if path.stat().st_size > _MAX_BYTES:
        raise DatasetError(f"{name}: expected at most {_MAX_BYTES} bytes, found more: delete the file")
    try:
        array: NDArray[np.floating] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DatasetError(
            f"{name}: expected a numpy array, found {str(error)[:100]}: extract the features again"
        ) from error
    if array.dtype.kind not in "fiu":
        raise DatasetError(f"{name}: expected numbers, found {array.dtype}: extract the features again")
    return array
