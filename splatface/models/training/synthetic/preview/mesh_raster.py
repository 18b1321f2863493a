# SPDX-License-Identifier: Apache-2.0
"""Rasterization of triangles into a z-buffer and of strands over it, for the preview renderer.

Screens are [.., 3] f32: x and y in pixels (a pixel's center at .5), inverse depth 1/z as third, which is
linear on the screen, so that nearer is larger and 0 is infinitely far.
"""

import numpy as np

from splatface.models.render.jit import kernel

__all__ = [
    "NOTHING",
    "cover",
    "draw_strands",
    "fill_triangles",
    "mark_strands",
    "to_screen",
    "vertex_normals",
]

NOTHING = -1  # of a pixel where no triangle is
f4 = np.float32
_NEAR_M = f4(0.05)


@kernel
def to_screen(points, T_camera_world, lens):  # type: ignore[no-untyped-def]
    """Points [P, 3] to screens [P, 3], third 0 behind the camera; lens (fx, fy, cx, cy)."""
    screens = np.zeros((len(points), 3), f4)
    t = T_camera_world
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        depth = t[2, 0] * x + t[2, 1] * y + t[2, 2] * z + t[2, 3]
        if depth > _NEAR_M:
            screens[i, 0] = lens[0] * (t[0, 0] * x + t[0, 1] * y + t[0, 2] * z + t[0, 3]) / depth + lens[2]
            screens[i, 1] = lens[1] * (t[1, 0] * x + t[1, 1] * y + t[1, 2] * z + t[1, 3]) / depth + lens[3]
            screens[i, 2] = 1 / depth
    return screens


@kernel
def vertex_normals(points, triangles):  # type: ignore[no-untyped-def]
    """Return unit normals [P, 3] of a mesh, faces weighted by area; (b - a) x (c - a) points out."""
    normals = np.zeros((len(points), 3), f4)
    for face in range(len(triangles)):
        a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in range(3):
            i = triangles[face, corner]
            normals[i, 0] += nx
            normals[i, 1] += ny
            normals[i, 2] += nz
    for i in range(len(points)):
        length = np.sqrt(normals[i, 0] ** 2 + normals[i, 1] ** 2 + normals[i, 2] ** 2) + f4(1e-20)
        for axis in range(3):
            normals[i, axis] /= length
    return normals


@kernel
def fill_triangles(screens, triangles, nearness, owner):  # type: ignore[no-untyped-def]
    """Write the nearest triangle's number into `owner` [H, W] i32 and its 1/z into `nearness` [H, W]."""
    height, width = nearness.shape
    for face in range(len(triangles)):
        a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        ax, ay, az = screens[a, 0], screens[a, 1], screens[a, 2]
        bx, by, bz = screens[b, 0], screens[b, 1], screens[b, 2]
        cx, cy, cz = screens[c, 0], screens[c, 1], screens[c, 2]
        if az <= 0 or bz <= 0 or cz <= 0:
            continue
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < f4(1e-9):
            continue
        left, right = min(ax, bx, cx), max(ax, bx, cx)
        top, bottom = min(ay, by, cy), max(ay, by, cy)
        if right < 0 or bottom < 0 or left > width or top > height:
            continue
        x0, x1 = max(int(left - f4(0.5)), 0), min(int(right + f4(0.5)), width - 1)
        y0, y1 = max(int(top - f4(0.5)), 0), min(int(bottom + f4(0.5)), height - 1)
        inverse = 1 / area
        for y in range(y0, y1 + 1):
            py = f4(y) + f4(0.5)
            for x in range(x0, x1 + 1):
                px = f4(x) + f4(0.5)
                v = ((px - ax) * (cy - ay) - (py - ay) * (cx - ax)) * inverse
                w = ((bx - ax) * (py - ay) - (by - ay) * (px - ax)) * inverse
                u = 1 - v - w
                if u < f4(-1e-5) or v < f4(-1e-5) or w < f4(-1e-5):
                    continue
                near = u * az + v * bz + w * cz
                if near > nearness[y, x]:
                    nearness[y, x] = near
                    owner[y, x] = face


