"""Eyes of the procedural head: ball, iris, pupil, glint, lids that close, lashes and brows."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from splatface.models.training.synthetic.procedural.motion import face_motion
from splatface.models.training.synthetic.procedural.paint import lit, skin_albedo, smoothstep
from splatface.models.training.synthetic.procedural.patch import (
    COEFFICIENT_NAMES,
    Patch,
    grid_patch,
    join,
    moved,
    strand_patch,
    with_color,
)
from splatface.models.training.synthetic.procedural.person import Person
from splatface.models.training.synthetic.procedural.shape import Field, front_of, normals_of
from splatface.models.typing import Float64Array

__all__ = ["EYE_X", "EYE_Y", "eye_border", "eyes"]


EYE_X, EYE_Y = 0.0330, -0.0030
_CAP_RADIUS = 0.0200  # the visible ball is flatter than a real one: a turned iris stays under the lids
_CAP_CENTER = np.array([EYE_X - 0.0030, EYE_Y, -0.0615])
_HALF_WIDTH = 0.0158
_BORDER = (0.0245, 0.0180)  # where the lids end and the face goes on
_COLUMNS, _ROWS = 52, 8
_GAZE_M = 0.0125  # shift of the iris per radian


def eye_border(points: Float64Array, person: Person, shrink: float = 0.93) -> NDArray[np.bool_]:
    """True [n] for points in front of an eye, which the lids cover instead of plain skin."""
    size = person.eye_size * shrink
    dx = (np.abs(points[:, 0]) - EYE_X) / (_BORDER[0] * size)
    dy = (points[:, 1] - EYE_Y - 0.001) / (_BORDER[1] * size)
    inside: NDArray[np.bool_] = (dx * dx + dy * dy < 1) & (points[:, 2] < -0.03)
    return inside


def _on_cap(xy: Float64Array, lift: float) -> Float64Array:
    offset = xy - _CAP_CENTER[:2]
    depth = np.sqrt(np.maximum((_CAP_RADIUS + lift) ** 2 - np.einsum("...i,...i->...", offset, offset), 1e-6))
    return np.concatenate([xy, (_CAP_CENTER[2] - depth)[..., None]], axis=-1)


def _lid_line(s: Float64Array, upper: bool) -> Float64Array:
    """Height [n] of a lid's edge over the eye's middle at s = -1 (nose) .. 1 (temple), downwards."""
    arch = np.sqrt(np.maximum(1 - np.abs(s) ** 2.3, 0.0))
    tilt = -0.0011 * s
    if upper:
        return -0.0066 * arch * (1 - 0.10 * s) + tilt
    return 0.0049 * arch**1.15 * (1 + 0.16 * s) + tilt


def _rim(person: Person) -> tuple[Float64Array, Float64Array]:
    """(edge of the opening [c, 2], the same when shut [c, 2]) around the eye, temple first, upwards round."""
    angle = 2 * np.pi * (np.arange(_COLUMNS) + 0.5) / _COLUMNS
    s = np.cos(angle)
    upper = np.sin(angle) > 0
    size = person.eye_size
    open_y = np.where(upper, _lid_line(s, True), _lid_line(s, False))
    shut_y = 0.80 * _lid_line(s, False) + 0.20 * _lid_line(s, True) + np.where(upper, 0.0009, 0.0)
    x = EYE_X + _HALF_WIDTH * size * s
    return (
        np.column_stack([x, EYE_Y + size * open_y]),
        np.column_stack([x, EYE_Y + size * shut_y]),
    )


def _lids(person: Person, body: Field, eye: int) -> Patch:
    """Skin from the opening's edge out to the face, in rings; rows nearer the edge slide further."""
    angle = 2 * np.pi * (np.arange(_COLUMNS) + 0.5) / _COLUMNS
    edge, shut = _rim(person)
    size = person.eye_size
    border = np.column_stack(
        [EYE_X + _BORDER[0] * size * np.cos(angle), EYE_Y + 0.001 - _BORDER[1] * size * np.sin(angle)]
    )
    t = np.linspace(0, 1, _ROWS)[:, None] ** 1.25
    xy = edge[None] + (border - edge)[None] * t[..., None]
    face_z = front_of(body, xy.reshape(-1, 2))[:, 2].reshape(t.shape[0], -1)
    near = _on_cap(xy, 0.0017)
    near[..., 2] = near[..., 2] * 0.75 + 0.25 * np.minimum(face_z, near[..., 2] + 0.004)
    blend = smoothstep(0.25, 0.95, t) * np.ones(_COLUMNS)
    z = near[..., 2] * (1 - blend) + (face_z - 0.0004) * blend
    crease = np.exp(-(((t - 0.40) / 0.10) ** 2)) * np.clip(np.sin(angle), 0, 1) ** 0.6
    grid = np.concatenate([xy, (z + 0.0011 * crease)[..., None]], axis=-1)
    patch = grid_patch(grid, 0.95, wraps=True, overlap=1.1)
    upper = np.sin(angle) > 0
    slide = np.clip(1 - t / np.where(upper, 0.85, 0.55), 0, 1) * (shut - edge)[:, 1]
    patch = _closing(patch, slide.ravel(), eye)
    if eye < 0:
        patch = _mirrored(patch)
    return _painted_lids(patch, person, body, (t * np.ones(_COLUMNS), crease))


