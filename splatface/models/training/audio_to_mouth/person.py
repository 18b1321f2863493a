"""What a net learns from one person alone: the baseline that one net for everybody must beat."""

from collections.abc import Callable

import numpy as np

from splatface.models.audio.features_of_recording import FeatureExtractor, features
from splatface.models.audio2motion.audio_to_mouth import AudioToMouthNet
from splatface.models.training.audio_to_mouth.dataset import Clips
from splatface.models.training.audio_to_mouth.train import Training, train
from splatface.models.training.audio_to_mouth.trials import Trial

__all__ = ["person_net", "split_trial"]

_STEPS = 1000
_KNOWN = 0.6  # share of a film that is trained on


def split_trial(film: Trial, share: float = _KNOWN) -> tuple[Trial, Trial]:
    """The beginning of a film to learn from, and the rest of it to be measured on."""
    at = round(share * len(film.times_s))
    return film.between(0, at), film.between(at, len(film.times_s))


def person_net(
    encoder: str, film: Trial, lookahead: int, report: Callable[[str], None], ear: FeatureExtractor = features
) -> AudioToMouthNet:
    """A net of the shipped shape trained on nothing but one film.

    Args:
        encoder: of `models.audio`.
        film: modes that are NaN are taken for rest.
        lookahead: frames of 20 ms.
        report: is told the loss.
        ear: hears the film.
    """
    values, centers_s = ear(encoder, film.samples)
    inside = (centers_s >= film.times_s[0]) & (centers_s <= film.times_s[-1])
    modes = np.nan_to_num(film.truth(centers_s[inside]))
    clips = Clips(encoder, values[inside].astype(np.float16), modes, np.array([0, len(modes)]))
    return train(clips, Training(steps=_STEPS, lookahead=lookahead, speaker_mixup=0.0), report)
