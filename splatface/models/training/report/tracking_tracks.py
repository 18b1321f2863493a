"""Curves below the tracking film: how loud, how open the mouth, how shut the lids, how the head is turned."""

from typing import Final

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.messages import NS_PER_S, SAMPLE_RATE
from splatface.models.training.dataset.types import MotionTrack
from splatface.models.training.report.mode_plot import write_on
from splatface.models.typing import AnyArray, UInt8Array

__all__ = ["TRACKS_HEIGHT", "Tracks"]


Color = tuple[int, int, int]

TRACKS_HEIGHT: Final = 168  # px
_AROUND_S = 3.0  # before and after the moment shown
_ROW = TRACKS_HEIGHT // 3
_GROUND: Color = (24, 26, 30)
_GRID: Color = (70, 74, 80)
_LEVEL: Color = (48, 62, 72)
# Okabe & Ito's palette: told apart with any eyes.
_INKS: Final[tuple[Color, ...]] = ((86, 180, 233), (230, 159, 0), (0, 158, 115))
_QUIET_DBFS = -60.0
_MOST_DEG = 20.0
_STEP_S = 0.02  # of loudness


class Tracks:
    """Three rows of curves around a moment, which stands in the middle.

    Args:
        motion: of a film.
        samples: [n] its sound at 16 kHz, film time 0 first.
        width: px.
    """

    def __init__(self, motion: MotionTrack, samples: AnyArray, width: int) -> None:
        self._times_s = motion.time_ns / NS_PER_S
        self._level = _levels(samples)
        self._width = width
        turns = Rotation.from_matrix(motion.T_world_head[:, :3, :3])
        degrees = (turns * turns.mean().inv()).as_rotvec(degrees=True)
        mouth, controls = motion.mouth, motion.controls
        lids = [controls[:, CONTROLS.index(f"blink_{side}")] for side in ("left", "right")]
        self._rows = (
            (("mouth open", mouth[:, MOUTH_MODES.index("open")]),),
            (("left lid shut", lids[0]), ("right lid", lids[1])),
            tuple(
                (name, 0.5 + degrees[:, axis] / (2 * _MOST_DEG))
                for name, axis in (("yaw", 1), ("pitch", 0), ("roll +-20 deg", 2))
            ),
        )

    def __call__(self, time_s: float) -> UInt8Array:
        """The curves [TRACKS_HEIGHT, width, 3] RGB around a film time."""
        shown = np.full((TRACKS_HEIGHT, self._width, 3), _GROUND, np.uint8)
        self._draw_level(shown, time_s)
        near = np.flatnonzero(np.abs(self._times_s - time_s) < _AROUND_S + 0.1)
        x = self._width * (0.5 + (self._times_s[near] - time_s) / (2 * _AROUND_S))
        # Where nothing was tracked no line is drawn.
        breaks = np.flatnonzero(np.diff(self._times_s[near]) > 0.3) + 1
        for number, row in enumerate(self._rows):
            bottom = (number + 1) * _ROW - 4
            shown[bottom + 2] = _GRID
            for (_, values), ink in zip(row, _INKS, strict=False):
                y = bottom - np.clip(values[near], -0.05, 1.05) * (_ROW - 14)
                _draw_line(shown, np.column_stack([x, y]), breaks, ink)
            _draw_names(shown, [name for name, _ in row], bottom - _ROW + 18)
        shown[:, self._width // 2] = (200, 204, 208)
        return shown

    def _draw_level(self, shown: UInt8Array, time_s: float) -> None:
        columns = time_s + (np.arange(self._width) / self._width - 0.5) * 2 * _AROUND_S
        at = (columns / _STEP_S).astype(int)
        inside = (columns >= 0) & (at < len(self._level))
        share = np.where(inside, self._level[np.clip(at, 0, len(self._level) - 1)], 0.0)
        y = np.arange(_ROW - 4)[:, None]
        shown[: _ROW - 4][y > (_ROW - 4) * (1 - share)] = _LEVEL


def _levels(samples: AnyArray) -> AnyArray:
    """Loudness 0..1 of each 20 ms, [n]; one where there is no sound."""
    size = round(_STEP_S * SAMPLE_RATE)
    count = len(samples) // size
    if not count:
        return np.zeros(1)
    blocks = samples[: count * size].reshape(count, size)
    power = np.einsum("ij,ij->i", blocks, blocks) / size
    levels: AnyArray = np.clip(1 - 10 * np.log10(np.maximum(power, 1e-9)) / _QUIET_DBFS, 0, 1)
    return levels


def _draw_line(shown: UInt8Array, line: AnyArray, breaks: AnyArray, ink: Color) -> None:
    for part in np.split(np.round(line * 16).astype(np.int32), breaks):
        if len(part) > 1:
            cv2.polylines(shown, [part], False, ink, 1, cv2.LINE_AA, 4)


def _draw_names(shown: UInt8Array, names: list[str], y: int) -> None:
    x = 6
    for name, ink in zip(names, _INKS, strict=False):
        write_on(shown, name, (x, y), ink)
        x += 12 + 8 * len(name)
