r"""The grammar of substitutions: `'$(var head)/x'` -> a template, a tuple of texts and calls.

The grammar is that of launch's frontend (`frontend/grammar.lark`, the same on Jazzy and Kilted):

    $(name)  $(name word word)  $(name 'one word' "and another")

* words are divided by exactly one space; a word in quotes may hold spaces, parentheses and the other quote;
* a call may stand inside a word, in or out of quotes; inside a quoted word its own words have no quotes;
* `\x` is `x`; a dollar that begins no substitution is written `\$`.

Everything is parsed before anything runs, so a spelling mistake in a branch that is not taken is found too.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from splatface.models.errors import LaunchError

__all__ = ["Call", "Template", "Text", "calls", "parse_template", "unescape", "words"]

# name -> how many words it takes
CALLS = {
    "var": (1, 2),
    "env": (1, 2),
    "find-pkg-share": (1, 1),
    "find-pkg-prefix": (1, 1),
    "dirname": (0, 0),
    "filename": (0, 0),
    "eval": (1, 1),
    "command": (1, 2),
}
IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Text:
    """Characters that stand for themselves."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """One `$(name word ...)`."""

    name: str
    arguments: tuple["Template", ...]


Template = tuple[Text | Call, ...]


def parse_template(source: str) -> Template:
    """Parse a whole attribute. Raises LaunchError (without file and line) on a mistake."""
    if not source:
        return (Text(""),)
    parts: list[Text | Call] = []
    at = 0
    while at < len(source):
        if source.startswith("$(", at):
            call, at = _call(source, at, "")
            parts.append(call)
        else:
            raw, at = _plain(source, at)
            parts += [Text(unescape(piece)) for piece in _split_at_other_quote(raw)]
    return tuple(parts)


def unescape(raw: str) -> str:
    r"""Turn `\x` into `x`."""
    return re.sub(r"\\(.)", r"\1", raw)


def calls(template: Template) -> Iterator[Call]:
    """All calls of a template, the inner ones too."""
    for part in template:
        if isinstance(part, Call):
            yield part
            for argument in part.arguments:
                yield from calls(argument)


def words(template: Template) -> tuple[Template, ...]:
    """Divide a command line into words, as a shell would, but never inside what a call gives.

    Quotes may not enclose a call: launch divides each text by itself, and so do we.
    """
    found: list[Template] = []
    word: list[Text | Call] = []
    for part in template:
        if isinstance(part, Call):
            word.append(part)
            continue
        pieces = _shell_words(part.text)
        if (not pieces or part.text[0].isspace()) and word:
            found.append(tuple(word))
            word = []
        if not pieces:
            continue
        word.append(Text(pieces[0]))
        for piece in pieces[1:]:
            found.append(tuple(word))
            word = [Text(piece)]
        if part.text[-1].isspace():
            found.append(tuple(word))
            word = []
    if word:
        found.append(tuple(word))
    return tuple(found)


def _shell_words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise LaunchError(
            f"cannot divide {text!r} into words ({error}): quotes may enclose neither a substitution nor "
            "quotes of the other kind; escape inner quotes with a backslash"
        ) from None


def _plain(source: str, at: int) -> tuple[str, int]:
    r"""Raw text up to the next `$(`, with its escapes."""
    start = at
    while at < len(source) and not source.startswith("$(", at):
        if source[at] == "\\":
            # launch reads `\\$(` in its own way: nobody writes it on purpose
            if source.startswith("\\\\$", at):
                raise LaunchError(f"two backslashes before a dollar in {source!r}: write one or none")
            at += 2
        elif source[at] == "$":
            raise LaunchError(f"a lone dollar in {source!r}: write '\\$', or '$(' for a substitution")
        else:
            at += 1
    return source[start : min(at, len(source))], min(at, len(source))


def _split_at_other_quote(raw: str) -> list[str]:
    """Divide where both kinds of quotes would meet: launch's tokens hold only one kind."""
    pieces = [""]
    kind = ""
    for token in re.findall(r"\\.|\\$|[^\\]", raw, re.DOTALL):
        if token in ("'", '"'):
            if kind and token != kind:
                pieces.append("")
            kind = token
        pieces[-1] += token
    return pieces


def _call(source: str, at: int, quote: str) -> tuple[Call, int]:
    """Parse the call that begins with the `$(` at `at`; `quote` is the quote around it, if any."""
    start = at
    match = IDENTIFIER.match(source, at + 2)
    if match is None:
        raise LaunchError(f"expected a name after '$(' in {source!r}, such as $(var head)")
    at = match.end()
    arguments: list[Template] = []
    while at < len(source) and source[at] == " ":
        argument, at = _word(source, at + 1, quote)
        arguments.append(argument)
    if at >= len(source) or source[at] != ")":
        found = repr(source[at]) if at < len(source) else "the end"
        raise LaunchError(
            f"expected ')' or one space and a word in {source[start:]!r}, found {found}: "
            "quote a word that holds spaces, quotes or parentheses"
        )
    return Call(match.group(), _checked(match.group(), tuple(arguments))), at + 1


def _checked(name: str, arguments: tuple[Template, ...]) -> tuple[Template, ...]:
    if name not in CALLS:
        known = ", ".join(f"$({known})" for known in CALLS)
        raise LaunchError(f"unknown substitution $({name}): expected one of {known}")
    least, most = CALLS[name]
    if not least <= len(arguments) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        hint = ": put the whole expression in quotes" if name in ("eval", "command") else ""
        raise LaunchError(f"$({name}) takes {wanted} words, found {len(arguments)}{hint}")
    return arguments


def _word(source: str, at: int, quote: str) -> tuple[Template, int]:
    if not quote and at < len(source) and source[at] in "'\"":
        return _quoted_word(source, at + 1, source[at])
    stops = " ()" + (quote or "'\"")
    parts, end = _parts(source, at, stops, quote)
    if not parts:
        raise LaunchError(
            f"expected a word after the space in {source!r}: words are divided by exactly one space"
        )
    return parts, end


def _quoted_word(source: str, at: int, quote: str) -> tuple[Template, int]:
    parts, at = _parts(source, at, quote, quote)
    if at >= len(source):
        raise LaunchError(f"a quote {quote} is not closed in {source!r}")
    return parts, at + 1


def _parts(source: str, at: int, stops: str, quote: str) -> tuple[Template, int]:
    """Texts and calls up to one of `stops`."""
    parts: list[Text | Call] = []
    raw = ""
    while at < len(source) and source[at] not in stops:
        if source.startswith("$(", at):
            if raw:
                parts.append(Text(unescape(raw)))
                raw = ""
            call, at = _call(source, at, quote)
            parts.append(call)
        elif source[at] == "$":
            raise LaunchError(f"a lone dollar in {source!r}: write '\\$', or '$(' for a substitution")
        else:
            step = 2 if source[at] == "\\" else 1
            if source.startswith("\\\\$", at):
                raise LaunchError(f"two backslashes before a dollar in {source!r}: write one or none")
            raw += source[at : at + step]
            at += step
    if raw:
        parts.append(Text(unescape(raw)))
    return tuple(parts), at
