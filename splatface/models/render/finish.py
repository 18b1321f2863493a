"""From a tile buffer to the picture: background behind it, samples averaged, float32, uint8 RGB or RGBA."""

import numpy as np

from splatface.models.render.jit import kernel
from splatface.models.render.simd import load, splat, store_rgb
from splatface.models.render.tiles import TILE_HEIGHT, TILE_WIDTH

__all__ = ["finish_extra", "finish_tile"]

f4 = np.float32
_ZERO, _HALF, _ONE, _WHITE = f4(0), f4(0.5), f4(1), f4(255)
_ACROSS = TILE_WIDTH // 4


@kernel
def _put(image, y, x, channel, value):  # type: ignore[no-untyped-def]
    """Store a color as the picture stores it; the branch falls away in compilation."""
    if image.itemsize == 1:
        image[y, x, channel] = np.uint8(min(max(value * _WHITE + _HALF, _ZERO), _WHITE))
    else:
        image[y, x, channel] = value


@kernel
def _sample(buffer, x, y, channel, supersample):  # type: ignore[no-untyped-def]
    """Mean of the samples of one pixel of the tile."""
    total = _ZERO
    for sub_y in range(y * supersample, (y + 1) * supersample):
        for sub_x in range(x * supersample, (x + 1) * supersample):
            block = (sub_y >> 2) * _ACROSS + (sub_x >> 2)
            total += buffer[block * 64 + channel * 16 + (sub_y & 3) * 4 + (sub_x & 3)]
    return total / f4(supersample * supersample)


@kernel
def _finish_pixels(buffer, left, top, area, background, supersample, image, transmittance):  # type: ignore[no-untyped-def]
    """One by one: any background, any supersampling, RGB or RGBA. area is (x0, x1, y0, y1) in the tile."""
    step_x, step_y = min(background.shape[1] - 1, 1), min(background.shape[0] - 1, 1)
    for y in range(area[2], area[3]):
        for x in range(area[0], area[1]):
            through = _sample(buffer, x, y, 3, supersample)
            for channel in range(3):
                behind = background[(top + y) * step_y, (left + x) * step_x, channel]
                color = _sample(buffer, x, y, channel, supersample) + through * behind
                _put(image, top + y, left + x, channel, color)
            if image.shape[2] == 4:
                _put(image, top + y, left + x, 3, _ONE - through)
            if transmittance.shape[0] > 0:
                transmittance[top + y, left + x] = through


@kernel
def _finish_blocks(buffer, left, top, area, background, image, transmittance):  # type: ignore[no-untyped-def]
    """Whole blocks over one background color, sixteen pixels at a time. area is in pixels of the tile."""
    red, green, blue = splat(background[0, 0, 0]), splat(background[0, 0, 1]), splat(background[0, 0, 2])
    flat, stride = image.reshape(-1), image.shape[1] * 3
    for y in range(area[2] >> 2, area[3] >> 2):
        for x in range(area[0] >> 2, area[1] >> 2):
            place = (y * _ACROSS + x) * 64
            through = load(buffer, place + 48)
            index = (top + 4 * y) * stride + (left + 4 * x) * 3
            store_rgb(
                flat,
                index,
                stride,
                load(buffer, place) + through * red,
                load(buffer, place + 16) + through * green,
                load(buffer, place + 32) + through * blue,
            )
            if transmittance.shape[0] > 0:
                for sub in range(16):
                    transmittance[top + 4 * y + (sub >> 2), left + 4 * x + (sub & 3)] = buffer[
                        place + 48 + sub
                    ]


@kernel
def finish_tile(buffer, tile_x, tile_y, background, supersample, image, transmittance):  # type: ignore[no-untyped-def]
    """Write the tile at canvas (tile_x, tile_y) to image [H, W, 3 | 4] and transmittance [H, W] or [0, 0]."""
    left, top = tile_x // supersample, tile_y // supersample
    width = min(TILE_WIDTH // supersample, image.shape[1] - left)
    height = min(TILE_HEIGHT // supersample, image.shape[0] - top)
    if supersample > 1 or background.shape[0] > 1 or image.shape[2] == 4:
        _finish_pixels(
            buffer, left, top, (0, width, 0, height), background, supersample, image, transmittance
        )
        return
    whole_x, whole_y = width & ~3, height & ~3
    _finish_blocks(buffer, left, top, (0, whole_x, 0, whole_y), background, image, transmittance)
    if whole_x < width:
        _finish_pixels(buffer, left, top, (whole_x, width, 0, height), background, 1, image, transmittance)
    if whole_y < height:
        _finish_pixels(buffer, left, top, (0, whole_x, whole_y, height), background, 1, image, transmittance)


@kernel
def finish_extra(extra_buffer, tile_x, tile_y, supersample, others):  # type: ignore[no-untyped-def]
    """Write the extra channels of the tile at canvas position (tile_x, tile_y) to others [H, W, C]."""
    left, top, channels = tile_x // supersample, tile_y // supersample, others.shape[2]
    for y in range(min(TILE_HEIGHT // supersample, others.shape[0] - top)):
        for x in range(min(TILE_WIDTH // supersample, others.shape[1] - left)):
            for channel in range(channels):
                total = _ZERO
                for sub_y in range(y * supersample, (y + 1) * supersample):
                    for sub_x in range(x * supersample, (x + 1) * supersample):
                        block = (sub_y >> 2) * _ACROSS + (sub_x >> 2)
                        lane = (sub_y & 3) * 4 + (sub_x & 3)
                        total += extra_buffer[(block * channels + channel) * 16 + lane]
                others[top + y, left + x, channel] = total / f4(supersample * supersample)
