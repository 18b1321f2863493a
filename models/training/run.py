"""A whole training: two stages, resumable at any moment, told to the caller as it goes."""

from collections.abc import Callable
from pathlib import Path

from splatface.models.dataset.types import Dataset
from splatface.models.training.config import TrainConfig
from splatface.models.training.types import Progress, Trained

__all__ = ["Progress", "Trained", "train"]


def train(
    dataset: Dataset,
    config: TrainConfig,
    run_folder: Path,
    *,
    clock: Callable[[], float],
    report: Callable[[Progress], None],
) -> Trained:
    """Train on the TRAIN pictures of a data set, or go on where `run_folder` stopped.

    The folder holds config.yaml, state.pt (atomic), log.jsonl and validation/*.png. A folder with a state
    made by the same config is resumed and ends as if it had never stopped (bit for bit with one
    thread and no budget of minutes); a finished one is read back. Raises TrainingError where the folder belongs to
    another config, the pictures cannot be learned (NaN again and again), memory or disk ran out.
    `clock` gives seconds.
    """
    raise NotImplementedError
