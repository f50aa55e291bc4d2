"""Decides which rows are set aside: those that hold what cannot go, and those that refer to one of them.

A row that refers to one that stays behind would refer to nothing, so it is set aside too, and so is what
refers to it, until nothing is left that does. Which rows these are is found out before anything is written,
by reading again the tables that are concerned, and no others.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from migration.backends import Snapshot
from migration.checkpoint import Checkpoint, begun
from migration.conversion import has_value
from migration.digest import canonical, row_hashes
from migration.look import own_kind
from migration.model import ForeignKey, Kind, ScanColumn
from migration.plan import ColumnPlan, Hazard, Plan, Severity, TablePlan
from migration.progress import Progress, Step
from migration.refusal import OF_ROWS, refused
from migration.rejects import Reason, RejectFile, scanned_columns
from migration.traits import Traits
from migration.values import convert

REFERS_TO_REJECTED = "refers-to-rejected"
# As much of a hash as names a row; see NAME_BYTES of migration.verify.
KEY_BYTES = 16
# A key that rows refer to: the table in the target, and its columns there.
_Key = tuple[str, tuple[str, ...]]


@dataclass(frozen=True)
class Reference:
    """A foreign key between two tables that go: where its columns stand in what is read of either."""

    key: _Key
    column: str
    child: tuple[ColumnPlan, ...]
    parent: tuple[ColumnPlan, ...]


@dataclass
class Judge:
    """Tells of a batch which rows cannot go, and why.

    ``lost`` holds, for each key that rows refer to, the hashes of those whose rows are set aside.
    """

    source: Traits
    target: Traits
    references: dict[str, list[Reference]] = field(default_factory=dict)
    referred: dict[str, list[Reference]] = field(default_factory=dict)
    lost: dict[_Key, set[bytes]] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, source: Traits, target: Traits) -> Judge:
        """Return a judge who knows what refers to what, and of no row yet that is lost."""
        judge = cls(source, target)
        tables = {table.target.name: table for table in plan.tables}
        for table in plan.tables:
            for key in table.target.foreign_keys:
                reference = _reference(table, tables.get(key.target_table), key)
                if reference is not None:
                    judge.references.setdefault(table.target.name, []).append(reference)
                    judge.referred.setdefault(key.target_table, []).append(reference)
                    judge.lost.setdefault(reference.key, set())
        return judge

    def refused(self, table: TablePlan, batch: pa.RecordBatch) -> dict[int, list[Reason]]:
        """Return the rows of a batch of :func:`scanned_columns` that cannot go, with every reason."""
        found: dict[int, list[Reason]] = {}
        for column, array in zip(table.written, batch.columns, strict=False):
            own = self._own(column)
            converted = convert(array, own, column.kind, column.fraction_digits)
            by_hazard = refused(
                array, converted, column.kind, column.target, self.target, is_new=table.is_new
            )
            for hazard, positions in by_hazard.items():
                for position in positions.tolist():
                    found.setdefault(position, []).append(Reason(column.source.name, hazard))
        for reference in self.references.get(table.target.name, ()):
            lost = self.lost[reference.key]
            if lost:
                names = self._names(table, batch, reference.child, reference.parent)
                for position, name in enumerate(names):
                    if name in lost:
                        found.setdefault(position, []).append(Reason(reference.column, REFERS_TO_REJECTED))
        return found

    def lose(self, table: TablePlan, batch: pa.RecordBatch) -> bool:
        """Note the keys of rows that are set aside, and tell whether any of them is news."""
        is_news = False
        for reference in self.referred.get(table.target.name, ()):
            lost = self.lost[reference.key]
            before = len(lost)
            lost.update(
                name for name in self._names(table, batch, reference.parent, reference.parent) if name
            )
            is_news |= len(lost) > before
        return is_news

    def _names(
        self,
        table: TablePlan,
        batch: pa.RecordBatch,
        columns: Sequence[ColumnPlan],
        kinds: Sequence[ColumnPlan],
    ) -> Iterator[bytes]:
        """Yield the hash of some columns of each row; none where one is NULL, which refers to nothing."""
        names = [column.source.name for column in table.written]
        found = []
        is_filled = np.ones(batch.num_rows, dtype=bool)
        for column, wanted in zip(columns, kinds, strict=True):
            array = batch.column(names.index(column.source.name))
            value = canonical(array, self._own(column), wanted.kind, wanted.fraction_digits)
            filled = has_value(value.array)
            filled[list(value.strays)] = True
            is_filled &= filled
            found.append(value)
        hashes = row_hashes(found, batch.num_rows)[:, :KEY_BYTES]
        for position in range(batch.num_rows):
            yield hashes[position].tobytes() if is_filled[position] else b""

    def _own(self, column: ColumnPlan) -> Kind:
        return own_kind(ScanColumn(column.source, column.kind), self.source)


@dataclass(frozen=True)
class SettingAside:
    """Who decides, and the file that the rows go to."""

    judge: Judge
    file: RejectFile

    @classmethod
    def at(
        cls,
        path: Path,
        judge: Judge,
        plan: Plan,
        checkpoints: Mapping[str, Checkpoint],
        whose: tuple[str, str, str],
    ) -> SettingAside:
        """Make a new file where nothing was begun yet, or go on with the one that the checkpoints name."""
        name = begun(checkpoints).rejects
        if not name:
            return cls(judge, RejectFile.create(path, plan, judge.source, whose))
        again = {
            table.source.name: checkpoints[table.target.name].position
            for table in plan.tables
            if not checkpoints[table.target.name].is_finished
        }
        return cls(judge, RejectFile.reopen(path, name, again))


def with_rows_set_aside(plan: Plan) -> Plan:
    """Return a plan in which what cannot be accepted because of rows is no longer in the way."""
    hazards = tuple(
        dataclasses.replace(
            hazard, severity=Severity.SET_ASIDE, sentence=f"{hazard.sentence}; these rows are set aside"
        )
        if hazard.severity is Severity.BLOCKING and hazard.name in OF_ROWS
        else hazard
        for hazard in plan.hazards
    )
    return dataclasses.replace(plan, hazards=hazards)


async def judged(plan: Plan, snapshot: Snapshot, judge: Judge, progress: Progress) -> Plan:
    """Find all rows that are set aside, let the judge know them, and return the plan that says so."""
    plan = with_rows_set_aside(plan)
    concerned = {hazard.table for hazard in plan.hazards if hazard.severity is Severity.SET_ASIDE}
    by_name = {table.target.name: table for table in plan.tables}
    waiting = [table.target.name for table in plan.tables if table.source.name in concerned]
    stranded: Counter[str] = Counter()
    while waiting:
        table = by_name[waiting.pop(0)]
        is_news, stranded[table.target.name] = await _judge_table(table, snapshot, judge, progress)
        if is_news:
            children = [name for name, references in judge.references.items() if _refers(references, table)]
            waiting += [name for name in children if name not in waiting]
    found = tuple(
        Hazard(
            REFERS_TO_REJECTED,
            Severity.SET_ASIDE,
            "Rows refer to rows that are set aside, or would refer to nothing; they are set aside too",
            by_name[name].source.name,
            count=count,
        )
        for name, count in sorted(stranded.items())
        if count
    )
    return dataclasses.replace(plan, hazards=found + plan.hazards)


async def _judge_table(
    table: TablePlan, snapshot: Snapshot, judge: Judge, progress: Progress
) -> tuple[bool, int]:
    """Read one table; return whether more keys are lost than before, and how many rows only refer."""
    is_news, stranded, done = False, 0, 0
    async with contextlib.aclosing(snapshot.scan(table.source, scanned_columns(table))) as scan:
        async for scanned in scan:
            batch = scanned.batch
            found = await asyncio.to_thread(judge.refused, table, batch)
            stranded += sum(
                all(why.hazard == REFERS_TO_REJECTED for why in reasons) for reasons in found.values()
            )
            if found:
                is_news |= judge.lose(table, batch.take(pa.array(sorted(found), pa.int64())))
            done += batch.num_rows
            progress(Step("set aside", table.source.name, done, table.row_count))
    return is_news, stranded


def _refers(references: Sequence[Reference], table: TablePlan) -> bool:
    return any(reference.key[0] == table.target.name for reference in references)


def _reference(child: TablePlan, parent: TablePlan | None, key: ForeignKey) -> Reference | None:
    """Return how two tables hang together, if both go and their columns come from the source."""
    if parent is None:
        return None
    ours = {column.target.name: column for column in child.written}
    theirs = {column.target.name: column for column in parent.written}
    if not (ours.keys() >= set(key.columns) and theirs.keys() >= set(key.target_columns)):
        return None
    return Reference(
        (parent.target.name, key.target_columns),
        ", ".join(ours[name].source.name for name in key.columns),
        tuple(ours[name] for name in key.columns),
        tuple(theirs[name] for name in key.target_columns),
    )
