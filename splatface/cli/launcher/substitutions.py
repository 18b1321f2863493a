# SPDX-License-Identifier: Apache-2.0

r"""Substitutions: `$(var NAME [DEFAULT])`, `$(env NAME [DEFAULT])`, `$(find-pkg-share PKG)`, `$(eval EXPR)`.

The grammar follows launch's `frontend/grammar.lark`: words are divided by exactly one space; a word in quotes
may hold spaces, parentheses and the other quote; `\x` is `x`, and a dollar that begins nothing is `\$`.

launch hands EXPR to Python's `eval`, so that a launch argument can run any program. Here only these are
evaluated, as in Python: numbers, strings, `True False None`, tuples, `+ - * / // %` of numbers, `+` of
strings, comparisons, `in`, `and or not`, `A if C else B`. No result can be much longer than EXPR.
"""

import ast
import operator
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from splatface.cli.launcher.packages import package_share
from splatface.models.errors import LaunchError

__all__ = [
    "OTHERS",
    "UNSUPPORTED",
    "Template",
    "evaluate_expression",
    "parse_template",
    "perform",
    "split_words",
]

OTHERS = "(others only with `ros2 launch`)"
UNSUPPORTED = "is not supported by splatface launch: run this file with `ros2 launch`"
WORD_COUNTS = {"var": (1, 2), "env": (1, 2), "find-pkg-share": (1, 1), "eval": (1, 1)}  # name: least, most
ROS_SUBSTITUTIONS = (
    "find-pkg-prefix dirname filename command find-exec exec-in-pkg anon param log_dir launch_log_dir "
    "file-content equals not-equals not and or any all if"
)
# Words hold no dollar: calls are replaced from the innermost outwards, each by its number between NUL bytes.
WORD = r"""'[^'$]*'|"[^"$]*"|[^ ()'"$\s]+"""
CALL = re.compile(rf"\$\(([A-Za-z][\w-]*)((?: (?:{WORD}))*)\)")
NUMBER = re.compile("\0([0-9]+)\0")

MAX_EXPRESSION_LENGTH = 10_000
OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, items: item in items,
    ast.NotIn: lambda item, items: item not in items,
}


@dataclass(frozen=True, slots=True)
class Template:
    """A string with substitutions."""

    source: str  # as written in the file
    text: str  # with the numbers of calls in their places
    pieces: list["str | Call"]

    @property
    def is_literal(self) -> bool:
        """True where the template holds no substitution."""
        return NUMBER.search(self.text) is None


@dataclass(frozen=True, slots=True)
class Call:
    """One `$(name word ...)`."""

    name: str
    words: tuple[Template, ...]


def parse_template(source: str) -> Template:
    """Parse a whole attribute. Raises LaunchError (without file and line)."""
    pieces: list[str | Call] = []

    def number(piece: str | Call) -> str:
        pieces.append(piece)
        return f"\0{len(pieces) - 1}\0"

    def restore_escaped(match: re.Match[str]) -> str:
        piece = pieces[int(match[1])]
        return piece if isinstance(piece, str) else match[0]

    def template(text: str) -> Template:
        return Template(source, NUMBER.sub(restore_escaped, text), pieces)

    def parse_call(match: re.Match[str]) -> str:
        words = [word[1:-1] if word[0] in "'\"" else word for word in re.findall(WORD, match[2])]
        _check_call(match[1], len(words))
        return number(Call(match[1], tuple(map(template, words))))

    text, count = re.sub(r"\\(.)", lambda match: number(match[1]), source), 1
    while count:
        text, count = CALL.subn(parse_call, text)
    if "$" in text:
        raise LaunchError(
            f"cannot read {source!r}: expected $(name word ...) with one space before each word, and quotes "
            "around a word that holds spaces, quotes or parentheses; a lone dollar is written '\\$'"
        )
    return template(text)


