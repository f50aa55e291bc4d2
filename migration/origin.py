"""What a run belongs to, so that nobody goes on with it from something else.

A run is gone on with by the version that began it, from the database that it was begun from, and into the
schemas that it was made for. All of that stands with its checkpoints, in the target.

A source of which only rows have changed is still the same source. Whether they have is for the proof to find;
:func:`changed_since` adds why.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

from migration.checkpoint import WHOLE_RUN, Checkpoint
from migration.database import Database
from migration.difference import Report
from migration.errors import PlanChanged
from migration.model import Schema, fingerprint
from migration.plan import Plan
from migration.traits import Traits
from migration.version import __version__

UNKNOWN = "unknown"
# Enough of a fingerprint to tell two of them apart by eye.
SHOWN_CHARACTERS = 12
# So many tables are named; the proof names all.
NAMED_TABLES = 3


@dataclass(frozen=True)
class Origin:
    """Where a run comes from: the tool's version, and the source.

    Attributes
    ----------
    version
        Of this tool. Exactly the same one goes on: what a checkpoint means is known to it alone.
    source
        The source's URL, without secrets.
    identity
        What tells the source from every other database, wherever it is; see :meth:`Database.identity`.
    stamp
        What is the same as long as nobody has written to the source; see :meth:`Database.stamp`.
    """

    version: str
    source: str
    identity: str
    stamp: str

    @classmethod
    async def of(cls, source: Database) -> Origin:
        """Return what a run that begins now will belong to."""
        return cls(__version__, str(source), await source.identity(), await source.stamp())

    def details(self, plan: Plan) -> dict[str, str]:
        """Return what is kept of it with the checkpoints."""
        return {**asdict(self), "source_schema": plan.source_fingerprint}


def made_as(schema: Schema, tables: Collection[str]) -> str:
    """Return a name of how these tables are made: their columns, of which nothing changes until the end."""
    return fingerprint(
        [
            (table.name, [(column.name, column.declared) for column in table.columns])
            for table in sorted(schema.tables, key=lambda table: table.name)
            if table.name in tables
        ]
    )


def check_same_origin(checkpoints: Mapping[str, Checkpoint], origin: Origin) -> None:
    """Refuse to go on with a run of another version, or from another source.

    Raises
    ------
    PlanChanged
        With what was, and what is.
    """
    began = _began(checkpoints)
    found = []
    if began.get("version", UNKNOWN) != origin.version:
        found.append(f"by version {began.get('version', UNKNOWN)} of this tool, and this is {origin.version}")
    if began.get("identity", UNKNOWN) != origin.identity:
        was = f"{began.get('source', UNKNOWN)} [{began.get('identity', UNKNOWN)}]"
        found.append(f"from another source: {was}, and this is {origin.source} [{origin.identity}]")
    if found:
        raise _other(found)


def check_same_plan(checkpoints: Mapping[str, Checkpoint], plan: Plan, there: Schema) -> None:
    """Refuse to go on once a schema, a type or the choice of what goes is other than it was.

    Raises
    ------
    PlanChanged
        With what was, and what is.
    """
    whole, began = checkpoints[WHOLE_RUN], _began(checkpoints)
    run = json.loads(whole.position or "{}")
    found = []
    if began.get("source_schema", UNKNOWN) != plan.source_fingerprint:
        found.append(
            _with("another schema of the source", began.get("source_schema"), plan.source_fingerprint)
        )
    if run["schema"] != plan.target_fingerprint:
        found.append(_with("another schema of the target", run["schema"], plan.target_fingerprint))
    new = {name for name, checkpoint in checkpoints.items() if checkpoint.is_new}
    if run.get("made") and run["made"] != made_as(there, new):
        found.append(_with("other columns in the tables it has made", run["made"], made_as(there, new)))
    if not found and whole.plan != plan.fingerprint:
        found.append(
            _with("another plan (a name, a type, or the choice of what goes)", whole.plan, plan.fingerprint)
        )
    if found:
        raise _other(found)


def where_to_go_on(
    checkpoints: Mapping[str, Checkpoint], plan: Plan, traits: Traits, stamp: str
) -> dict[str, Checkpoint]:
    """Return the checkpoints without positions that may have moved since: such a table begins anew.

    Parameters
    ----------
    traits, stamp
        Of the source, now.
    """
    if not traits.row_numbers_move or _began(checkpoints).get("stamp", UNKNOWN) == stamp:
        return dict(checkpoints)
    movable = {
        table.target.name
        for table in plan.tables
        if not any(column.automatic for column in table.source.columns)
    }
    return {
        name: dataclasses.replace(checkpoint, position=None, row_count=0)
        if name in movable and not checkpoint.is_finished
        else checkpoint
        for name, checkpoint in checkpoints.items()
    }


def changed_since(checkpoints: Mapping[str, Checkpoint], plan: Plan, stamp: str) -> str:
    """Say whether the source has changed since a run was begun, as far as that can be known; else nothing.

    Parameters
    ----------
    checkpoints
        As the run that goes on has found them.
    stamp
        The source's, now.
    """
    began = _began(checkpoints)
    if began.get("stamp", UNKNOWN) == stamp:
        return ""
    done = {name: checkpoint for name, checkpoint in checkpoints.items() if checkpoint.is_finished}
    # Of a run that sets rows aside, checkpoints count what was copied only.
    counts = {} if json.loads(checkpoints[WHOLE_RUN].position or "{}").get("rejects") else done
    other = [
        f"{table.source.name}: {counts[table.target.name].row_count:,} rows then, {table.row_count:,} now"
        for table in plan.tables
        if table.target.name in counts and counts[table.target.name].row_count != table.row_count
    ]
    if other:
        more = f", and {len(other) - NAMED_TABLES} more" if len(other) > NAMED_TABLES else ""
        return (
            f"The source has changed since the migration was begun ({'; '.join(other[:NAMED_TABLES])}{more})"
        )
    return "The source may have changed since the migration was begun"


def moved_since(report: Report) -> str:
    """Say that the source has been written to since it was copied from, and where that was seen.

    Parameters
    ----------
    report
        How the target compares with what the source is now; with the moment that was copied, it is equal.
    """
    places = [
        f"{table.table}: {table.missing_count:,} missing, {table.extra_count:,} extra,"
        f" {table.changed_count:,} changed"
        for table in report.tables
        if not table.equal
    ]
    return (
        "The source was written to while it was copied. What is proved is that the target holds what the"
        " source held at the moment from which it was copied; it does not hold what came later"
        f" ({'; '.join(places) or 'as the checks show'})"
    )


def _began(checkpoints: Mapping[str, Checkpoint]) -> dict[str, str]:
    origin: dict[str, str] = json.loads(checkpoints[WHOLE_RUN].position or "{}").get("origin", {})
    return origin


def _with(what: str, was: str | None, now: str) -> str:
    return f"with {what}: {(was or UNKNOWN)[:SHOWN_CHARACTERS]} then, {now[:SHOWN_CHARACTERS]} now"


def _other(found: list[str]) -> PlanChanged:
    return PlanChanged(
        f"The migration in the target was begun {'; and '.join(found)}",
        done="Nothing was touched; what it has written is still there",
        next_step="Go on with what it was begun with, or undo it with 'migration rollback'",
    )
