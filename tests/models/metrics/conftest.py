"""A film of a full procedural head at 256 px, and the head that plays in it."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))  # where the fixture of all rooms lies
from dataset_fixture import make_dataset, tiny_film, tiny_head

from splatface.models.dataset.file import load_dataset
from splatface.models.hearing import load_net


@pytest.fixture(scope="session")
def player():
    """Who plays, with one net."""
    return replace(tiny_head(thin=False)[0], nets={"logmel": load_net("logmel")})


@pytest.fixture(scope="session")
def film_folder(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("film") / "film", size=256, film=tiny_film(42))


@pytest.fixture
def film(film_folder):
    return load_dataset(film_folder)