def _painted_lids(
    patch: Patch, person: Person, body: Field, rows: tuple[Float64Array, Float64Array]
) -> Patch:
    t, crease = (a.ravel() for a in rows)
    albedo = skin_albedo(patch.means, person)
    normals = normals_of(body, patch.means)
    blend = smoothstep(0.3, 0.9, t)[:, None]
    normals = patch.normals * (1 - blend) + normals * blend
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    color = lit(albedo, patch.means, normals, body)
    dark = 1 - 0.30 * crease[:, None] * np.array([0.8, 1.0, 1.0])
    edge = np.exp(-((t / 0.05) ** 2))[:, None]
    upper = (patch.means[:, 1] < EYE_Y)[:, None]
    rim = np.where(upper, color * np.array([0.42, 0.34, 0.32]), color * np.array([0.93, 0.78, 0.76]))
    return with_color(patch, np.clip(color * dark * (1 - edge) + rim * edge, 0, 1))


def _closing(patch: Patch, slide: Float64Array, eye: int) -> Patch:
    """Slide down by `slide` [n] meters at a full blink, over the ball, stretching to stay closed."""
    name = "blink_left" if eye > 0 else "blink_right"
    basis = patch.basis.copy()
    target = patch.means[:, :2] + np.column_stack([np.zeros_like(slide), slide])
    over = _on_cap(target, 0.0021)[:, 2]
    weight = np.clip(np.abs(slide) / 0.004, 0, 1)
    blink = basis[:, :, COEFFICIENT_NAMES.index(name)]
    blink[:, 1] = slide
    blink[:, 2] = np.minimum(over - patch.means[:, 2], 0.0) * weight
    blink[:, 8] = 0.75 * np.clip(slide / 0.006, 0, 1)
    gaze = basis[:, :, COEFFICIENT_NAMES.index("gaze_y")]
    gaze[:, 1] = np.where(slide > 0, 0.55, -0.9) * slide
    return replace(patch, basis=basis)


def _ball(person: Person) -> Patch:
    """The white of the eye, darker under the upper lid and towards the corners, pink at the nose."""
    u, v = np.meshgrid(np.linspace(-1.12, 1.12, 15), np.linspace(-1, 1, 9))
    size = person.eye_size
    xy = np.stack([EYE_X + _HALF_WIDTH * size * u, EYE_Y + 0.0085 * size * v], axis=-1)
    patch = grid_patch(_on_cap(xy, 0.0), 0.97)
    s = u.ravel()
    lid = EYE_Y + size * _lid_line(np.clip(s, -1, 1), True)
    shade = 0.60 + 0.40 * smoothstep(-0.0005, 0.0050, patch.means[:, 1] - lid)
    shade *= 1 - 0.25 * np.abs(np.clip(s, -1, 1)) ** 3
    white = np.array([0.93, 0.92, 0.915]) * shade[:, None] ** np.array([0.9, 1.0, 1.0])
    pink = smoothstep(-0.80, -1.0, s)[:, None]
    return with_color(patch, white * (1 - pink) + np.array([0.70, 0.42, 0.40]) * pink)


