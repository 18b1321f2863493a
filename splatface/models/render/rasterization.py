# SPDX-License-Identifier: Apache-2.0
"""Composite tile after tile front to back, in blocks of 4 x 4 pixels, forward and backward.

A tile buffer holds, block after block, 16 reds, 16 greens, 16 blues and 16 transmittances. The backward
pass runs front to back as well: what lies behind a Gaussian is the whole image minus what came before it.
Per Gaussian it leaves moments of v = dL/d ln(alpha) about its center and sums for its colors:
0 sum v, 1 v dx, 2 v dy, 3 v dx^2, 4 v dx dy, 5 v dy^2, 6-8 dL/dcolor, 9... dL/dextra.
"""

import math

import numpy as np

from splatface.models.render.conventions import ALPHA_MAX, TRANSMITTANCE_MIN
from splatface.models.render.jit import kernel
from splatface.models.render.projection import LOG2_ALPHA_MIN, first_pixel, last_pixel
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
    store_rgb,
    vec_min,
)
from splatface.models.render.tiles import TILE_HEIGHT, TILE_WIDTH

__all__ = [
    "BLOCKS_ACROSS",
    "BLOCKS_DOWN",
    "MOMENTS",
    "TILE_FLOATS",
    "WIDE",
    "backward_tiles",
    "block_mask",
    "draw_tiles",
    "resolve_extra",
    "resolve_tile",
    "start_exponent",
]

f4 = np.float32
_ZERO, _HALF, _ONE, _TWO, _THREE, _FOUR = f4(0), f4(0.5), f4(1), f4(2), f4(3), f4(4)
_WHITE = f4(255)
_ACROSS = TILE_WIDTH // 4


@kernel
def _store_color(image, y, x, channel, value):  # type: ignore[no-untyped-def]
    """Store a color in the image's type; the branch is resolved in compilation."""
    if image.itemsize == 1:
        image[y, x, channel] = np.uint8(min(max(value * _WHITE + _HALF, _ZERO), _WHITE))
    else:
        image[y, x, channel] = value


@kernel
def _sample(buffer, x, y, channel, supersample):  # type: ignore[no-untyped-def]
    """Return the mean of the samples of one pixel of the tile."""
    total = _ZERO
    for sub_y in range(y * supersample, (y + 1) * supersample):
        for sub_x in range(x * supersample, (x + 1) * supersample):
            block = (sub_y >> 2) * _ACROSS + (sub_x >> 2)
            total += buffer[block * 64 + channel * 16 + (sub_y & 3) * 4 + (sub_x & 3)]
    return total / f4(supersample * supersample)


@kernel
def _resolve_pixels(buffer, left, top, area, background, supersample, image, transmittance):  # type: ignore[no-untyped-def]
    """Resolve pixel by pixel: any background, supersampling, RGB or RGBA; area (x0, x1, y0, y1) in tile."""
    step_x, step_y = min(background.shape[1] - 1, 1), min(background.shape[0] - 1, 1)
    for y in range(area[2], area[3]):
        for x in range(area[0], area[1]):
            transmittance_here = _sample(buffer, x, y, 3, supersample)
            for channel in range(3):
                background_grad = background[(top + y) * step_y, (left + x) * step_x, channel]
                color = _sample(buffer, x, y, channel, supersample) + transmittance_here * background_grad
                _store_color(image, top + y, left + x, channel, color)
            if image.shape[2] == 4:
                _store_color(image, top + y, left + x, 3, _ONE - transmittance_here)
            if transmittance.shape[0] > 0:
                transmittance[top + y, left + x] = transmittance_here


