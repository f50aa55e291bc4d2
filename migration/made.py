"""What a finished migration has made of its target, as the audit log keeps it: it can be undone later.

The target itself keeps nothing of ours once all is proved. So the log gets, beside how it ended, the
checkpoints as they were at the end, and what was left behind: the schema, and of every table that the run
made or filled, or that refers to one of these, a digest of all its columns as they are stored. From this an
undoing on demand knows what to undo, and whether anybody has written to the target since.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from migration import endings
from migration.audit import Event
from migration.checkpoint import WHOLE_RUN, Before, Begun, Checkpoint, begun, read_checkpoints
from migration.database import Database
from migration.digest import Digest
from migration.model import Schema, fingerprint
from migration.undo import note_before

# The event that says what was made, those that say that its run came to its end, and the one that says that
# all of it was undone.
MADE, ENDED, UNDONE = "made", ("proved", "rejected"), "undone"
# The event that says that rows which were set aside were brought in later.
REJECTS_LOADED = "rejects loaded"


@dataclass(frozen=True)
class Made:
    """What one run has made of its target.

    Attributes
    ----------
    run
        Name of the run.
    target, database
        Where the target is, without secrets, and which database it is, wherever it is.
    checkpoints
        As they were at the end, less the positions in the source.
    left
        What the tables were then that the run made or filled, and those that refer to one of them.
    schema
        Names of everything in the target then, each with a fingerprint.
    """

    run: str
    target: str
    database: str
    checkpoints: Mapping[str, Checkpoint]
    left: Mapping[str, Before]
    schema: Mapping[str, str]

    @property
    def begun(self) -> Begun:
        """What the run has put into its target, and what that was before."""
        return begun(self.checkpoints)

    def details(self) -> dict[str, Any]:
        """Return the details of its event; sealed, because a log blots out what looks like a secret."""
        details = {
            "target": self.target,
            "database": self.database,
            "whole_run": json.loads(self.checkpoints[WHOLE_RUN].position or "{}"),
            # Where a table's copying stood in the source is a key of the source, and nobody's business here.
            "checkpoints": [{**vars(one), "position": None} for one in self.checkpoints.values()],
            "left": {name: as_data(was) for name, was in self.left.items()},
            "schema": dict(self.schema),
        }
        return details | {"seal": fingerprint(details)}

    def undoing(self) -> dict[str, Checkpoint]:
        """Return the checkpoints with which the target says that this run is being undone."""
        whole = self.checkpoints[WHOLE_RUN]
        run = json.loads(whole.position or "{}") | {"is_undoing": True, "of": self.run}
        return {**self.checkpoints, WHOLE_RUN: dataclasses.replace(whole, position=json.dumps(run))}


async def note_made(target: Database, run: str) -> Made:
    """Read what a run has left behind: its checkpoints, and every column of every table it has to do with."""
    async with target.control() as connection:
        checkpoints = await read_checkpoints(connection)
    schema = await target.schema()
    ours = begun(checkpoints)
    names = {*ours.tables, *ours.before}
    names |= {
        table.name for table in schema.tables for key in table.foreign_keys if key.target_table in names
    }
    left = await note_before(target, [schema.table(name) for name in sorted(names)])
    return Made(run, str(target), await target.identity(), checkpoints, left, _parts(schema))


def newest_made(events: Iterable[Event], target: Database, database: str) -> Made:
    """Return what the last finished migration into a target has made, as its log tells.

    Raises
    ------
    Refused
        When the log tells of none, only of those into another database, or that it was undone already.
    """
    events = list(events)
    ended = {event.run for event in events if event.name in ENDED}
    told = [event for event in events if event.name == MADE and event.run in ended]
    here = [event for event in told if event.details.get("database") == database]
    if not here:
        if any(event.details.get("target") == str(target) for event in told):
            raise endings.other_database(target)
        if any(_read(event) is None for event in told):
            # What was blotted out may be which database it was.
            raise endings.not_told(target)
        raise endings.nothing_there(target, "undo")
    last = here[-1]
    for event in events:
        if (
            event.name == UNDONE
            and event.details.get("of") == last.run
            and not event.details["not_as_before"]
        ):
            raise endings.undone_already(target, event.time)
    made = _read(last)
    if made is None:
        raise endings.not_told(target)
    return dataclasses.replace(made, left=_left(made, events[events.index(last) :]))


def as_data(was: Before) -> list[Any]:
    """Return what a table was as plain data, for an event."""
    return [was.digest.row_count, str(was.digest), was.next_number]


async def written_since(target: Database, made: Made) -> list[str]:
    """Return, in words, what in the target is not as the run has left it; nothing when all of it is."""
    schema = await target.schema()
    now = _parts(schema)
    found = [f"{name} (new)" for name in now if name not in made.schema]
    found += [f"{name} (gone)" for name in made.schema if name not in now]
    found += [f"{name} (altered)" for name, was in made.schema.items() if now.get(name, was) != was]
    there = await note_before(target, [schema.table(name) for name in made.left if schema.has(name)])
    for name, is_now in there.items():
        was = made.left[name]
        found += [f"the rows of {name}"] * (is_now.digest != was.digest)
        found += [f"the next number of {name}"] * (is_now.next_number != was.next_number)
    return found


def _parts(schema: Schema) -> dict[str, str]:
    """Name everything there is, each with a fingerprint, so that what was changed can be named."""
    parts = {f"table {table.name}": fingerprint(table) for table in schema.tables}
    parts |= {f"view {view.name}": fingerprint(view) for view in schema.views}
    parts |= {f"trigger {it.name} of {it.table}": fingerprint(it) for it in schema.triggers}
    return parts | {f"{it.what} {it.name}": fingerprint(it) for it in schema.uncarried}


def _left(made: Made, events: Iterable[Event]) -> dict[str, Before]:
    """Return what tables were once rejected rows were brought in since, if nobody else wrote in between."""
    left = dict(made.left)
    for event in events:
        if event.name == REJECTS_LOADED and event.details.get("database") == made.database:
            table = event.details["table"]
            if left.get(table) == _from_data(event.details["was"]):
                left[table] = _from_data(event.details["left"])
    return left


def _from_data(kept: list[Any]) -> Before:
    row_count, digest, next_number = kept
    return Before(Digest(row_count, int(digest, 16)), next_number)


def _read(event: Event) -> Made | None:
    """Return what an event tells, or ``None`` where that is not all of what was written."""
    details = dict(event.details)
    if details.pop("seal", None) != fingerprint(details):
        return None
    # Another version may have kept other things.
    if any(
        row.keys() != {it.name for it in dataclasses.fields(Checkpoint)} for row in details["checkpoints"]
    ):
        return None
    checkpoints = {row["table"]: Checkpoint(**row) for row in details["checkpoints"]}
    whole = dataclasses.replace(checkpoints[WHOLE_RUN], position=json.dumps(details["whole_run"]))
    left = {name: _from_data(was) for name, was in details["left"].items()}
    return Made(
        run=event.run,
        target=details["target"],
        database=details["database"],
        checkpoints={**checkpoints, WHOLE_RUN: whole},
        left=left,
        schema=details["schema"],
    )
