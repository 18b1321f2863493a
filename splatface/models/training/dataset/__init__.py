# SPDX-License-Identifier: Apache-2.0
"""Data sets of one person: images, labels, motion and audio, one format for real and synthetic people."""
