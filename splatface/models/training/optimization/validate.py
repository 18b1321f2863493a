"""How good pictures are that were never trained on; a sheet of them to look at."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from splatface.models.storage import atomic_write
from splatface.models.training.dataset.frame_images import png_bytes
from splatface.models.training.optimization.losses import psnr_db
from splatface.models.training.optimization.schedule import ScheduleState
from splatface.models.training.optimization.trainer import Trainer
from splatface.models.typing import UInt8Array

__all__ = ["SHEET_ROWS", "draw_row", "sheet", "validate"]

SHEET_ROWS = 4
_TALLEST = 256  # px of a picture in the sheet
_LOUDER = 4  # differences are shown this much stronger


def draw_row(trainer: Trainer, row: int, pace: ScheduleState) -> UInt8Array:
    """What the trainer makes of a row of its data set now, [H, W, 3]."""
    state = trainer.state
    image = trainer.easel.draw(state.mover.forward_eval(state.table, row, pace), state.poses.at(row))
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def validate(trainer: Trainer, rows: NDArray[np.int64], pace: ScheduleState, path: Path) -> float:
    """Mean PSNR in dB of rows, and a sheet of the first few at `path`."""
    drawn = [draw_row(trainer, int(row), pace) for row in rows]
    true = [trainer.targets(int(row)).picture for row in rows]
    errors = [np.mean((a / 255.0 - b / 255.0) ** 2) for a, b in zip(drawn, true, strict=True)]
    path.parent.mkdir(exist_ok=True)
    atomic_write(path, png_bytes(sheet(drawn[:SHEET_ROWS], true[:SHEET_ROWS])), fsync=False)
    return float(np.mean([psnr_db(float(error)) for error in errors]))


def sheet(drawn: list[UInt8Array], true: list[UInt8Array]) -> UInt8Array:
    """One row each: prediction, truth, difference (gray: none)."""
    lines = []
    for mine, theirs in zip(drawn, true, strict=True):
        off = np.clip((mine.astype(np.int16) - theirs) * _LOUDER + 128, 0, 255).astype(np.uint8)
        lines.append(np.concatenate([mine, theirs, off], axis=1))
    whole = np.concatenate(lines)
    share = min(1.0, _TALLEST / drawn[0].shape[0])
    size = (round(whole.shape[1] * share), round(whole.shape[0] * share))
    return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)
