# SPDX-License-Identifier: Apache-2.0
"""Measures of a head: images, lips, identity."""
