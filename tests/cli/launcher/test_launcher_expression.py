import pytest

from splatface.cli.launcher.expression import evaluate_expression
from splatface.models.errors import LaunchError


@pytest.mark.parametrize(
    "expression",
    [
        "1 + 2 * 3 - 4 / 8 // 1 % 5",
        "2 ** 10",
        "-3 + +2",
        "1 < 2 <= 2 != 3 > 1 >= 1 == 1",
        "3 < 2 < 1 / 0",
        "'a' + 'b' * 3",
        "'a' in 'cat' and 'x' not in ('a', 'b') or False",
        "not True",
        "0 or 'fallback'",
        "'a' and 'b'",
        "'yes' if 'mic' == 'mic' else 'no'",
        "1 in [1, 2]",
        "int('3') + float('1.5')",
        "str(round(3.14159, 2)) + 'm'",
        "max(1, 2, 3) - min(4, 5) + abs(-6) + len('four')",
        "bool('')",
        "None",
        " 1 ",
        "'a' 'b'",
        "1e400",
    ],
)
def test_agrees_with_python(expression):
    assert evaluate_expression(expression) == str(eval(expression.strip()))


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "().__class__",
        "'a'.upper()",
        "open('/etc/passwd')",
        "[x for x in (1, 2)]",
        "lambda: 1",
        "'abc'[0]",
        "f'{1}'",
        "pi",
        "1 is 1",
        "1 | 2",
        "~1",
        "b'a'",
        "1j",
        "{1: 2}",
        "(x := 1)",
        "max(*[1, 2])",
        "int('f', base=16)",
        "max.__self__",
        "microphone == 'microphone'",
    ],
)
def test_nothing_else_is_carried_out(expression):
    with pytest.raises(LaunchError, match=r"\$\(eval\)"):
        evaluate_expression(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "9 ** 9 ** 9",
        "'a' * 10 ** 9",
        "10 ** 200 * 10 ** 200",
        "'%999999999d' % 1",
        "(" * 300 + "1" + ")" * 300,
        "1 / 0",
        "int('x')",
        "-" * 20000 + "1",
        "",
        "1 +",
        "'a' + 1",
        "'a' ** 2",
    ],
)
def test_no_expression_hangs_or_breaks_out(expression):
    with pytest.raises(LaunchError, match=r"\$\(eval\)"):
        evaluate_expression(expression)