def _iris(person: Person) -> Patch:
    """Rings of petals: dark limbus, colored fibres, pupil, and the glint of the window."""
    size = person.eye_size
    middle = np.array([EYE_X, EYE_Y - 0.0006])
    rng = np.random.default_rng(7)
    color = np.asarray(person.iris)
    parts = []
    for radius, count, lift, paint in (
        (0.00545, 28, 0.0004, color * 0.30),
        (0.00445, 24, 0.0005, color * 0.85),
        (0.00330, 18, 0.0006, color * 1.25),
        (0.00225, 12, 0.0007, np.array([0.03, 0.025, 0.025])),
    ):
        angle = 2 * np.pi * (np.arange(count) + 0.5 * (count % 4)) / count
        ray = np.column_stack([np.cos(angle), np.sin(angle)])
        inner = _on_cap(middle + ray * (radius - 0.0009) * size, lift)
        outer = _on_cap(middle + ray * (radius + 0.0007) * size, lift)
        width = np.full(count, 2.6 * np.pi * radius * size / count)
        normals = np.broadcast_to(np.array([0.0, 0.0, -1.0]), inner.shape)
        petals = strand_patch(inner, outer, normals, width, 0.95)
        window = 1 - 0.40 * np.clip(-ray[:, 1:], -0.5, 1) + 0.14 * rng.standard_normal((count, 1))
        parts.append(with_color(petals, np.clip(paint * window, 0, 1)))
    spot = _on_cap(middle[None], 0.0010)
    pupil = strand_patch(
        spot - np.array([0.0026 * size, 0, 0]),
        spot + np.array([0.0026 * size, 0, 0]),
        np.array([[0.0, 0.0, -1.0]]),
        np.array([0.0036 * size]),
        0.99,
    )
    parts.append(with_color(pupil, [0.02, 0.018, 0.02]))
    return _looking(join(parts), 1.0)


def _glints(person: Person, eye: int) -> Patch:
    """Two reflections of the light; on both eyes they lie towards the window, not mirrored."""
    offsets = np.array([[-0.0021 * eye, -0.0025], [0.0022 * eye, 0.0023]]) * person.eye_size
    at = _on_cap(np.array([EYE_X, EYE_Y - 0.0006]) + offsets, 0.0016)
    half = np.array([[0.0013, 0, 0], [0.0007, 0, 0]]) * 1.3
    glints = strand_patch(
        at - half, at + half, np.tile([[0.0, 0.0, -1.0]], (2, 1)), np.array([0.0019, 0.0011]), 0.97
    )
    glints = with_color(glints, np.array([[1.0, 1.0, 1.0], [0.62, 0.66, 0.70]]))
    return _looking(glints, 0.55)


def _looking(patch: Patch, share: float) -> Patch:
    basis = patch.basis.copy()
    basis[:, 0, COEFFICIENT_NAMES.index("gaze_x")] = share * _GAZE_M
    basis[:, 1, COEFFICIENT_NAMES.index("gaze_y")] = share * _GAZE_M
    return replace(patch, basis=basis)


