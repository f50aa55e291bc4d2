"""The process that migrates while it is measured: `python -m bench.copy_child`, told by `copying`."""

from __future__ import annotations

import asyncio
import resource
import sys
from datetime import UTC, datetime
from pathlib import Path

import orjson

from bench.copying import CopyOutcome, as_told
from migration.database import open_database
from migration.service import DataMigrationService, Options


async def main() -> None:
    """Migrate what standard input names, and tell what it took on standard output."""
    asked = orjson.loads(sys.stdin.buffer.read())
    async with (
        open_database(asked["source"], is_source=True) as source,
        open_database(asked["target"]) as target,
    ):
        service = DataMigrationService(source, target, options=Options(accept_all=True))
        started = datetime.now(UTC)
        if not await service.migrate_data():
            sys.exit(f"the migration did not end proved: {service.error}")
        ended = datetime.now(UTC)
    events = {event["message"]: event for event in service.migration_log}
    moments = {name: datetime.fromisoformat(event["timestamp"]) for name, event in events.items()}

    def seconds(first: str, last: str) -> float:
        return (moments[last] - moments[first]).total_seconds()

    outcome = CopyOutcome(
        rows=events["copied"]["details"]["rows"]["messages"],
        copy_s=seconds("prepared", "copied"),
        verification_s=seconds("finished", "proof"),
        whole_s=(ended - started).total_seconds(),
        peak_rss_bytes=peak_rss_bytes(),
    )
    sys.stdout.buffer.write(as_told(outcome))


def peak_rss_bytes() -> int:
    """Tell the most memory this process, or a process of its own, has held at any moment."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    # Not getrusage: on Linux its maximum survives `exec`, so a child of a large process looks large itself.
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return max(children, int(line.split()[1]) * 1024)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(children, own if sys.platform == "darwin" else own * 1024)


if __name__ == "__main__":
    asyncio.run(main())
