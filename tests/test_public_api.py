"""`import splatface`: every public name is there, documented and light until it is used."""

import subprocess
import sys

import numpy as np
import pytest

import splatface


def test_all_names_exist_and_are_documented():
    for name in splatface.__all__:
        assert getattr(splatface, name) is not None
        assert name == "__version__" or getattr(splatface, name).__doc__, name
    assert set(splatface.__all__) <= set(dir(splatface))


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(AttributeError, match="load_head"):
        splatface.no_such_name  # noqa: B018


def test_importing_loads_nothing_heavy_and_a_head_needs_no_torch():
    code = """
import sys, splatface
assert not {"numpy", "numba", "torch", "onnxruntime"} & set(sys.modules)
splatface.load_head(splatface.head_folder("robin"))
assert "torch" not in sys.modules and not any(m.startswith("splatface.models.training") for m in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_example_of_the_docstring_draws_a_face():
    head = splatface.load_head(splatface.head_folder("mira"))
    talking_head = splatface.TalkingHead(head, splatface.renderer("cpu"))
    image = talking_head.render([], splatface.HeadControl(), time_ns=0)
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.std() > 20