def perform(template: Template, variables: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """Return the string a template gives. Raises LaunchError (without file and line)."""

    def result(match: re.Match[str]) -> str:
        call = template.pieces[int(match[1])]
        assert isinstance(call, Call)
        word, *default = (perform(argument, variables, environment) for argument in call.words)
        if call.name == "eval":
            return evaluate_expression(word)
        if call.name == "find-pkg-share":
            return str(package_share(word, environment))
        values = variables if call.name == "var" else environment
        if word not in values and not default:
            kind = "launch configuration" if call.name == "var" else "environment variable"
            hint = f"set it before, or give a default: $({call.name} {word} DEFAULT)"
            raise LaunchError(f"{kind} {word!r} does not exist: {hint}")
        return values[word] if word in values else default[0]

    return NUMBER.sub(result, template.text)


def split_words(template: Template) -> tuple[Template, ...]:
    """Divide a command line into words as a shell would, but never inside the result of a substitution.

    Raises LaunchError for quotes around a substitution: launch divides each piece of text by itself.
    """
    try:
        for text in NUMBER.split(template.text):
            shlex.split(text)
        words = shlex.split(template.text)
    except ValueError as error:
        hint = "no quotes around a substitution, and a backslash before a quote that is a character"
        raise LaunchError(f"cannot divide {template.source!r} into words ({error}): {hint}") from None
    return tuple(Template(template.source, word, template.pieces) for word in words)


def _check_call(name: str, count: int) -> None:
    if name in ROS_SUBSTITUTIONS.split():
        raise LaunchError(f"the substitution $({name}) {UNSUPPORTED}")
    if name not in WORD_COUNTS:
        known = ", ".join(f"$({known})" for known in WORD_COUNTS)
        raise LaunchError(f"unknown substitution $({name}): expected one of {known}")
    least, most = WORD_COUNTS[name]
    if not least <= count <= most:
        hint = ": put the whole expression in quotes" if name == "eval" else ""
        raise LaunchError(f"$({name}) takes {least} to {most} words, found {count}{hint}")


def evaluate_expression(expression: str) -> str:
    """Evaluate `$(eval)`; returns the result as `str()` writes it. Raises LaunchError (without a line)."""
    if len(expression) > MAX_EXPRESSION_LENGTH:
        raise LaunchError(f"$(eval): an expression of {len(expression)} characters, at most 10,000")
    try:
        return str(_evaluate(ast.parse(expression.strip(), mode="eval").body))
    except SyntaxError as error:
        raise LaunchError(f"$(eval): {error.msg} in {expression!r}: strings need quotes") from None
    except (LaunchError, ArithmeticError, TypeError, ValueError, RecursionError, MemoryError) as error:
        raise LaunchError(f"$(eval): {error} in {expression!r}") from None


def _evaluate(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None):
            return node.value
        case ast.Tuple():
            return tuple(_evaluate(item) for item in node.elts)
        case ast.IfExp():
            return _evaluate(node.body if _evaluate(node.test) else node.orelse)
        case ast.UnaryOp():
            return _apply(node.op, _evaluate(node.operand))
        case ast.BinOp():
            return _apply(node.op, _evaluate(node.left), _evaluate(node.right))
        case ast.BoolOp():
            for operand in node.values:
                result = _evaluate(operand)
                if bool(result) == isinstance(node.op, ast.Or):
                    break
            return result
        case ast.Compare():
            left = _evaluate(node.left)
            for symbol, operand in zip(node.ops, node.comparators, strict=True):
                right = _evaluate(operand)
                if not _apply(symbol, left, right):
                    return False
                left = right
            return True
        case ast.Name():
            raise LaunchError(f"unknown name {node.id!r}: strings need quotes, values come from $(var ...)")
    raise LaunchError(f"{type(node).__name__.lower()} is not allowed")


def _apply(symbol: ast.AST, *operands: Any) -> Any:
    name = type(symbol).__name__.lower()
    if type(symbol) not in OPERATORS:
        raise LaunchError(f"the operator {name} is not allowed")
    numbers = all(isinstance(operand, int | float) for operand in operands)
    strings = isinstance(symbol, ast.Add) and all(isinstance(operand, str) for operand in operands)
    if isinstance(symbol, ast.operator | ast.USub | ast.UAdd) and not numbers and not strings:
        raise LaunchError(f"{name} of something that is not a number")
    return OPERATORS[type(symbol)](*operands)
