"""au.csv, OpenFace's action units, as controls."""

import csv
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import CONTROLS
from splatface.models.errors import DatasetError
from splatface.models.training.dataset.disk import read_regular_file

__all__ = ["AU_FILE", "controls_of_action_units"]

AU_FILE = "au.csv"
_MAX_BYTES = 1 << 28
_SHUT = 2.0  # ER-NeRF, GaussianTalker: clip(AU45_r, 0, 2) / 2; a blink seldom reaches OpenFace's 5
_FULL = 5.0  # the other intensities are 0..5
# Which units raise each control: inner and outer brow raiser, brow lowerer, lip corner puller.
_UNITS = {"brow_up": ("AU01_r", "AU02_r"), "brow_down": ("AU04_r",), "smile": ("AU12_r",)}


def controls_of_action_units(folder: Path, image_ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Controls [F, 7] of the pictures: row img_id of au.csv. Gaze, and what no column says, is NaN.

    Without the file all is NaN.

    Raises:
        DatasetError: when the file has no AU45_r, holds text for numbers, or ends before the film does.
    """
    controls = np.full((len(image_ids), len(CONTROLS)), np.nan, np.float32)
    if not (folder / AU_FILE).exists():
        return controls
    columns = _columns(read_regular_file(folder, AU_FILE, _MAX_BYTES))
    if "AU45_r" not in columns:
        raise DatasetError(
            f"{AU_FILE}: expected a column AU45_r, found none: run OpenFace's FeatureExtraction"
        )
    rows = len(columns["AU45_r"])
    if rows <= image_ids.max():
        raise DatasetError(
            f"{AU_FILE}: expected a row for each of {image_ids.max() + 1} pictures, found {rows}: "
            "run OpenFace on the whole film"
        )
    blink = np.clip(columns["AU45_r"][image_ids], 0, _SHUT) / _SHUT
    for name in ("blink_left", "blink_right"):  # one unit for both lids
        controls[:, CONTROLS.index(name)] = blink
    for name, units in _UNITS.items():
        found = [columns[unit][image_ids] for unit in units if unit in columns]
        if found:
            controls[:, CONTROLS.index(name)] = np.clip(np.max(found, axis=0) / _FULL, 0, 1)
    return controls


def _columns(content: bytes) -> dict[str, NDArray[np.float64]]:
    """Columns by name (OpenFace writes a space before each) of those that we use."""
    wanted = {"AU45_r", *(unit for units in _UNITS.values() for unit in units)}
    reader = csv.reader(io.StringIO(content.decode("utf-8", "replace")))
    names = [name.strip() for name in next(reader, [])]
    rows = [row for row in reader if row]
    columns = {}
    for name in wanted & set(names):
        column = names.index(name)
        try:
            values = np.array([float(row[column]) for row in rows])
        except (ValueError, IndexError) as error:
            raise DatasetError(
                f"{AU_FILE}: {name}: expected numbers, found {str(error)[:80]}: run OpenFace again"
            ) from error
        columns[name] = np.where(np.isfinite(values), values, np.nan)
    return columns
