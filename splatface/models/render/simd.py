# SPDX-License-Identifier: Apache-2.0
"""Sixteen float32 in one value: a block of 4 x 4 pixels.

Numba vectorizes the short, branchy loops of a rasterizer badly, so kernels say what they mean. LLVM makes one
AVX-512 register of it, two of AVX2, four of SSE or NEON.
"""

import operator
from typing import Any

from llvmlite import ir
from numba.core import extending, types
from numba.core.extending import lower_builtin, models, register_model
from numba.core.typing.templates import AbstractTemplate, infer_global, signature

__all__ = [
    "LANES",
    "Vec16",
    "add_to_counter",
    "any_greater",
    "columns",
    "exp2",
    "horizontal_sum",
    "load",
    "prefetch",
    "rows",
    "select_ge",
    "splat",
    "store",
    "store_rgb",
    "vec_min",
]

LANES = 16
intrinsic: Any = extending.intrinsic  # typed as calls with its own first argument, which callers never pass
_FLOAT, _INT, _BYTE = ir.FloatType(), ir.IntType(32), ir.IntType(8)
_VEC, _VEC_INT = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT, LANES)
_FAST = ("fast",)

# 2^f for f in -0.5..0.5, fitted for the smallest relative error, 2.7e-6 (degree 3: 8e-5, degree 5: 8e-8).
_EXP2 = (0.0095605102, 0.0559170392, 0.2402498111, 0.6931219677, 0.9999991909)
# Adding 1.5 * 2^23 rounds to an integer that then stands in the low bits.
_ROUNDER = 12582912.0


class _Vec16Type(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Vec16")


Vec16 = _Vec16Type()


@register_model(_Vec16Type)
class _Vec16Model(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, _VEC)


def _constant(values: list[float]) -> ir.Constant:
    return ir.Constant(_VEC, [ir.Constant(_FLOAT, value) for value in values])


def _same(value: float) -> ir.Constant:
    return _constant([value] * LANES)


def _splat(builder: Any, value: Any) -> Any:
    vector = builder.insert_element(ir.Constant(_VEC, ir.Undefined), value, ir.Constant(_INT, 0))
    mask = ir.Constant(_VEC_INT, [ir.Constant(_INT, 0)] * LANES)
    return builder.shuffle_vector(vector, ir.Constant(_VEC, ir.Undefined), mask)


def _register_operator(operation: Any, method: str) -> None:
    @infer_global(operation)
    class _Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) == 2 and args[0] == Vec16 and args[1] == Vec16:
                return signature(Vec16, Vec16, Vec16)
            return None

    @lower_builtin(operation, _Vec16Type, _Vec16Type)
    def _lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, method)(args[0], args[1], flags=_FAST)


for _operation, _method in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _register_operator(_operation, _method)


@intrinsic
def splat(context, value):  # type: ignore[no-untyped-def]
    """Return one float32 in all lanes."""
    return Vec16(types.float32), lambda c, b, s, args: _splat(b, args[0])


@intrinsic
def columns(context):  # type: ignore[no-untyped-def]
    """Return 0 1 2 3 0 1 2 3 ...: the column of each pixel in its block."""
    return Vec16(), lambda c, b, s, args: _constant([float(lane % 4) for lane in range(LANES)])


