"""Looks at both databases and makes the plan: steps 3 and 4 of the walk, which touch nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from migration.backends import Snapshot
from migration.checkpoint import Begun
from migration.database import Database
from migration.look import count_rows, look
from migration.model import Schema, Table, TableProfile
from migration.plan import Hazard, Plan, Severity, pair_tables
from migration.planning import make_plan
from migration.progress import Progress


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
    mapping: Mapping[str, str],
    accept: Sequence[str],
    progress: Progress,
    run: Begun,
) -> Survey:
    """Read both schemas, profile the source inside its snapshot, and plan.

    Parameters
    ----------
    run
        What an interrupted run has made, which counts as not being there, and how many rows the target's
        tables held before it.
    """
    source_schema = await source.schema()
    target_schema = (await target.schema()).without(run.made)
    profiles = await look(
        source_snapshot, source_schema, target_schema, source.traits, target.traits, mapping, progress
    )
    rows = {name: before.digest.row_count for name, before in run.before.items()}
    there = [
        pair.target for pair in pair_tables(source_schema, target_schema, mapping) if pair.target is not None
    ]
    rows |= await _count_rows(target, [table for table in there if table.name not in rows])
    plan = make_plan(
        source_schema,
        target_schema,
        profiles,
        rows,
        source.traits,
        target.traits,
        mapping,
        accept,
    )
    stranded = await _stranded(target, target_schema, plan)
    plan = dataclasses.replace(plan, hazards=stranded + plan.hazards)
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


async def _count_rows(target: Database, tables: Sequence[Table]) -> dict[str, int]:
    if not tables:
        return {}
    async with target.snapshot() as snapshot:
        return {table.name: await count_rows(snapshot, table) for table in tables}
