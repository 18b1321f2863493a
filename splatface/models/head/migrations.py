# SPDX-License-Identifier: Apache-2.0
"""Heads of older format versions are brought to today's, one version at a time."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.errors import HeadError
from splatface.models.head.head import MotionLimits, linear_map, motion_map_tensors
from splatface.models.head.head_yaml import FORMAT, FORMAT_VERSION, StrictMapping, motion_limits_to_yaml

__all__ = ["MIGRATIONS", "Migration", "migrate"]

Description = dict[str, Any]
Tensors = dict[str, NDArray[np.generic]]
Migration = Callable[[Description, Tensors], tuple[Description, Tensors]]
_CONTROLS_BEFORE_V5 = 7  # before version 5


def _with_motion_map(description: Description, tensors: Tensors) -> tuple[Description, Tensors]:
    """Migrate 1 -> 2: mouth modes were the first coefficients, controls had a matrix; now one map."""
    tensors = dict(tensors)
    control_gain = tensors.pop("control_gain", None)
    if control_gain is None or control_gain.ndim != 2 or len(control_gain) != _CONTROLS_BEFORE_V5:
        raise HeadError(
            f"control_gain: expected [{_CONTROLS_BEFORE_V5}, K] in a head of version 1, found "
            f"{'none' if control_gain is None else list(control_gain.shape)}: take an intact copy of the head"
        )
    mouth_rows = np.eye(len(MOUTH_MODES), control_gain.shape[1], dtype=np.float32)
    motion_map = linear_map(np.concatenate([mouth_rows, control_gain]))
    return description, tensors | motion_map_tensors(motion_map)


def _with_motion_limits(description: Description, tensors: Tensors) -> tuple[Description, Tensors]:
    """Migrate 2 -> 3: the range of motion in training was not kept; the full range replaces it."""
    return {**description, "motion_limits": motion_limits_to_yaml(MotionLimits())}, tensors


def _with_person(description: Description, tensors: Tensors) -> tuple[Description, Tensors]:
    """Migrate 3 -> 4: only the head's name said who is shown."""
    return {**description, "person": description.get("name", "unknown")}, tensors


def _with_jaw_side(description: Description, tensors: Tensors) -> tuple[Description, Tensors]:
    """Migrate 4 -> 5: one more control, the last one, which moves nothing in an older head."""
    limits = description.get("motion_limits")
    if isinstance(limits, dict) and isinstance(limits.get("controls"), dict):
        controls = {**limits["controls"], "jaw_side": [0.0, 0.0]}
        description = {**description, "motion_limits": {**limits, "controls": controls}}
    rows: Tensors = {
        name: np.pad(tensors[name], ((0, 1), (0, 0)))
        for name in ("motion.linear", "motion.w1")
        if name in tensors and tensors[name].ndim == 2
    }
    return description, {**tensors, **rows}


def _with_convolutions(description: Description, tensors: Tensors) -> tuple[Description, Tensors]:
    """Migrate 5 -> 6: an audio-to-mouth net may hold convolutions; older ones have none."""
    return description, tensors


# MIGRATIONS[n] turns a head of version n into one of version n + 1.
MIGRATIONS: Mapping[int, Migration] = {
    1: _with_motion_map,
    2: _with_motion_limits,
    3: _with_person,
    4: _with_jaw_side,
    5: _with_convolutions,
}


def migrate(
    description: Description,
    tensors: Tensors,
    *,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    to_version: int = FORMAT_VERSION,
) -> tuple[Description, Tensors]:
    """Bring a head's description and tensors to `to_version`.

    Raises:
        HeadError: for a head of a newer version, or of one so old that no migration is left.
    """
    version = format_version(description)
    if version > to_version:
        raise HeadError(
            f"head.yaml: version: expected at most {to_version}, found {version}: "
            "the head was made by a newer splatface, update this one"
        )
    while version < to_version:
        if version not in migrations:
            raise HeadError(
                f"head.yaml: version: expected {to_version}, found {version}: "
                "no migration leads from there, train the head again"
            )
        description, tensors = migrations[version](description, tensors)
        version += 1
        description["version"] = version
    return description, tensors


def format_version(description: object) -> int:
    """Return the format version of a head.yaml; HeadError where there is none."""
    fields = StrictMapping(description)
    if fields.data.get("format") != FORMAT:
        raise HeadError(
            f"head.yaml: format: expected {FORMAT!r}, found something else: this is no splatface head"
        )
    return fields.whole("version")
