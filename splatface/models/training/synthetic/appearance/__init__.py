# SPDX-License-Identifier: Apache-2.0
"""Appearance of an actor at rest: paint, eyes, teeth, hair and clothes over the rig."""
