"""Gradients of the compositing: one front-to-back pass per tile, as the forward one.

What lies behind a Gaussian is the whole picture minus what came before it, so nothing is walked backwards.
Per Gaussian the pass leaves moments of v = dL/d ln(alpha) about its center and sums for its colors:
0 sum v, 1 v dx, 2 v dy, 3 v dx^2, 4 v dx dy, 5 v dy^2, 6-8 dL/dcolor, 9... dL/dextra.
"""

import numpy as np

from splatface.models.render.conventions import ALPHA_MAX, TRANSMITTANCE_MIN
from splatface.models.render.jit import kernel
from splatface.models.render.project import LOG2_ALPHA_MIN, first_pixel, last_pixel
from splatface.models.render.raster import BLOCKS_ACROSS, BLOCKS_DOWN, WIDE, block_mask, start_exponent
from splatface.models.render.simd import (
    add_to_counter,
    any_greater,
    columns,
    exp2,
    horizontal_sum,
    load,
    prefetch,
    rows,
    select_ge,
    splat,
    store,
)
from splatface.models.render.tiles import TILE_HEIGHT, TILE_WIDTH

__all__ = ["MOMENTS", "backward_tiles"]

MOMENTS = 9
_BLOCK = 80  # floats of a block: dL/dimage 3, what is still to come 1, transmittance 1, times 16 pixels
_ALL_OPEN = (1 << BLOCKS_ACROSS) - 1

f4 = np.float32
_ZERO, _HALF, _ONE, _TWO, _FOUR = f4(0), f4(0.5), f4(1), f4(2), f4(4)
_ALPHA_MAX, _DARK = f4(ALPHA_MAX), f4(TRANSMITTANCE_MIN)


@kernel
def _begin_tile(buffer, extra_buffer, tile_x, tile_y, picture, slopes):  # type: ignore[no-untyped-def]
    """Lay the gradients of the picture into the tile; outside the picture they are 0."""
    image, through, others = picture
    d_image, d_through, d_others = slopes
    channels = others.shape[2]
    buffer[:] = _ZERO
    extra_buffer[:] = _ZERO
    for y in range(TILE_HEIGHT):
        for x in range(TILE_WIDTH):
            block = (y >> 2) * BLOCKS_ACROSS + (x >> 2)
            lane = (y & 3) * 4 + (x & 3)
            place = block * _BLOCK + lane
            buffer[place + 64] = _ONE
            if tile_y + y >= image.shape[0] or tile_x + x >= image.shape[1]:
                continue
            to_come = d_through[tile_y + y, tile_x + x] * through[tile_y + y, tile_x + x]
            for c in range(3):
                slope = d_image[tile_y + y, tile_x + x, c]
                buffer[place + 16 * c] = slope
                to_come += slope * image[tile_y + y, tile_x + x, c]
            for c in range(channels):
                slope = d_others[tile_y + y, tile_x + x, c]
                extra_buffer[(block * channels + c) * 16 + lane] = slope
                to_come += slope * others[tile_y + y, tile_x + x, c]
            buffer[place + 48] = to_come


