"""Looks at both databases and makes the plan: steps 3 and 4 of the walk, which touch nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from migration.backends import Snapshot
from migration.checkpoint import Begun
from migration.choice import Choice
from migration.collisions import find_collisions
from migration.database import Database
from migration.look import clause, count_rows, look
from migration.model import Schema, Table, TableProfile
from migration.plan import Hazard, Plan, Severity
from migration.planning import make_plan
from migration.progress import Progress
from migration.schema_tools import kept_by_tools, tool_table

# Branches of a schema tool that are shown.
REVISIONS = 5
# A revision is a short name; what is longer is none, and is cut.
REVISION_CHARACTERS = 100


@dataclass(frozen=True)
class Survey:
    """Both schemas, what the source really holds, and the plan."""

    source_schema: Schema
    target_schema: Schema
    profiles: dict[str, TableProfile]
    plan: Plan


async def survey(
    source: Database,
    source_snapshot: Snapshot,
    target: Database,
    choice: Choice,
    accept: Sequence[str],
    progress: Progress,
    run: Begun | None,
) -> Survey:
    """Read both schemas, profile the source inside its snapshot, and plan.

    Parameters
    ----------
    run
        What an interrupted run has made, which counts as not being there, and how many rows the target's
        tables held before it; ``None`` where two databases are only compared.
    """
    before = run or Begun()
    source_schema = await source.schema()
    target_schema = (await target.schema()).without(before.made)
    chosen = choice.of(source_schema, target_schema, are_types_made=run is not None)
    profiles = await look(
        source_snapshot, source_schema, chosen.pairs, source.traits, target.traits, progress
    )
    rows = {name: table.digest.row_count for name, table in before.before.items()}
    there = [pair.target for pair in chosen.pairs if pair.target is not None]
    rows |= await _count_rows(target, [table for table in there if table.name not in rows])
    plan = make_plan(
        chosen,
        target_schema,
        profiles,
        rows,
        source.traits,
        target.traits,
        accept,
    )
    stranded = await _stranded(target, target_schema, plan)
    equal = await find_collisions(source_snapshot, plan, profiles, source.traits, target.traits)
    tools = await _of_tools(source_snapshot, source_schema, plan.left_out, is_source=True)
    if kept_by_tools(target_schema):
        async with target.snapshot() as snapshot:
            tools += await _of_tools(snapshot, target_schema, plan.left_out, is_source=False)
    plan = dataclasses.replace(plan, hazards=stranded + equal + plan.hazards + tools)
    return Survey(source_schema, target_schema, profiles, plan)


async def _stranded(target: Database, schema: Schema, plan: Plan) -> tuple[Hazard, ...]:
    """Find rows that would stay and refer to rows that would go: they would go too, or refer to nothing."""
    planned = {table.target.name for table in plan.tables}
    going = {table.target.name for table in plan.tables if table.replaces_rows}
    keys = [
        (table, key) for table in schema.tables for key in table.foreign_keys if key.target_table in going
    ]
    staying = [(table, key) for table, key in keys if table.name not in planned]
    counts = await _count_rows(target, [table for table, _ in staying])
    return tuple(
        Hazard(
            "rows-stranded",
            Severity.BLOCKING,
            f"Its rows stay, and refer to rows of {key.target_table}, which go; let both go, or both stay",
            table.name,
            count=counts[table.name],
        )
        for table, key in staying
        if counts[table.name]
    )


async def _of_tools(
    snapshot: Snapshot, schema: Schema, left_out: Collection[str], *, is_source: bool
) -> tuple[Hazard, ...]:
    """Say which tables of one side belong to a schema tool, and how far the tool is there."""
    found = []
    for table in schema.tables:
        known = tool_table(table)
        if known is None or table.name not in left_out:
            continue
        columns = {name.lower(): column for name, column in clause(table).c.items()}
        query = sa.select(*[columns[name] for name in known.revision]).limit(REVISIONS)
        if known.latest:
            query = query.order_by(columns[known.latest].desc()).limit(1)
        rows = await snapshot.rows(query) if known.revision else []
        names = [" ".join(str(value) for value in row if value is not None) for row in rows]
        revision = ", ".join(sorted(name[:REVISION_CHARACTERS] for name in names))
        who = f"kept by {known.tool}" + (f", at {revision}" if revision else "")
        sentence = f"In the target, {who}; it stays as it is"
        if is_source:
            sentence = f"In the source, {who}; it does not go, {known.tool} keeps its own in the target"
        found.append(Hazard("schema-tool-table", Severity.NOTICE, sentence, table.name))
    return tuple(found)


async def _count_rows(target: Database, tables: Sequence[Table]) -> dict[str, int]:
    if not tables:
        return {}
    async with target.snapshot() as snapshot:
        return {table.name: await count_rows(snapshot, table) for table in tables}
