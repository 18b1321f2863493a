"""Bare skin and shirt of the procedural head: points spread evenly over the body, painted and moving."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from splatface.models.training.synthetic.procedural.eyes import eye_border
from splatface.models.training.synthetic.procedural.motion import CORNER, face_motion
from splatface.models.training.synthetic.procedural.mouth import lip_lines
from splatface.models.training.synthetic.procedural.paint import lit, skin_albedo, smoothstep
from splatface.models.training.synthetic.procedural.patch import (
    Patch,
    facing_patch,
    grid_patch,
    join,
    moved,
    pick,
    strand_patch,
    with_color,
)
from splatface.models.training.synthetic.procedural.person import Person
from splatface.models.training.synthetic.procedural.shape import Field, hit_rays, normals_of, trunk_distance
from splatface.models.typing import Float64Array

__all__ = ["collar_y", "ears", "face", "lattice", "neck", "shirt"]


Density = Callable[[Float64Array], Float64Array]  # angle from the view axis [n] -> relative density [n]

_HEAD_MIDDLE = np.array([0.0, 0.005, -0.006])
_GOLDEN = np.pi * (3 - np.sqrt(5))


def lattice(count: int, density: Density) -> tuple[Float64Array, Float64Array]:
    """Directions [count, 3] on a sunflower about -z, and the angle [count] between neighbors."""
    grid = np.linspace(0, np.pi, 720)
    mass = density(grid) * np.sin(grid)
    total = np.concatenate([[0.0], np.cumsum((mass[1:] + mass[:-1]) / 2)])
    polar = np.interp((np.arange(count) + 0.5) / count, total / total[-1], grid)
    around = _GOLDEN * np.arange(count)
    directions = np.column_stack(
        [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), -np.cos(polar)]
    )
    area = 2 * np.pi * total[-1] * (grid[1] - grid[0]) / (count * density(polar))
    return directions, np.sqrt(area)


def _star(field: Field, middle: Float64Array, count: int, density: Density) -> Patch:
    directions, spacing = lattice(count, density)
    points = hit_rays(field, np.broadcast_to(middle, directions.shape), directions, 0.20)
    spacing = spacing * np.linalg.norm(points - middle, axis=1)
    return facing_patch(points, normals_of(field, points), middle, 1.1 * spacing, 0.97)


def _painted(patch: Patch, person: Person, body: Field) -> Patch:
    return with_color(patch, lit(skin_albedo(patch.means, person), patch.means, patch.normals, body))


def _in_lips(points: Float64Array, person: Person) -> NDArray[np.bool_]:
    upper, lower = lip_lines(points[:, 0], person)
    y, x = points[:, 1], np.abs(points[:, 0])
    inside: NDArray[np.bool_] = (y > upper - 0.0002) & (y < lower + 0.0002) & (x < CORNER * 0.98)
    inside &= points[:, 2] < -0.06
    return inside


def _in_detail(points: Float64Array, grow: float = 1.0) -> NDArray[np.bool_]:
    """The nose and the skin about the mouth, sampled finer than the rest."""
    x, y, z = points.T / grow
    nose = (x / 0.024) ** 2 + ((y - 0.022) / 0.034) ** 2 < 1
    lips = (x / 0.042) ** 2 + ((y - 0.066) / 0.028) ** 2 < 1
    detail: NDArray[np.bool_] = (nose | lips) & (z < -0.05)
    return detail


def face(person: Person, body: Field, skull: Field, count: int) -> Patch:
    """Skin of the head: coarse all round (little under the hair), fine on nose and mouth."""

    def front(angle: Float64Array) -> Float64Array:
        return 0.10 + 0.90 * smoothstep(2.1, 1.35, angle)

    def middle(angle: Float64Array) -> Float64Array:
        return 0.002 + smoothstep(1.05, 0.85, angle)

    coarse = _star(body, _HEAD_MIDDLE, count, front)
    coarse = pick(coarse, ~_in_detail(coarse.means))
    fine = _star(body, _HEAD_MIDDLE, int(0.95 * count), middle)
    # The finer skin reaches over the edge of the coarse one, so that none shows when the cheek stretches.
    fine = pick(fine, _in_detail(fine.means, 1.12))
    skin = join([coarse, fine])
    keep = ~eye_border(skin.means, person) & ~_in_lips(skin.means, person)
    keep &= skull(skin.means) < 0.006  # ears and neck are patches of their own
    skin = join([pick(skin, keep), _behind_nose(fine)])
    return moved(_painted(skin, person, body), face_motion)


def _behind_nose(skin: Patch) -> Patch:
    """A second layer under the nose's skin, which its overhangs leave thin when the head nods."""
    x, y, z = skin.means.T
    under = pick(skin, ((x / 0.020) ** 2 + ((y - 0.030) / 0.022) ** 2 < 1) & (z < -0.07))
    return replace(under, means=under.means - 0.004 * under.normals, scales=1.5 * under.scales)


