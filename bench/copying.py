"""How fast a whole table is moved and proved, beside what the server can do at all.

Rows per second say more about the machine than about the program. So each figure is a ratio, both halves of
which are measured in the same run, in turns: the copy against the server loading a ready binary COPY file of
the same rows into a table of the same shape, and the verification against the copy. The migration runs in a
process of its own, whose memory is its own too.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from bench.loading import mysql_connection, run_mysql_script
from bench.measurement import Figure
from bench.record import Migration, Phase
from bench.reference import table_script

OPERATION = "copy_messages"

ROWS_SMALL = 2_000
"""Enough to run every step; a test does so on every commit."""

REPETITIONS = 3
"""One run of a ratio is a guess; where the three disagree about a limit, the verdict is unproved."""

COPY_FIGURES: Mapping[str, str] = {
    "copied_rows_per_s": "rows/s",
    "binary_copy_rows_per_s": "rows/s",
    "share_of_binary_copy": "x",
    "verification_over_copy": "x",
    "whole_migration_s": "s",
    "resumed_over_whole": "x",
    "client_peak_rss": "MB",
}
"""What is reported, and its unit; which of them are judged stands in `budgets.toml`."""


@dataclass(frozen=True)
class CopyOutcome:
    """What one migration of the messages took, by the times in its own log.

    Attributes
    ----------
    copy_s
        From the prepared target until the last row is committed and the target's constraints are back.
    verification_s
        Every check, and every row of both sides read again.
    whole_s
        All ten steps: these two, and looking, planning, indexes and closing.
    peak_rss_bytes
        The most memory that the migrating process held at any moment.
    phases
        All of it in order, without gaps: name and seconds.
    """

    rows: int
    copy_s: float
    verification_s: float
    whole_s: float
    peak_rss_bytes: int
    phases: tuple[tuple[str, float], ...] = ()

    def migration(self, source: str, target: str) -> Migration:
        """Give it in the form of a record."""
        return Migration(
            source=source,
            target=target,
            row_count=self.rows,
            whole_s=self.whole_s,
            phases=tuple(
                Phase(name, took_s, self.rows if name in {"copy", "prove"} else None)
                for name, took_s in self.phases
            ),
            peak_rss_bytes=self.peak_rss_bytes,
        )


async def copied_in_a_child(
    source_url: str, target_url: str, renamed: Mapping[str, str] | None = None
) -> CopyOutcome:
    """Migrate in a process of its own; a migration that does not end proved is an error here too."""
    told = await _told_by_a_child(source_url, target_url, renamed=dict(renamed or {}))
    outcome = orjson.loads(told)
    return CopyOutcome(**{**outcome, "phases": tuple((name, took_s) for name, took_s in outcome["phases"])})


async def resumed_in_children(source_url: str, target_url: str) -> float:
    """Kill a migration in the middle of its copy, resume it, and tell the seconds that both took together.

    The way back from a crash is not free: what was copied is looked at again, and what was not yet committed
    is copied twice.
    """
    first = await _told_by_a_child(source_url, target_url, kill_at_share=0.5, expected=-signal.SIGKILL)
    second = await _told_by_a_child(source_url, target_url, resume=True)
    return float(orjson.loads(first)["took_s"] + orjson.loads(second)["took_s"])


async def _told_by_a_child(
    source_url: str,
    target_url: str,
    *,
    renamed: Mapping[str, str] | None = None,
    resume: bool = False,
    kill_at_share: float | None = None,
    expected: int = 0,
) -> bytes:
    asked = {
        "source": source_url,
        "target": target_url,
        "renamed": renamed or {},
        "resume": resume,
        "kill_at_share": kill_at_share,
    }
    # By standard input, because anybody may read another process's arguments and a URL may hold a password.
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.copy_child",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await child.communicate(orjson.dumps(asked))
    if child.returncode != expected:
        raise RuntimeError(f"the migrating process ended with {child.returncode}; what it said is above")
    return told


def as_told(outcome: CopyOutcome) -> bytes:
    """Write an outcome the way `copied_in_a_child` reads it."""
    return orjson.dumps(asdict(outcome))


async def empty_messages_table(connection: asyncpg.Connection[Any]) -> None:
    """Make the hand-written messages table anew: all columns, checks and the primary key, and no row."""
    await connection.execute("DROP TABLE IF EXISTS messages")
    await connection.execute(table_script("postgresql", "messages"))


async def empty_mysql_messages_table(url: str) -> None:
    """Do the same in MySQL or MariaDB."""
    async with mysql_connection(url) as connection:
        script = f"DROP TABLE IF EXISTS messages; {table_script('mysql', 'messages')}"
        await run_mysql_script(connection, script)


async def binary_copy_s(connection: asyncpg.Connection[Any], expected_rows: int) -> float:
    """Time the server at loading a ready binary COPY file of the messages table into one of the same shape.

    The server reads the file itself where it can. In a container, or without the right to, it cannot; then
    the file is streamed to it, which is a tenth slower.
    """
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "messages.bin"
        await connection.copy_from_table("messages", output=ready, format="binary")
        _open_to_the_server(ready)
        await connection.execute("CREATE TABLE messages_limit (LIKE messages INCLUDING ALL)")
        try:
            # Otherwise the server would write the earlier rows to disk while it is timed.
            await connection.execute("CHECKPOINT")
            started_s = time.perf_counter()
            try:
                await connection.execute(f"COPY messages_limit FROM '{ready}' (FORMAT binary)")
            except (asyncpg.UndefinedFileError, asyncpg.InsufficientPrivilegeError):
                started_s = time.perf_counter()
                await connection.copy_to_table("messages_limit", source=ready, format="binary")
            taken_s = time.perf_counter() - started_s
            loaded = await connection.fetchval("SELECT count(*) FROM messages_limit")
        finally:
            await connection.execute("DROP TABLE messages_limit")
    if loaded != expected_rows:
        raise RuntimeError(f"the ready file held {loaded} rows, and {expected_rows} were migrated")
    return taken_s


def _open_to_the_server(ready: Path) -> None:
    """Let the server, which is another user, read the file."""
    ready.parent.chmod(0o755)
    ready.chmod(0o644)


def figures(
    backend: str,
    outcomes: Sequence[CopyOutcome],
    limits_s: Sequence[float] = (),
    resumed_s: Sequence[float] = (),
) -> tuple[Figure, ...]:
    """Sum up the repetitions; each copy is held against the limit that was measured right after it."""
    repetitions: dict[str, list[float]] = {
        "copied_rows_per_s": [outcome.rows / outcome.copy_s for outcome in outcomes],
        "verification_over_copy": [outcome.verification_s / outcome.copy_s for outcome in outcomes],
        "whole_migration_s": [outcome.whole_s for outcome in outcomes],
        "client_peak_rss": [outcome.peak_rss_bytes / 1e6 for outcome in outcomes],
    }
    if limits_s:
        pairs = list(zip(outcomes, limits_s, strict=True))
        repetitions["binary_copy_rows_per_s"] = [outcome.rows / limit_s for outcome, limit_s in pairs]
        repetitions["share_of_binary_copy"] = [limit_s / outcome.copy_s for outcome, limit_s in pairs]
    if resumed_s:
        # No budget judges it, so it is not repeated as often.
        both = zip(outcomes, resumed_s, strict=False)
        repetitions["resumed_over_whole"] = [seconds / outcome.whole_s for outcome, seconds in both]
    return tuple(
        Figure(name, OPERATION, backend, unit, tuple(repetitions[name]))
        for name, unit in COPY_FIGURES.items()
        if name in repetitions
    )
