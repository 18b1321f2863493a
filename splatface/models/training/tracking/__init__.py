# SPDX-License-Identifier: Apache-2.0
"""Video tracking: landmarks, face model fit, segmentation and audio sync; a video becomes a data set."""