@intrinsic
def rows(context):  # type: ignore[no-untyped-def]
    """Return 0 0 0 0 1 1 1 1 ...: the row of each pixel in its block."""
    return Vec16(), lambda c, b, s, args: _constant([float(lane // 4) for lane in range(LANES)])


def _pointer(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    array = context.make_array(sig.args[0])(context, builder, value=args[0])
    return builder.gep(array.data, [args[1]])


@intrinsic
def load(context, array, index):  # type: ignore[no-untyped-def]
    """Load sixteen float32 of a flat array from `index` on; not bounds-checked."""

    def generate(c, b, s, args):  # type: ignore[no-untyped-def]
        value = b.load(b.bitcast(_pointer(c, b, s, args), _VEC.as_pointer()))
        value.align = 4
        return value

    return Vec16(array, types.intp), generate


@intrinsic
def store(context, array, index, vector):  # type: ignore[no-untyped-def]
    """Write sixteen float32 to a flat array from `index` on; not bounds-checked."""

    def generate(c, b, s, args):  # type: ignore[no-untyped-def]
        b.store(args[2], b.bitcast(_pointer(c, b, s, args), _VEC.as_pointer())).align = 4
        return c.get_dummy_value()

    return types.void(array, types.intp, Vec16), generate


@intrinsic
def select_ge(context, x, limit, then, otherwise):  # type: ignore[no-untyped-def]
    """Return `then` where x >= limit, else `otherwise`; NaN gives `otherwise`."""

    def generate(c, b, s, args):  # type: ignore[no-untyped-def]
        return b.select(b.fcmp_ordered(">=", args[0], args[1]), args[2], args[3])

    return Vec16(Vec16, Vec16, Vec16, Vec16), generate


@intrinsic
def vec_min(context, x, y):  # type: ignore[no-untyped-def]
    """Return the smaller of each lane; NaN in x gives y."""

    def generate(c, b, s, args):  # type: ignore[no-untyped-def]
        return b.select(b.fcmp_ordered("<", args[0], args[1]), args[0], args[1])

    return Vec16(Vec16, Vec16), generate


@intrinsic
def any_greater(context, x, limit):  # type: ignore[no-untyped-def]
    """Return True when at least one lane of x exceeds limit."""

    def generate(c, b, s, args):  # type: ignore[no-untyped-def]
        bits = b.bitcast(b.fcmp_ordered(">", args[0], args[1]), ir.IntType(LANES))
        return b.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(LANES), 0))

    return types.boolean(Vec16, Vec16), generate


@intrinsic
def exp2(context, x):  # type: ignore[no-untyped-def]
    """Return 2^x for x in -126..126, relative error 3e-6; outside, any value."""

    def generate(c, b, s, args):  # type: ignore[no-untyped-def]
        rounded = b.fadd(args[0], _same(_ROUNDER))  # no fast flags: the sum must really be rounded
        fraction = b.fsub(args[0], b.fsub(rounded, _same(_ROUNDER)))
        power = _same(_EXP2[0])
        for coefficient in _EXP2[1:]:
            power = b.fadd(b.fmul(power, fraction, flags=_FAST), _same(coefficient), flags=_FAST)
        shift = ir.Constant(_VEC_INT, [ir.Constant(_INT, 23)] * LANES)
        exponent = b.shl(b.bitcast(rounded, _VEC_INT), shift)
        return b.bitcast(b.add(b.bitcast(power, _VEC_INT), exponent), _VEC)

    return Vec16(Vec16), generate


@intrinsic
def horizontal_sum(context, x):  # type: ignore[no-untyped-def]
    """Return the sum of the lanes."""

    def generate(c, b, s, args):  # type: ignore[no-untyped-def]
        value = args[0]
        for step in (8, 4, 2, 1):
            mask = [ir.Constant(_INT, (lane + step) % LANES) for lane in range(LANES)]
            value = b.fadd(value, b.shuffle_vector(value, value, ir.Constant(_VEC_INT, mask)), flags=_FAST)
        return b.extract_element(value, ir.Constant(_INT, 0))

    return types.float32(Vec16), generate


@intrinsic
def prefetch(context, array, index):  # type: ignore[no-untyped-def]
    """Prefetch the cache line at `index` of a flat array."""

    def generate(c, b, s, args):  # type: ignore[no-untyped-def]
        pointer = b.bitcast(_pointer(c, b, s, args), _BYTE.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, _INT, _INT, _INT])
        function = b.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        b.call(function, [pointer, ir.Constant(_INT, 0), ir.Constant(_INT, 3), ir.Constant(_INT, 1)])
        return c.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def add_to_counter(context, counter, amount):  # type: ignore[no-untyped-def]
    """Add to counter[0] (int64) atomically and return its earlier value."""

    def generate(c, b, s, args):  # type: ignore[no-untyped-def]
        array = c.make_array(s.args[0])(c, b, value=args[0])
        return b.atomic_rmw("add", array.data, args[1], "monotonic")

    return types.int64(counter, types.int64), generate


def _interleaved(builder: Any, planes: list[Any], row: int) -> Any:
    """Return row `row` of a block as r g b r g b r g b r g b."""
    picks = [4 * row + (i // 3) + (i % 3) * LANES for i in range(9 + 3)]
    two = ir.Constant(_VEC_INT, [ir.Constant(_INT, min(p, 2 * LANES - 1)) for p in [*picks, 0, 0, 0, 0]])
    first = builder.shuffle_vector(planes[0], planes[1], two)
    last = [LANES + 4 * row + i // 3 if i % 3 == 2 else i for i in range(12)]
    merge = ir.Constant(ir.VectorType(_INT, 12), [ir.Constant(_INT, i) for i in last])
    return builder.shuffle_vector(first, planes[2], merge)


@intrinsic
def store_rgb(context, image, index, row_stride, red, green, blue):  # type: ignore[no-untyped-def]
    """Write a block of colors to a flat image: float32 as it is, uint8 as round(255 * clamp(color))."""
    to_bytes = image.dtype == types.uint8

    def as_bytes(b: Any, value: Any) -> Any:
        scaled = b.fadd(b.fmul(value, _same(255.0), flags=_FAST), _same(0.5), flags=_FAST)
        low = b.select(b.fcmp_ordered(">", scaled, _same(0.0)), scaled, _same(0.0))
        clamped = b.select(b.fcmp_ordered("<", low, _same(255.0)), low, _same(255.0))
        return b.trunc(b.fptosi(clamped, _VEC_INT), ir.VectorType(_BYTE, LANES))

    def generate(c, b, s, args):  # type: ignore[no-untyped-def]
        element = _BYTE if to_bytes else _FLOAT
        planes = [as_bytes(b, plane) if to_bytes else plane for plane in args[3:6]]
        start = _pointer(c, b, s, args)
        for row in range(4):
            line = _interleaved(b, planes, row)
            offset = b.mul(args[2], ir.Constant(ir.IntType(64), row))
            pointer = b.bitcast(b.gep(start, [offset]), ir.VectorType(element, 12).as_pointer())
            b.store(line, pointer).align = 1 if to_bytes else 4
        return c.get_dummy_value()

    return types.void(image, types.intp, types.intp, Vec16, Vec16, Vec16), generate
