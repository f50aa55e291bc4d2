"""What the load generator itself costs: `python -m bench.load.cost [--seconds 30] [--backends all]`.

The same mix, agents, rate, pool and drivers, once on a bare event loop (`stopwatch.take_mix`) and once under
Locust, in turns, on one database. The difference of their processors' time per call is the price of Locust,
of the threads' hand-over, and of counting what was acknowledged. Needs a quiet machine.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from bench.catalogue import OPERATIONS
from bench.dataset import DatasetKey, cached
from bench.load.options import AGENTS, RATE
from bench.measurement import Measurement
from bench.places import Place, chosen, fill
from bench.record import read_run
from bench.reference import TABLES
from bench.stopwatch import take_mix
from bench.subject import open_subject
from migration.servers import fresh_database, throwaway_server

TURNS = 2

MS = 1_000


async def bare(url: str, seconds: float) -> tuple[float, float, float]:
    """Give milliseconds of processor a call, and p50 and p99 in ms as operations weigh, on a bare loop."""
    mixed = [one for one in OPERATIONS.values() if one.weight]
    async with open_subject(url) as subject:
        seen = await take_mix(mixed, subject, agents=AGENTS, calls=round(AGENTS * RATE * seconds))
    counters = next(iter(seen.values())).counters
    own = [samples.measurement(OPERATIONS[name], subject) for name, samples in seen.items()]
    cpu_s = counters["own_cpu_share"] * counters["took_s"]
    calls = sum(one.sample_count for one in own)
    return cpu_s / calls * MS, _weighed_ms(own, "p50"), _weighed_ms(own, "p99")


def under_locust(url: str, seconds: float, folder: Path) -> tuple[float, float, float]:
    """Give the same under Locust, from the run that it writes."""
    command = [sys.executable, "-m", "bench.load", "--headless", "--url", url, "--let-agents-write"]
    options = ["--agents", str(AGENTS), "--run-time", f"{seconds + 2:g}s", "--results", str(folder)]
    subprocess.run([*command, *options], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run = read_run(max(folder.glob("*.json")))
    figures = {figure.name: figure.repetitions[0] for figure in run.figures}
    cpu_ms = figures["generator_cpu"] / figures["calls_per_s"] * MS
    return cpu_ms, _weighed_ms(run.measurements, "p50"), _weighed_ms(run.measurements, "p99")


def _weighed_ms(measurements: Sequence[Measurement], name: str) -> float:
    """Give the mean of a quantile over the operations, each as heavy as it is common."""
    calls = sum(one.sample_count for one in measurements)
    return sum(one.sample_count * one.latency_ms(name).value for one in measurements) / calls


async def compared(backend: str, seconds: float, scale: float) -> None:
    """Measure both in turns on one database of this engine and print a line for each."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="load-cost-")))
        if backend == "sqlite":
            url = f"sqlite:///{folder / 'cost.db'}"
        else:
            server = await stack.enter_async_context(throwaway_server(backend))
            url = await stack.enter_async_context(fresh_database(backend, server.url))
        await fill(Place(backend, "before"), url, cached(DatasetKey(scale, 1, TABLES)))
        for turn in range(TURNS):
            for name, found in (
                ("bare loop", await bare(url, seconds)),
                ("Locust", await asyncio.to_thread(under_locust, url, seconds, folder / f"runs-{turn}")),
            ):
                cpu_ms, p50, p99 = found
                print(
                    f"{backend:12}{name:12}{cpu_ms:8.3f} ms of processor a call, p50 {p50:.2f}, p99 {p99:.2f}"
                )


def main() -> None:
    """Measure the engines that are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--backends", default="")
    asked = parser.parse_args()
    for backend in chosen(asked.backends):
        asyncio.run(compared(backend, asked.seconds, asked.scale))


if __name__ == "__main__":
    main()
