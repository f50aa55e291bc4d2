"""Asks the target what it will take, by making everything once in a place of which nothing is left.

What it refuses is taken out of the plan and becomes a hazard with the server's own reason, before
anything is made for good.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from migration.checkpoint import Begun
from migration.database import Database
from migration.ddl import Piece, Writer, written_key
from migration.model import Schema
from migration.plan import Hazard, Plan, Severity, TablePlan
from migration.undo import drop_new


async def try_plan(plan: Plan, target: Database, schema: Schema, run: Begun) -> Plan:
    """Return the plan less what the target refuses, each refusal a hazard; the target is unchanged.

    Views come back in an order in which they can be made.

    Parameters
    ----------
    schema
        What is in the target already, less what an interrupted run has made: that goes first, in the
        place where everything is tried.
    """
    async with target.trial(schema) as connection:
        await drop_new(connection, target, run)
        return await _Trial(connection, target.writer, target.traits.transactional_ddl).of(plan)


@dataclass(frozen=True)
class _Trial:
    """A connection on which anything may be made; ``goes_back`` where a savepoint takes it away again."""

    connection: AsyncConnection
    writer: Writer
    goes_back: bool

    async def of(self, plan: Plan) -> Plan:
        """Make all of a plan, and return it less what was refused."""
        writer = self.writer
        refusals: list[tuple[Piece, str]] = []
        tables = list(plan.tables)
        for position, table in enumerate(tables):
            if table.is_new:
                refused = await self._refused(writer.pieces(table.target), keep=False)
                tables[position] = _without(table, refused)
                refusals += refused
        new = [table for table in tables if table.is_new]
        for table in new:
            made, refused = await self._make(table)
            tables[tables.index(table)] = made
            refusals += refused
        new = [table for table in tables if table.is_new]
        for make in (writer.after_rows, writer.foreign_keys):
            for table in new:
                refused = await self._refused(make(table.target))
                tables[tables.index(table)] = _without(table, refused)
                refusals += refused
            new = [table for table in tables if table.is_new]
        viewed, unmade = await self._try_views(plan)
        uncalled = await self._refused([writer.trigger(trigger) for trigger in plan.triggers])
        hazards = [_hazard(piece, reason) for piece, reason in refusals + unmade + uncalled]
        views = {view.name: view for view in plan.views}
        unheld = {(piece.table, piece.name) for piece, _ in uncalled}
        return dataclasses.replace(
            plan,
            tables=tuple(tables),
            views=tuple(views[name] for name in viewed),
            triggers=tuple(t for t in plan.triggers if (t.table, t.name) not in unheld),
            hazards=tuple(hazards) + plan.hazards,
        )

    async def _make(self, table: TablePlan) -> tuple[TablePlan, list[tuple[Piece, str]]]:
        """Make a table for real; some of its rules are refused only beside others.

        The one without which it can be made goes; where no single one is to blame, the last goes, and so on.
        Without any of them, what fails here would fail in the migration.
        """
        refused: list[tuple[Piece, str]] = []
        while True:
            whole = Piece("table", table.target.name, table.target.name, self._statement(table))
            failed = await self._refused([whole])
            if not failed:
                return table, refused
            reason = failed[0][1]
            parts = self.writer.parts(table.target)
            if not parts:
                await self.connection.exec_driver_sql(whole.statement)
            for part in parts:
                less = _without(table, [(part, reason)])
                if not await self._refused([dataclasses.replace(whole, statement=self._statement(less))]):
                    return less, [*refused, (part, reason)]
            refused.append((parts[-1], reason))
            table = _without(table, refused[-1:])

    def _statement(self, table: TablePlan) -> str:
        (statement,) = self.writer.before_rows(table.target)
        return statement

    async def _try_views(self, plan: Plan) -> tuple[list[str], list[tuple[Piece, str]]]:
        """Make views over and over, since one may need another, until no more can be made."""
        made: list[str] = []
        waiting = [self.writer.view(view) for view in plan.views]
        while waiting:
            refused = await self._refused(waiting)
            made += [piece.name for piece in waiting if piece not in [failed for failed, _ in refused]]
            if len(refused) == len(waiting):
                return made, refused
            waiting = [piece for piece, _ in refused]
        return made, []

    async def _refused(self, pieces: Iterable[Piece], *, keep: bool = True) -> list[tuple[Piece, str]]:
        """Make each piece, and return those that the server did not take, with its reason."""
        refused = []
        for piece in pieces:
            try:
                async with self._attempt(piece, keep=keep):
                    await self.connection.exec_driver_sql(piece.statement)
                    if piece.probe is not None:
                        await self.connection.exec_driver_sql(piece.probe)
            except DBAPIError as error:
                if error.connection_invalidated:
                    raise
                refused.append((piece, _reason(error)))
        return refused

    @contextlib.asynccontextmanager
    async def _attempt(self, piece: Piece, *, keep: bool) -> AsyncIterator[None]:
        """Take away what a piece has made, when it failed or is not to be kept."""
        savepoint = await self.connection.begin_nested() if self.goes_back else None
        is_made = False
        try:
            yield
            is_made = True
        finally:
            stays = is_made and keep
            if self.connection.invalidated:
                pass
            elif savepoint is not None:
                await (savepoint.commit() if stays else savepoint.rollback())
            elif piece.undo is not None and not stays:
                await self.connection.exec_driver_sql(piece.undo)


def _reason(error: DBAPIError) -> str:
    # A driver may put a number before what the server said.
    said = error.orig.args[-1] if error.orig is not None and error.orig.args else error.orig
    text = str(said).strip().splitlines()[0]
    return text.partition(">: ")[2] or text


def _hazard(piece: Piece, reason: str) -> Hazard:
    sentence = f"{piece.name} will not be in the target: {reason}"
    return Hazard(f"{piece.what}-not-carried", Severity.HAZARD, sentence, table=piece.table)


def _without(table: TablePlan, refused: list[tuple[Piece, str]]) -> TablePlan:
    """Return a table's plan less what was refused of it."""
    names: dict[str, set[str]] = {}
    for piece, _ in refused:
        names.setdefault(piece.what, set()).add(piece.name)
    if not names:
        return table
    target = table.target
    columns = tuple(
        dataclasses.replace(
            column,
            default=None if column.name in names.get("default", ()) else column.default,
            generated=None if column.name in names.get("generated", ()) else column.generated,
        )
        for column in target.columns
    )
    target = dataclasses.replace(
        target,
        columns=columns,
        primary_key=() if "primary-key" in names else target.primary_key,
        uniques=tuple(u for u in target.uniques if ", ".join(u.columns) not in names.get("unique", ())),
        checks=tuple(c for c in target.checks if (c.name or c.condition) not in names.get("check", ())),
        foreign_keys=tuple(
            k for k in target.foreign_keys if written_key(k) not in names.get("foreign-key", ())
        ),
        indexes=tuple(index for index in target.indexes if index.name not in names.get("index", ())),
    )
    by_name = {column.name: column for column in columns}
    planned = tuple(dataclasses.replace(c, target=by_name[c.target.name]) for c in table.columns)
    return dataclasses.replace(table, target=target, columns=planned)
