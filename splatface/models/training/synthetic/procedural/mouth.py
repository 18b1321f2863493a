"""Mouth of the procedural head: lips that part at the seam, and teeth, tongue and dark behind them."""

from dataclasses import replace

import numpy as np

from splatface.models.training.synthetic.procedural.motion import (
    CORNER,
    JAW_SIDE_M,
    MOUTH_Y,
    face_motion,
    jaw_motion,
    seam_y,
)
from splatface.models.training.synthetic.procedural.paint import lit, skin_albedo, smoothstep
from splatface.models.training.synthetic.procedural.patch import (
    COEFFICIENT_NAMES,
    Patch,
    grid_patch,
    join,
    moved,
    pick,
    with_color,
)
from splatface.models.training.synthetic.procedural.person import Person
from splatface.models.training.synthetic.procedural.shape import Field, front_of
from splatface.models.typing import Float64Array

__all__ = ["lip_lines", "mouth"]


_COLUMNS = 38


def lip_lines(x: Float64Array, person: Person) -> tuple[Float64Array, Float64Array]:
    """Upper and lower border [n] of the red of the lips at x [n] (m); they meet at the corners."""
    s = np.clip(np.abs(x) / CORNER, 0, 1)
    seam = seam_y(np.clip(x, -CORNER, CORNER))
    full = person.lip_fullness
    bow = 1 - 0.16 * np.exp(-((s / 0.10) ** 2)) + 0.05 * np.exp(-(((s - 0.2) / 0.12) ** 2))
    upper = seam - 0.0072 * full * bow * (1 - s**1.7) ** 0.85
    lower = seam + 0.0092 * full * np.maximum(1 - s**2.2, 0) ** 0.80
    return upper, lower


def _lip(person: Person, body: Field, side: int) -> Patch:
    """One lip, from its border over the seam into the mouth; rows run from the border inwards."""
    s = np.sin(np.linspace(-1, 1, _COLUMNS) * np.pi / 2 * 0.98) * 1.035
    x = CORNER * s
    seam = seam_y(x)
    border = lip_lines(x, person)[0 if side < 0 else 1]
    t = np.array([-0.12, 0.05, 0.22, 0.42, 0.62, 0.80, 0.94, 1.03, 0.98, 0.84])[:, None]
    swell = np.array([0.0, 0.0007, 0.0020, 0.0034, 0.0041, 0.0038, 0.0026, 0.0006, -0.0030, -0.0070])[:, None]
    plump = np.maximum(1 - np.abs(s) ** 2.2, 0) ** 0.7
    y = border + (seam - border) * t - side * 0.0002
    base = front_of(body, np.column_stack([np.tile(x, len(t)), y.ravel()]))[:, 2].reshape(y.shape)
    gain = (1.0 if side < 0 else 1.25) * person.lip_fullness
    z = base - np.where(swell > 0, swell * gain * plump, swell) + 0.0004
    grid = np.stack([np.broadcast_to(x, y.shape), y, z], axis=-1)
    patch = grid_patch(grid, 0.95, overlap=1.15)
    patch = moved(patch, lambda p: face_motion(p, float(side)))
    return _painted_lip(patch, person, body, np.broadcast_to(t, y.shape).ravel())


def _painted_lip(patch: Patch, person: Person, body: Field, t: Float64Array) -> Patch:
    s = np.abs(patch.means[:, 0]) / CORNER
    red = np.broadcast_to(np.asarray(person.lips), patch.means.shape).copy()
    red *= 1 - 0.10 * smoothstep(0.5, 1.0, s)[:, None]
    amount = smoothstep(-0.10, 0.22, t)[:, None] * (1 - 0.5 * smoothstep(0.90, 1.04, s))[:, None]
    albedo = skin_albedo(patch.means, person) * (1 - amount) + red * amount
    color = lit(albedo, patch.means, patch.normals, body, gloss=0.20)
    order = np.arange(len(t)) // _COLUMNS  # rows turn inwards from the seam on
    wet = smoothstep(6.2, 8.5, order.astype(float))[:, None]
    seam = np.exp(-(((order - 7.0) / 0.8) ** 2))[:, None]
    color = color * (1 - 0.35 * seam) * (1 - wet) + np.asarray(person.lips) * 0.42 * wet
    return with_color(patch, np.clip(color, 0, 1))


def _arch_z(x: Float64Array, front: float) -> Float64Array:
    """Depth [n] of the row of teeth, an arch that ends at the back on both sides."""
    arch: Float64Array = front + 0.030 * (np.abs(x) / 0.026) ** 2.6
    return arch


