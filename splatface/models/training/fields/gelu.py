"""The bend in our small nets, in torch: the trained twin of `splatface/models/audio2motion/gelu.py`."""

from torch import Tensor, nn

__all__ = ["gelu"]


def gelu(x: Tensor) -> Tensor:
    """GELU in its tanh form (Hendrycks and Gimpel 2016), any shape."""
    return nn.functional.gelu(x, approximate="tanh")
