"""Substitutions: grammar, errors, words of a command line, and the safe `$(eval)`."""

import pytest

from splatface.cli.launcher.substitutions import evaluate_expression, parse_template, perform, split_words
from splatface.models.errors import LaunchError

VARIABLES = {"x": "X", "y": "x", "xz": "both", "quoted": 'it\'s "so" (a $b)'}
ENVIRONMENT = {"A": "from A"}


def text_of(source):
    return perform(parse_template(source), VARIABLES, ENVIRONMENT)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", ""),
        ("it's", "it's"),
        ("a\nb", "a\nb"),
        (r"cost \$5", "cost $5"),
        (r"\$(var x)", "$(var x)"),
        (r"a\b", "ab"),
        (r"a\\b", r"a\b"),
        ("a\\", "a\\"),
        (r"\'[2, 5]\'", "'[2, 5]'"),
        ("$(var x)/x.py", "X/x.py"),
        ("$(var x)$(var x) ", "XX "),
        ("$(var nope y)", "y"),
        ("$(var $(var y)z)", "both"),
        ("$(var '$(var y)z' none)", "both"),
        ("$(var nope 'a (b) \"c\"')", 'a (b) "c"'),
        ("$(var quoted)", VARIABLES["quoted"]),
        ("$(var nope $(var quoted))", VARIABLES["quoted"]),
        ("$(env A)", "from A"),
        ("$(env NOPE '')", ""),
        ("$(eval '1 + 1')", "2"),
        ("$(eval '(1\n+ 1)')", "2"),
        (r"$(eval \(1\))", "1"),
        ("""$(eval '"$(var x)" == "X"')""", "True"),
        ("""$(eval "'$(var x)' == 'y'")""", "False"),
        (r"""$(eval '\'from A\' == "$(env A)"')""", "True"),
    ],
)
def test_grammar(source, expected):
    assert text_of(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "cost $5",
        "$ (x)",
        "$(var x",
        "$(var  x)",
        "$(var x )",
        "$(var\nx)",
        "$(var 'x'y)",
        "$(var 'x)",
        "$()",
        "$(eval (1))",
    ],
)
def test_what_cannot_be_read_is_shown_with_the_rule(source):
    with pytest.raises(LaunchError, match=r"cannot read .*: expected \$\(name word ...\) with one space"):
        parse_template(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("$(vra x)", r"unknown substitution \$\(vra\): expected one of \$\(var\), \$\(env\)"),
        ("$(env A $(bad x))", r"unknown substitution \$\(bad\)"),
        ("$(var)", "takes 1 to 2 words, found 0"),
        ("$(find-pkg-share a b)", "takes 1 to 1 words, found 2"),
        ("$(eval 1 + 1)", "found 3: put the whole expression in quotes"),
    ],
)
def test_mistakes_are_named(source, message):
    with pytest.raises(LaunchError, match=message):
        parse_template(source)


@pytest.mark.parametrize(
    "source",
    [
        *("$(dirname)", "$(filename)", "$(find-pkg-prefix pkg)", "$(command 'ls /' warn)", "$(find-exec ls)"),
        *(
            "$(exec-in-pkg show pkg)",
            "$(anon name)",
            "$(param name)",
            "$(not true)",
            "$(and a b)",
            "$(or a b)",
        ),
        *("$(any a)", "$(all a)", "$(if a b c)", "$(equals a b)", "$(not-equals a b)", "$(file-content a)"),
        *("$(log_dir)", "$(launch_log_dir)", "$(var x $(command 'ls'))"),
    ],
)
def test_other_substitutions_of_ros_are_refused_by_name(source):
    name = source[source.rindex("$(") + 2 :].split(" ")[0].rstrip(")")
    message = rf"the substitution \$\({name}\) is not supported by splatface launch: .*`ros2 launch`"
    with pytest.raises(LaunchError, match=message):
        parse_template(source)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("ls -l  /", ["ls", "-l", "/"]),
        ("sh -c 'a b'", ["sh", "-c", "a b"]),
        (r"sh -c \"a b\"", ["sh", "-c", "a b"]),
        ("$(var x) $(env A)", ["X", "from A"]),
        ("$(var x)/bin x y $(var x)z", ["X/bin", "x", "y", "Xz"]),
        ("--x=$(env A) -y", ["--x=from A", "-y"]),
        ("$(env NOPE '') a", ["", "a"]),
        ("  a  ", ["a"]),
        ("", []),
    ],
)
def test_words_are_divided_as_launch_does(source, expected):
    words = split_words(parse_template(source))
    assert [perform(word, VARIABLES, ENVIRONMENT) for word in words] == expected


@pytest.mark.parametrize("source", ['--x="$(var a)"', "don't"])
def test_quotes_that_launch_cannot_read_in_a_command_are_refused(source):
    with pytest.raises(LaunchError, match="no quotes around a substitution"):
        split_words(parse_template(source))


@pytest.mark.parametrize(
    "expression",
    [
        "1 + 2 * 3 - 4 / 8 // 1 % 5",
        "-3 + +2",
        "1 < 2 <= 2 != 3 > 1 >= 1 == 1",
        "3 < 2 < 1 / 0",
        "'a' + 'b'",
        "'a' in 'cat' and 'x' not in ('a', 'b') or False",
        "not True",
        "not ''",
        "0 or 'fallback'",
        "'a' and 'b'",
        "'yes' if 'mic' == 'mic' else 'no'",
        "1 in (1, 2)",
        "(1, 'a', (None,))",
        "None",
        " 1 ",
        "'a' 'b'",
        "1e400",
    ],
)
def test_eval_agrees_with_python(expression):
    assert evaluate_expression(expression) == str(eval(expression.strip()))


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "().__class__",
        "'a'.upper()",
        "open('/etc/passwd')",
        "int('3')",
        "[x for x in (1, 2)]",
        "lambda: 1",
        "'abc'[0]",
        "f'{1}'",
        "pi",
        "1 is 1",
        "1 | 2",
        "~1",
        "2 ** 10",
        "b'a'",
        "1j",
        "...",
        "{1: 2}",
        "[1]",
        "(x := 1)",
        "max.__self__",
        "microphone == 'microphone'",
    ],
)
def test_eval_evaluates_nothing_else(expression):
    with pytest.raises(LaunchError, match=r"\$\(eval\)"):
        evaluate_expression(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "'a' * 10",
        "(1,) * 10",
        "'%999999999d' % 1",
        "*".join(["9" * 1000] * 9),
        "(" * 300 + "1" + ")" * 300,
        "1 / 0",
        "10.0 * 1e308 // 0",
        "-" * 20000 + "1",
        "",
        "1 +",
        "'a' + 1",
        "(1,) + (2,)",
        "'a' < 1",
    ],
)
def test_no_expression_exhausts_the_machine_or_breaks_out(expression):
    with pytest.raises(LaunchError, match=r"\$\(eval\)"):
        evaluate_expression(expression)