@kernel
def cover(color, hidden, label, at, ink):  # type: ignore[no-untyped-def]
    """Blend ink (r, g, b, opacity, label) over one pixel at (y, x)."""
    y, x = at
    red, green, blue, alpha, name = ink
    color[y, x, 0] += alpha * (red - color[y, x, 0])
    color[y, x, 1] += alpha * (green - color[y, x, 1])
    color[y, x, 2] += alpha * (blue - color[y, x, 2])
    hidden[y, x] += alpha * (1 - hidden[y, x])
    if hidden[y, x] > f4(0.5):
        label[y, x] = name


@kernel
def draw_strands(segments, screens, inks, widths, buffers):  # type: ignore[no-untyped-def]
    """Draw segments, farthest first, as smooth thin lines over what is behind them.

    Args:
        segments: [S] i64 numbers of first points, in order of drawing; the second point is the next one.
        screens: [P, 3].
        inks: [P, 5] f32 color, opacity, label of each point.
        widths: [P] px.
        buffers: (color [H, W, 3], hidden [H, W], label [H, W], nearness [H, W]).
    """
    color, hidden, label, nearness = buffers
    height, width = nearness.shape
    for number in range(len(segments)):
        i = segments[number]
        ax, ay, az = screens[i, 0], screens[i, 1], screens[i, 2]
        bx, by, bz = screens[i + 1, 0], screens[i + 1, 1], screens[i + 1, 2]
        if az <= 0 or bz <= 0:
            continue
        dx, dy = bx - ax, by - ay
        steep = abs(dy) > abs(dx)
        long, short = (dy, dx) if steep else (dx, dy)
        if abs(long) < f4(1e-6):
            continue
        slope = short / long
        # Along the long axis every pixel once, so that the joints of a strand are not drawn twice.
        begin, end = (ay, by) if steep else (ax, bx)
        low, high = min(begin, end), max(begin, end)
        limit = height if steep else width
        first, last = max(int(np.ceil(low - f4(0.5))), 0), min(int(np.ceil(high - f4(0.5))), limit)
        stretch = np.sqrt(1 + slope * slope)
        for along in range(first, last):
            share = (f4(along) + f4(0.5) - begin) / long
            near = az + share * (bz - az)
            half = f4(0.5) * (widths[i] + share * (widths[i + 1] - widths[i])) * stretch
            middle = (ax if steep else ay) + share * short
            alpha = inks[i, 3] + share * (inks[i + 1, 3] - inks[i, 3])
            side = int(np.floor(middle - half))
            across = width if steep else height
            while f4(side) < middle + half:
                inside = min(f4(side + 1), middle + half) - max(f4(side), middle - half)
                y, x = (along, side) if steep else (side, along)
                if 0 <= side < across and inside > 0 and near > nearness[y, x]:
                    ink = (
                        inks[i, 0] + share * (inks[i + 1, 0] - inks[i, 0]),
                        inks[i, 1] + share * (inks[i + 1, 1] - inks[i, 1]),
                        inks[i, 2] + share * (inks[i + 1, 2] - inks[i, 2]),
                        alpha * inside,
                        np.uint8(inks[i, 4]),
                    )
                    cover(color, hidden, label, (y, x), ink)
                side += 1


@kernel
def mark_strands(screens, per_strand, nearness):  # type: ignore[no-untyped-def]
    """Strands [S * per_strand, 3] into a depth map, one pixel wide: what casts shadows."""
    height, width = nearness.shape
    for i in range(len(screens) - 1):
        if (i + 1) % per_strand == 0:
            continue
        steps = int(max(abs(screens[i + 1, 0] - screens[i, 0]), abs(screens[i + 1, 1] - screens[i, 1]))) + 1
        for step in range(steps):
            share = f4(step) / f4(steps)
            x = int(screens[i, 0] + share * (screens[i + 1, 0] - screens[i, 0]))
            y = int(screens[i, 1] + share * (screens[i + 1, 1] - screens[i, 1]))
            near = screens[i, 2] + share * (screens[i + 1, 2] - screens[i, 2])
            if 0 <= x < width and 0 <= y < height and near > nearness[y, x]:
                nearness[y, x] = near
