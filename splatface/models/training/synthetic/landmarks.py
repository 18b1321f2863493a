"""The 68 points of iBUG's scheme as fixed vertices of the rig.

Found once: FaceMesh on rendered pictures of two actors, lips closed and open, the vertex whose
projection stays closest over all of them, made symmetric. Anatomically fixed, unlike a tracker's points.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["IBUG68"]

# fmt: off
_VERTICES = (
    5237, 5201, 5246, 910, 5241, 741, 3696, 5293, 732, 11899, 10364, 7461,
    11850, 7612, 11854, 11812, 11846,  # jaw
    262, 5260, 231, 230, 233,  # right brow
    7006, 7003, 7004, 11868, 7031,  # left brow
    136, 134, 5063, 294,  # nose bridge
    358, 285, 317, 7054, 7119,  # nose base
    6758, 6, 54, 6764, 6772, 6776,  # right eye
    13360, 6838, 6790, 13354, 13372, 13368,  # left eye
    422, 5354, 456, 455, 7215, 11956, 7182,
    7239, 7245, 496, 490, 484,  # outer lips
    431, 462, 468, 7221, 7191, 7264, 523, 517,  # inner lips
)
# fmt: on

IBUG68: NDArray[np.int64] = np.array(_VERTICES, np.int64)  # [68]
