"""The lights of the preview and how skin, eyes, cloth and hair answer them; all colours linear RGB.

Diffuse light wraps around soft skin, red the farthest (a stand-in for scattering below it); highlights
are Blinn-Phong with Schlick's Fresnel term; hair is Kajiya & Kay's (1989).
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from splatface.models.render.jit import kernel

__all__ = ["LIGHTS", "Lights", "light_strands", "light_surface"]

Array = NDArray[Any]
f4 = np.float32


@dataclass(frozen=True, slots=True, eq=False)
class Lights:
    """Far lights, the first one casts shadows, and light from all around. World axes (y down)."""

    towards: Array  # [L, 3] f32 unit, from the scene to the light
    colours: Array  # [L, 3] f32
    sky: Array  # [3] f32 from above
    ground: Array  # [3] f32 from below


def _lights() -> Lights:
    placed = (  # towards, strength, colour
        ((-0.85, -0.70, -1.15), 1.75, (1.0, 0.93, 0.85)),  # key
        ((1.10, -0.10, -1.20), 0.42, (0.92, 0.95, 1.0)),  # fill
        ((-0.80, -0.65, 0.90), 0.80, (1.0, 0.97, 0.93)),  # rim
        ((0.85, -0.55, 0.85), 1.00, (0.90, 0.95, 1.0)),  # rim
    )
    towards = np.array([way for way, _, _ in placed])
    return Lights(
        towards=(towards / np.linalg.norm(towards, axis=1, keepdims=True)).astype(np.float32),
        colours=np.array([np.multiply(strength, colour) for _, strength, colour in placed], np.float32),
        sky=np.array([0.62, 0.66, 0.72], np.float32),
        ground=np.array([0.30, 0.27, 0.25], np.float32),
    )


LIGHTS: Final = _lights()
# Columns of a surface's material: how far light wraps (r, g, b), gloss exponent, gloss strength.
MATERIAL: Final = 5


@kernel
def light_surface(seen, surface, lights, shadow, eye, color):  # type: ignore[no-untyped-def]
    """Colour of every pixel where a triangle is seen.

    Args:
        seen: (owner [H, W] i32, -1 where nothing is; triangles [F, 3]; screens [P, 3]).
        surface: (points [P, 3], normals [P, 3], albedo [P, 3], openness [P], materials [P, 5]).
        lights: (towards [L, 3], colours [L, 3], sky [3], ground [3]).
        shadow: (depth map [S, S], T [4, 4] world to map: x, y px and nearness, which is linear).
        eye: [3] the camera's place.
        color: [H, W, 3] written.
    """
    owner, triangles, screens = seen
    points, normals, albedo, openness, materials = surface
    towards, colours, sky, ground = lights
    height, width = owner.shape
    for y in range(height):
        for x in range(width):
            face = owner[y, x]
            if face < 0:
                continue
            a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
            px, py = f4(x) + f4(0.5), f4(y) + f4(0.5)
            abx, aby = screens[b, 0] - screens[a, 0], screens[b, 1] - screens[a, 1]
            acx, acy = screens[c, 0] - screens[a, 0], screens[c, 1] - screens[a, 1]
            apx, apy = px - screens[a, 0], py - screens[a, 1]
            area = abx * acy - aby * acx
            v, w = (apx * acy - apy * acx) / area, (abx * apy - aby * apx) / area
            u = 1 - v - w
            # Perspective: weights over depth.
            u, v, w = u * screens[a, 2], v * screens[b, 2], w * screens[c, 2]
            total = u + v + w
            u, v, w = u / total, v / total, w / total
            nx = u * normals[a, 0] + v * normals[b, 0] + w * normals[c, 0]
            ny = u * normals[a, 1] + v * normals[b, 1] + w * normals[c, 1]
            nz = u * normals[a, 2] + v * normals[b, 2] + w * normals[c, 2]
            x3 = u * points[a, 0] + v * points[b, 0] + w * points[c, 0]
            y3 = u * points[a, 1] + v * points[b, 1] + w * points[c, 1]
            z3 = u * points[a, 2] + v * points[b, 2] + w * points[c, 2]
            ex, ey, ez = eye[0] - x3, eye[1] - y3, eye[2] - z3
            length = np.sqrt(ex * ex + ey * ey + ez * ez)
            ex, ey, ez = ex / length, ey / length, ez / length
            length = np.sqrt(nx * nx + ny * ny + nz * nz) + f4(1e-12)
            # An inner side (the back of the lips) is lit like an outer one.
            side = f4(1) if nx * ex + ny * ey + nz * ez >= 0 else f4(-1)
            nx, ny, nz = side * nx / length, side * ny / length, side * nz / length
            open_ = u * openness[a] + v * openness[b] + w * openness[c]
            lit = shadow_at(shadow, x3 + f4(0.002) * nx, y3 + f4(0.002) * ny, z3 + f4(0.002) * nz)
            up = f4(0.5) - f4(0.5) * ny
            gloss = f4(0)
            red = open_ * (ground[0] + up * (sky[0] - ground[0]))
            green = open_ * (ground[1] + up * (sky[1] - ground[1]))
            blue = open_ * (ground[2] + up * (sky[2] - ground[2]))
            shine_r, shine_g, shine_b = f4(0), f4(0), f4(0)
            exponent, strength = (
                materials[a, 3],
                materials[a, 4] * u + materials[b, 4] * v + materials[c, 4] * w,
            )
            for light in range(len(towards)):
                lx, ly, lz = towards[light, 0], towards[light, 1], towards[light, 2]
                cosine = nx * lx + ny * ly + nz * lz
                # Where there is no shadow map, closed places get little of a light.
                arrives = lit if light == 0 else f4(0.25) + f4(0.75) * open_
                red += arrives * colours[light, 0] * wrapped(cosine, materials[a, 0])
                green += arrives * colours[light, 1] * wrapped(cosine, materials[a, 1])
                blue += arrives * colours[light, 2] * wrapped(cosine, materials[a, 2])
                if cosine > 0:
                    hx, hy, hz = lx + ex, ly + ey, lz + ez
                    length = np.sqrt(hx * hx + hy * hy + hz * hz) + f4(1e-12)
                    half = max((nx * hx + ny * hy + nz * hz) / length, f4(0))
                    grazing = 1 - max((ex * hx + ey * hy + ez * hz) / length, f4(0))
                    fresnel = f4(0.04) + f4(0.96) * grazing**5
                    gloss = (
                        arrives * cosine * strength * fresnel * (exponent + 8) * f4(0.125) * half**exponent
                    )
                    shine_r += gloss * colours[light, 0]
                    shine_g += gloss * colours[light, 1]
                    shine_b += gloss * colours[light, 2]
            color[y, x, 0] = red * (u * albedo[a, 0] + v * albedo[b, 0] + w * albedo[c, 0]) + shine_r
            color[y, x, 1] = green * (u * albedo[a, 1] + v * albedo[b, 1] + w * albedo[c, 1]) + shine_g
            color[y, x, 2] = blue * (u * albedo[a, 2] + v * albedo[b, 2] + w * albedo[c, 2]) + shine_b


@kernel
def wrapped(cosine, around):  # type: ignore[no-untyped-def]
    """Lambert's cosine, or more beyond the edge of the shadow where light goes `around` (0..1)."""
    return max((cosine + around) / (1 + around), f4(0)) / (1 + f4(0.5) * around)