def _lashes(person: Person, eye: int) -> Patch:
    """Upper lashes that ride on the lid and turn down with it; a faint lower row."""
    s = np.linspace(-0.86, 1.02, 24)
    size = person.eye_size
    rim_y = EYE_Y + size * _lid_line(np.clip(s, -1, 1), True)
    shut_y = EYE_Y + size * (
        0.80 * _lid_line(np.clip(s, -1, 1), False) + 0.2 * _lid_line(np.clip(s, -1, 1), True)
    )
    root = _on_cap(np.column_stack([EYE_X + _HALF_WIDTH * size * s, rim_y + 0.0003]), 0.0024)
    length = 0.0022 + 0.0028 * smoothstep(-0.9, 0.9, s)
    tip = root + np.column_stack([length * (0.1 + 0.75 * s), -0.55 * length, -0.45 * length])
    normals = np.tile([[0.0, 0.0, -1.0]], (len(s), 1))
    lashes = strand_patch(root, tip, normals, np.full(len(s), 0.00085), 0.85)
    lashes = with_color(lashes, np.asarray(person.hair) * 0.25)
    slide = shut_y + 0.0012 - rim_y
    lashes = _closing(lashes, slide, eye)
    basis = lashes.basis.copy()
    blink = basis[:, :, COEFFICIENT_NAMES.index("blink_left" if eye > 0 else "blink_right")]
    blink[:, 1] += 0.9 * length
    blink[:, 2] -= 0.0006
    blink[:, 8] = 0.0
    return replace(lashes, basis=basis)


def _brows(person: Person, body: Field) -> Patch:
    """Short hairs along an arch, upright at the nose and lying towards the temple."""
    rng = np.random.default_rng(11)
    s = np.repeat(np.linspace(0, 1, 34), 3)
    lane = np.tile([-1.0, 0.0, 1.0], 34) + rng.uniform(-0.25, 0.25, len(s))
    x = 0.0125 + 0.0395 * s + rng.uniform(-0.0005, 0.0005, len(s))
    y = -0.0258 - 0.0050 * np.sin(np.pi * np.clip(0.12 + 0.80 * s, 0, 1)) ** 1.1 - 0.0022 * s
    thickness = 0.0024 * (1 - s**2.5) * (0.75 + 0.25 * smoothstep(0, 0.2, s)) + 0.0004
    root = np.column_stack([x, y + lane * thickness * 0.8])
    lean = 0.25 + 1.1 * np.clip(s * 1.6, 0, 1)
    length = 0.0062 * (1 - 0.25 * s)
    tip = root + length[:, None] * np.column_stack([np.sin(lean), -np.cos(lean) + 0.25 * s])
    lift = np.array([0.0, 0.0, -0.0011])
    start, end = front_of(body, root) + lift, front_of(body, tip) + lift
    hairs = strand_patch(start, end, normals_of(body, start), np.full(len(s), 0.0013), 0.62)
    tone = np.asarray(person.hair) * (0.62 + 0.12 * rng.standard_normal((len(s), 1)))
    return moved(with_color(hairs, np.clip(tone + 0.01, 0, 1)), face_motion)


def _mirrored(patch: Patch) -> Patch:
    """The patch reflected at x = 0 (a reflected normal frame turns its second axis back)."""
    flip = np.array([-1.0, 1.0, 1.0])
    axes = patch.axes * flip[None, :, None]
    axes[:, :, 1] *= -1
    basis = patch.basis.copy()
    basis[:, 0] *= -1
    gaze = COEFFICIENT_NAMES.index("gaze_x")
    basis[:, :, gaze] *= -1
    basis[:, 3:7] = 0.0
    return replace(patch, means=patch.means * flip, axes=axes, basis=basis)


def eyes(person: Person, body: Field) -> Patch:
    """Everything of both eyes; `body` is the distance field of the face around them."""
    parts = []
    for eye in (1, -1):
        one = join([_ball(person), _iris(person), _glints(person, eye), _lashes(person, eye)])
        parts += [one if eye > 0 else _mirrored(one), _lids(person, body, eye)]
    left_brow = _brows(person, body)
    right = replace(left_brow, means=left_brow.means * np.array([-1.0, 1.0, 1.0]))
    flipped = left_brow.axes * np.array([-1.0, 1.0, 1.0])[None, :, None]
    flipped[:, :, 1] *= -1
    right_brow = moved(replace(right, axes=flipped, basis=np.zeros_like(left_brow.basis)), face_motion)
    return join([*parts, left_brow, right_brow])
