"""Where a person looks: irises against the corners of their eyes, in the head's frame."""

from typing import Final

import numpy as np

from splatface.models.training.tracking.face_model import IRISES
from splatface.models.typing import AnyArray

__all__ = ["gaze_of"]


CORNERS: Final = ((33, 133), (362, 263))  # of the person's right eye, left eye
# Measured on 560 pictures of 14 synthetic people with known gaze (tools/face_model): how far irises move from
# the middle of the corners, m per radian of yaw and pitch (lids hide half of a look up or down), and how far
# they seem to when only the camera moves, m per unit of its direction's x and y.
_SLOPE = np.array([0.0145, 0.0075])
_LEAK = np.array([0.0072, 0.0088])
_LARGEST = np.array([0.6, 0.45])
_SHUT = 0.45  # of a blink, from which on no iris is seen


def gaze_of(flat_m: AnyArray, views: AnyArray, blink: AnyArray) -> AnyArray:
    """Yaw (to the face's left) and pitch (down) [F, 2], rad; 0 is where the person looks most.

    Args:
        flat_m: landmarks [F, 478, 2] as they lie in the head's frame, m.
        views: [F, 2+] direction of the camera in the head's frame, x and y (`face_model.view_terms`).
        blink: [F] 0..1, the more shut of both eyes; behind shut lids the gaze goes on as between its ends.
    """
    seen = blink < _SHUT
    if not seen.any():
        return np.zeros((len(flat_m), 2))
    offset = np.mean([_offset(flat_m, eye) for eye in range(2)], axis=0) - _LEAK * views[:, :2]
    gaze = (offset - np.median(offset[seen], axis=0)) / _SLOPE
    moments = np.arange(len(gaze))
    filled = np.stack([np.interp(moments, moments[seen], gaze[seen, axis]) for axis in range(2)], axis=1)
    limited: AnyArray = np.clip(filled, -_LARGEST, _LARGEST)
    return limited


def _offset(flat: AnyArray, eye: int) -> AnyArray:
    """Of the iris [F, 2] from the middle of its eye's corners."""
    offset: AnyArray = flat[:, IRISES[eye], :2].mean(1) - flat[:, CORNERS[eye], :2].mean(1)
    return offset
