"""How strongly one articulates: a gain and a bias for every mode, folded into a net's last layer."""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from splatface.models.audio2motion.audio_to_mouth import AudioToMouthNet
from splatface.models.errors import HeadError

__all__ = ["scale_outputs"]


def scale_outputs(net: AudioToMouthNet, gain: ArrayLike, bias: ArrayLike = 0.0) -> AudioToMouthNet:
    """The net whose every answer is gain * (what `net` answers) + bias, at no cost when it listens.

    Args:
        net: left as it is.
        gain: one number or [n], n = net.outputs: above 1 articulates more strongly; >= 0.
        bias: one number or [n]: where the mouth rests.

    Raises:
        HeadError: other shapes, negative gains, numbers that are not finite.
    """
    scale, shift = (np.asarray(x, np.float32) for x in (gain, bias))
    for name, x in (("gain", scale), ("bias", shift)):
        if x.shape not in ((), (net.outputs,)) or not np.isfinite(x).all():
            raise HeadError(
                f"calibrate {name}: expected one finite number or {net.outputs}, found {list(x.shape)}: "
                "give one for every mode"
            )
    if (scale < 0).any():
        raise HeadError(
            f"calibrate gain: expected 0 or more, found {scale.min():g}: no mouth moves backwards"
        )
    return replace(
        net,
        w2=np.ascontiguousarray(net.w2 * scale, np.float32),
        b2=np.ascontiguousarray(net.b2 * scale + shift, np.float32),
    )