def _teeth(lower: bool, lip_front: float) -> Patch:
    """Ten teeth of six Gaussians, with gums; the lower ones ride on the jaw."""
    widths = np.array([0.0083, 0.0066, 0.0072, 0.0062, 0.0062]) * (0.72 if lower else 1.0)
    edges = np.concatenate([[0.0], np.cumsum(widths)])
    centers = (edges[:-1] + edges[1:]) / 2
    quarters = np.concatenate([centers - widths * 0.22, centers + widths * 0.22])
    x = np.sort(np.concatenate([-quarters, quarters]))
    tooth = np.searchsorted(edges, np.abs(x)) - 1
    rows = (
        np.array([-0.0085, -0.0058, -0.0034, -0.0011])
        if not lower
        else np.array([0.0085, 0.0058, 0.0036, 0.0016])
    )
    tip = np.array([0.0, 0.0007, 0.0002, 0.0009, 0.0014])[tooth] * (-1.0 if not lower else 1.0)
    y = (
        MOUTH_Y
        + rows[:, None] * np.array([1.0])
        + (0.0002 if not lower else 0.0020)
        + tip * np.array([0, 0, 0.3, 1.0])[:, None]
    )
    z = np.broadcast_to(_arch_z(x, lip_front + (0.0015 if lower else 0.0)), y.shape)
    patch = grid_patch(np.stack([np.broadcast_to(x, y.shape), y, z], axis=-1), 0.96, overlap=0.95)
    side = np.exp(-((np.abs(x) / 0.019) ** 4))
    split = 1 - 0.10 * (np.arange(len(x)) % 2)
    row_light = np.array([0.0, 0.86, 1.0, 0.97])[:, None]
    white = (side * split * row_light)[..., None] * np.array([0.90, 0.885, 0.85]) * (0.86 if lower else 1.0)
    white = np.where(row_light[..., None] == 0, side[None, :, None] * np.array([0.62, 0.30, 0.30]), white)
    patch = with_color(patch, np.clip(white.reshape(-1, 3) + 0.02, 0, 1))
    return _with_jaw(patch, np.ones(len(patch))) if lower else patch


def _with_jaw(patch: Patch, share: Float64Array) -> Patch:
    basis = patch.basis.copy()
    basis[:, :3, COEFFICIENT_NAMES.index("open")] = jaw_motion(patch.means) * share[:, None]
    basis[:, 0, COEFFICIENT_NAMES.index("jaw_side")] = JAW_SIDE_M * share
    return replace(patch, basis=basis)


def _hollow(lip_front: float) -> Patch:
    """The dark bag behind the teeth: its upper rows stay, its lower rows go down with the jaw."""
    x, share = np.meshgrid(np.linspace(-0.0200, 0.0200, 13), np.linspace(0, 1, 9))
    y = MOUTH_Y - 0.010 + 0.020 * share
    z = lip_front + 0.026 - 0.018 * (x / 0.0235) ** 2
    patch = grid_patch(np.stack([x, y, z], axis=-1), 0.98, overlap=1.3)
    light = 0.35 + 0.65 * (1 - np.abs(x / 0.0235) ** 2)
    color = np.array([0.20, 0.055, 0.055]) * light.ravel()[:, None]
    share = np.clip(1.15 * share.ravel(), 0, 1)
    patch = _with_jaw(with_color(patch, color), share)
    basis = patch.basis.copy()
    basis[:, 8, COEFFICIENT_NAMES.index("open")] = 0.75
    # As wide as the opening: a wider one at rest would show through rounded cheeks.
    for name, wider in (("open", 0.15), ("wide", 0.25), ("smile", 0.20)):
        basis[:, 0, COEFFICIENT_NAMES.index(name)] = wider * patch.means[:, 0]
    basis[:, 1, COEFFICIENT_NAMES.index("lower_lip")] = 0.004 * share
    return replace(patch, basis=basis)


def _tongue(lip_front: float) -> Patch:
    u, v = np.meshgrid(np.linspace(-1, 1, 7), np.linspace(0, 1, 5))
    x = 0.0150 * u * (1 - 0.25 * v)
    y = MOUTH_Y + 0.0105 - 0.0035 * (1 - u**2) - 0.003 * v
    z = lip_front + 0.0055 + 0.016 * v + 0.003 * u**2
    patch = grid_patch(np.stack([x, y, z], axis=-1), 0.96, overlap=1.25)
    light = (0.92 - 0.45 * v.ravel() - 0.12 * (np.abs(u.ravel()) < 0.1))[:, None]
    return _with_jaw(with_color(patch, np.array([0.66, 0.30, 0.31]) * light), np.full(len(patch), 0.92))


def mouth(person: Person, body: Field) -> Patch:
    """Lips and everything behind them; `body` is the distance field of the face around them."""
    lip_front = float(front_of(body, np.array([[0.0, MOUTH_Y]]))[0, 2]) + 0.0085
    parts = [_lip(person, body, -1), _lip(person, body, 1)]
    parts += [_teeth(False, lip_front), _teeth(True, lip_front), _tongue(lip_front), _hollow(lip_front)]
    whole = join(parts)
    # The back teeth would shine through cheeks that rounding has stretched, and are never seen otherwise.
    return pick(whole, np.abs(whole.means[:, 0]) < 0.0255)
