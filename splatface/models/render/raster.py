"""Front-to-back compositing of one tile after another, in blocks of 4 x 4 pixels.

A tile buffer holds, block after block, 16 reds, 16 greens, 16 blues and 16 transmittances.
"""

import math

import numpy as np

from splatface.models.render.conventions import ALPHA_MAX, TRANSMITTANCE_MIN
from splatface.models.render.finish import finish_extra, finish_tile
from splatface.models.render.jit import kernel
from splatface.models.render.project import LOG2_ALPHA_MIN, first_pixel, last_pixel
from splatface.models.render.simd import (
    add_to_counter,
    any_greater,
    columns,
    exp2,
    load,
    prefetch,
    rows,
    select_ge,
    splat,
    store,
    vec_min,
)
from splatface.models.render.tiles import TILE_HEIGHT, TILE_WIDTH

__all__ = [
    "BLOCKS_ACROSS",
    "BLOCKS_DOWN",
    "TILE_FLOATS",
    "WIDE",
    "block_mask",
    "draw_tiles",
    "start_exponent",
]

BLOCKS_ACROSS, BLOCKS_DOWN = TILE_WIDTH // 4, TILE_HEIGHT // 4
_BLOCK = 64  # floats of a block: four channels of 16 pixels
TILE_FLOATS = BLOCKS_ACROSS * BLOCKS_DOWN * _BLOCK
_ALL_OPEN = (1 << BLOCKS_ACROSS) - 1
WIDE = 8  # blocks: narrower ellipses are drawn by their box, the exact rows cost more than they save

f4 = np.float32
_ZERO, _HALF, _ONE, _TWO, _THREE, _FOUR = f4(0), f4(0.5), f4(1), f4(2), f4(3), f4(4)
_ALPHA_MAX, _DARK = f4(ALPHA_MAX), f4(TRANSMITTANCE_MIN)


@kernel
def clear_tile(buffer):  # type: ignore[no-untyped-def]
    """Nothing drawn: black, transmittance 1."""
    zero, one = splat(_ZERO), splat(_ONE)
    for block in range(BLOCKS_ACROSS * BLOCKS_DOWN):
        store(buffer, block * _BLOCK, zero)
        store(buffer, block * _BLOCK + 16, zero)
        store(buffer, block * _BLOCK + 32, zero)
        store(buffer, block * _BLOCK + 48, one)


@kernel
def block_mask(records, at, x, top):  # type: ignore[no-untyped-def]
    """Bits of the blocks that the ellipse touches in the four rows from dy = top on.

    The rim is widest to the right at dy = widest and to the left at -widest; within the strip of rows the
    nearest dy to that has the largest reach, because an ellipse is convex.
    """
    lean, along, stretch, widest = records[at + 10], records[at + 11], records[at + 12], records[at + 13]
    room = records[at + 5] - LOG2_ALPHA_MIN
    bottom = top + _THREE
    dy_right, dy_left = min(max(widest, top), bottom), min(max(-widest, top), bottom)
    right = lean * dy_right + f4(math.sqrt(max((room + along * dy_right * dy_right) * stretch, _ZERO)))
    left = lean * dy_left - f4(math.sqrt(max((room + along * dy_left * dy_left) * stretch, _ZERO)))
    first, last = first_pixel(x + left), last_pixel(x + right, TILE_WIDTH)
    if last < first:
        return np.int64(0)
    first, last = first >> 2, last >> 2
    return ((np.int64(2) << (last - first)) - 1) << first


@kernel
def start_exponent(records, at, dx, dy):  # type: ignore[no-untyped-def]
    """log2(alpha) in the block whose first pixel lies at (dx, dy) from the center, and how it goes on.

    A quadratic form needs only sums from block to block. Returns the exponent, its step to the right, its
    step down, how the step right changes downwards, how it changes to the right, how the step down changes.
    """
    a, b, c, peak = records[at + 2], records[at + 3], records[at + 4], records[at + 5]
    x, y = columns(), rows()
    slope_x, slope_y = _TWO * a * dx + b * dy, b * dx + _TWO * c * dy
    exponent = (splat(a) * x + splat(b) * y) * x + splat(c) * y * y
    exponent = exponent + splat(slope_x) * x + splat(slope_y) * y
    exponent = exponent + splat((a * dx + b * dy) * dx + c * dy * dy + peak)
    right = splat(f4(8) * a) * x + splat(_FOUR * b) * y + splat(_FOUR * slope_x + f4(16) * a)
    down = splat(_FOUR * b) * x + splat(f4(8) * c) * y + splat(_FOUR * slope_y + f4(16) * c)
    return exponent, right, down, splat(f4(16) * b), splat(f4(32) * a), splat(f4(32) * c)


@kernel
def _blend_extra(extra, i, extra_buffer, block, weight):  # type: ignore[no-untyped-def]
    """Add the extra channels of Gaussian i to a block."""
    channels = extra.shape[1]
    for k in range(channels):
        place = (block * channels + k) * 16
        store(extra_buffer, place, load(extra_buffer, place) + weight * splat(extra[i, k]))


