# SPDX-License-Identifier: Apache-2.0
"""Products of planes and lines at positions in the unit cube: what a triplane and an audio plane store.

`products_reference` is the definition, in torch. For float32 on a CPU compiled loops read each corner once,
sixteen features (a cache line) at a time, and scatter gradients without sorting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splatface.models.render.jit import Workers, kernel
from splatface.models.render.simd import LANES, horizontal_sum, load, splat, store

__all__ = [
    "Layout",
    "ParameterGrid",
    "add_gradient",
    "grid_values",
    "make_layout",
    "multiply",
    "products",
    "products_fast",
    "products_reference",
]

f4 = np.float32
_inlined = numba.njit(inline="always", error_model="numpy")  # by numba itself: LLVM leaves the calls


# Values that stand in arrays between the steps, or branches around them, cost four times as much as finding
# a position anew for each grid and reading a line's only column twice.


@kernel
def multiply(arrays, shape, lanes, part):  # type: ignore[no-untyped-def]
    """Fill columns of some rows of `out` with products of interpolated grids.

    arrays: values, positions [N, 3], out [N, all]; shape [F, 5] see Tables; lanes: first column, width;
    part: rows low..high.
    """
    values, positions, out = arrays
    column, width = lanes
    flat, stride = out.reshape(-1), out.shape[1]
    for n in range(part[0], part[1]):
        for at in range(0, width, LANES):
            value = _interpolate(values, _find(positions, n, shape, 0, width), at)
            for f in range(1, len(shape)):
                value = value * _interpolate(values, _find(positions, n, shape, f, width), at)
            store(flat, n * stride + column + at, value)


@kernel
def add_gradient(arrays, shape, lanes, results):  # type: ignore[no-untyped-def]
    """Add the gradients of sixteen features to those of the values and, unless empty, the positions.

    arrays: values, positions [N, 3], gradient [N, all]; lanes: first column, width, group of features.
    """
    values, positions, gradient = arrays
    d_values, d_positions = results
    column, width, at = lanes
    flat, stride = gradient.reshape(-1), gradient.shape[1]
    interpolated = np.empty(len(shape) * LANES, f4)
    for n in range(len(positions)):
        for f in range(len(shape)):
            store(interpolated, f * LANES, _interpolate(values, _find(positions, n, shape, f, width), at))
        for f in range(len(shape)):
            other_factors = load(flat, n * stride + column + at)
            for g in range(len(shape)):
                if g != f:
                    other_factors = other_factors * load(interpolated, g * LANES)
            grid_cell = _find(positions, n, shape, f, width)
            if len(d_positions):
                _add_position_grad(
                    values, grid_cell, at, other_factors, (positions, shape, d_positions, n, f)
                )
            _scatter(d_values, grid_cell, at, other_factors)


@_inlined
def _find(positions, n, shape, f, width):  # type: ignore[no-untyped-def]
    """Locate position n on grid f: first value, steps down and right, weights of the next nodes."""
    rows, columns = shape[f, 3], shape[f, 4]
    y = _within(positions[n, shape[f, 1]]) * f4(rows - 1)
    x = _within(positions[n, shape[f, 2]]) * f4(columns - 1)
    i = min(np.int64(y), max(rows - 2, 0))
    j = min(np.int64(x), max(columns - 2, 0))
    first = shape[f, 0] + (i * columns + j) * width
    return first, columns * width, min(columns - 1, 1) * width, y - f4(i), x - f4(j)


@_inlined
def _within(x):  # type: ignore[no-untyped-def]
    """Clamp to 0..1; 0 for NaN, which would read anywhere in memory."""
    x = x if x > f4(0) else f4(0)
    return x if x < f4(1) else f4(1)


@_inlined
def _interpolate(values, grid_cell, at):  # type: ignore[no-untyped-def]
    start, down, right, a, b = grid_cell
    first, weight = start + at, splat(b)
    upper, lower = load(values, first), load(values, first + down)
    upper = upper + weight * (load(values, first + right) - upper)
    lower = lower + weight * (load(values, first + down + right) - lower)
    return upper + splat(a) * (lower - upper)


@_inlined
def _scatter(d_values, grid_cell, at, other_factors):  # type: ignore[no-untyped-def]
    start, down, right, a, b = grid_cell
    first, weight = start + at, splat(b)
    lower = splat(a) * other_factors
    upper = other_factors - lower
    _add(d_values, first, upper - weight * upper)
    _add(d_values, first + right, weight * upper)
    _add(d_values, first + down, lower - weight * lower)
    _add(d_values, first + down + right, weight * lower)


@_inlined
def _add(array, at, value):  # type: ignore[no-untyped-def]
    store(array, at, load(array, at) + value)


@_inlined
def _add_position_grad(values, grid_cell, at, other_factors, where):  # type: ignore[no-untyped-def]
    """Add the derivative of the value by position n; 0 beyond the border."""
    positions, shape, d_positions, n, f = where
    start, down, right, a, b = grid_cell
    first = start + at
    upper, lower = load(values, first), load(values, first + down)
    upper_step = load(values, first + right) - upper
    lower_step = load(values, first + down + right) - lower
    step = lower - upper + splat(b) * (lower_step - upper_step)
    across = upper_step + splat(a) * (lower_step - upper_step)
    axis, other = shape[f, 1], shape[f, 2]
    if positions[n, axis] > 0 and positions[n, axis] < 1:
        d_positions[n, axis] += horizontal_sum(other_factors * step) * f4(shape[f, 3] - 1)
    if positions[n, other] > 0 and positions[n, other] < 1:
        d_positions[n, other] += horizontal_sum(other_factors * across) * f4(shape[f, 4] - 1)


# Of each product, of each of its grids: offset, first axis, second axis, rows, columns.
Tables = tuple[tuple[tuple[int, int, int, int, int], ...], ...]


def products_fast(values: Tensor, positions: Tensor, tables: Tables, width: int) -> Tensor:
    """Return `products` of grids [rows * columns * width] in `values`, all float32 on a CPU."""
    result: Tensor = _Products.apply(values, positions, tables, width)
    return result


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, positions: Tensor, tables: Tables, width: int) -> Tensor:
        ctx.save_for_backward(values, positions)
        ctx.tables, ctx.width = tables, width
        out = torch.empty(len(positions), len(tables) * width)
        arrays = _array(values), _array(positions), out.numpy()
        shapes = [np.array(table, np.int64) for table in tables]
        workers = _workers(torch.get_num_threads())

        def work(k: int) -> None:
            n, parts = len(positions), workers.threads
            for i, shape in enumerate(shapes):
                multiply(arrays, shape, (i * width, width), (k * n // parts, (k + 1) * n // parts))

        workers.run(work)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        values, positions = ctx.saved_tensors
        width = ctx.width
        workers = _workers(torch.get_num_threads())
        position_count = len(positions) if ctx.needs_input_grad[1] else 0
        d_values, d_positions = torch.zeros_like(values), torch.zeros(workers.threads, position_count, 3)
        arrays = _array(values), _array(positions), _array(gradient)
        results = d_values.numpy(), d_positions.numpy()
        shapes = [np.array(table, np.int64) for table in ctx.tables]
        groups = [(i, at) for i in range(len(shapes)) for at in range(0, width, LANES)]

        def work(k: int) -> None:
            # Whoever has a group of features has it alone: no two threads write the same position.
            for i, at in groups[k :: workers.threads]:
                out = results[0], results[1][k]
                add_gradient(arrays, shapes[i], (i * width, width, at), out)

        workers.run(work)
        return d_values, d_positions.sum(0) if position_count else None, None, None


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().contiguous().numpy()
    return array


@cache
def _workers(threads: int) -> Workers:
    # torch's threads are OpenMP's and spin after work; a second OpenMP pool (numba's own) would fight them.
    return Workers(threads)


@dataclass(frozen=True, slots=True)
class ParameterGrid:
    """A plane or a line of features among the values of a layout. Nodes stand at 0, 1 / (R - 1) .. 1."""

    offset: int  # of its first value
    axes: tuple[int, ...]  # (0, 1): a plane over x and y; (2,): a line over z
    sizes: tuple[int, ...]  # nodes along each of its axes


@dataclass(frozen=True, slots=True)
class Layout:
    """Products of grids of one width. All grids lie in one flat tensor: one parameter, one gradient."""

    width: int  # C, features of each grid, a multiple of 16
    products: tuple[tuple[ParameterGrid, ...], ...]
    count: int  # values of all grids


def make_layout(width: int, product_specs: Sequence[Sequence[tuple[tuple[int, ...], int]]]) -> Layout:
    """Lay products out one after the other; each is a list of (axes, nodes along each axis)."""
    offset, made = 0, []
    for product in product_specs:
        grids = []
        for axes, size in product:
            grids.append(ParameterGrid(offset=offset, axes=axes, sizes=(size,) * len(axes)))
            offset += size ** len(axes) * width
        made.append(tuple(grids))
    return Layout(width=width, products=tuple(made), count=offset)


def grid_values(values: Tensor, grid: ParameterGrid, width: int) -> Tensor:
    """Return the values of one grid as a view: [R, R', C] or [R, C]."""
    return values[grid.offset : grid.offset + prod(grid.sizes) * width].view(*grid.sizes, width)


def products(values: Tensor, layout: Layout, positions: Tensor) -> Tensor:
    """Interpolate every grid at every position and multiply within a product: [N, products * C].

    Args:
        values: [layout.count].
        layout: how grids lie in `values`.
        positions: [N, 3]; what lies outside 0..1 takes the value at the border.

    Linear along each axis, so bilinear on planes. Differentiable in values and positions.
    """
    if positions.device.type != "cpu" or positions.dtype != torch.float32:
        return products_reference(values, layout, positions)
    tables = tuple(tuple((grid.offset, *_span(grid)) for grid in product) for product in layout.products)
    return products_fast(values, positions, tables, layout.width)


def products_reference(values: Tensor, layout: Layout, positions: Tensor) -> Tensor:
    """Return `products` by its definition."""
    return torch.cat(
        [_product(values, layout.width, product, positions) for product in layout.products], dim=1
    )


def _span(grid: ParameterGrid) -> tuple[int, int, int, int]:
    # A line is a plane of one column, whose second axis is never read.
    return grid.axes[0], grid.axes[-1], grid.sizes[0], grid.sizes[1] if len(grid.sizes) > 1 else 1


def _product(values: Tensor, width: int, grids: Sequence[ParameterGrid], positions: Tensor) -> Tensor:
    result: Any = 1
    for grid in grids:
        first, second, rows, columns = _span(grid)
        along = positions[:, first].clamp(0, 1) * (rows - 1), positions[:, second].clamp(0, 1) * (columns - 1)
        result = result * _bilinear(grid_values(values, grid, width).reshape(rows, columns, width), *along)
    return result


def _bilinear(plane: Tensor, row: Tensor, column: Tensor) -> Tensor:
    value: Any = 0
    for i, row_weight in _corners(row, plane.shape[0]):
        for j, column_weight in _corners(column, plane.shape[1]):
            value = value + (row_weight * column_weight)[:, None] * plane[i, j]
    return value


def _corners(x: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    first = x.detach().floor().clamp(0, max(size - 2, 0)).long()
    weight = x - first
    return [(first, 1 - weight), ((first + 1).clamp(max=size - 1), weight)]
