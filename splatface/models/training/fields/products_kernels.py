"""Compiled loops of `products_fast`: points one after the other, sixteen features at a time."""

import numba
import numpy as np

from splatface.models.render.jit import kernel
from splatface.models.render.simd import LANES, horizontal_sum, load, splat, store

__all__ = ["add_gradient", "multiply"]

f4 = np.float32
_inlined = numba.njit(inline="always", error_model="numpy")  # by numba itself: LLVM leaves the calls


# Values that stand in arrays between the steps, or branches around them, cost four times as much as finding
# a place anew for each grid and reading a line's only column twice.


@kernel
def multiply(arrays, shape, lanes, part):  # type: ignore[no-untyped-def]
    """Fill columns of some rows of `out`.

    arrays: values, places [N, 3], out [N, all]; shape [F, 5] see Tables; lanes: first column, width;
    part: rows low..high.
    """
    values, places, out = arrays
    column, width = lanes
    flat, stride = out.reshape(-1), out.shape[1]
    for n in range(part[0], part[1]):
        for at in range(0, width, LANES):
            value = _mixed(values, _find(places, n, shape, 0, width), at)
            for f in range(1, len(shape)):
                value = value * _mixed(values, _find(places, n, shape, f, width), at)
            store(flat, n * stride + column + at, value)


@kernel
def add_gradient(arrays, shape, lanes, results):  # type: ignore[no-untyped-def]
    """Add the gradients of sixteen features to those of the values and, unless it is empty, the places.

    arrays: values, places [N, 3], gradient [N, all]; lanes: first column, width, group of features.
    """
    values, places, gradient = arrays
    d_values, d_places = results
    column, width, at = lanes
    flat, stride = gradient.reshape(-1), gradient.shape[1]
    mixed = np.empty(len(shape) * LANES, f4)
    for n in range(len(places)):
        for f in range(len(shape)):
            store(mixed, f * LANES, _mixed(values, _find(places, n, shape, f, width), at))
        for f in range(len(shape)):
            rest = load(flat, n * stride + column + at)
            for g in range(len(shape)):
                if g != f:
                    rest = rest * load(mixed, g * LANES)
            found = _find(places, n, shape, f, width)
            if len(d_places):
                _pull(values, found, at, rest, (places, shape, d_places, n, f))
            _scatter(d_values, found, at, rest)


@_inlined
def _find(places, n, shape, f, width):  # type: ignore[no-untyped-def]
    """Where place n falls on grid f: first value, steps down and right, shares of the further nodes."""
    rows, columns = shape[f, 3], shape[f, 4]
    y = _within(places[n, shape[f, 1]]) * f4(rows - 1)
    x = _within(places[n, shape[f, 2]]) * f4(columns - 1)
    i = min(np.int64(y), max(rows - 2, 0))
    j = min(np.int64(x), max(columns - 2, 0))
    first = shape[f, 0] + (i * columns + j) * width
    return first, columns * width, min(columns - 1, 1) * width, y - f4(i), x - f4(j)


@_inlined
def _within(x):  # type: ignore[no-untyped-def]
    """0..1, and 0 for NaN, which would read anywhere in memory."""
    x = x if x > f4(0) else f4(0)
    return x if x < f4(1) else f4(1)


@_inlined
def _mixed(values, found, at):  # type: ignore[no-untyped-def]
    start, down, right, a, b = found
    first, share = start + at, splat(b)
    upper, lower = load(values, first), load(values, first + down)
    upper = upper + share * (load(values, first + right) - upper)
    lower = lower + share * (load(values, first + down + right) - lower)
    return upper + splat(a) * (lower - upper)


@_inlined
def _scatter(d_values, found, at, rest):  # type: ignore[no-untyped-def]
    start, down, right, a, b = found
    first, share = start + at, splat(b)
    lower = splat(a) * rest
    upper = rest - lower
    _add(d_values, first, upper - share * upper)
    _add(d_values, first + right, share * upper)
    _add(d_values, first + down, lower - share * lower)
    _add(d_values, first + down + right, share * lower)


@_inlined
def _add(array, at, value):  # type: ignore[no-untyped-def]
    store(array, at, load(array, at) + value)


@_inlined
def _pull(values, found, at, rest, where):  # type: ignore[no-untyped-def]
    """Add how the value changes with place n; beyond the border it does not."""
    places, shape, d_places, n, f = where
    start, down, right, a, b = found
    first = start + at
    upper, lower = load(values, first), load(values, first + down)
    upper_step = load(values, first + right) - upper
    lower_step = load(values, first + down + right) - lower
    step = lower - upper + splat(b) * (lower_step - upper_step)
    across = upper_step + splat(a) * (lower_step - upper_step)
    axis, other = shape[f, 1], shape[f, 2]
    if places[n, axis] > 0 and places[n, axis] < 1:
        d_places[n, axis] += horizontal_sum(rest * step) * f4(shape[f, 3] - 1)
    if places[n, other] > 0 and places[n, other] < 1:
        d_places[n, other] += horizontal_sum(rest * across) * f4(shape[f, 4] - 1)
