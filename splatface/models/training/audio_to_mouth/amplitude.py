"""The last step of a training, in closed form: who is unsure says the mean, so every mode is too small."""

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES, AudioToMouthNet
from splatface.models.training.audio_to_mouth.dataset import Clips, looking_ahead
from splatface.models.training.audio_to_mouth.listening import heard_windows

__all__ = ["gains_of", "openness_r"]

_GAINS = (1.0, 1.3)
# Robotic voices, which are what there is to spare, are heard more muted than natural ones: half the way (in
# decibels) leaves both near their amplitude, the whole way makes natural voices shout.
_SHARE = 0.5
_MOVES, _FRAME_MS = 0.02, 20.0
_OPEN = MOUTH_MODES.index("open")


def gains_of(net: AudioToMouthNet, clips: Clips) -> NDArray[np.float32]:
    """Gains [n] towards the spread of the truth, mode by mode, on clips of voices the net was not trained on.

    1 for a mode that does not move; never above 1.3, where noise would be heard as speech.
    """
    heard, true = _spoken(net, clips)
    spread_heard, spread_true = heard.std(axis=0), true.std(axis=0)
    gains = np.where(spread_true > _MOVES, spread_true / np.maximum(spread_heard, 1e-3), 1.0)
    limited: NDArray[np.float32] = np.clip(gains**_SHARE, *_GAINS).astype(np.float32)
    return limited


def openness_r(net: AudioToMouthNet, clips: Clips) -> float:
    """Correlation of the opening heard with the true one, where someone speaks."""
    heard, true = _spoken(net, clips)
    return float(np.corrcoef(heard[:, _OPEN], true[:, _OPEN])[0, 1])


def _spoken(net: AudioToMouthNet, clips: Clips) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Modes heard and true [F, n] of the clips in which someone speaks."""
    clips = looking_ahead(clips, round(net.lookahead_ms / _FRAME_MS))
    heard, true = [], []
    for start, end in zip(clips.starts[:-1], clips.starts[1:], strict=True):
        if clips.modes[start:end].any():
            heard.append(heard_windows(net, clips.values[start:end].astype(np.float32)))
            true.append(clips.modes[start:end])
    return np.concatenate(heard), np.concatenate(true)
