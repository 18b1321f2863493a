"""The tiny data set, written once for all tests of training."""

import pytest

from splatface.models.training.dataset.dataset_io import load_dataset


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The opened data set; not to be written to."""
    from dataset_fixture import tiny_dataset

    return load_dataset(tiny_dataset(tmp_path_factory.mktemp("tiny") / "data"))
