"""A small head of random Gaussians: sound, not pretty."""

import pytest
from random_heads import random_head, random_net


@pytest.fixture
def head():
    return random_head()


@pytest.fixture
def make_head():
    return random_head


@pytest.fixture
def net():
    return random_net()
