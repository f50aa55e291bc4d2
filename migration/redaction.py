"""Keeps passwords out of everything that is printed, logged, raised or written.

Two ways, because a secret leaks in two ways. A URL has a shape, so :func:`redact_url` hides what stands
where secrets stand. A message of a driver or of a server has none, so :func:`scrub` blots out the
secrets themselves, in every spelling that :func:`secrets_of` knows. :func:`redact` does both to a text,
:func:`redact_value` to every text in a value that is to be written as JSON.

In doubt more is hidden rather than less: of ``user:p@ss@host`` everything up to the last ``@`` is
taken to be the password, although a parser of URLs would stop at the first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from math import isfinite
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

MARK = "***"

# A query parameter whose name contains one of these holds a secret.
SECRET_WORDS = ("password", "passwd", "passphrase", "pwd", "secret", "token", "sslkey")

# A piece of a password that a parser cut at its "@" is blotted out from this length on: shorter pieces
# are in every other word, and what is left of the message would be of no use.
PIECE_CHARACTERS = 3

# A greater number is written as a text: readers of JSON end here, and Python writes no thousands of digits.
INTEGER_BITS = 64

# A single text is cut after this many characters, and says so: what is written is read by people.
TEXT_CHARACTERS = 65_536

# Three slashes after the scheme mean a path, and a path holds no password.
_AUTHORITY = re.compile(r"\A(\s*[A-Za-z][\w+.-]*://(?!/)[^:@]*):(.*)@", re.DOTALL)
# Patterns for texts begin where nothing before them could have begun: a hostile text takes no longer.
_PARAMETER = re.compile(r"([?&])([^=&?\s]*)=([^&#\s]*)")
_WORD = re.compile(r"\S+")
# How libpq and its like spell a connection; a colon would also be prose ("secure_tokens: 64 rows").
_SETTING_IN_TEXT = re.compile(
    r"(?i)\b((?:(?:ssl)?password|passwd|pwd|sslkey)\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]+)"
)


def redact_url(url: str | URL) -> str:
    """Return the URL without its secrets: two URLs that differ only in these give the same text."""
    if isinstance(url, str):
        text = _AUTHORITY.sub(rf"\1:{MARK}@", url)
        try:
            url = make_url(text)
        except (ArgumentError, ValueError):
            # Not a URL, or one that cannot be taken apart: its shape alone has to do.
            return redact(text)
    if url.host is not None and "@" in url.host:
        # No host is called that: a parser ended the password at its first "@".
        url = url.set(host=url.host.rpartition("@")[2])
    hidden = {name: MARK if _is_secret(name) else value for name, value in url.query.items()}
    return url.set(query=hidden).render_as_string(hide_password=True).replace(quote_plus(MARK), MARK)


def secrets_of(url: str | URL) -> tuple[str, ...]:
    """Return every spelling in which a secret of this URL may turn up in a text, the longest first.

    Give the text the user typed rather than the URL parsed from it, wherever there is one: only the
    text still knows how the password was spelled, and where it ended.
    """
    secrets: list[str] = []
    if isinstance(url, str):
        authority = _AUTHORITY.match(url)
        if authority:
            secrets += [authority[2], *_pieces(authority[2])]
        secrets += [found[3] for found in _PARAMETER.finditer(url) if _is_secret(found[2])]
        try:
            url = make_url(url)
        except (ArgumentError, ValueError):
            return _every_spelling(secrets)
    if url.password is not None:
        secrets.append(str(url.password))
    if url.host is not None and "@" in url.host:
        secrets += _pieces(url.host.rpartition("@")[0])
    for name, value in url.query.items():
        if _is_secret(name):
            secrets += [value] if isinstance(value, str) else value
    return _every_spelling(secrets)


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Return the text with every occurrence of every secret blotted out.

    Occurrences that overlap are blotted out together, so that no end of one is left standing; and
    what is left is looked through again, in case it has grown together into a secret. Only a secret
    that is itself nothing but a few asterisks cannot be hidden by asterisks.
    """
    wanted = [secret for secret in set(secrets) if secret not in MARK]
    while spans := _spans(text, wanted):
        kept, end = [], 0
        for start, stop in spans:
            kept.append(text[end:start])
            end = stop
        text = MARK.join([*kept, text[end:]])
    return text


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text without these secrets, and without what looks like one in a URL or a setting."""
    text = scrub(text, secrets)
    if "://" in text and "@" in text:
        text = _WORD.sub(lambda word: _without_userinfo(word[0]), text)
    text = _PARAMETER.sub(_without_value, text)
    return _SETTING_IN_TEXT.sub(rf"\1{MARK}", text)


def redact_value(value: object, secrets: tuple[str, ...] = ()) -> Any:
    """Return a value as JSON can hold it, names sorted, with every text in it redacted and bounded."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, URL):
        # First, because a URL is also a tuple, with its password among the rest.
        value = redact_url(value)
    if isinstance(value, Mapping):
        return _redact_mapping(value, secrets)
    if isinstance(value, list | tuple):
        return [redact_value(entry, secrets) for entry in value]
    if isinstance(value, set | frozenset):
        return sorted((redact_value(entry, secrets) for entry in value), key=str)
    if value is None or (isinstance(value, float) and isfinite(value)):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= INTEGER_BITS else hex(value)
    if isinstance(value, bytes):
        return _bounded(value.hex())
    return _bounded(redact(str(value), secrets))


