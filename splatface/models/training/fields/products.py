"""Products of planes and lines at places in the unit cube: what a triplane and an audio plane store.

`products_reference` is the definition, in torch. For float32 on a CPU `products_fast` reads each corner
once, a cache line at a time, and scatters gradients without sorting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from splatface.models.training.fields.products_fast import products_fast

__all__ = ["Grid", "Layout", "grid_values", "make_layout", "products", "products_reference"]


@dataclass(frozen=True, slots=True)
class Grid:
    """A plane or a line of features among the values of a layout. Nodes stand at 0, 1 / (R - 1) .. 1."""

    offset: int  # of its first value
    axes: tuple[int, ...]  # (0, 1): a plane over x and y; (2,): a line over z
    sizes: tuple[int, ...]  # nodes along each of its axes


@dataclass(frozen=True, slots=True)
class Layout:
    """Products of grids of one width. All grids lie in one flat tensor: one parameter, one gradient."""

    width: int  # C, features of each grid, a multiple of 16
    products: tuple[tuple[Grid, ...], ...]
    count: int  # values of all grids


def make_layout(width: int, wanted: Sequence[Sequence[tuple[tuple[int, ...], int]]]) -> Layout:
    """Lay products out one after the other; each is a list of (axes, nodes along each axis)."""
    offset, made = 0, []
    for product in wanted:
        grids = []
        for axes, size in product:
            grids.append(Grid(offset=offset, axes=axes, sizes=(size,) * len(axes)))
            offset += size ** len(axes) * width
        made.append(tuple(grids))
    return Layout(width=width, products=tuple(made), count=offset)


def grid_values(values: Tensor, grid: Grid, width: int) -> Tensor:
    """The values of one grid, a view: [R, R', C] or [R, C]."""
    return values[grid.offset : grid.offset + prod(grid.sizes) * width].view(*grid.sizes, width)


def products(values: Tensor, layout: Layout, places: Tensor) -> Tensor:
    """Interpolate every grid at every place and multiply within a product: [N, products * C].

    Args:
        values: [layout.count].
        layout: how grids lie in `values`.
        places: [N, 3]; what lies outside 0..1 takes the value at the border.

    Linear along each axis, so bilinear on planes. Differentiable in values and places.
    """
    if places.device.type != "cpu" or places.dtype != torch.float32:
        return products_reference(values, layout, places)
    tables = tuple(tuple((grid.offset, *_span(grid)) for grid in product) for product in layout.products)
    return products_fast(values, places, tables, layout.width)


def products_reference(values: Tensor, layout: Layout, places: Tensor) -> Tensor:
    """The definition of `products`."""
    return torch.cat([_product(values, layout.width, product, places) for product in layout.products], dim=1)


def _span(grid: Grid) -> tuple[int, int, int, int]:
    # A line is a plane of one column, whose second axis is never read.
    return grid.axes[0], grid.axes[-1], grid.sizes[0], grid.sizes[1] if len(grid.sizes) > 1 else 1


def _product(values: Tensor, width: int, grids: Sequence[Grid], places: Tensor) -> Tensor:
    result: Any = 1
    for grid in grids:
        first, second, rows, columns = _span(grid)
        along = places[:, first].clamp(0, 1) * (rows - 1), places[:, second].clamp(0, 1) * (columns - 1)
        result = result * _bilinear(grid_values(values, grid, width).reshape(rows, columns, width), *along)
    return result


def _bilinear(plane: Tensor, row: Tensor, column: Tensor) -> Tensor:
    value: Any = 0
    for i, row_share in _corners(row, plane.shape[0]):
        for j, column_share in _corners(column, plane.shape[1]):
            value = value + (row_share * column_share)[:, None] * plane[i, j]
    return value


def _corners(x: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    first = x.detach().floor().clamp(0, max(size - 2, 0)).long()
    share = x - first
    return [(first, 1 - share), ((first + 1).clamp(max=size - 1), share)]