@kernel
def blend_tile(records, members, first, last, corner, extra, tile):  # type: ignore[no-untyped-def]
    """Composite members[first:last] of flat records, and extra [N, C] or None, into one tile.

    corner is its (x, y) in the canvas, tile (buffer, extra buffer [blocks * C * 16], open blocks per row).
    """
    tile_x, tile_y = corner
    buffer, extra_buffer, open_blocks = tile
    clear_tile(buffer)
    if extra is not None:
        extra_buffer[:] = _ZERO
    open_blocks[:] = _ALL_OPEN
    open_rows = BLOCKS_DOWN
    faintest, most, dark, zero = splat(LOG2_ALPHA_MIN), splat(_ALPHA_MAX), splat(_DARK), splat(_ZERO)
    for j in range(first, last):
        prefetch(records, members[min(j + 6, last - 1)] * 16)
        at = members[j] * 16
        x, y = records[at] - f4(tile_x), records[at + 1] - f4(tile_y)
        reach_x, reach_y = records[at + 15], records[at + 9]
        row_first, row_last = first_pixel(y - reach_y) >> 2, last_pixel(y + reach_y, TILE_HEIGHT) >> 2
        block_first, block_last = first_pixel(x - reach_x) >> 2, last_pixel(x + reach_x, TILE_WIDTH) >> 2
        # Rounding may put a Gaussian that ends at the tile's edge just beside it: then there is no block.
        touched = ((np.int64(2) << max(block_last - block_first, 0)) - 1) << block_first
        red, green, blue = splat(records[at + 6]), splat(records[at + 7]), splat(records[at + 8])
        row_exponent, row_step, down, shift, turn_x, turn_y = start_exponent(
            records, at, f4(4 * block_first) + _HALF - x, f4(4 * row_first) + _HALF - y
        )
        for row in range(row_first, row_last + 1):
            exponent, step = row_exponent, row_step
            row_exponent, row_step, down = row_exponent + down, row_step + shift, down + turn_y
            open_here = open_blocks[row]
            wanted = open_here & touched
            if block_last - block_first >= WIDE and wanted != 0:
                wanted &= block_mask(records, at, x, f4(4 * row) + _HALF - y)
            if wanted == 0:
                continue
            for block in range(block_first, block_last + 1):
                if (wanted >> block) & 1 != 0:
                    place = (row * BLOCKS_ACROSS + block) * _BLOCK
                    alpha = select_ge(exponent, faintest, vec_min(exp2(exponent), most), zero)
                    through = load(buffer, place + 48)
                    weight = alpha * through
                    store(buffer, place, load(buffer, place) + weight * red)
                    store(buffer, place + 16, load(buffer, place + 16) + weight * green)
                    store(buffer, place + 32, load(buffer, place + 32) + weight * blue)
                    if extra is not None:
                        _blend_extra(extra, members[j], extra_buffer, row * BLOCKS_ACROSS + block, weight)
                    through = through - weight
                    store(buffer, place + 48, through)
                    if not any_greater(through, dark):
                        open_here &= ~(1 << block)
                        open_blocks[row] = open_here
                        if open_here == 0:
                            open_rows -= 1
                exponent = exponent + step
                step = step + turn_x
        if open_rows == 0:
            break


@kernel
def _room_for(extra):  # type: ignore[no-untyped-def]
    """A tile buffer for the extra channels; empty without them."""
    if extra is None:
        return np.empty(0, np.float32)
    return np.empty(BLOCKS_ACROSS * BLOCKS_DOWN * extra.shape[1] * 16, np.float32)


@kernel
def draw_tiles(records, extra, bins, counter, background, supersample, picture):  # type: ignore[no-untyped-def]
    """Draw the tiles that no other thread has taken yet (counter [1] int64 says which), until none is left.

    records flat, extra [N, C] or None (compiled without them), bins (members, offsets, tile_order, tiles
    across), picture (image [H, W, 3 | 4], transmittance [H, W] or [0, 0], extra [H, W, C] or [0, 0, 0]).
    """
    members, offsets, tile_order, across = bins
    image, transmittance, others = picture
    buffer = np.empty(TILE_FLOATS, np.float32)
    extra_buffer = _room_for(extra)
    parts = (buffer, extra_buffer, np.empty(BLOCKS_DOWN, np.int64))
    while True:
        turn = add_to_counter(counter, 1)
        if turn >= tile_order.shape[0]:
            break
        tile = tile_order[turn]
        corner = ((tile % across) * TILE_WIDTH, (tile // across) * TILE_HEIGHT)
        blend_tile(records, members, offsets[tile], offsets[tile + 1], corner, extra, parts)
        finish_tile(buffer, corner[0], corner[1], background, supersample, image, transmittance)
        if extra is not None:
            finish_extra(extra_buffer, corner[0], corner[1], supersample, others)
