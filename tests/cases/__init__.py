"""The thirty edge cases as data: what there is, what must become of it in every other engine.

Each file here is about one number of the list, and holds plain values. One runner
(``tests/integration/test_edge_cases.py``) makes each situation in every engine that can be in it, moves it
into every engine, and looks with the engines' own drivers at what has arrived. The README's table is made of
the same values (``tests/pair_table.py``).

To add a case: one more value in the list ``CASES`` of its file. An outcome is given for pairs,
``"source > target"``, of which either may be ``*``; the first that matches holds.

========================  ===========================================================================
:func:`carried`           everything arrives, nothing is asked
:func:`asked`             refused until just these hazards are accepted; then everything arrives
:func:`doubted`           as asked; but the target then refuses, and everything is put back
:func:`refused`           refused by just these hazards, whatever is accepted
========================  ===========================================================================
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

EDGE_CASES = range(1, 31)

BINARY = "ALTER DATABASE CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;\n"
"""Lets texts of a MariaDB database be compared by their bytes, as every other engine does."""


@dataclass(frozen=True)
class Outcome:
    """What a migration must come to.

    ``names`` are what ``--accept`` would take; ``says`` are words that the plan must use; ``changed`` are the
    columns (``table.column``) whose change the user accepted, so that only a :class:`Then` tells what is in
    them. ``gap`` is why the product does not do so yet. ``undone`` means that the hazard was right: who
    accepts it sees the target refuse, and everything put back.
    """

    how: str
    names: frozenset[str] = frozenset()
    says: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    gap: str = ""
    undone: bool = False

    @property
    def hazards(self) -> set[str]:
        """The names of the hazards alone."""
        return {name.partition(":")[0] for name in self.names}


def carried(*, changed: Sequence[str] = (), says: Sequence[str] = (), gap: str = "") -> Outcome:
    return Outcome("carried", frozenset(), tuple(says), tuple(changed), gap)


def asked(*names: str, changed: Sequence[str] = (), says: Sequence[str] = (), gap: str = "") -> Outcome:
    return Outcome("asked", frozenset(names), tuple(says), tuple(changed), gap)


def doubted(*names: str, says: Sequence[str] = (), gap: str = "") -> Outcome:
    return Outcome("asked", frozenset(names), tuple(says), (), gap, undone=True)


def refused(*names: str, says: Sequence[str] = (), gap: str = "") -> Outcome:
    return Outcome("refused", frozenset(names), tuple(says), (), gap)


@dataclass(frozen=True)
class Then:
    """What must be seen in the target afterwards, by its own driver.

    ``first`` is run before, and ``refuses`` means that it must fail. ``on`` names the pairs it is said of.
    """

    query: str
    rows: Sequence[tuple[Any, ...]]
    first: str = ""
    refuses: bool = False
    on: str = "* > *"


@dataclass(frozen=True)
class Case:
    """One situation: how each engine gets into it (``*``: all in the same words), and what must become of it.

    ``there`` makes what the target holds before; ``afterwards`` puts back what is not the database's alone.
    ``accept`` is what the user says from the start. ``alone`` means that it says something about its whole
    database, so that no other case can be there beside it.
    """

    number: int
    name: str
    build: Mapping[str, str]
    expect: Mapping[str, Outcome]
    there: Mapping[str, str] = field(default_factory=dict)
    mapping: Mapping[str, str] = field(default_factory=dict)
    then: Sequence[Then] = ()
    accept: tuple[str, ...] = ()
    afterwards: Mapping[str, str] = field(default_factory=dict)
    alone: bool = False

    def outcome(self, source: str, target: str) -> Outcome | None:
        """Return what must happen between two engines, or ``None`` where this cannot be."""
        if not self.script(self.build, source) or (self.there and not self.script(self.there, target)):
            return None
        return next((found for pair, found in self.expect.items() if matches(pair, source, target)), None)

    def script(self, scripts: Mapping[str, str], engine: str) -> str:
        """Return the engine's script; words for all engines mean bytes where one would compare otherwise."""
        if engine in scripts or "*" not in scripts:
            return scripts.get(engine, "")
        return (BINARY if engine == "mariadb" else "") + scripts["*"]


@dataclass(frozen=True)
class Told:
    """Two contents of one table that a verification must tell apart, or must find equal.

    ``columns`` is what stands in both CREATE TABLEs, or one text for each engine; the rows are INSERTed as
    they are written here. ``otherwise`` names the pairs of which the opposite is true.
    """

    number: int
    name: str
    columns: str | Mapping[str, str]
    ours: Sequence[str]
    theirs: Sequence[str]
    differs: bool
    engines: Sequence[str] = ("*",)
    otherwise: str = ""

    def differs_between(self, source: str, target: str) -> bool:
        """Tell what a verification must say of two engines."""
        return self.differs is not (self.otherwise != "" and matches(self.otherwise, source, target))

    def create(self, engine: str, name: str) -> str:
        """Return the statement that makes the table, called so."""
        columns = (
            self.columns if isinstance(self.columns, str) else self.columns.get(engine, self.columns.get("*"))
        )
        return f"CREATE TABLE {name} ({columns})"


@dataclass(frozen=True)
class Pointer:
    """An edge case that has tests of its own elsewhere: their names, which must be there and must run."""

    number: int
    name: str
    tests: tuple[str, ...]


def matches(pair: str, source: str, target: str) -> bool:
    """Tell whether a pattern such as ``* > postgresql`` means these two engines."""
    one, _, other = pair.partition(" > ")
    return fnmatchcase(source, one) and fnmatchcase(target, other)


def everything() -> Iterator[Case | Told | Pointer]:
    """Yield every case of every file here, by number."""
    for module in sorted(found.name for found in pkgutil.iter_modules(__path__)):
        yield from importlib.import_module(f"{__name__}.{module}").CASES


def cases() -> list[Case]:
    """Return the situations that are moved."""
    return [case for case in everything() if isinstance(case, Case)]
