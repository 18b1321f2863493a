# SPDX-License-Identifier: Apache-2.0
"""Lights of the preview, and the shading of skin, eyes, cloth and hair; all colors linear RGB.

Diffuse light wraps around soft skin, red the farthest (a stand-in for scattering below it); highlights
are Blinn-Phong with Schlick's Fresnel term; hair is Kajiya & Kay's (1989).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from splatface.models.render.jit import kernel
from splatface.models.typing import AnyArray

__all__ = ["LIGHTS", "Lights", "light_strands", "light_surface"]


f4 = np.float32
_LIFT = f4(0.002)  # m above the surface where its shadow is asked for


@dataclass(frozen=True, slots=True, eq=False)
class Lights:
    """Far lights, the first one casts shadows, and light from all around. World axes (y down)."""

    towards: AnyArray  # [L, 3] f32 unit, from the scene to the light
    colors: AnyArray  # [L, 3] f32
    sky: AnyArray  # [3] f32 from above
    ground: AnyArray  # [3] f32 from below


def _lights() -> Lights:
    placed = (  # towards, strength, color
        ((-0.85, -0.70, -1.15), 1.75, (1.0, 0.93, 0.85)),  # key
        ((1.10, -0.10, -1.20), 0.42, (0.92, 0.95, 1.0)),  # fill
        ((-0.80, -0.65, 0.90), 0.80, (1.0, 0.97, 0.93)),  # rim
        ((0.85, -0.55, 0.85), 1.00, (0.90, 0.95, 1.0)),  # rim
    )
    towards = np.array([way for way, _, _ in placed])
    return Lights(
        towards=(towards / np.linalg.norm(towards, axis=1, keepdims=True)).astype(np.float32),
        colors=np.array([np.multiply(strength, color) for _, strength, color in placed], np.float32),
        sky=np.array([0.62, 0.66, 0.72], np.float32),
        ground=np.array([0.30, 0.27, 0.25], np.float32),
    )


LIGHTS: Final = _lights()
# Columns of a surface's material: how far light wraps (r, g, b), gloss exponent, gloss strength.
MATERIAL: Final = 5


@kernel
def light_surface(seen, surface, lights, shadow, eye, color):  # type: ignore[no-untyped-def]
    """Color of every pixel where a triangle is seen.

    Args:
        seen: (owner [H, W] i32, -1 where nothing is; triangles [F, 3]; screens [P, 3]).
        surface: (points [P, 3], normals [P, 3], albedo [P, 3], openness [P], materials [P, 5]).
        lights: (towards [L, 3], colors [L, 3], sky [3], ground [3]).
        shadow: (depth map [S, S], T [4, 4] world to map: x, y px and nearness, which is linear).
        eye: [3] the camera's place.
        color: [H, W, 3] written.
    """
    owner, triangles, screens = seen
    points, normals, albedo, openness, materials = surface
    height, width = owner.shape
    for y in range(height):
        for x in range(width):
            if owner[y, x] < 0:
                continue
            corners = triangles[owner[y, x]]
            shares = _shares(screens, corners, f4(x) + f4(0.5), f4(y) + f4(0.5))
            place = _mixed(points, corners, shares)
            to_eye = _unit(eye[0] - place[0], eye[1] - place[1], eye[2] - place[2])
            normal = _mixed(normals, corners, shares)
            # An inner side (the back of the lips) is lit like an outer one.
            side = f4(1) if _dot(normal, to_eye) >= 0 else f4(-1)
            normal = _unit(side * normal[0], side * normal[1], side * normal[2])
            open_ = _mixed_one(openness, corners, shares)
            material = materials[corners[0]]
            strength = _mixed_one(materials[:, 4], corners, shares)
            above = (place[0] + _LIFT * normal[0], place[1] + _LIFT * normal[1], place[2] + _LIFT * normal[2])
            lit = shadow_at(shadow, above[0], above[1], above[2])
            diffuse, shine = _shade((normal, to_eye), (lit, open_), lights, material, strength)
            paint = _mixed(albedo, corners, shares)
            for channel in range(3):
                color[y, x, channel] = diffuse[channel] * paint[channel] + shine[channel]


@kernel
def _shares(screens, corners, px, py):  # type: ignore[no-untyped-def]
    """Return the perspective-correct barycentric weights of a pixel in a triangle."""
    a, b, c = corners[0], corners[1], corners[2]
    abx, aby = screens[b, 0] - screens[a, 0], screens[b, 1] - screens[a, 1]
    acx, acy = screens[c, 0] - screens[a, 0], screens[c, 1] - screens[a, 1]
    apx, apy = px - screens[a, 0], py - screens[a, 1]
    area = abx * acy - aby * acx
    v, w = (apx * acy - apy * acx) / area, (abx * apy - aby * apx) / area
    u, v, w = (1 - v - w) * screens[a, 2], v * screens[b, 2], w * screens[c, 2]
    total = u + v + w
    return u / total, v / total, w / total


@kernel
def _mixed_one(values, corners, shares):  # type: ignore[no-untyped-def]
    return shares[0] * values[corners[0]] + shares[1] * values[corners[1]] + shares[2] * values[corners[2]]


@kernel
def _mixed(values, corners, shares):  # type: ignore[no-untyped-def]
    return (
        _mixed_one(values[:, 0], corners, shares),
        _mixed_one(values[:, 1], corners, shares),
        _mixed_one(values[:, 2], corners, shares),
    )


@kernel
def _unit(x, y, z):  # type: ignore[no-untyped-def]
    length = np.sqrt(x * x + y * y + z * z) + f4(1e-12)
    return x / length, y / length, z / length


@kernel
def _dot(a, b):  # type: ignore[no-untyped-def]
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel
def _shade(directions, arriving, lights, material, strength):  # type: ignore[no-untyped-def]
    """Diffuse light and gloss, (r, g, b) each, of a surface.

    Args:
        directions: (normal, to_eye), unit.
        arriving: (share of the key light, openness).
        lights: as for `light_surface`.
        material: [5].
        strength: of the gloss.
    """
    normal, to_eye = directions
    lit, open_ = arriving
    towards, colors, sky, ground = lights
    up = f4(0.5) - f4(0.5) * normal[1]
    red = open_ * (ground[0] + up * (sky[0] - ground[0]))
    green = open_ * (ground[1] + up * (sky[1] - ground[1]))
    blue = open_ * (ground[2] + up * (sky[2] - ground[2]))
    shine = (f4(0), f4(0), f4(0))
    for light in range(len(towards)):
        way = (towards[light, 0], towards[light, 1], towards[light, 2])
        cosine = _dot(normal, way)
        # Where there is no shadow map, closed places get little of a light.
        arrives = lit if light == 0 else f4(0.25) + f4(0.75) * open_
        red += arrives * colors[light, 0] * wrapped(cosine, material[0])
        green += arrives * colors[light, 1] * wrapped(cosine, material[1])
        blue += arrives * colors[light, 2] * wrapped(cosine, material[2])
        if cosine > 0:
            gloss = arrives * cosine * strength * _gloss(normal, to_eye, way, material[3])
            shine = (
                shine[0] + gloss * colors[light, 0],
                shine[1] + gloss * colors[light, 1],
                shine[2] + gloss * colors[light, 2],
            )
    return (red, green, blue), shine


@kernel
def _gloss(normal, to_eye, way, exponent):  # type: ignore[no-untyped-def]
    """Blinn-Phong with Schlick's Fresnel term, normalised so that a sharper highlight is a brighter one."""
    half = _unit(way[0] + to_eye[0], way[1] + to_eye[1], way[2] + to_eye[2])
    fresnel = f4(0.04) + f4(0.96) * (1 - max(_dot(to_eye, half), f4(0))) ** 5
    return fresnel * (exponent + 8) * f4(0.125) * max(_dot(normal, half), f4(0)) ** exponent


