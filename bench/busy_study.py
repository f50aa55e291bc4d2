"""How much waiting for a processor makes a budget look broken: `python -m bench.busy_study`.

`burden.WAITING_SHARE_MAX` is chosen by this. The same reads of the reference data are measured again and
again while none, one, two ... other programs keep a core busy each. For each number of them a line shows the
share of its time that this process waited, and how much slower p50, p99 and the mean became. The share below
which the slowing stays small is what a verdict can be trusted with.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.burden import WAITING_SHARE_MAX
from bench.catalogue import OPERATIONS
from bench.dataset import DatasetKey, cached
from bench.loading import load
from bench.measurement import Measurement
from bench.reference import TABLES
from bench.stopwatch import take_samples
from bench.subject import Subject, open_subject

MEASURED = ("authenticate", "get_messages", "like_search")
REPETITIONS = 5
ROUNDS = 1_000
BUSY = "while True: pass"


@contextmanager
def busy_programs(count: int) -> Iterator[None]:
    """Keep this many other programs at work until the block ends."""
    programs = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


async def measured_once(name: str, subject: Subject) -> Measurement:
    """Measure one operation as the suites do."""
    operation = OPERATIONS[name]
    return (await take_samples(operation, subject, ROUNDS)).measurement(operation, subject)


async def study(folder: Path) -> None:
    """Measure beside none to three busy programs per core, and print how slow each round was."""
    database = folder / "reference.db"
    await load(cached(DatasetKey(1.0, 1, TABLES)), f"sqlite:///{database}")
    cores = os.cpu_count() or 1
    alone: dict[str, tuple[float, float, float]] = {}
    print("busy programs, operation: share of its time that it waited; p50, p99 and mean, times those alone")
    async with open_subject(database) as subject:
        for count in sorted({0, 1, *(cores * times // 2 for times in range(1, 7))}):
            with busy_programs(count):
                for name in MEASURED:
                    for _ in range(REPETITIONS):
                        found = await measured_once(name, subject)
                        figures = [found.latency_ms(one).value for one in ("p50", "p99", "mean")]
                        p50, p99, mean = figures
                        alone.setdefault(name, (p50, p99, mean))
                        slower = [f"{now / then:.2f}" for now, then in zip(figures, alone[name], strict=True)]
                        waited = found.counters.get("waited_for_cpu_share", float("nan"))
                        trusted = "judged" if waited <= WAITING_SHARE_MAX else "unproved"
                        print(f"{count} {name}: {waited:.2f}; {' '.join(slower)}; {trusted}", flush=True)


if __name__ == "__main__":
    with TemporaryDirectory() as scratch:
        asyncio.run(study(Path(scratch)))
