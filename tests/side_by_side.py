"""Lets many edge cases stand side by side in one database, each under names of its own.

To make a database takes longer than to move a small one, so cases that do not disturb one another share it.
"""

from __future__ import annotations

import dataclasses
import re

from tests.cases import Case, Outcome, Then

# What a script makes, and what it calls it.
_MADE = re.compile(r"CREATE (?:VIRTUAL |UNIQUE )?[A-Z]+ (\w+)|CONSTRAINT (\w+)")
_QUOTED = re.compile(r'CREATE (?:TABLE|VIEW) "')


def can_stand_beside(case: Case) -> bool:
    """Tell whether a case may share its database: it says nothing of it, and has plain names."""
    scripts = [*case.build.values(), *case.there.values()]
    return not case.alone and not case.afterwards and not any(map(_QUOTED.search, scripts))


def mark(number: int) -> str:
    """Return what the names of one case end with; no other word ends so."""
    return f"_at{number}z"


def placed(case: Case, number: int) -> Case:
    """Return a case whose tables, views and whatever else it makes have names of their own."""
    scripts = [*case.build.values(), *case.there.values()]
    names = {one or other for script in scripts for one, other in _MADE.findall(script)}
    names |= {name.partition(".")[0] for name in case.mapping.values()}
    # A word in quotes is a value; before _seq a name is part of another one.
    whole = "|".join(sorted(names, key=len, reverse=True))
    alone = rf"(?<![\w'])(?:{whole})(?![\w'])"
    pattern = re.compile(rf"{alone}|(?<=')(?:{whole})(?=_\w+_seq')|(?<=')counting(?=')")

    def renamed(text: str) -> str:
        return pattern.sub(lambda found: found[0] + mark(number), text)

    def outcome(before: Outcome) -> Outcome:
        return dataclasses.replace(
            before, names=frozenset(map(renamed, before.names)), changed=tuple(map(renamed, before.changed))
        )

    def then(before: Then) -> Then:
        return dataclasses.replace(before, query=renamed(before.query), first=renamed(before.first))

    return dataclasses.replace(
        case,
        build={engine: renamed(script) for engine, script in case.build.items()},
        there={engine: renamed(script) for engine, script in case.there.items()},
        mapping={renamed(one): renamed(other) for one, other in case.mapping.items()},
        accept=tuple(map(renamed, case.accept)),
        expect={pair: outcome(before) for pair, before in case.expect.items()},
        then=[then(before) for before in case.then],
    )
