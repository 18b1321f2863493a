"""Where a person looks: irises against the corners of their eyes, in the head's frame."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from splatface.models.head.coefficients import CONTROLS, MOUTH_MODES
from splatface.models.tracking.face_model import IRISES, FaceModel

__all__ = ["gaze_of"]

Array = NDArray[Any]

CORNERS: Final = ((33, 133), (362, 263))  # of the person's right eye, left eye
_YAW, _PITCH = (len(MOUTH_MODES) + CONTROLS.index(name) for name in ("gaze_yaw", "gaze_pitch"))
_LARGEST = np.array([0.6, 0.45])
_SHUT = 0.45  # of a blink, from which on no iris is seen


def gaze_of(model: FaceModel, flat_m: Array, blink: Array) -> Array:
    """Yaw (to the face's left) and pitch (down) [F, 2], rad; 0 is where the person looks most.

    Args:
        model: tells how far irises move per radian as the tracker sees it.
        flat_m: landmarks [F, 478, 2] as they lie in the head's frame, m.
        blink: [F] 0..1, the more shut of both eyes; behind shut lids the gaze goes on as between its ends.
    """
    offset = np.mean([_offset(flat_m, eye) for eye in range(2)], axis=0)
    slope = np.array([np.mean([_offset(model.motion_m[:, :, :2], eye)[k, axis] for eye in range(2)])
                      for axis, k in enumerate((_YAW, _PITCH))])  # fmt: skip
    seen = blink < _SHUT
    if not seen.any():
        return np.zeros((len(flat_m), 2))
    gaze = (offset - np.median(offset[seen], axis=0)) / slope
    moments = np.arange(len(gaze))
    filled = np.stack([np.interp(moments, moments[seen], gaze[seen, axis]) for axis in range(2)], axis=1)
    limited: Array = np.clip(filled, -_LARGEST, _LARGEST)
    return limited


def _offset(flat: Array, eye: int) -> Array:
    """Of the iris [F, 2] from the middle of its eye's corners."""
    offset: Array = flat[:, IRISES[eye], :2].mean(1) - flat[:, CORNERS[eye], :2].mean(1)
    return offset
