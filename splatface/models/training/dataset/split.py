"""Which part of a film is trained on: what is tested lies last, in one piece, and is never seen."""

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import DatasetError
from splatface.models.training.dataset.types import TEST, TRAIN, VAL, FrameTable

__all__ = ["TEST_SHARE", "VAL_SHARE", "rows_of", "split_by_time"]

TEST_SHARE, VAL_SHARE = 0.10, 0.05


def split_by_time(
    time_ns: NDArray[np.int64], *, test_share: float = TEST_SHARE, val_share: float = VAL_SHARE
) -> NDArray[np.uint8]:
    """TRAIN, then VAL, then TEST [F] for pictures at rising times [F].

    Shares are of the time from the first picture to the last, so pictures chosen more densely in one place
    move no border. At least the last picture is TEST, and at least one is TRAIN.

    Raises:
        DatasetError: for fewer than two pictures, or shares that leave nothing to train on.
    """
    if len(time_ns) < 2 or not 0 <= val_share < 1 - test_share < 1:
        raise DatasetError(
            f"split: expected 2 pictures and shares that leave some to train on, found {len(time_ns)} "
            f"with {test_share:g} test and {val_share:g} val: give more pictures or smaller shares"
        )
    span = float(time_ns[-1] - time_ns[0])
    through = (time_ns - time_ns[0]) / span
    split = np.full(len(time_ns), TRAIN, np.uint8)
    split[through >= 1 - test_share - val_share] = VAL
    split[through >= 1 - test_share] = TEST
    split[0] = TRAIN
    return split


def rows_of(frames: FrameTable, part: int) -> NDArray[np.intp]:
    """Rows [n] of TRAIN, VAL or TEST, in order of time."""
    return np.flatnonzero(frames.split == part)
