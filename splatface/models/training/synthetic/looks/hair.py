"""Hair: strands grown from the scalp by a style's comb, fixed to the head."""

from collections.abc import Callable, Mapping

import numpy as np

from splatface.models.errors import ActorError
from splatface.models.training.dataset.types import HAIR
from splatface.models.training.synthetic.identity import HAIR_STYLES, Looks
from splatface.models.training.synthetic.looks.marks import FaceMeasurements
from splatface.models.training.synthetic.looks.numbers import smooth_noise
from splatface.models.training.synthetic.looks.skin import Skin
from splatface.models.training.synthetic.looks.style_coils import coils
from splatface.models.training.synthetic.looks.style_lob import lob
from splatface.models.training.synthetic.looks.style_short import short
from splatface.models.training.synthetic.movers import HeadAttached, Piece
from splatface.models.training.synthetic.parts import Part
from splatface.models.typing import AnyArray

__all__ = ["hair_of"]


Style = Callable[[Skin, FaceMeasurements, Looks, np.random.Generator], AnyArray]

_STYLES: Mapping[str, Style] = {"lob": lob, "short": short, "coils": coils}
_RADIUS_M = {"lob": (0.00025, 0.00011), "short": (0.00026, 0.00010), "coils": (0.00022, 0.00014)}


def hair_of(skin: Skin, marks: FaceMeasurements, looks: Looks, rng: np.random.Generator) -> Piece:
    """The hair of the head, about 15,000 strands."""
    if looks.hair_style not in _STYLES:
        raise ActorError(f"hair_style: expected one of {', '.join(HAIR_STYLES)}, found '{looks.hair_style}'")
    strands = _STYLES[looks.hair_style](skin, marks, looks, rng)
    streaks = 0.22 * smooth_noise(strands[:, 0], 260, 21) + 0.10 * smooth_noise(strands[:, 0], 60, 22)
    tone = np.exp(streaks + rng.normal(0, 0.15, len(strands)))[:, None]
    part = Part(
        kind="strands",
        material="hair",
        positions=strands,
        colors=np.clip(np.array(looks.hair) * tone, 0, 1),
        labels=np.full(len(strands), HAIR, np.uint8),
        skin=np.ones(len(strands)),
        roughness=0.45,
        radius=_RADIUS_M[looks.hair_style],
    )
    return Piece(part, HeadAttached(strands))
