"""The grammar, against what lark and launch's own grammar.lark gave for the same strings."""

import pytest

from splatface.cli.launcher.substitute import Text, parse_template, words
from splatface.models.errors import LaunchError


def plain(template):
    """A template as lists of strings and (name, words)."""
    return [
        part.text if isinstance(part, Text) else (part.name, [plain(argument) for argument in part.arguments])
        for part in template
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", [""]),
        ("it's", ["it's"]),
        ("a\nb", ["a\nb"]),
        (r"cost \$5", ["cost $5"]),
        (r"\$(var x)", ["$(var x)"]),
        (r"a\b", ["ab"]),
        (r"a\\b", [r"a\b"]),
        ("a\\", ["a\\"]),
        (r"\'[2, 5]\'", ["'[2, 5]'"]),
        (r"x\"y", ['x"y']),
        ("$(dirname)/x.py", [("dirname", []), "/x.py"]),
        ("$(var x)", [("var", [["x"]])]),
        ("$(var x y)", [("var", [["x"], ["y"]])]),
        ("$(var $(var y)z)", [("var", [[("var", [["y"]]), "z"]])]),
        ("$(env A '')", [("env", [["A"], []])]),
        ("$(eval '1 + 1')", [("eval", [["1 + 1"]])]),
        ("$(eval '1\n+ 1')", [("eval", [["1\n+ 1"]])]),
        (r"$(eval len\(1\))", [("eval", [["len(1)"]])]),
        ("""$(eval '"$(var x)" == "y"')""", [("eval", [['"', ("var", [["x"]]), '" == "y"']])]),
        ("""$(eval "'$(var x)' == 'y'")""", [("eval", [["'", ("var", [["x"]]), "' == 'y'"]])]),
        (r"""$(eval '\'a\' == "$(env X)"')""", [("eval", [["'a' == \"", ("env", [["X"]]), '"']])]),
        # two kinds of quotes in one text: launch's tokens hold only one
        ("""bash -c 'echo "hi"'""", ["bash -c 'echo ", '"hi"', "'"]),
        ("""'a' "b" """, ["'a' ", '"b" ']),
    ],
)
def test_grammar(source, expected):
    assert plain(parse_template(source)) == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("cost $5", "lone dollar"),
        ("$ (x)", "lone dollar"),
        ("$(var x", "found the end"),
        ("$(var  x)", "exactly one space"),
        ("$(var x )", "exactly one space"),
        ("$(var\nx)", r"found '\\n'"),
        ("$(var 'x'y)", "found 'y'"),
        ("$(var 'x)", "not closed"),
        ("$()", "expected a name"),
        ("$(vra x)", "unknown substitution"),
        ("$(var)", "takes 1 to 2 words"),
        ("$(dirname x)", "takes 0 words"),
        ("$(eval 1 + 1)", "whole expression in quotes"),
        ("$(find-pkg-share a b)", "takes 1 words"),
        ("$(env A $(bad x))", "unknown substitution"),
    ],
)
def test_mistakes_are_named(source, message):
    with pytest.raises(LaunchError, match=message):
        parse_template(source)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("ls -l  /", [["ls"], ["-l"], ["/"]]),
        ("sh -c 'a b'", [["sh"], ["-c"], ["a b"]]),
        ("$(var a) $(var b)", [[("var", [["a"]])], [("var", [["b"]])]]),
        ("$(var a)/bin x y $(var b)z", [[("var", [["a"]]), "/bin"], ["x"], ["y"], [("var", [["b"]]), "z"]]),
        ("--x=$(var a) -y", [["--x=", ("var", [["a"]])], ["-y"]]),
        ("  a  ", [["a"]]),
        ("", []),
    ],
)
def test_words_are_divided_as_launch_does(source, expected):
    assert [plain(word) for word in words(parse_template(source))] == expected


@pytest.mark.parametrize("source", ['--x="$(var a)"', """sh -c 'echo "hi"'""", "don't"])
def test_quotes_that_launch_cannot_read_in_a_command_are_refused(source):
    with pytest.raises(LaunchError, match="quotes may enclose neither"):
        words(parse_template(source))
