"""What the benchmarks found to be missing from the hand-written schemas, for any application to adopt.

README, "Findings", has each with its figures before and after. `--bench-untuned` measures without them.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.subject import Subject

COVERING_COUNT = "CREATE INDEX bench_messages_visible ON messages (session_id, visibility, sender)"
"""`get_messages` counts what an agent may see. Without it every message of the session is fetched to look at
its visibility; in a session of 60,000 messages that alone breaks the budget."""

COVERING_PAGE = "CREATE INDEX bench_messages_page ON messages (session_id, timestamp, visibility, sender)"
"""Pages and the search's window skip what the agent may not see without fetching it."""

ADOPTED: Mapping[str, tuple[str, ...]] = {
    "sqlite": (COVERING_COUNT, COVERING_PAGE, "ANALYZE"),
    "postgresql": (COVERING_COUNT, COVERING_PAGE, "VACUUM ANALYZE messages"),
    "mariadb": (COVERING_COUNT, COVERING_PAGE, "ANALYZE TABLE messages"),
    "mysql": (COVERING_COUNT, COVERING_PAGE, "ANALYZE TABLE messages"),
}


async def tune(subject: Subject) -> None:
    """Add what was found to be missing."""
    async with subject.engine.connect() as connection:
        for statement in ADOPTED.get(subject.backend, ()):
            await connection.exec_driver_sql(statement)
