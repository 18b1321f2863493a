# SPDX-License-Identifier: Apache-2.0
"""Deformation fields: attention (GaussianTalker), audio planes (Audio-Plane), the linear basis (ours)."""