def ears(person: Person, body: Field, ear: Field) -> Patch:
    """Both ears, as far as they can be seen: a relief over the plane in which an ear lies."""
    out, back = np.array([0.93, 0.0, 0.37]), np.array([-0.37, 0.16, 0.93])
    back /= np.linalg.norm(back)
    down = np.cross(back, out)
    v, w = np.meshgrid(np.linspace(-0.031, 0.034, 24), np.linspace(-0.018, 0.021, 16), indexing="ij")
    parts = []
    for side in (-1.0, 1.0):
        mirror = np.array([side, 1.0, 1.0])
        middle = np.array([0.0765 * person.face_width, 0.010, 0.012])
        plane = (middle + v[..., None] * -down + w[..., None] * back - 0.002 * out) * mirror
        flat = plane.reshape(-1, 3)
        points = hit_rays(ear, flat, np.broadcast_to(out * mirror, flat.shape), 0.018)
        grid = grid_patch(points.reshape(plane.shape), 0.93, overlap=1.1)
        parts.append(pick(grid, ear(flat) < 0.0))
    patch = join(parts)
    normals = normals_of(ear, patch.means)
    return with_color(patch, lit(skin_albedo(patch.means, person), patch.means, normals, body))


def neck(person: Person, body: Field, skull: Field, count: int) -> Patch:
    """The neck and what the shirt leaves of the chest, in rings about the neck's axis."""
    columns = 44
    rows = max(count // columns, 4)
    y = np.linspace(0.070, 0.215, rows)
    angle = np.pi * (np.linspace(-0.78, 0.78, columns))
    y, angle = np.meshgrid(y, angle, indexing="ij")
    y = y + (y[1, 0] - y[0, 0]) / 2 * (np.arange(columns) % 2)
    rays = np.stack([np.sin(angle), np.zeros_like(y), -np.cos(angle)], axis=-1).reshape(-1, 3)
    axis = np.column_stack([np.zeros(y.size), y.ravel(), 0.028 + 0.10 * (y.ravel() - 0.05)])
    points = hit_rays(body, axis, rays, 0.16)
    normals = normals_of(body, points)
    spacing = np.full(len(points), 0.145 / rows)
    patch = facing_patch(points, normals, axis, np.maximum(spacing, 0.0050), 0.93)
    keep = (skull(points) > 0.0015) & (np.linalg.norm(points - axis, axis=1) < 0.10)
    keep &= points[:, 1] < collar_y(points) + 0.010
    return moved(_painted(pick(patch, keep), person, body), face_motion)


def collar_y(points: Float64Array) -> Float64Array:
    """Height [n] of the edge of the shirt's round neck."""
    x, z = points[:, 0], points[:, 2]
    collar: Float64Array = 0.170 + 0.026 * smoothstep(0.03, -0.05, z) - 0.9 * np.abs(x / 0.1) ** 2.0 * 0.012
    return collar


def shirt(person: Person, count: int) -> Patch:
    """A knitted round-neck shirt, a few millimetres over the torso, with a ribbed collar."""

    def cloth(p: Float64Array) -> Float64Array:
        return trunk_distance(p) - 0.0045

    columns, rows = 64, max(count // 64, 6)
    polar = 0.50 + 1.9 * np.linspace(0, 1, rows)[:, None] ** 1.25
    angle = np.pi * np.linspace(-0.80, 0.80, columns)[None, :] + 0 * polar
    rays = np.stack(
        [np.sin(angle) * np.sin(polar), -np.cos(polar) + 0 * angle, -np.cos(angle) * np.sin(polar)], axis=-1
    )
    middle = np.broadcast_to(np.array([0.0, 0.270, 0.050]), (rays.size // 3, 3))
    points = hit_rays(cloth, middle, rays.reshape(-1, 3), 0.40)
    patch = grid_patch(points.reshape(rays.shape), 0.96, overlap=1.1)
    normals = normals_of(cloth, points)
    patch = with_color(patch, lit(_knit(points, person), points, normals, cloth, gloss=0.0))
    return join([pick(patch, points[:, 1] > collar_y(points)), _collar(person, cloth)])


def _collar(person: Person, cloth: Field) -> Patch:
    """The ribbed edge: short strokes across the line where the cloth ends."""
    angle = np.pi * np.linspace(-0.80, 0.80, 150)
    rays = np.column_stack([np.sin(angle), np.zeros_like(angle), -np.cos(angle)])
    points = np.tile([0.0, 0.18, 0.043], (len(angle), 1))
    for _ in range(3):  # the line's height depends on where the cloth is, and the other way round
        axis = np.column_stack([np.zeros_like(angle), collar_y(points), np.full_like(angle, 0.043)])
        points = hit_rays(cloth, axis, rays, 0.13)
    normals = normals_of(cloth, points)
    points = points + 0.0012 * normals
    along = np.gradient(points, axis=0)
    across = np.cross(normals, along)
    across *= 0.0062 / np.linalg.norm(across, axis=1, keepdims=True)
    width = 1.5 * np.linalg.norm(along, axis=1)
    patch = strand_patch(points - across, points + across, normals, width, 0.95)
    rib = 1.0 + 0.10 * (-1.0) ** np.arange(len(angle))
    albedo = np.asarray(person.shirt) * (0.92 * rib)[:, None]
    return with_color(patch, lit(albedo, points, normals, cloth, gloss=0.0))


def _knit(points: Float64Array, person: Person) -> Float64Array:
    """Color [n, 3] of the cloth, lighter on the ribbed collar."""
    collar = np.exp(-(((points[:, 1] - collar_y(points) - 0.004) / 0.004) ** 2))
    grain = 1.0 + 0.05 * np.random.default_rng(31).standard_normal(len(points))
    color: Float64Array = np.asarray(person.shirt) * (grain * (1.0 + 0.35 * collar))[:, None]
    return color
