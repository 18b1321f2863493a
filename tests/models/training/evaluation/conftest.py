"""A film of the shipped head `robin` at 256 px, and the head that plays in it."""

from dataclasses import replace

import pytest
from dataset_fixture import make_dataset, tiny_film, tiny_head

from splatface.models.audio2motion.pretrained_nets import load_net
from splatface.models.training.dataset.dataset_io import load_dataset


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