@kernel
def shadow_at(shadow, x3, y3, z3):  # type: ignore[no-untyped-def]
    """How much of the key light arrives at a place, 0..1: the mean of 5 x 5 neighbours, blurred between."""
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
    """Colours of strand points [S * per_strand, 3] into inks[:, :3]; albedo [S, 3], openness [S * K, 2].

    `openness` is how much of the key light and of the light all around gets there through the hair.
    """
    towards, colours, sky, ground = lights
    for i in range(len(points)):
        strand = i // per_strand
        j = i if (i + 1) % per_strand else i - 1
        tx, ty, tz = (
            points[j + 1, 0] - points[j, 0],
            points[j + 1, 1] - points[j, 1],
            points[j + 1, 2] - points[j, 2],
        )
        length = np.sqrt(tx * tx + ty * ty + tz * tz) + f4(1e-12)
        tx, ty, tz = tx / length, ty / length, tz / length
        ex, ey, ez = eye[0] - points[i, 0], eye[1] - points[i, 1], eye[2] - points[i, 2]
        length = np.sqrt(ex * ex + ey * ey + ez * ez)
        ex, ey, ez = ex / length, ey / length, ez / length
        red = f4(0.8) * openness[i, 1] * f4(0.5) * (sky[0] + ground[0])
        green = f4(0.8) * openness[i, 1] * f4(0.5) * (sky[1] + ground[1])
        blue = f4(0.8) * openness[i, 1] * f4(0.5) * (sky[2] + ground[2])
        shine_r, shine_g, shine_b = f4(0), f4(0), f4(0)
        for light in range(len(towards)):
            lx, ly, lz = towards[light, 0], towards[light, 1], towards[light, 2]
            arrives = openness[i, 0] if light == 0 else openness[i, 1]
            along = tx * lx + ty * ly + tz * lz
            sine = np.sqrt(max(1 - along * along, f4(0)))
            red += f4(0.75) * arrives * colours[light, 0] * sine
            green += f4(0.75) * arrives * colours[light, 1] * sine
            blue += f4(0.75) * arrives * colours[light, 2] * sine
            hx, hy, hz = lx + ex, ly + ey, lz + ez
            length = np.sqrt(hx * hx + hy * hy + hz * hz) + f4(1e-12)
            along = (tx * hx + ty * hy + tz * hz) / length
            # The scales of a hair tilt the white highlight to the root, the coloured one to the tip.
            white = max(1 - (along + f4(0.06)) ** 2, f4(0)) ** 45
            tinted = max(1 - (along - f4(0.10)) ** 2, f4(0)) ** 16
            shine_r += (
                arrives * colours[light, 0] * (f4(0.045) * white + f4(0.9) * tinted * albedo[strand, 0])
            )
            shine_g += (
                arrives * colours[light, 1] * (f4(0.045) * white + f4(0.9) * tinted * albedo[strand, 1])
            )
            shine_b += (
                arrives * colours[light, 2] * (f4(0.045) * white + f4(0.9) * tinted * albedo[strand, 2])
            )
        inks[i, 0] = red * albedo[strand, 0] + shine_r
        inks[i, 1] = green * albedo[strand, 1] + shine_g
        inks[i, 2] = blue * albedo[strand, 2] + shine_b
