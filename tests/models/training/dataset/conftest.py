import shutil
from pathlib import Path

import pytest
from dataset_fixture import tiny_dataset

from splatface.models.training.dataset.dataset_io import load_dataset


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A whole data set that nobody may change."""
    return tiny_dataset(tmp_path_factory.mktemp("datasets") / "tiny")


@pytest.fixture(scope="session")
def tiny(tiny_folder):
    return load_dataset(tiny_folder)


@pytest.fixture
def copied(tiny_folder, tmp_path):
    """A copy of the folder to break."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
