"""A head that is nobody, computed from a seed."""

from splatface.models.training.synthetic.procedural.build import procedural_head

__all__ = ["procedural_head"]
