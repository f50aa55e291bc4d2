"""The process that migrates while it is measured: `python -m bench.copy_child`, told by `copying`."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import orjson

from bench.copying import CopyOutcome, as_told
from migration.choice import Options
from migration.database import open_database
from migration.memory import give_memory_back
from migration.progress import Progress, Step
from migration.service import DataMigrationService


async def main() -> None:
    """Migrate what standard input names, and tell what it took on standard output."""
    # As the command line does; what is measured is a migration as its users run it.
    give_memory_back()
    asked = orjson.loads(sys.stdin.buffer.read())
    async with (
        open_database(asked["source"], is_source=True) as source,
        open_database(asked["target"]) as target,
    ):
        started = datetime.now(UTC)
        service = DataMigrationService(
            source,
            target,
            options=Options(accept_all=True, mapping=asked["renamed"], resume=asked.get("resume", False)),
            progress=killed_at(asked.get("kill_at_share"), started),
        )
        if not await service.migrate_data():
            sys.exit(f"the migration did not end proved: {service.error}")
        ended = datetime.now(UTC)
    if asked.get("resume"):
        # Its log begins in the middle, so it has no phases to tell.
        sys.stdout.buffer.write(orjson.dumps({"took_s": (ended - started).total_seconds()}))
        return
    events = {event["message"]: event for event in service.migration_log}
    moments = {name: datetime.fromisoformat(event["timestamp"]) for name, event in events.items()}

    def seconds(first: str, last: str) -> float:
        return (moments[last] - moments[first]).total_seconds()

    ends = [
        ("open", moments["opened"]),
        ("look, plan, prepare", moments["prepared"]),
        ("copy", moments["copied"]),
        ("finish", moments["finished"]),
        ("prove", moments["proof"]),
        ("close", ended),
    ]
    begins = [started, *(end for _, end in ends)]
    outcome = CopyOutcome(
        rows=sum(events["copied"]["details"]["rows"].values()),
        copy_s=seconds("prepared", "copied"),
        verification_s=seconds("finished", "proof"),
        whole_s=(ended - started).total_seconds(),
        peak_rss_bytes=peak_rss_bytes(),
        phases=tuple(
            (name, (end - begin).total_seconds()) for begin, (name, end) in zip(begins, ends, strict=False)
        ),
    )
    sys.stdout.buffer.write(as_told(outcome))


def killed_at(share: float | None, started: datetime) -> Progress:
    """Give a progress that tells the time and kills this process at this share of the copy; None: never."""

    def watch(step: Step) -> None:
        if share is not None and step.phase == "copy" and step.done >= share * step.total:
            took_s = (datetime.now(UTC) - started).total_seconds()
            sys.stdout.buffer.write(orjson.dumps({"took_s": took_s}))
            sys.stdout.buffer.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    return watch


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
