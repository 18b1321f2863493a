# SPDX-License-Identifier: Apache-2.0
"""head.yaml: a head's description as plain data, checked field by field when it is read."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, FRAME_NS, MOUTH_MODES
from splatface.models.camera import Camera
from splatface.models.errors import HeadError
from splatface.models.head.head import Head, HeadInfo, MotionLimits, PoseLimits

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "MAX_YAML_BYTES",
    "StrictMapping",
    "describe",
    "head_info_from_yaml",
    "read_yaml",
    "yaml_text",
]

MAX_YAML_BYTES = 256 * 1024
MAX_DEPTH = 32


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader without aliases and with limited depth."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name); write the value out")
        if self.depth >= MAX_DEPTH:
            raise yaml.YAMLError(f"more than {MAX_DEPTH} levels")
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _PlainDumper(yaml.SafeDumper):
    """SafeDumper that repeats what occurs twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def read_yaml(content: bytes, path: Path) -> Any:
    """Parse the content of a YAML file; HeadError whatever is wrong with it."""
    if len(content) > MAX_YAML_BYTES:
        raise HeadError(
            f"{path.name}: expected at most {MAX_YAML_BYTES} bytes, found more: "
            "take an intact copy of the head"
        )
    try:
        return yaml.load(content.decode("utf-8"), _PlainLoader)  # safe: _PlainLoader is a SafeLoader
    # PyYAML's constructors raise whatever int(), date() or a missing match raise: all mean a bad file.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise HeadError(
            f"{path.name}: expected plain YAML, found {reason or type(error).__name__}: "
            "take an intact copy of the head or correct the line"
        ) from error


def yaml_text(description: dict[str, Any]) -> str:
    """Write plain data as YAML; HeadError for anything but text, numbers, lists and mappings."""
    try:
        text: str = yaml.dump(
            description, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=100
        )
    except (yaml.YAMLError, RecursionError) as error:
        raise HeadError(
            f"head.yaml: expected reports of plain text, numbers, lists and mappings, found "
            f"{str(error)[:120]}: convert numpy values with float() or .tolist()"
        ) from error
    if len(text.encode()) > MAX_YAML_BYTES:
        raise HeadError(
            f"head.yaml: expected at most {MAX_YAML_BYTES} bytes, found {len(text.encode())}: "
            "shorten the reports"
        )
    return text


FORMAT = "splatface-head"
FORMAT_VERSION = 6
RATE_HZ = 1e9 / FRAME_NS
MAX_NUMBER = 2**53  # beyond it whole numbers and floats part ways; nothing here is that large


def describe(head: Head) -> dict[str, Any]:
    """Return everything of a head that is not a tensor, as head.yaml holds it."""
    info, camera, limits = head.info, head.info.camera, head.info.pose_limits
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "name": info.name,
        "person": info.person,
        "license": info.license,
        "consent": info.consent,
        "camera": {
            "width": int(camera.width),
            "height": int(camera.height),
            "fx": float(camera.fx),
            "fy": float(camera.fy),
            "cx": float(camera.cx),
            "cy": float(camera.cy),
            "T_camera_world": [[float(x) for x in row] for row in camera.T_camera_world],
        },
        "background": [float(x) for x in info.background],
        "encoders": [
            {
                "name": net.encoder,
                "dim": net.feature_dim,
                "rate_hz": RATE_HZ,
                "window": net.window,
                "lookahead_ms": float(net.lookahead_ms),
            }
            for net in head.nets.values()
        ],
        "fps": float(info.fps),
        "pivot_m": [float(x) for x in info.pivot_m],
        "pose_limits": {
            "yaw_rad": [float(x) for x in limits.yaw_rad],
            "pitch_rad": [float(x) for x in limits.pitch_rad],
            "roll_rad": [float(x) for x in limits.roll_rad],
            "translation_m": float(limits.translation_m),
            "margin_rad": float(limits.margin_rad),
        },
        "motion_limits": motion_limits_to_yaml(info.motion_limits),
        "torso_follow": [float(x) for x in info.torso_follow],
        "coefficients": list(info.coefficient_names),
        "gaussians": len(head.gaussians),
        "dynamic": len(head.dynamic),
        "reports": dict(info.reports),
    }


def head_info_from_yaml(fields: "StrictMapping") -> HeadInfo:
    """Read the HeadInfo of a head.yaml; HeadError where a field is missing or of the wrong kind."""
    return HeadInfo(
        name=fields.text("name"),
        person=fields.text("person"),
        license=_license(fields),
        consent=fields.text("consent"),
        camera=_camera_from_yaml(fields.inner("camera")),
        coefficient_names=fields.texts("coefficients"),
        background=fields.triple("background"),
        pivot_m=fields.triple("pivot_m"),
        pose_limits=_pose_limits_from_yaml(fields.inner("pose_limits")),
        motion_limits=_motion_limits_from_yaml(fields.inner("motion_limits")),
        torso_follow=fields.pair("torso_follow"),
        fps=fields.number("fps"),
        reports=fields.inner("reports").data,
    )


