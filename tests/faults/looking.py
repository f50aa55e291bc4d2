"""What a database and an audit log hold, told by the engines' own dumps: nothing of the product is asked."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

from tests import oracle
from tests.faults.data import BAD_WORDS

CHECKPOINTS = "migration_bench_checkpoint"
LEFT_BEHIND = "migration_bench_saved_"
"""Rows that were put aside, of which nothing is expected any more; the next run takes them away."""

SESSIONS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
    "mariadb": "SELECT count(*) FROM information_schema.processlist"
    " WHERE db = database() AND id <> connection_id()",
}


async def told(url: str) -> str:
    """Dump a database, less what says nothing: comments, and an empty table of checkpoints."""
    engine = oracle.engine_of(url)
    if engine == "sqlite":
        path = oracle.path_of(url)
        if not path.exists():
            return ""
        # A killed writer leaves a journal that the next one plays back.
        return "\n".join(sorted(_lines(await oracle.dump(url))))
    if engine == "mariadb" and CHECKPOINTS in await oracle.tables(url) and not await begun(url):
        # There, making a table and filling it cannot be one.
        await oracle.run(url, f"DROP TABLE {CHECKPOINTS}")
    return "\n".join(_lines(await oracle.dump(url)))


def _lines(dump: str) -> list[str]:
    lines = [line for line in dump.splitlines() if line.strip() and not line.startswith("--")]
    return [line for line in lines if line not in ("BEGIN TRANSACTION;", "COMMIT;")]


async def begun(url: str) -> bool:
    """Tell whether a migration is under way in a target."""
    if oracle.engine_of(url) == "sqlite" and not oracle.path_of(url).exists():
        return False
    if CHECKPOINTS not in await oracle.tables(url):
        return False
    return bool(await oracle.rows(url, f"SELECT 1 FROM {CHECKPOINTS} LIMIT 1"))


async def sweep(url: str) -> list[str]:
    """Take away what a kill between the last two statements leaves, and tell what it was."""
    if oracle.engine_of(url) == "sqlite" and not oracle.path_of(url).exists():
        return []
    left = [name for name in await oracle.tables(url) if name.startswith(LEFT_BEHIND)]
    for name in left:
        await oracle.run(url, f"DROP TABLE {name}")
    return left


async def session_count(url: str) -> int:
    """Return how many others are connected to a database."""
    if oracle.engine_of(url) == "sqlite":
        return 0
    [(count,)] = await oracle.rows(url, SESSIONS[oracle.engine_of(url)])
    return int(count)


async def missing_or_more(source: str, target: str, *, is_without_bad_words: bool) -> list[str]:
    """Compare every row of both; rows that were set aside are to be missing, and no others."""
    ignored = [name for name in await oracle.tables(target) if name == "noted"]
    found = await oracle.differences(source, target, ignored=ignored)
    found = [difference for difference in found if not difference.startswith("noted is only in the target")]
    if is_without_bad_words:
        set_aside = [difference for difference in found if _is_bad_word(difference)]
        found = [difference for difference in found if difference not in set_aside]
        if len(set_aside) != len(BAD_WORDS):
            found.append(f"{len(set_aside)} rows were set aside, not {len(BAD_WORDS)}")
    return found


def _is_bad_word(difference: str) -> bool:
    return difference.startswith("worded:") and "f\\udcfff" in difference and "did not arrive" in difference


def rejected_rows(path: Path) -> list[tuple[str, str]]:
    """Return table and place of every row in a file of rejects, as often as it is there."""
    rows = []
    for line in path.read_text().splitlines():
        members = json.loads(line)
        if "reasons" in members:
            rows.append((str(members["table"]), json.dumps(members["row"], sort_keys=True)))
    return rows


def broken_chain(path: Path) -> str:
    """Say what is wrong with an audit log; nothing when every line follows from the one before.

    Torn lines are allowed where the next event sets them aside.
    """
    if not path.exists():
        return ""
    previous, number, unexplained = "0" * 64, 0, ""
    lines = path.read_bytes().split(b"\n")
    for place, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            event = json.loads(line)
            own = event.pop("hash")
        except (ValueError, KeyError, AttributeError):
            unexplained = f"line {place} is torn"
            continue
        if event["name"] == "torn-line":
            unexplained = ""
        number += 1
        spelled = json.dumps(event, separators=(",", ":")).encode()
        if unexplained:
            return unexplained
        if (event["number"], event["previous"]) != (number, previous):
            return f"line {place} does not follow from the line before"
        if hashlib.sha256(spelled).hexdigest() != own:
            return f"line {place} is not what its hash says"
        previous = own
    return unexplained


def last_event(path: Path) -> str:
    """Return the name of the last event of an audit log."""
    lines = [line for line in path.read_bytes().split(b"\n") if line]
    try:
        return str(json.loads(lines[-1])["name"]) if lines else ""
    except ValueError:
        return "torn"


def is_sound(url: str) -> bool:
    """Tell whether a SQLite file says of itself that it is whole; others see to it when they start."""
    if oracle.engine_of(url) != "sqlite" or not oracle.path_of(url).exists():
        return True
    connection = sqlite3.connect(oracle.path_of(url))
    try:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        connection.close()
