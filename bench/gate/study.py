"""Shows what the gate reaches, in parts that add up: each run leaves its raw data, and the report reads all.

    python -m bench.gate.study run --minutes 100     # the parts that are still missing, as many as fit
    python -m bench.gate.study report                # results/gate-study/README.md and figures.json

The thresholds are those of `thresholds.toml`; every recording holds them, and the report refuses recordings
that were made with others.
"""

from __future__ import annotations

import asyncio
import gzip
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from bench.gate.checkout import filling_of
from bench.gate.databases import opened
from bench.gate.injection import UNITS
from bench.gate.noise import REGIMES, regime
from bench.gate.sides import Group, Recording, Side, record
from bench.gate.study_report import write_report
from bench.gate.times import Thresholds, read_thresholds
from bench.gate.walk import ROOT
from bench.record import commit_of, machine_fingerprint, machine_load

STUDY = Path("results") / "gate-study"
BACKEND = "sqlite"

AA_RUNS = 25
"""Of twelve benchmarks each, in four regimes by turns: 300 verdicts."""

INJECTED_RUNS = 9
"""For each share, each kind of work in two of the regimes, and one in a third: 108 verdicts."""

SHARES = (0.10, 0.05)

application = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_show_locals=False)


@dataclass(frozen=True)
class Part:
    """One run of the study: what the machine does meanwhile, and what is injected into the head."""

    regime: str
    kind: str = ""
    share: float = 0.0

    def name(self) -> str:
        """Name its file."""
        return f"{self.regime}-{self.kind}-{self.share:g}" if self.kind else f"{self.regime}-aa"


def planned() -> list[Part]:
    """Give every run of the whole study; the regimes take turns, so that any beginning of it is balanced."""
    regimes, kinds = list(REGIMES), list(UNITS)
    pairs = [(regimes[place % 4], kinds[(place + place // 4) % 4]) for place in range(INJECTED_RUNS)]
    injected = [Part(name, kind, share) for name, kind in pairs for share in SHARES]
    alike = [Part(regimes[place % 4]) for place in range(AA_RUNS)]
    # One with injected work after each one without, while there are any.
    mixed = [part for pair in zip(alike, injected, strict=False) for part in pair]
    return mixed + alike[len(injected) :] + injected[len(alike) :]


def missing_parts(folder: Path) -> list[Part]:
    """Give the planned runs whose recordings are not there yet."""
    there = Counter(path.name.rpartition("-at-")[0] for path in folder.glob("*.json.gz"))
    missing = []
    for part in planned():
        if there[part.name()]:
            there[part.name()] -= 1
        else:
            missing.append(part)
    return missing


@application.command()
def run(
    minutes: Annotated[float, typer.Option(help="No run begins that would not be done by then.")] = 60.0,
    runs: Annotated[int, typer.Option(help="At most this many; 0 is as many as fit.")] = 0,
    scale: Annotated[float, typer.Option(help="Of the reference data.")] = 1.0,
    folder: Annotated[Path, typer.Option(help="Where the recordings are.")] = STUDY / "raw",
) -> None:
    """Record the parts that are missing."""
    thresholds = read_thresholds()
    end_s = time.monotonic() + minutes * 60
    asyncio.run(_run(missing_parts(folder), thresholds, scale, folder, end_s, runs))


async def _run(
    parts: Sequence[Part], thresholds: Thresholds, scale: float, folder: Path, end_s: float, most: int
) -> None:
    with tempfile.TemporaryDirectory(prefix="gate-study-") as scratch:
        async with opened(Path(scratch), scale, 1) as databases:
            url = await databases.filled(BACKEND, ROOT, filling_of(ROOT))
            for done, part in enumerate(parts):
                longest_s = thresholds.seconds_max + 20
                if (most and done >= most) or time.monotonic() + longest_s > end_s:
                    typer.echo(f"{len(parts) - done} parts are still missing; run this again for them")
                    return
                typer.echo(f"{done + 1} of {len(parts)}: {part.name()}")
                with regime(part.regime, Path(scratch)):
                    began_s = time.monotonic()
                    recording = _recorded(part, thresholds, url)
                    took_s = time.monotonic() - began_s
                path = write_recording(folder, part, thresholds, scale, recording, took_s)
                typer.echo(f"{took_s:.0f} s, written to {path}")


def _recorded(part: Part, thresholds: Thresholds, url: str) -> Recording:
    injected: Mapping[str, Any] = {"kind": part.kind, "share": part.share} if part.kind else {}
    base = Side(ROOT, url)
    sides = {"base": base, "head": Side(ROOT, url, injected), "twin": base}
    return record(sides, thresholds.operations, thresholds, told=lambda line: typer.echo(f"  {line}"))


def write_recording(
    folder: Path, part: Part, thresholds: Thresholds, scale: float, recording: Recording, took_s: float
) -> Path:
    """Write one run's raw data, every block of it."""
    folder.mkdir(parents=True, exist_ok=True)
    at = datetime.now(UTC)
    document = {
        "part": asdict(part),
        "at": at,
        "took_s": round(took_s, 1),
        "commit": commit_of(ROOT),
        "machine": machine_fingerprint(),
        "load": machine_load(),
        "scale": scale,
        "thresholds": asdict(thresholds),
        "recording": {name: [asdict(group) for group in groups] for name, groups in recording.items()},
    }
    path = folder / f"{part.name()}-at-{at:%Y%m%dT%H%M%SZ}.json.gz"
    # No time in the packed form: the same recording is the same file.
    path.write_bytes(gzip.compress(orjson.dumps(document), mtime=0))
    return path


def read_recording(path: Path) -> tuple[dict[str, Any], Recording]:
    """Give the facts of a run and its recording."""
    document = orjson.loads(gzip.decompress(path.read_bytes()))
    recording = {name: [_group(entry) for entry in groups] for name, groups in document["recording"].items()}
    return document, recording


def _group(entry: dict[str, Any]) -> Group:
    rounds = {key: [tuple(one) for one in value] for key, value in entry.items() if isinstance(value, list)}
    return Group(**{**entry, **rounds})


@application.command()
def report(
    folder: Annotated[Path, typer.Option(help="Where the recordings are.")] = STUDY / "raw",
    out: Annotated[Path, typer.Option(help="Where the report is written.")] = STUDY,
) -> None:
    """Judge every recording by the gate's rule and by other rules, and write what came of it."""
    recordings = [read_recording(path) for path in sorted(folder.glob("*.json.gz"))]
    if not recordings:
        typer.echo(f"There is no recording in {folder}; make some with `run`.", err=True)
        raise typer.Exit(2)
    typer.echo(f"Written to {write_report(recordings, read_thresholds(), out, len(missing_parts(folder)))}")


if __name__ == "__main__":
    sys.exit(application())
