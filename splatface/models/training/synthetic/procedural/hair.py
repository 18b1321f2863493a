"""Hair of the procedural head: a dark under-layer and locks that follow the skull away from a parting."""

import numpy as np

from splatface.models.training.synthetic.procedural.paint import lit, smoothstep
from splatface.models.training.synthetic.procedural.patch import (
    Patch,
    facing_patch,
    join,
    pick,
    strand_patch,
    with_color,
)
from splatface.models.training.synthetic.procedural.person import Person
from splatface.models.training.synthetic.procedural.shape import Field, hit_rays, normals_of
from splatface.models.training.synthetic.procedural.skin import lattice
from splatface.models.typing import Float64Array

__all__ = ["hair"]


_MIDDLE = np.array([0.0, -0.012, 0.008])
_SEGMENTS = 4  # of a lock, each one Gaussian
# The hairline from the forehead over temple and ear to the nape: height (m, down) against depth (m, in).
_LINE_Z = [-0.090, -0.072, -0.058, -0.042, -0.022, -0.004, 0.016, 0.035, 0.060, 0.100]
_LINE_Y = [-0.083, -0.078, -0.060, -0.040, -0.028, 0.004, -0.014, 0.004, 0.040, 0.060]


def _under_hairline(points: Float64Array) -> Float64Array:
    """Signed distance [n] below the hairline, m; negative where hair grows."""
    below: Float64Array = points[:, 1] - np.interp(points[:, 2], _LINE_Z, _LINE_Y)
    return below


def _part_x(person: Person) -> float:
    return 0.034 * float(np.sign(person.hair_part))


def _thickness(points: Float64Array, person: Person) -> Float64Array:
    """How far the hair stands off the skull [n], m: full on top, close at hairline and parting."""
    inside = smoothstep(0.0, -0.035, _under_hairline(points))
    top = smoothstep(-0.03, -0.11, points[:, 1])
    parted = np.exp(-(((points[:, 0] - _part_x(person)) / 0.014) ** 2)) * top
    thick: Float64Array = 0.0035 + inside * (0.0055 + 0.0085 * top) * (1 - 0.8 * parted)
    return thick


def _flow(points: Float64Array, normals: Float64Array, person: Person) -> Float64Array:
    """Unit direction [n, 3] in which hair lies: away from the parting, back over the top, down the sides."""
    top = smoothstep(0.35, 0.85, -normals[:, 1])
    front = smoothstep(-0.03, -0.075, points[:, 2])
    away = np.tanh((points[:, 0] - _part_x(person)) / 0.010)
    flow = np.column_stack(
        [
            away * (0.35 + 0.75 * top),
            0.95 * (1 - top) + 0.05 - 0.25 * front * top,
            0.25 + 0.45 * (1 - top) - 0.15 * front,
        ]
    )
    flow -= normals * np.einsum("ij,ij->i", flow, normals)[:, None]
    unit: Float64Array = flow / (np.linalg.norm(flow, axis=1, keepdims=True) + 1e-9)
    return unit


def _roots(skull: Field, count: int) -> Float64Array:
    directions, _ = lattice(count, np.ones_like)
    # The lattice's pole turned up, where no seam shows.
    directions = directions[:, [0, 2, 1]]
    points = hit_rays(skull, np.broadcast_to(_MIDDLE, directions.shape), directions, 0.2)
    return points[_under_hairline(points) < 0.0]


def _scalp(person: Person, skull: Field, count: int) -> Patch:
    """What is seen between the locks."""
    points = _roots(skull, count)
    normals = normals_of(skull, points)
    raised = points + normals * (0.45 * _thickness(points, person))[:, None]
    spacing = np.full(len(points), np.sqrt(4 * np.pi * 0.092**2 / count) * 1.25)
    patch = facing_patch(raised, normals, _MIDDLE, spacing, 0.95)
    shade = 0.55 + 0.25 * smoothstep(-0.02, 0.0, _under_hairline(points))[:, None]
    return with_color(patch, lit(np.asarray(person.hair) * shade, raised, normals, skull, gloss=0.0))


