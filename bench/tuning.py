"""What the benchmarks found to be missing from the hand-written schemas, for any application to adopt.

README, "Findings", has each with its figures before and after. `--bench-untuned` measures without them.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.message_counts import KEPT_COUNTS, MESSAGE_COUNTS
from bench.subject import Subject, open_subject

COVERING_PAGE = "CREATE INDEX bench_messages_page ON messages (session_id, timestamp, visibility, sender)"
"""Pages and the search's window skip what the agent may not see without fetching it."""

BY_SENDER = "CREATE INDEX bench_messages_sender ON messages (session_id, sender, timestamp)"
"""An agent's newest messages in a session. Without it all messages of the session are looked at, newest
first, until twenty of a sender who seldom writes are found. PostgreSQL finds the sender in the index of
pages."""

NEWEST_MEMORY = (
    "CREATE INDEX bench_memory_newest ON agent_memory (agent_id, session_id, updated_at, key, expires_at)"
)
"""`list_memory` wants the newest fifty whose keys begin alike. By this index SQLite, whose LIKE knows no
capitals and so no range of keys, finds them newest first without fetching the others. PostgreSQL and MariaDB
read the range of keys, whatever index there is."""

MEMORY_EXPIRY = "CREATE INDEX bench_memory_expiry ON agent_memory (expires_at)"
"""The application's script asks for this index with a WHERE, which MySQL does not understand, so no database
there has it: each read of a memory looked at all memories for one that has expired, and deleting one locked
all of them."""

_ON_MYSQL = (
    *(*KEPT_COUNTS["mysql"], COVERING_PAGE, BY_SENDER, MEMORY_EXPIRY),
    f"ANALYZE TABLE messages, agent_memory, {MESSAGE_COUNTS.name}",
)

ADOPTED: Mapping[str, tuple[str, ...]] = {
    "sqlite": (*KEPT_COUNTS["sqlite"], COVERING_PAGE, BY_SENDER, NEWEST_MEMORY, "ANALYZE"),
    "postgresql": (*KEPT_COUNTS["postgresql"], COVERING_PAGE, "VACUUM ANALYZE"),
    "mariadb": _ON_MYSQL,
    "mysql": _ON_MYSQL,
}


SERVER_SETTINGS_ADOPTED: Mapping[str, tuple[str, ...]] = {
    "mariadb": ("SET GLOBAL innodb_buffer_pool_size = 1073741824",),
    "mysql": ("SET GLOBAL innodb_buffer_pool_size = 1073741824",),
}
"""InnoDB goes past the operating system's cache, so what its own does not hold is read from the disk; and a
million messages with their indexes do not fit into the usual 128 MiB. PostgreSQL reads through the system's
cache."""


async def tune_server(backend: str, url: str) -> None:
    """Give a server of our own the settings that its users should give theirs."""
    if statements := SERVER_SETTINGS_ADOPTED.get(backend, ()):
        async with open_subject(url) as subject, subject.engine.connect() as connection:
            for statement in statements:
                await connection.exec_driver_sql(statement)


async def tune(subject: Subject) -> None:
    """Add what was found to be missing."""
    async with subject.engine.connect() as connection:
        for statement in ADOPTED.get(subject.backend, ()):
            await connection.exec_driver_sql(statement)
