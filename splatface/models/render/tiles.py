# SPDX-License-Identifier: Apache-2.0
"""Which Gaussians touch which tile, nearest first: radix sort by depth, then counting sort by tile."""

import numpy as np

from splatface.models.render.jit import kernel

__all__ = ["TILE_HEIGHT", "TILE_WIDTH", "bin_to_tiles", "sort_by_depth", "tile_grid"]

TILE_WIDTH, TILE_HEIGHT = 64, 64  # px; measured: docs/notes/2026-11-21-render.md
_DIGIT_BITS = 11
_DIGITS = 1 << _DIGIT_BITS
_KEY_MAX = np.float32(
    (1 << 2 * _DIGIT_BITS) - 1
)  # 22 bits over the depth of a head: a quarter of a micrometer
_DEPTH = 14  # position in a record


def tile_grid(width: int, height: int) -> tuple[int, int]:
    """Return the number of tiles across and down a canvas."""
    return -(-width // TILE_WIDTH), -(-height // TILE_HEIGHT)


@kernel
def sort_by_depth(records, boxes, orders, both_keys):  # type: ignore[no-untyped-def]
    """Write the indices of the visible Gaussians to orders[0], nearest first; return their number.

    orders [2, N] int32 and both_keys [2, N] uint32 are room to sort in.
    """
    order, order_spare, keys, keys_spare = orders[0], orders[1], both_keys[0], both_keys[1]
    visible = 0
    near, far = np.float32(1e30), np.float32(-1e30)
    for i in range(records.shape[0]):
        if boxes[i, 1] > boxes[i, 0]:
            order_spare[visible] = i
            visible += 1
            near, far = min(near, records[i, _DEPTH]), max(far, records[i, _DEPTH])
    scale = _KEY_MAX / max(far - near, np.float32(1e-12))
    low, high = np.zeros(_DIGITS, np.int32), np.zeros(_DIGITS, np.int32)
    for j in range(visible):
        key = np.uint32((records[order_spare[j], _DEPTH] - near) * scale)
        keys_spare[j] = key
        low[key & np.uint32(_DIGITS - 1)] += 1
        high[(key >> np.uint32(_DIGIT_BITS)) & np.uint32(_DIGITS - 1)] += 1
    start_low, start_high = 0, 0
    for digit in range(_DIGITS):
        count_low, count_high = low[digit], high[digit]
        low[digit], high[digit] = start_low, start_high
        start_low += count_low
        start_high += count_high
    for j in range(visible):
        key = keys_spare[j]
        digit = key & np.uint32(_DIGITS - 1)
        position = low[digit]
        low[digit] = position + 1
        keys[position] = key
        order[position] = order_spare[j]
    for j in range(visible):
        digit = (keys[j] >> np.uint32(_DIGIT_BITS)) & np.uint32(_DIGITS - 1)
        position = high[digit]
        high[digit] = position + 1
        order_spare[position] = order[j]
    order[:visible] = order_spare[:visible]
    return visible


@kernel
def count_per_tile(order, visible, boxes, across, offsets):  # type: ignore[no-untyped-def]
    """Write the start of each tile's list to offsets [tiles + 1]; return the length of all lists."""
    offsets[:] = 0
    for j in range(visible):
        i = order[j]
        for row in range(boxes[i, 2], boxes[i, 3]):
            for column in range(boxes[i, 0], boxes[i, 1]):
                offsets[row * across + column + 1] += 1
    for tile in range(offsets.shape[0] - 1):
        offsets[tile + 1] += offsets[tile]
    return offsets[-1]


@kernel
def bin_to_tiles(order, visible, boxes, across, offsets, members):  # type: ignore[no-untyped-def]
    """Fill members with each tile's Gaussians, nearest first; False when it needs offsets[-1] entries."""
    if count_per_tile(order, visible, boxes, across, offsets) > members.shape[0]:
        return False
    cursors = offsets[:-1].copy()
    for j in range(visible):
        i = order[j]
        for row in range(boxes[i, 2], boxes[i, 3]):
            for column in range(boxes[i, 0], boxes[i, 1]):
                tile = row * across + column
                members[cursors[tile]] = i
                cursors[tile] += 1
    return True
