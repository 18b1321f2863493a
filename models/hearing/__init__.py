"""Hearing: from speech to the motion of the mouth, for every voice and head."""

from splatface.models.hearing.weights import load_net, shipped_encoders

__all__ = ["load_net", "shipped_encoders"]