@kernel
def wrapped(cosine, around):  # type: ignore[no-untyped-def]
    """Lambert's cosine, or more beyond the edge of the shadow where light goes `around` (0..1)."""
    return max((cosine + around) / (1 + around), f4(0)) / (1 + f4(0.5) * around)


@kernel
def shadow_at(shadow, x3, y3, z3):  # type: ignore[no-untyped-def]
    """Return the fraction 0..1 of the key light that arrives: the mean of 5 x 5 neighbors, interpolated."""
    depths, t = shadow
    size = len(depths)
    x = t[0, 0] * x3 + t[0, 1] * y3 + t[0, 2] * z3 + t[0, 3] - f4(0.5)
    y = t[1, 0] * x3 + t[1, 1] * y3 + t[1, 2] * z3 + t[1, 3] - f4(0.5)
    near = t[2, 0] * x3 + t[2, 1] * y3 + t[2, 2] * z3 + t[2, 3]
    column, row = int(np.floor(x)), int(np.floor(y))
    if column < 3 or row < 3 or column >= size - 4 or row >= size - 4:
        return f4(1)
    fx, fy = x - f4(column), y - f4(row)
    lit, total = f4(0), f4(0)
    for j in range(-2, 4):
        wy = 1 - fy if j == -2 else (fy if j == 3 else f4(1))
        for i in range(-2, 4):
            wx = 1 - fx if i == -2 else (fx if i == 3 else f4(1))
            total += wx * wy
            if depths[row + j, column + i] < near + f4(0.003):
                lit += wx * wy
    return lit / total


@kernel
def light_strands(points, per_strand, albedo, openness, lights, eye, inks):  # type: ignore[no-untyped-def]
    """Colors of strand points [S * per_strand, 3] into inks[:, :3]; albedo [S, 3], openness [S * K, 2].

    `openness` is how much of the key light and of the light all around gets there through the hair.
    """
    towards, colors, sky, ground = lights
    for i in range(len(points)):
        j = i if (i + 1) % per_strand else i - 1
        tangent = _unit(
            points[j + 1, 0] - points[j, 0], points[j + 1, 1] - points[j, 1], points[j + 1, 2] - points[j, 2]
        )
        to_eye = _unit(eye[0] - points[i, 0], eye[1] - points[i, 1], eye[2] - points[i, 2])
        for channel in range(3):
            around = f4(0.4) * openness[i, 1] * (sky[channel] + ground[channel])
            inks[i, channel] = around * albedo[i // per_strand, channel]
        for light in range(len(towards)):
            arrives = openness[i, 0] if light == 0 else openness[i, 1]
            sine, white, tinted = _hair(tangent, to_eye, towards[light])
            for channel in range(3):
                paint = albedo[i // per_strand, channel]
                answer = (f4(0.75) * sine + f4(0.9) * tinted) * paint + f4(0.045) * white
                inks[i, channel] += arrives * colors[light, channel] * answer


@kernel
def _hair(tangent, to_eye, way):  # type: ignore[no-untyped-def]
    """Diffuse share, white and colored highlight of a strand (Kajiya & Kay 1989)."""
    along = _dot(tangent, way)
    half = _unit(way[0] + to_eye[0], way[1] + to_eye[1], way[2] + to_eye[2])
    across = _dot(tangent, half)
    # The scales of a hair tilt the white highlight to the root, the colored one to the tip.
    white = max(1 - (across + f4(0.06)) ** 2, f4(0)) ** 45
    tinted = max(1 - (across - f4(0.10)) ** 2, f4(0)) ** 16
    return np.sqrt(max(1 - along * along, f4(0))), white, tinted