@kernel
def _resolve_blocks(buffer, left, top, area, background, image, transmittance):  # type: ignore[no-untyped-def]
    """Resolve whole blocks over one background color, sixteen pixels at a time; area in the tile."""
    red, green, blue = splat(background[0, 0, 0]), splat(background[0, 0, 1]), splat(background[0, 0, 2])
    flat, stride = image.reshape(-1), image.shape[1] * 3
    for y in range(area[2] >> 2, area[3] >> 2):
        for x in range(area[0] >> 2, area[1] >> 2):
            offset = (y * _ACROSS + x) * 64
            transmittance_here = load(buffer, offset + 48)
            index = (top + 4 * y) * stride + (left + 4 * x) * 3
            store_rgb(
                flat,
                index,
                stride,
                load(buffer, offset) + transmittance_here * red,
                load(buffer, offset + 16) + transmittance_here * green,
                load(buffer, offset + 32) + transmittance_here * blue,
            )
            if transmittance.shape[0] > 0:
                for sub in range(16):
                    transmittance[top + 4 * y + (sub >> 2), left + 4 * x + (sub & 3)] = buffer[
                        offset + 48 + sub
                    ]


@kernel
def resolve_tile(buffer, tile_x, tile_y, background, supersample, image, transmittance):  # type: ignore[no-untyped-def]
    """Write the tile at canvas (tile_x, tile_y) to image [H, W, 3 | 4] and transmittance [H, W] or [0, 0]."""
    left, top = tile_x // supersample, tile_y // supersample
    width = min(TILE_WIDTH // supersample, image.shape[1] - left)
    height = min(TILE_HEIGHT // supersample, image.shape[0] - top)
    if supersample > 1 or background.shape[0] > 1 or image.shape[2] == 4:
        _resolve_pixels(
            buffer, left, top, (0, width, 0, height), background, supersample, image, transmittance
        )
        return
    whole_x, whole_y = width & ~3, height & ~3
    _resolve_blocks(buffer, left, top, (0, whole_x, 0, whole_y), background, image, transmittance)
    if whole_x < width:
        _resolve_pixels(buffer, left, top, (whole_x, width, 0, height), background, 1, image, transmittance)
    if whole_y < height:
        _resolve_pixels(buffer, left, top, (0, whole_x, whole_y, height), background, 1, image, transmittance)


@kernel
def resolve_extra(extra_buffer, tile_x, tile_y, supersample, extra_image):  # type: ignore[no-untyped-def]
    """Write the extra channels of the tile at canvas position (tile_x, tile_y) to others [H, W, C]."""
    left, top, channels = tile_x // supersample, tile_y // supersample, extra_image.shape[2]
    for y in range(min(TILE_HEIGHT // supersample, extra_image.shape[0] - top)):
        for x in range(min(TILE_WIDTH // supersample, extra_image.shape[1] - left)):
            for channel in range(channels):
                total = _ZERO
                for sub_y in range(y * supersample, (y + 1) * supersample):
                    for sub_x in range(x * supersample, (x + 1) * supersample):
                        block = (sub_y >> 2) * _ACROSS + (sub_x >> 2)
                        lane = (sub_y & 3) * 4 + (sub_x & 3)
                        total += extra_buffer[(block * channels + channel) * 16 + lane]
                extra_image[top + y, left + x, channel] = total / f4(supersample * supersample)


BLOCKS_ACROSS, BLOCKS_DOWN = TILE_WIDTH // 4, TILE_HEIGHT // 4
_BLOCK = 64  # floats of a block: four channels of 16 pixels
TILE_FLOATS = BLOCKS_ACROSS * BLOCKS_DOWN * _BLOCK
_ALL_OPEN = (1 << BLOCKS_ACROSS) - 1
WIDE = 8  # blocks: narrower ellipses are rendered by their box, the exact rows cost more than they save

_ALPHA_MAX, _DARK = f4(ALPHA_MAX), f4(TRANSMITTANCE_MIN)


@kernel
def clear_tile(buffer):  # type: ignore[no-untyped-def]
    """Nothing rendered: black, transmittance 1."""
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
    row_tilt, along, stretch, widest = records[at + 10], records[at + 11], records[at + 12], records[at + 13]
    room = records[at + 5] - LOG2_ALPHA_MIN
    bottom = top + _THREE
    dy_right, dy_left = min(max(widest, top), bottom), min(max(-widest, top), bottom)
    right = row_tilt * dy_right + f4(math.sqrt(max((room + along * dy_right * dy_right) * stretch, _ZERO)))
    left = row_tilt * dy_left - f4(math.sqrt(max((room + along * dy_left * dy_left) * stretch, _ZERO)))
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
    gradient_x, gradient_y = _TWO * a * dx + b * dy, b * dx + _TWO * c * dy
    exponent = (splat(a) * x + splat(b) * y) * x + splat(c) * y * y
    exponent = exponent + splat(gradient_x) * x + splat(gradient_y) * y
    exponent = exponent + splat((a * dx + b * dy) * dx + c * dy * dy + peak)
    right = splat(f4(8) * a) * x + splat(_FOUR * b) * y + splat(_FOUR * gradient_x + f4(16) * a)
    down = splat(_FOUR * b) * x + splat(f4(8) * c) * y + splat(_FOUR * gradient_y + f4(16) * c)
    return exponent, right, down, splat(f4(16) * b), splat(f4(32) * a), splat(f4(32) * c)


@kernel
def _blend_extra(extra, i, extra_buffer, block, weight):  # type: ignore[no-untyped-def]
    """Add the extra channels of Gaussian i to a block."""
    channels = extra.shape[1]
    for k in range(channels):
        offset = (block * channels + k) * 16
        store(extra_buffer, offset, load(extra_buffer, offset) + weight * splat(extra[i, k]))


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
        touched_bits = ((np.int64(2) << max(block_last - block_first, 0)) - 1) << block_first
        red, green, blue = splat(records[at + 6]), splat(records[at + 7]), splat(records[at + 8])
        row_exponent, row_step, down, step_change, second_step_x, second_step_y = start_exponent(
            records, at, f4(4 * block_first) + _HALF - x, f4(4 * row_first) + _HALF - y
        )
        for row in range(row_first, row_last + 1):
            exponent, step = row_exponent, row_step
            row_exponent, row_step, down = row_exponent + down, row_step + step_change, down + second_step_y
            open_here = open_blocks[row]
            block_bits = open_here & touched_bits
            if block_last - block_first >= WIDE and block_bits != 0:
                block_bits &= block_mask(records, at, x, f4(4 * row) + _HALF - y)
            if block_bits == 0:
                continue
            for block in range(block_first, block_last + 1):
                if (block_bits >> block) & 1 != 0:
                    offset = (row * BLOCKS_ACROSS + block) * _BLOCK
                    alpha = select_ge(exponent, faintest, vec_min(exp2(exponent), most), zero)
                    transmittance_here = load(buffer, offset + 48)
                    weight = alpha * transmittance_here
                    store(buffer, offset, load(buffer, offset) + weight * red)
                    store(buffer, offset + 16, load(buffer, offset + 16) + weight * green)
                    store(buffer, offset + 32, load(buffer, offset + 32) + weight * blue)
                    if extra is not None:
                        _blend_extra(extra, members[j], extra_buffer, row * BLOCKS_ACROSS + block, weight)
                    transmittance_here = transmittance_here - weight
                    store(buffer, offset + 48, transmittance_here)
                    if not any_greater(transmittance_here, dark):
                        open_here &= ~(1 << block)
                        open_blocks[row] = open_here
                        if open_here == 0:
                            open_rows -= 1
                exponent = exponent + step
                step = step + second_step_x
        if open_rows == 0:
            break


@kernel
def _make_extra_buffer(extra):  # type: ignore[no-untyped-def]
    """Return a tile buffer for the extra channels; empty without them."""
    if extra is None:
        return np.empty(0, np.float32)
    return np.empty(BLOCKS_ACROSS * BLOCKS_DOWN * extra.shape[1] * 16, np.float32)


@kernel
def draw_tiles(records, extra, bins, counter, background, supersample, image_planes):  # type: ignore[no-untyped-def]
    """Render tiles until none is left; counter [1] int64 gives each thread the next one.

    records flat, extra [N, C] or None (compiled without them), bins (members, offsets, tile_order, tiles
    across), image (image [H, W, 3 | 4], transmittance [H, W] or [0, 0], extra [H, W, C] or [0, 0, 0]).
    """
    members, offsets, tile_order, across = bins
    image, transmittance, extra_image = image_planes
    buffer = np.empty(TILE_FLOATS, np.float32)
    extra_buffer = _make_extra_buffer(extra)
    parts = (buffer, extra_buffer, np.empty(BLOCKS_DOWN, np.int64))
    while True:
        next_tile = add_to_counter(counter, 1)
        if next_tile >= tile_order.shape[0]:
            break
        tile = tile_order[next_tile]
        corner = ((tile % across) * TILE_WIDTH, (tile // across) * TILE_HEIGHT)
        blend_tile(records, members, offsets[tile], offsets[tile + 1], corner, extra, parts)
        resolve_tile(buffer, corner[0], corner[1], background, supersample, image, transmittance)
        if extra is not None:
            resolve_extra(extra_buffer, corner[0], corner[1], supersample, extra_image)


MOMENTS = 9
_GRAD_BLOCK = 80  # floats of a block: dL/dimage 3, what is still to come 1, transmittance 1, times 16 pixels


@kernel
def _load_tile_grads(buffer, extra_buffer, tile_x, tile_y, image_planes, output_grads):  # type: ignore[no-untyped-def]
    """Load the image gradients into the tile; they are 0 outside the image."""
    image, transmittance_here, extra_image = image_planes
    d_image, d_transmittance, d_extra_image = output_grads
    channels = extra_image.shape[2]
    buffer[:] = _ZERO
    extra_buffer[:] = _ZERO
    for y in range(TILE_HEIGHT):
        for x in range(TILE_WIDTH):
            block = (y >> 2) * BLOCKS_ACROSS + (x >> 2)
            lane = (y & 3) * 4 + (x & 3)
            offset = block * _GRAD_BLOCK + lane
            buffer[offset + 64] = _ONE
            if tile_y + y >= image.shape[0] or tile_x + x >= image.shape[1]:
                continue
            to_come = d_transmittance[tile_y + y, tile_x + x] * transmittance_here[tile_y + y, tile_x + x]
            for c in range(3):
                grad = d_image[tile_y + y, tile_x + x, c]
                buffer[offset + 16 * c] = grad
                to_come += grad * image[tile_y + y, tile_x + x, c]
            for c in range(channels):
                grad = d_extra_image[tile_y + y, tile_x + x, c]
                extra_buffer[(block * channels + c) * 16 + lane] = grad
                to_come += grad * extra_image[tile_y + y, tile_x + x, c]
            buffer[offset + 48] = to_come


@kernel
def _backward_tile(records, members, first, last, corner, extra, tile, grads):  # type: ignore[no-untyped-def]
    """Traverse members[first:last] as `blend_tile` does and add to grads [N, 9 + C]."""
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
        touched_bits = ((np.int64(2) << max(block_last - block_first, 0)) - 1) << block_first
        red, green, blue = splat(records[at + 6]), splat(records[at + 7]), splat(records[at + 8])
        row_exponent, row_step, down, step_change, second_step_x, second_step_y = start_exponent(
            records, at, f4(4 * block_first) + _HALF - x, f4(4 * row_first) + _HALF - y
        )
        m, m_x, m_y, m_xx, m_xy, m_yy = zero, zero, zero, zero, zero, zero
        d_red, d_green, d_blue = zero, zero, zero
        for k in range(channels):
            store(extra_sums, 16 * k, zero)
        visited = False
        for row in range(row_first, row_last + 1):
            exponent, step = row_exponent, row_step
            row_exponent, row_step, down = row_exponent + down, row_step + step_change, down + second_step_y
            open_here = open_blocks[row]
            block_bits = open_here & touched_bits
            if block_last - block_first >= WIDE and block_bits != 0:
                block_bits &= block_mask(records, at, x, f4(4 * row) + _HALF - y)
            if block_bits == 0:
                continue
            visited = True
            row_m, row_x = zero, zero
            for block in range(block_first, block_last + 1):
                if (block_bits >> block) & 1 != 0:
                    index = row * BLOCKS_ACROSS + block
                    offset = index * _GRAD_BLOCK
                    full = exp2(exponent)
                    clamped = select_ge(full, most, most, full)
                    alpha = select_ge(exponent, faintest, clamped, zero)
                    transmittance_here = load(buffer, offset + 64)
                    weight = alpha * transmittance_here
                    grad_r, grad_g = load(buffer, offset), load(buffer, offset + 16)
                    grad_b = load(buffer, offset + 32)
                    color_grad = red * grad_r + green * grad_g + blue * grad_b
                    for k in range(channels):
                        grad = load(extra_buffer, (index * channels + k) * 16)
                        color_grad = color_grad + splat(extra[i, k]) * grad
                        store(extra_sums, 16 * k, load(extra_sums, 16 * k) + weight * grad)
                    background_grad = load(buffer, offset + 48) - weight * color_grad
                    store(buffer, offset + 48, background_grad)
                    v = weight * color_grad - alpha * background_grad / (one - alpha)
                    v = select_ge(full, most, zero, v)  # a clamped alpha has no gradient
                    transmittance_here = transmittance_here - weight
                    store(buffer, offset + 64, transmittance_here)
                    d_red, d_green = d_red + weight * grad_r, d_green + weight * grad_g
                    d_blue = d_blue + weight * grad_b
                    pixel_x = splat(f4(4 * block) + _HALF - x) + lane_x
                    v_x = v * pixel_x
                    row_m, row_x, m_xx = row_m + v, row_x + v_x, m_xx + v_x * pixel_x
                    if not any_greater(transmittance_here, dark):
                        open_here &= ~(1 << block)
                        open_blocks[row] = open_here
                        if open_here == 0:
                            open_rows -= 1
                exponent = exponent + step
                step = step + second_step_x
            pixel_y = splat(f4(4 * row) + _HALF - y) + lane_y
            m, m_x, m_xy = m + row_m, m_x + row_x, m_xy + row_x * pixel_y
            row_y = row_m * pixel_y
            m_y, m_yy = m_y + row_y, m_yy + row_y * pixel_y
        if visited:
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
def backward_tiles(records, extra, bins, counter, image_planes, output_grads, grads):  # type: ignore[no-untyped-def]
    """Add to grads [N, 9 + C] what the tiles give that no other thread has taken (each has its own grads).

    records flat, extra [N, C], bins (members, offsets, tile_order, tiles across), image (image [H, W, 3],
    transmittance [H, W], extra [H, W, C]) as rendered, gradients their gradients.
    """
    members, offsets, tile_order, across = bins
    blocks = BLOCKS_ACROSS * BLOCKS_DOWN
    channels = extra.shape[1]
    buffer = np.empty(blocks * _GRAD_BLOCK, np.float32)
    extra_buffer = np.empty(blocks * channels * 16, np.float32)
    tile_parts = (buffer, extra_buffer, np.empty(channels * 16, np.float32), np.empty(BLOCKS_DOWN, np.int64))
    while True:
        next_tile = add_to_counter(counter, 1)
        if next_tile >= tile_order.shape[0]:
            break
        tile = tile_order[next_tile]
        first, last = offsets[tile], offsets[tile + 1]
        if first == last:
            continue
        corner = ((tile % across) * TILE_WIDTH, (tile // across) * TILE_HEIGHT)
        _load_tile_grads(buffer, extra_buffer, corner[0], corner[1], image_planes, output_grads)
        _backward_tile(records, members, first, last, corner, extra, tile_parts, grads)
