"""GELU in torch: the trained counterpart of `splatface/models/audio2motion/audio_to_mouth.py`."""

from torch import Tensor, nn

__all__ = ["gelu"]


def gelu(x: Tensor) -> Tensor:
    """GELU in its tanh form (Hendrycks and Gimpel 2016), any shape."""
    return nn.functional.gelu(x, approximate="tanh")