def _locks(person: Person, skull: Field, count: int) -> Patch:
    random = np.random.default_rng(19)
    points = _roots(skull, count)
    points += random.normal(0.0, 0.0012, points.shape)
    normals = normals_of(skull, points)
    lift = _thickness(points, person) * random.uniform(0.55, 1.12, len(points))
    lock = random.normal(0.0, 0.11, len(points))  # one tone for each lock
    tilt = random.normal(0.0, 0.16, (len(points), 3))
    length = random.uniform(0.008, 0.0115, len(points))
    parts = []
    here = points + normals * lift[:, None]
    for segment in range(_SEGMENTS):
        flow = _flow(here, normals, person) + tilt
        ahead = here + flow * length[:, None]
        normals = normals_of(skull, ahead)
        off = np.maximum(skull(ahead), -0.01)
        ahead = ahead + normals * (lift * (1 - 0.06 * segment) - off)[:, None]
        width = np.full(len(here), 0.0052) * random.uniform(0.7, 1.25, len(here))
        patch = strand_patch(here - 0.25 * (ahead - here), ahead, normals, width, 0.90)
        parts.append(pick(_painted(patch, person, skull, lock), _under_hairline(ahead) < 0.006))
        here = ahead
    return join(parts)


def _painted(patch: Patch, person: Person, skull: Field, lock: Float64Array) -> Patch:
    random = np.random.default_rng(len(patch))
    tone = np.exp(lock + random.normal(0.0, 0.10, len(patch)))[:, None]
    albedo = np.clip(np.asarray(person.hair) * tone, 0.0, 1.0)

    def outside(points: Float64Array) -> Float64Array:
        return skull(points) - 0.010

    color = lit(albedo, patch.means, patch.normals, outside, gloss=0.0)
    # A strand shines in a band where light, hair and eye lie in a plane (Kajiya & Kay 1989).
    along = patch.axes[:, :, 0] @ np.array([-0.45, -0.70, -0.55])
    shine = np.clip(1.0 - along * along, 0.0, 1.0) ** 14
    up = smoothstep(-0.1, 0.7, -patch.normals[:, 1])
    return with_color(patch, np.clip(color + 0.20 * (shine * up)[:, None] * (albedo + 0.18), 0.0, 1.0))


def _hanging(person: Person, body: Field, skull: Field, count: int) -> Patch:
    """Long hair: locks that leave the skull at the sides and the back and fall."""
    random = np.random.default_rng(23)
    roots = _roots(skull, 6 * count)
    side = (np.abs(roots[:, 0]) > 0.058) & (roots[:, 1] > -0.045) & (roots[:, 2] > -0.030)
    roots = roots[side | ((roots[:, 2] > 0.06) & (roots[:, 1] > -0.02))][:: max(1, int(side.sum() // count))]
    lock = random.normal(0.0, 0.11, len(roots))
    stand = random.uniform(0.010, 0.019, len(roots))
    here = roots + normals_of(skull, roots) * stand[:, None]
    parts = []
    steps = 3 + round(person.hair_length_m / 0.012)
    for _ in range(steps):
        ahead = here + np.array([0.0, 0.014, 0.0]) + random.normal(0.0, 0.0008, here.shape)
        push = np.maximum(stand - body(ahead), 0.0)
        ahead = ahead + normals_of(body, ahead) * push[:, None]
        width = 0.0068 * random.uniform(0.8, 1.2, len(here))
        outward = np.column_stack([here[:, 0], np.zeros(len(here)), here[:, 2] - 0.02])
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        patch = strand_patch(here - 0.3 * (ahead - here), ahead, outward, width, 0.93)
        parts.append(_painted(patch, person, skull, lock))
        here = ahead
    return join(parts)


def hair(person: Person, body: Field, skull: Field, count: int) -> Patch:
    """The hair; `count` Gaussians for a short cut, long hair takes more."""
    parts = [_scalp(person, skull, count), _locks(person, skull, count // 2)]
    if person.hair_length_m > 0.0:
        parts.append(_hanging(person, body, skull, count // 12))
    return join(parts)
