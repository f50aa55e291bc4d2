"""Takes the statements that SQLite stores apart, by the rules of its own tokenizer and no others.

A statement is cut at its tokens, never matched as lines of text, so that comments, all four kinds of
quotes and nested parentheses do not confuse it. A quoted word is a name, whatever it spells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<skipped>[\s\ufeff]+ | --[^\n]* | /\*.*?(?:\*/|\Z))
    | (?P<quoted>'(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^]]*])
    | (?P<bare>[\w$\x80-\U0010ffff]+ | .)
    """,
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True)
class Token:
    """A word, a name, a text or a sign, and where it stands.

    ``word`` is what it says in capitals, empty where it is quoted and so no word of the language;
    ``name`` is what it calls.
    """

    word: str
    name: str
    start: int
    end: int


def quote(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """Quote a text."""
    return "'" + value.replace("'", "''") + "'"


def tokens(sql: str) -> list[Token]:
    """Return the tokens of a statement, less spaces and comments."""
    found = []
    for match in _TOKEN.finditer(sql):
        written = match.group()
        if match["quoted"]:
            found.append(Token("", _unquoted(written), match.start(), match.end()))
        elif match["bare"]:
            found.append(Token(_capitals(written), written, match.start(), match.end()))
    return found


def closing(found: Sequence[Token], opening: int) -> int:
    """Return the position of the parenthesis that closes the one at ``opening``."""
    depth = 0
    for at in range(opening, len(found)):
        depth += _step(found[at])
        if depth == 0:
            break
    return at


def outermost(found: Sequence[Token]) -> Iterator[int]:
    """Yield the positions of the tokens that are in no parentheses, those themselves included."""
    depth = 0
    for at, token in enumerate(found):
        if depth == 0 or (depth == 1 and token.word == ")"):
            yield at
        depth += _step(token)


def pieces(found: Sequence[Token]) -> Iterator[list[Token]]:
    """Cut at the commas that are in no parentheses."""
    begin = 0
    for at in outermost(found):
        if found[at].word == ",":
            yield list(found[begin:at])
            begin = at + 1
    yield list(found[begin:])


def cut(sql: str, found: Sequence[Token]) -> str:
    """Return the text that tokens cover, as it was written."""
    return sql[found[0].start : found[-1].end]


def _step(token: Token) -> int:
    return (token.word == "(") - (token.word == ")")


def _unquoted(written: str) -> str:
    end = written[-1]
    return written[1:-1] if end == "]" else written[1:-1].replace(end * 2, end)


def _capitals(written: str) -> str:
    # As SQLite does it: letters beyond ASCII have no other case.
    return written.upper() if written.isascii() else written
