"""Makes texts fit to be printed: names and values come from databases, and may hold anything.

A terminal acts upon control characters, and a text that changes its direction hides what it says. Both are
written as escapes. What is printed as data (JSON, logs) is spelled by JSON, which does the same.
"""

from __future__ import annotations

import re

from rich import markup

# Controls but for the line's end and the tab; and what turns the direction of a text round.
_ACTED_UPON = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def escape(text: str) -> str:
    """Return a text that a terminal shows as it is: no markup, no commands, no change of direction."""
    return markup.escape(_ACTED_UPON.sub(_spelled, text))


def _spelled(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number <= 0xFF else f"\\u{number:04x}"