def _redact_mapping(value: Mapping[Any, object], secrets: tuple[str, ...]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, entry in value.items():
        key = str(redact_value(name, secrets))
        # Two names may look the same without their secrets; neither entry may be lost.
        while key in plain:
            key += "'"
        plain[key] = redact_value(entry, secrets)
    return dict(sorted(plain.items()))


def _bounded(text: str) -> str:
    if len(text) <= TEXT_CHARACTERS:
        return text
    return f"{text[:TEXT_CHARACTERS]} [cut: {len(text)} characters]"


def _is_secret(parameter_name: str) -> bool:
    """Tell whether a query parameter of that name holds a secret."""
    return any(word in parameter_name.lower() for word in SECRET_WORDS)


def _without_userinfo(word: str) -> str:
    """Return a word without the password of the URL in it, which may end at its last ``@``."""
    start, end = word.find("://"), word.rfind("@")
    while 0 <= start < end:
        colon, at = word.find(":", start + 3), word.find("@", start + 3)
        # Three slashes mean a path.
        if word[start + 3] != "/" and 0 <= colon < at:
            return f"{word[:colon]}:{MARK}{word[end:]}"
        start = word.find("://", start + 3)
    return word


def _without_value(parameter: re.Match[str]) -> str:
    mark, name, _ = parameter.groups()
    return f"{mark}{name}={MARK}" if _is_secret(name) else parameter[0]


def _pieces(password: str) -> list[str]:
    """Return what a parser makes of a password that it cuts at an unescaped ``@``."""
    if "@" not in password:
        return []
    return [piece for piece in re.split("[@:/?]", password) if len(piece) >= PIECE_CHARACTERS]


def _every_spelling(secrets: Iterable[str]) -> tuple[str, ...]:
    """Return each secret as it is, decoded, percent-encoded, and quoted as programs quote."""
    spellings: set[str] = set()
    for secret in secrets:
        for plain in (secret, unquote(secret)):
            encoded = [quote(plain, safe, errors="surrogatepass") for safe in ("", "/", " +")]
            encoded.append(quote_plus(plain, errors="surrogatepass"))
            spellings |= {plain, *encoded}
            spellings |= {re.sub("%..", lambda match: match[0].lower(), form) for form in encoded}
            # repr() of a string or of bytes, JSON, an SQL literal, a libpq setting.
            spellings |= {repr(plain)[1:-1], repr(plain.encode(errors="surrogatepass"))[2:-1]}
            spellings |= {json.dumps(plain)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1]}
            spellings |= {plain.replace("'", "''"), plain.replace("\\", "\\\\").replace("'", "\\'")}
    spellings.discard("")
    return tuple(sorted(spellings, key=lambda spelling: (-len(spelling), spelling)))


def _spans(text: str, secrets: Iterable[str]) -> list[tuple[int, int]]:
    """Return where secrets stand in the text, from left to right, overlapping ones as one."""
    found: list[tuple[int, int]] = []
    for secret in secrets:
        start = text.find(secret)
        while start != -1:
            found.append((start, start + len(secret)))
            start = text.find(secret, start + 1)
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(found):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged
