"""Looks at both databases and makes the plan: steps 3 and 4 of the walk, which touch nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from migration.backends import Snapshot
from migration.database import Database
from migration.look import count_rows, look
from migration.model import Schema, TableProfile
from migration.plan import Plan, pair_tables
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
    *,
    leave_out_of_target: frozenset[str] = frozenset(),
    own_rows: Mapping[str, int] | None = None,
) -> Survey:
    """Read both schemas, profile the source inside its snapshot, and plan.

    Parameters
    ----------
    leave_out_of_target
        Tables that an interrupted run made, which count as not being there.
    own_rows
        What the target's tables held before an interrupted run, by table; else they are counted.
    """
    source_schema = await source.schema()
    target_schema = (await target.schema()).without(leave_out_of_target)
    with source.told():
        profiles = await look(
            source_snapshot, source_schema, target_schema, source.traits, target.traits, mapping, progress
        )
    rows = own_rows if own_rows is not None else await _rows_in(target, source_schema, target_schema, mapping)
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
    return Survey(source_schema, target_schema, profiles, plan)


async def _rows_in(
    target: Database, source_schema: Schema, target_schema: Schema, mapping: Mapping[str, str]
) -> dict[str, int]:
    there = [pair.target for pair in pair_tables(source_schema, target_schema, mapping) if pair.target is not None]
    if not there:
        return {}
    async with target.snapshot() as snapshot:
        return {table.name: await count_rows(snapshot, table) for table in there}
