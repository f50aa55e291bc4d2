"""The words for what differs between two databases, and the report that holds them.

Comparing knows nothing of printing: these are values. Counts are exact; samples are few.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from migration.digest import Digest

# No table shows more than this many differing rows; the counts beside them are exact.
SAMPLES = 20

# A row by the hash of its key and the hash of the whole of it.
RowName = tuple[bytes, bytes]


@dataclass(frozen=True)
class Difference:
    """One thing that differs.

    ``what`` is ``missing row``, ``extra row`` or ``changed value`` for rows, and the name of the check
    otherwise. ``source`` and ``target`` are what was found on each side, written for a person.
    """

    what: str
    table: str
    key: str = ""
    column: str = ""
    source: str = ""
    target: str = ""

    def __str__(self) -> str:
        """Say the difference in one line."""
        place = self.table + (f".{self.column}" if self.column else "")
        row = f" [{self.key}]" if self.key else ""
        sides = f": source {self.source or 'nothing'}, target {self.target or 'nothing'}"
        return f"{self.what} in {place}{row}{sides if self.source or self.target else ''}"


@dataclass(frozen=True)
class TableComparison:
    """What reading both sides of one table whole has shown; ``is_there`` tells whether the target has it.

    ``rejected`` are the rows that a file holds instead of the target: both together are what the source is.
    """

    table: str
    source: Digest
    target: Digest
    is_there: bool = True
    missing_count: int = 0
    extra_count: int = 0
    changed_count: int = 0
    samples: tuple[Difference, ...] = ()
    rejected: Digest = field(default_factory=Digest)

    @property
    def equal(self) -> bool:
        """Tell whether both sides hold the same rows, the same number of times each."""
        return self.is_there and self.source == self.target + self.rejected


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one check: what it looked at, and what differed (exact count, few samples)."""

    name: str
    looked_at: int
    difference_count: int = 0
    samples: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything a proof rests on.

    ``planned`` names the tables that had to be compared; ``left_out`` those that were not meant to be,
    with the reason. ``notes`` say of what moment it is true. Proved means that nothing differs, and that
    every planned table was read to its end on both sides.
    """

    planned: tuple[str, ...]
    tables: tuple[TableComparison, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    could_not_look: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Tell whether everything planned was looked at to its end."""
        return not self.could_not_look and {table.table for table in self.tables} == set(self.planned)

    @property
    def difference_count(self) -> int:
        """Number of differing rows and failed checks, exact."""
        rows = sum(table.missing_count + table.extra_count + table.changed_count for table in self.tables)
        return rows + sum(check.difference_count for check in self.checks)

    @property
    def equal(self) -> bool:
        """Tell whether nothing that was looked at differs."""
        return all(table.equal for table in self.tables) and not any(c.difference_count for c in self.checks)

    @property
    def accounted(self) -> bool:
        """Tell whether every row of the source is proved to be in the target or in the file of rejects."""
        return self.complete and self.equal

    @property
    def rejected_count(self) -> int:
        """Number of rows that are in the file of rejected rows instead of the target."""
        return sum(table.rejected.row_count for table in self.tables)

    @property
    def proved(self) -> bool:
        """Tell whether the target is proved to hold what the source holds: all of it."""
        return self.accounted and not self.rejected_count

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Return the samples of everything that differs, checks first."""
        checks = tuple(sample for check in self.checks for sample in check.samples)
        return checks + tuple(sample for table in self.tables for sample in table.samples)

    @property
    def verdict(self) -> str:
        """Return ``proved``, ``rejected`` with a number of rows, ``differs`` or ``could not look``."""
        if not self.equal:
            return "differs"
        if not self.complete:
            return "could not look"
        return f"rejected {self.rejected_count}" if self.rejected_count else "proved"


@dataclass(frozen=True)
class RowDifferences:
    """Which rows of one part differ, by the hashes of their keys; counts are exact."""

    missing: Counter[bytes]
    extra: Counter[bytes]
    changed: Counter[bytes]


def match_rows(source: Iterable[RowName], target: Iterable[RowName]) -> RowDifferences:
    """Pair the rows of both sides by key; what is left over is missing, extra or changed.

    Rows that occur on both sides are taken away one for one, so duplicates count. Of what remains
    under one key, as many as can be paired are changed, the rest is missing or extra.
    """
    balance: Counter[RowName] = Counter(source)
    balance.subtract(Counter(target))
    missing: Counter[bytes] = Counter()
    extra: Counter[bytes] = Counter()
    for (key, _), count in balance.items():
        if count > 0:
            missing[key] += count
        elif count < 0:
            extra[key] -= count
    changed = missing & extra
    return RowDifferences(missing - changed, extra - changed, changed)
