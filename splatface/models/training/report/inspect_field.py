"""Pictures of what a trained field does: which Gaussians move, how dynamic they are, what they listen to."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.training.dataset.types import TRAIN, Dataset
from splatface.models.training.fields.attention import AttentionField
from splatface.models.training.fields.field import Condition
from splatface.models.training.fields.inspect import attention_colors, dynamism_colors, movement_colors
from splatface.models.training.optimization.bake import DatasetRenderer, DeformationSource
from splatface.models.training.optimization.dataset_statistics import known_rows, motion_of
from splatface.models.training.optimization.field_trainers import Conditions
from splatface.models.training.optimization.finalize import performer_of
from splatface.models.training.optimization.gaussian_skinning import unpack
from splatface.models.training.optimization.training_run import Trained
from splatface.models.training.report.inspect import SH_0, named, sheet, write_sheets
from splatface.models.typing import UInt8Array

__all__ = ["field_sheets", "inspect_field"]


Paint = Callable[[Condition, Tensor], dict[str, Tensor]]  # condition, deltas -> RGB [N, 3] by name


def inspect_field(trained: Trained, folder: Path) -> list[Path]:
    """Write every sheet of a trained field as a PNG of its name; the files. TrainingError when it cannot."""
    return write_sheets(field_sheets(trained), folder)


def field_sheets(trained: Trained) -> Iterator[tuple[str, UInt8Array]]:
    """Name and picture [H, W, 3] RGB; one line for each of a few moments.

    movement    the picture, and how far each Gaussian moves: dark blue not at all, red a centimetre
    dynamism    how strongly each Gaussian is moved, 0..1 (fields that have a dynamism)
    attention   how much each Gaussian listens to each token, 0..1 (the attention field)
    """
    performer = performer_of(trained)
    scene = _Scene(trained, performer)
    means = unpack(performer.table).means
    yield "movement", scene.lines(lambda _, deltas: {"movement": movement_colors(deltas)})
    field = trained.field
    rest = scene.conditions(scene.rows["rest"])
    with torch.no_grad():
        has_dynamism = field.forward(means, rest).dynamism is not None
    if has_dynamism:

        def dynamism(condition: Condition, _: Tensor) -> dict[str, Tensor]:
            with torch.no_grad():
                share = field.forward(means, condition).dynamism
            assert share is not None
            return {"dynamism": dynamism_colors(share)}

        yield "dynamism", scene.lines(dynamism)
    if isinstance(field, AttentionField) and field.attention_maps(means, rest):

        def attention(condition: Condition, _: Tensor) -> dict[str, Tensor]:
            return attention_colors(field.attention_maps(means, condition))

        yield "attention", scene.lines(attention)


class _Scene:
    """A few moments of the film, drawn in their own colors and in others."""

    def __init__(self, trained: Trained, performer: DeformationSource) -> None:
        dataset = trained.dataset
        self.conditions = Conditions(dataset, trained.config.field.listening, trained.config.encoder)
        self.rows = _moments(dataset)
        self._performer, self._stage = performer, DatasetRenderer(dataset)

    def lines(self, paint: Paint) -> UInt8Array:
        """One line a moment: the picture itself, then each of its maps."""
        pictures = []
        for moment, row in self.rows.items():
            deltas = self._performer.deltas(row)
            table = self._performer.table
            pictures.append(named(self._drawn(table, deltas, row), moment))
            maps = paint(self.conditions(row), deltas)
            for name, colors in maps.items():
                flat, still = table.clone(), deltas.clone()
                flat[:, 12:], still[:, 11:] = 0.0, 0.0
                flat[:, 12:15] = (colors.cpu() - 0.5) / float(SH_0)
                pictures.append(named(self._drawn(flat, still, row), name))
        return sheet(pictures, across=len(pictures) // len(self.rows))

    def _drawn(self, table: Tensor, deltas: Tensor, row: int) -> UInt8Array:
        with torch.no_grad():
            image = self._stage.picture(table, deltas, row).numpy()
        return np.asarray(np.clip(image, 0, 1) * 255 + 0.5, np.uint8)


def _moments(dataset: Dataset) -> dict[str, int]:
    """Rows in which most is to be seen, by what happens there."""
    rows = known_rows(dataset, TRAIN)
    motion = motion_of(dataset, rows)
    mouth, controls = motion[:, : len(MOUTH_MODES)], motion[:, len(MOUTH_MODES) :]
    found = {"rest": int(np.abs(motion).sum(axis=1).argmin())}
    found |= {mode: int(mouth[:, MOUTH_MODES.index(mode)].argmax()) for mode in ("open", "round")}
    found["blink"] = int(controls[:, CONTROLS.index("blink_left")].argmax())
    return {name: int(rows[at]) for name, at in found.items()}