def _license(fields: "StrictMapping") -> str:
    if "license" in fields.data or "licence" not in fields.data:
        return fields.text("license")
    # The spelling of heads made before 0.2.
    warnings.warn(
        "head.yaml: licence is now spelled license: save the head again", FutureWarning, stacklevel=2
    )
    return fields.text("licence")


def _camera_from_yaml(fields: "StrictMapping") -> Camera:
    rows = fields.items("T_camera_world", 4)
    inner = [StrictMapping({"row": row}, f"{fields.path}T_camera_world.").numbers("row", 4) for row in rows]
    return Camera(
        width=fields.whole("width"),
        height=fields.whole("height"),
        fx=fields.number("fx"),
        fy=fields.number("fy"),
        cx=fields.number("cx"),
        cy=fields.number("cy"),
        T_camera_world=np.array(inner, np.float64),
    )


def _pose_limits_from_yaml(fields: "StrictMapping") -> PoseLimits:
    return PoseLimits(
        yaw_rad=fields.pair("yaw_rad"),
        pitch_rad=fields.pair("pitch_rad"),
        roll_rad=fields.pair("roll_rad"),
        translation_m=fields.number("translation_m"),
        margin_rad=fields.number("margin_rad"),
    )


def motion_limits_to_yaml(limits: MotionLimits) -> dict[str, dict[str, list[float]]]:
    """Return motion limits as head.yaml has them, by name."""
    groups = {"mouth": (MOUTH_MODES, limits.mouth), "controls": (CONTROLS, limits.controls)}
    return {
        group: {name: [float(low), float(high)] for name, (low, high) in zip(names, ranges, strict=True)}
        for group, (names, ranges) in groups.items()
    }


def _motion_limits_from_yaml(fields: "StrictMapping") -> MotionLimits:
    mouth, controls = fields.inner("mouth"), fields.inner("controls")
    return MotionLimits(
        tuple(mouth.pair(name) for name in MOUTH_MODES), tuple(controls.pair(name) for name in CONTROLS)
    )


class StrictMapping:
    """A mapping from a file, read by name and kind; HeadError says what was found."""

    def __init__(self, data: object, path: str = "") -> None:
        self.path = path
        if not isinstance(data, Mapping):
            raise self._error("", "a mapping", data)
        self.data: Mapping[str, Any] = data

    def _error(self, name: str, expected: str, found: object) -> HeadError:
        return HeadError(
            f"head.yaml: {self.path}{name}: expected {expected}, found {_short_text(found)}: "
            "take an intact copy of the head or correct the line"
        )

    def _get(self, name: str) -> Any:
        if name not in self.data:
            raise HeadError(
                f"head.yaml: expected the field {self.path}{name}, found none: "
                "take an intact copy of the head"
            )
        return self.data[name]

    def inner(self, name: str) -> "StrictMapping":
        """Return the mapping called `name`."""
        return StrictMapping(self._get(name), f"{self.path}{name}.")

    def text(self, name: str) -> str:
        """Return the text called `name`."""
        value = self._get(name)
        if not isinstance(value, str):
            raise self._error(name, "text", value)
        return value

    def whole(self, name: str) -> int:
        """Return the whole number 0..2^53 called `name`."""
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MAX_NUMBER:
            raise self._error(name, "a whole number", value)
        return value

    def number(self, name: str) -> float:
        """Return the number called `name`."""
        return self._number(name, self._get(name))

    def _number(self, name: str, value: object) -> float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        if not fits or not -MAX_NUMBER < value < MAX_NUMBER:  # type: ignore[operator]
            raise self._error(name, "a number", value)
        return float(value)  # type: ignore[arg-type]

    def items(self, name: str, count: int | None = None) -> list[Any]:
        """Return the list called `name`, of `count` entries where that is given."""
        value = self._get(name)
        if not isinstance(value, list) or count not in (None, len(value)):
            raise self._error(name, "a list" if count is None else f"a list of {count}", value)
        return value

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        """Return the list of `count` numbers called `name`."""
        return tuple(self._number(name, value) for value in self.items(name, count))

    def pair(self, name: str) -> tuple[float, float]:
        """Return the two numbers called `name`."""
        first, second = self.numbers(name, 2)
        return first, second

    def triple(self, name: str) -> tuple[float, float, float]:
        """Return the three numbers called `name`."""
        first, second, third = self.numbers(name, 3)
        return first, second, third

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the list of texts called `name`."""
        values = self.items(name)
        if not all(isinstance(value, str) for value in values):
            raise self._error(name, "a list of texts", values)
        return tuple(values)


def _short_text(value: object) -> str:
    """Return a short text of a value that may be huge or deep."""
    if isinstance(value, str):
        return repr(value[:60])
    if isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < MAX_NUMBER):
        return repr(value)
    size = f" of {len(value)}" if isinstance(value, list | dict) else ""
    return f"{type(value).__name__}{size}"