@kernel
def _backward_tile(records, members, first, last, corner, extra, tile, grads):  # type: ignore[no-untyped-def]
    """Walk members[first:last] as `blend_tile` does and add to grads [N, 9 + C]."""
    tile_x, tile_y = corner
    buffer, extra_buffer, extra_sums, open_blocks = tile
    channels = extra.shape[1]
    open_blocks[:] = _ALL_OPEN
    open_rows = BLOCKS_DOWN
    lane_x, lane_y = columns(), rows()
    faintest, most, dark = splat(LOG2_ALPHA_MIN), splat(_ALPHA_MAX), splat(_DARK)
    zero, one = splat(_ZERO), splat(_ONE)
    for j in range(first, last):
        prefetch(records, members[min(j + 6, last - 1)] * 16)
        i = members[j]
        at = i * 16
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
        m, m_x, m_y, m_xx, m_xy, m_yy = zero, zero, zero, zero, zero, zero
        d_red, d_green, d_blue = zero, zero, zero
        for k in range(channels):
            store(extra_sums, 16 * k, zero)
        seen = False
        for row in range(row_first, row_last + 1):
            exponent, step = row_exponent, row_step
            row_exponent, row_step, down = row_exponent + down, row_step + shift, down + turn_y
            open_here = open_blocks[row]
            wanted = open_here & touched
            if block_last - block_first >= WIDE and wanted != 0:
                wanted &= block_mask(records, at, x, f4(4 * row) + _HALF - y)
            if wanted == 0:
                continue
            seen = True
            row_m, row_x = zero, zero
            for block in range(block_first, block_last + 1):
                if (wanted >> block) & 1 != 0:
                    index = row * BLOCKS_ACROSS + block
                    place = index * _BLOCK
                    full = exp2(exponent)
                    clamped = select_ge(full, most, most, full)
                    alpha = select_ge(exponent, faintest, clamped, zero)
                    through = load(buffer, place + 64)
                    weight = alpha * through
                    slope_r, slope_g = load(buffer, place), load(buffer, place + 16)
                    slope_b = load(buffer, place + 32)
                    pull = red * slope_r + green * slope_g + blue * slope_b
                    for k in range(channels):
                        slope = load(extra_buffer, (index * channels + k) * 16)
                        pull = pull + splat(extra[i, k]) * slope
                        store(extra_sums, 16 * k, load(extra_sums, 16 * k) + weight * slope)
                    behind = load(buffer, place + 48) - weight * pull
                    store(buffer, place + 48, behind)
                    v = weight * pull - alpha * behind / (one - alpha)
                    v = select_ge(full, most, zero, v)  # a clamped alpha has no slope
                    through = through - weight
                    store(buffer, place + 64, through)
                    d_red, d_green = d_red + weight * slope_r, d_green + weight * slope_g
                    d_blue = d_blue + weight * slope_b
                    pixel_x = splat(f4(4 * block) + _HALF - x) + lane_x
                    v_x = v * pixel_x
                    row_m, row_x, m_xx = row_m + v, row_x + v_x, m_xx + v_x * pixel_x
                    if not any_greater(through, dark):
                        open_here &= ~(1 << block)
                        open_blocks[row] = open_here
                        if open_here == 0:
                            open_rows -= 1
                exponent = exponent + step
                step = step + turn_x
            pixel_y = splat(f4(4 * row) + _HALF - y) + lane_y
            m, m_x, m_xy = m + row_m, m_x + row_x, m_xy + row_x * pixel_y
            row_y = row_m * pixel_y
            m_y, m_yy = m_y + row_y, m_yy + row_y * pixel_y
        if seen:
            sums = grads[i]
            sums[0] += horizontal_sum(m)
            sums[1] += horizontal_sum(m_x)
            sums[2] += horizontal_sum(m_y)
            sums[3] += horizontal_sum(m_xx)
            sums[4] += horizontal_sum(m_xy)
            sums[5] += horizontal_sum(m_yy)
            sums[6] += horizontal_sum(d_red)
            sums[7] += horizontal_sum(d_green)
            sums[8] += horizontal_sum(d_blue)
            for k in range(channels):
                sums[MOMENTS + k] += horizontal_sum(load(extra_sums, 16 * k))
        if open_rows == 0:
            break


@kernel
def backward_tiles(records, extra, bins, counter, picture, slopes, grads):  # type: ignore[no-untyped-def]
    """Add to grads [N, 9 + C] what the tiles give that no other thread has taken (each has its own grads).

    records flat, extra [N, C], bins (members, offsets, tile_order, tiles across), picture (image [H, W, 3],
    transmittance [H, W], extra [H, W, C]) as drawn, slopes their gradients.
    """
    members, offsets, tile_order, across = bins
    blocks = BLOCKS_ACROSS * BLOCKS_DOWN
    channels = extra.shape[1]
    buffer = np.empty(blocks * _BLOCK, np.float32)
    extra_buffer = np.empty(blocks * channels * 16, np.float32)
    tile_parts = (buffer, extra_buffer, np.empty(channels * 16, np.float32), np.empty(BLOCKS_DOWN, np.int64))
    while True:
        turn = add_to_counter(counter, 1)
        if turn >= tile_order.shape[0]:
            break
        tile = tile_order[turn]
        first, last = offsets[tile], offsets[tile + 1]
        if first == last:
            continue
        corner = ((tile % across) * TILE_WIDTH, (tile // across) * TILE_HEIGHT)
        _begin_tile(buffer, extra_buffer, corner[0], corner[1], picture, slopes)
        _backward_tile(records, members, first, last, corner, extra, tile_parts, grads)
