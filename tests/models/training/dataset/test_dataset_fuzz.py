"""Bytes changed at random: a data set opens, or a DatasetError says why not. Nothing else may come out."""

import contextlib
import hashlib

import numpy as np
import pytest
import yaml

from splatface.models.errors import DatasetError
from splatface.models.training.dataset.dataset_audio import load_audio
from splatface.models.training.dataset.dataset_io import load_dataset, load_points
from splatface.models.training.dataset.frame_images import read_image, read_labels

ROUNDS = 60


def damaged(whole, rng):
    """A few bytes changed, mostly in the beginning where headers are; sometimes cut."""
    content = bytearray(whole)
    for _ in range(rng.integers(1, 4)):
        reach = min(len(content), 1500) if rng.random() < 0.8 else len(content)
        content[rng.integers(0, reach)] = rng.integers(0, 256)
    return bytes(content[: rng.integers(0, len(content))] if rng.random() < 0.1 else content)


@pytest.mark.parametrize(
    "name", ["dataset.yaml", "frames.safetensors", "motion.safetensors", "points.safetensors"]
)
def test_tables_whose_digest_was_made_to_fit(copied, name):
    rng = np.random.default_rng(7)
    whole, description = (copied / name).read_bytes(), yaml.safe_load((copied / "dataset.yaml").read_text())
    for _ in range(ROUNDS):
        content = damaged(whole, rng)
        (copied / name).write_bytes(content)
        if name != "dataset.yaml":
            description["sha256"][name] = hashlib.sha256(content).hexdigest()
            (copied / "dataset.yaml").write_text(yaml.safe_dump(description))
        with contextlib.suppress(DatasetError):
            load_points(load_dataset(copied))


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("pictures/000001.png", lambda dataset: read_image(dataset, 1)),
        ("labels/000001.png", lambda dataset: read_labels(dataset, 1)),
        ("audio.wav", load_audio),
    ],
)
def test_pictures_and_sound(copied, name, read):
    dataset, rng = load_dataset(copied), np.random.default_rng(7)
    whole = (copied / name).read_bytes()
    for _ in range(ROUNDS):
        (copied / name).write_bytes(damaged(whole, rng))
        with contextlib.suppress(DatasetError):
            read(dataset)
