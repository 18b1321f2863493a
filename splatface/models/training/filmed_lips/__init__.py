# SPDX-License-Identifier: Apache-2.0
"""Lips that were filmed: tracked clips to learn from, and to measure predicted mouths with."""
