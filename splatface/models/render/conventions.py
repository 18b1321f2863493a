# SPDX-License-Identifier: Apache-2.0
"""Constants that all backends share (3D Gaussian Splatting, Kerbl et al. 2023, as gsplat 1.5 has them)."""

__all__ = [
    "ALPHA_MAX",
    "ALPHA_MIN",
    "FRUSTUM_MARGIN",
    "LOW_PASS_PX2",
    "NEAR_M",
    "SH_0",
    "SH_1",
    "SH_2",
    "SH_3",
    "TRANSMITTANCE_MIN",
]

LOW_PASS_PX2 = 0.3  # px^2 added to the 2-D covariance: no Gaussian falls between two pixels
ALPHA_MIN = 1.0 / 255.0  # fainter than one step of an 8-bit image: not rendered
ALPHA_MAX = 0.999  # keeps 1 - alpha invertible in the backward pass
TRANSMITTANCE_MIN = 1e-4  # behind this nothing can be seen: a block of pixels is closed
NEAR_M = 0.01  # Gaussians nearer than this (or behind the camera) are not rendered
FRUSTUM_MARGIN = 0.3  # the Jacobian is taken at most this fraction of the view outside the image

# Real spherical harmonics of degree 0..3 in the order and with the signs of the 3DGS code.
SH_0 = 0.28209479177387814
SH_1 = 0.4886025119029199
SH_2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)
SH_3 = (
    -0.5900435899266435,
    2.890611442640554,
    -0.4570457994644658,
    0.3731763325901154,
    -0.4570457994644658,
    1.445305721320277,
    -0.5900435899266435,
)
