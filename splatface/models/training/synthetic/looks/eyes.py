"""Eyeballs: a sphere with a bulging cornea, a fibrous iris and a tinted white."""

import numpy as np
from numpy.typing import NDArray

from splatface.models.training.dataset.types import EYES
from splatface.models.training.synthetic.identity import Looks
from splatface.models.training.synthetic.looks.marks import FaceMeasurements
from splatface.models.training.synthetic.looks.numbers import smoothstep
from splatface.models.training.synthetic.movers import Piece, rigid_of
from splatface.models.training.synthetic.parts import Part
from splatface.models.training.synthetic.rig import Rig
from splatface.models.typing import AnyArray

__all__ = ["eyes_of"]


_IRIS_RAD = 0.425  # half angle of the iris seen from the eye's center
_AROUND, _RINGS, _FINE_RINGS = 96, 72, 48
_WHITE = (0.80, 0.765, 0.74)


def eyes_of(rig: Rig, marks: FaceMeasurements, looks: Looks, rng: np.random.Generator) -> dict[str, Piece]:
    """Both eyes, each carried by the rig's own eye, which the eyeLook actions turn."""
    sphere, faces, colors = _eyeball(looks, rng)
    pieces = {}
    for name, side, center in (("left_eye", "l", marks.eyes[0]), ("right_eye", "r", marks.eyes[1])):
        points = sphere * marks.eye_radius * 0.985 + center
        part = Part(
            kind="mesh",
            material="eye",
            positions=points,
            colors=colors,
            labels=np.full(len(points), EYES, np.uint8),
            skin=np.ones(len(points)),
            faces=faces,
            roughness=0.3,
        )
        pieces[name] = Piece(part, rigid_of(rig, f"helper-{side}-eye", points))
    return pieces


def _eyeball(looks: Looks, rng: np.random.Generator) -> tuple[AnyArray, NDArray[np.int64], AnyArray]:
    """Unit eyeball that looks to -z: points [P, 3], quads, colors [P, 3]; rings crowd at the iris."""
    polar = np.r_[
        np.linspace(0.004, 0.50, _FINE_RINGS, endpoint=False),
        np.linspace(0.50, np.pi - 0.01, _RINGS - _FINE_RINGS),
    ]
    around = np.arange(_AROUND) * 2 * np.pi / _AROUND
    t, p = np.meshgrid(polar, around, indexing="ij")
    cornea = 1 + 0.075 * np.clip(1 - (t / _IRIS_RAD) ** 2, 0, 1)
    points = np.stack([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), -np.cos(t) * cornea], -1)
    ring, spoke = np.meshgrid(np.arange(_RINGS - 1), np.arange(_AROUND), indexing="ij")
    after = (spoke + 1) % _AROUND
    corners = (
        ring * _AROUND + spoke,
        (ring + 1) * _AROUND + spoke,
        (ring + 1) * _AROUND + after,
        ring * _AROUND + after,
    )
    quads = np.stack(corners, -1).reshape(-1, 4)
    return points.reshape(-1, 3), quads, _eye_colors(t, p, looks, rng).reshape(-1, 3)


def _eye_colors(t: AnyArray, p: AnyArray, looks: Looks, rng: np.random.Generator) -> AnyArray:
    """White that reddens towards the corners, a dark-rimmed iris with radial fibres, a black pupil."""
    white = np.array(_WHITE) * (1 - 0.10 * smoothstep(0.9, 1.6, t))[..., None]
    white = white * (1 - smoothstep(1.0, 1.7, t)[..., None] * np.array([0.0, 0.22, 0.25]))
    radius = t / _IRIS_RAD
    fibres = sum(
        rng.uniform(0.4, 1) * np.sin(k * p + rng.uniform(0, 2 * np.pi) + 2.5 * np.sin(9 * radius + k))
        for k in (23, 31, 47, 61)
    )
    shade = 0.85 + 0.095 * fibres * smoothstep(0.35, 0.6, radius)
    shade *= 1 + 0.55 * np.exp(-(((radius - 0.52) / 0.14) ** 2))
    shade *= (1 - 0.72 * smoothstep(0.80, 1.0, radius)) * smoothstep(0.33, 0.39, radius)
    iris = np.array(looks.iris) * shade[..., None]
    inside = smoothstep(1.06, 0.96, radius)[..., None]
    colors: AnyArray = np.clip(white * (1 - inside) + iris * inside, 0, 1)
    return colors
