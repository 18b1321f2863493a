"""`$(eval ...)` without a way to run arbitrary code.

launch hands the text to Python's `eval`, with the module `math` and every attribute of every object in reach:
a launch argument can then run any program. Here an expression is read into Python's syntax tree and only
these are carried out; all of them give under launch what they give here:

* numbers, strings, `True False None`, tuples and lists, `( )`;
* `+ - * / // % **`, unary `- +`; `== != < <= > >=`, chained, `in`, `not in`; `and or not`; `A if C else B`;
* calls of `abs bool float int len max min round str`.

Refused although launch takes them: attributes (`'a'.upper()`, `math.pi`), subscripts, the names of `math`,
f-strings, `%` on strings, comprehensions, lambdas, `is`, bit operators, keyword arguments, the second word of
`$(eval EXPRESSION MODULES)`. Results are held to 10,000 characters and 10**300, so that no expression hangs
the machine.
"""

import ast
import operator
from collections.abc import Callable
from typing import Any

from splatface.models.errors import LaunchError

__all__ = ["evaluate_expression"]

FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (abs, bool, float, int, len, max, min, round, str)
}
MAX_LENGTH = 10_000
MAX_NUMBER = 10**300


def evaluate_expression(expression: str) -> str:
    """Evaluate and give the result as `str()` writes it. Raises LaunchError (without file and line)."""
    if len(expression) > MAX_LENGTH:
        raise LaunchError(f"$(eval): an expression of {len(expression)} characters, at most {MAX_LENGTH}")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        return str(_value(tree.body))
    except LaunchError as error:
        raise LaunchError(f"$(eval): {error} in {expression!r}") from None
    except SyntaxError as error:
        raise LaunchError(f"$(eval): {error.msg} in {expression!r}: strings need quotes") from None
    except (ArithmeticError, TypeError, ValueError, RecursionError, MemoryError) as error:
        raise LaunchError(f"$(eval): {error} in {expression!r}") from None


def _power(base: Any, exponent: Any) -> Any:
    if abs(exponent) > 1000:
        raise LaunchError("an exponent above 1000")
    return base**exponent


def _times(left: Any, right: Any) -> Any:
    for one, other in ((left, right), (right, left)):
        if isinstance(one, str | tuple | list) and isinstance(other, int) and len(one) * other > MAX_LENGTH:
            raise LaunchError(f"more than {MAX_LENGTH} characters")
    return left * right


def _remainder(left: Any, right: Any) -> Any:
    if isinstance(left, str):
        raise LaunchError("% formats no strings here")  # '%999999999d' would fill the memory
    return left % right


BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: _times,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: _remainder,
    ast.Pow: _power,
}
UNARY: dict[type, Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


def _value(node: ast.expr) -> Any:
    handler = HANDLERS.get(type(node))
    if handler is None:
        raise LaunchError(f"{type(node).__name__.lower()} is not allowed")
    return _held(handler(node))


def _held(value: Any) -> Any:
    """Refuse what grew too large."""
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and MAX_NUMBER < abs(value) != float("inf")
    ):
        raise LaunchError("a number above 1e300")
    if isinstance(value, str | tuple | list) and len(value) > MAX_LENGTH:
        raise LaunchError(f"more than {MAX_LENGTH} characters")
    return value


def _constant(node: ast.Constant) -> Any:
    if node.value is not None and not isinstance(node.value, bool | int | float | str):
        raise LaunchError(f"{node.value!r} is not allowed")
    return node.value


def _name(node: ast.Name) -> Any:
    raise LaunchError(f"unknown name {node.id!r}: strings need quotes, values come from $(var ...)")


def _binary(node: ast.BinOp) -> Any:
    return _operation(BINARY, node.op)(_value(node.left), _value(node.right))


def _unary(node: ast.UnaryOp) -> Any:
    return _operation(UNARY, node.op)(_value(node.operand))


def _operation(table: dict[type, Callable[..., Any]], symbol: ast.AST) -> Callable[..., Any]:
    if type(symbol) not in table:
        raise LaunchError(f"the operator {type(symbol).__name__.lower()} is not allowed")
    return table[type(symbol)]


def _boolean(node: ast.BoolOp) -> Any:
    stops_at = isinstance(node.op, ast.Or)
    result: Any = None
    for operand in node.values:
        result = _value(operand)
        if bool(result) == stops_at:
            break
    return result


def _compare(node: ast.Compare) -> Any:
    left = _value(node.left)
    result: Any = True
    for symbol, operand in zip(node.ops, node.comparators, strict=True):
        right = _value(operand)
        result = _operation(COMPARE, symbol)(left, right)
        if not result:
            break
        left = right
    return result


def _choice(node: ast.IfExp) -> Any:
    return _value(node.body if _value(node.test) else node.orelse)


def _tuple(node: ast.Tuple) -> Any:
    return tuple(_value(item) for item in node.elts)


def _list(node: ast.List) -> Any:
    return [_value(item) for item in node.elts]


def _function(node: ast.Call) -> Any:
    if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
        raise LaunchError(f"only these functions are allowed: {', '.join(FUNCTIONS)}")
    if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
        raise LaunchError(f"{node.func.id} takes plain arguments only")
    return FUNCTIONS[node.func.id](*(_value(argument) for argument in node.args))


HANDLERS: dict[type, Callable[[Any], Any]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.BoolOp: _boolean,
    ast.Compare: _compare,
    ast.IfExp: _choice,
    ast.Tuple: _tuple,
    ast.List: _list,
    ast.Call: _function,
}
