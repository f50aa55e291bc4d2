"""One run as JSON: what was measured, on which machine, of which commit, against which servers.

A figure without these is a rumour: whoever compares two runs must see whether they may be compared.
The form has a version; a file of another version is refused, never half understood.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import orjson
import psutil

from bench.budgets import Budget, as_budget
from bench.form import misfit
from bench.judge import Judgement, Verdict
from bench.measurement import Bounded, Figure, Measurement

SCHEMA_NAME = "migration-bench run"
SCHEMA_VERSION = 2

LIBRARIES = ("sqlalchemy", "aiosqlite", "asyncpg", "asyncmy", "rapidfuzz", "pyarrow", "migration-bench")
"""What stands between the clock and the server; another version of these is another measurement."""

IDENTIFYING = ("architecture", "processor", "cores", "memory_gb")
"""What makes a machine another machine. A new kernel or Python is told, and is the same machine."""


class UnreadableRun(ValueError):
    """A file that is no run, or a run in a form that this version does not know."""


@dataclass(frozen=True)
class Phase:
    """One part of a migration: how long it took, and the rows it handled where it handles rows."""

    name: str
    took_s: float
    row_count: int | None = None


@dataclass(frozen=True)
class Migration:
    """One migration from its first step to its last; `phases` follow each other without a gap."""

    source: str
    target: str
    row_count: int
    whole_s: float
    phases: tuple[Phase, ...]
    peak_rss_bytes: int | None = None


@dataclass(frozen=True)
class Run:
    """Everything that is known about one session of benchmarks.

    Attributes
    ----------
    started_at, ended_at
        The first moment, and the moment of the last result; both in UTC.
    title
        What was measured, where it is not the reference application.
    commit
        The commit that was measured, with "+" when the checkout held more than it; None outside a checkout.
    machine
        Fingerprint of the machine; see :func:`machine_fingerprint`.
    engines
        Version and settings of each backend, by name.
    scale
        Of the reference data; None for a database of one's own.
    budgets
        Every budget that was in force: one that nothing was judged by is seen to be missing.
    libraries
        Versions of what stands between the clock and the server; see :func:`library_versions`.
    load
        What else the machine did, in numbers; see :func:`machine_load`.
    """

    started_at: datetime
    commit: str | None
    machine: Mapping[str, Any]
    engines: Mapping[str, Mapping[str, Any]]
    scale: float | None
    seed: int
    measurements: tuple[Measurement, ...] = ()
    figures: tuple[Figure, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    migrations: tuple[Migration, ...] = ()
    budgets: tuple[Budget, ...] = ()
    libraries: Mapping[str, str] = field(default_factory=dict)
    load: Mapping[str, float] = field(default_factory=dict)
    ended_at: datetime | None = None
    title: str = ""

    def unjudged(self) -> tuple[Budget, ...]:
        """Give the budgets of which this run says nothing, so that nobody takes silence for a pass."""
        judged = {judgement.budget for judgement in self.judgements}
        return tuple(budget for budget in self.budgets if budget not in judged)


def write_run(run: Run, folder: Path) -> Path:
    """Write the run into the folder and give the path; the same run overwrites its own earlier file only."""
    content = run_as_json(run)
    folder.mkdir(parents=True, exist_ok=True)
    commit = run.commit[:8] if run.commit else "no-commit"
    path = folder / f"{run.started_at:%Y%m%dT%H%M%S.%fZ}-{commit}.json"
    # In one step, so that a run that is cut off leaves its last whole state.
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)
    return path


def run_as_json(run: Run) -> bytes:
    """Give the run as JSON that the schema accepts; a run that it does not accept is an error here."""
    document = {"schema": SCHEMA_NAME, "schema_version": SCHEMA_VERSION, **asdict(run)}
    content = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    # What is judged is what a reader will see: a NaN has become null by now.
    _require_valid(orjson.loads(content), "the run")
    return content


def read_run(path: Path) -> Run:
    """Read a run back, equal to the one that was written."""
    return run_from_json(path.read_bytes(), str(path))


def run_from_json(content: bytes, name: str) -> Run:
    """Make a run of JSON; anything that is not in this version's form is refused with the place."""
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise UnreadableRun(f"{name} is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA_NAME:
        raise UnreadableRun(f"{name} is not a run of these benchmarks")
    version = document.get("schema_version")
    if version != SCHEMA_VERSION:
        raise UnreadableRun(f"{name} has form {version}, and this version reads form {SCHEMA_VERSION} only")
    _require_valid(document, name)
    del document["schema"], document["schema_version"]
    ended_at = document["ended_at"]
    return Run(
        **{
            **document,
            "started_at": datetime.fromisoformat(document["started_at"]),
            "ended_at": None if ended_at is None else datetime.fromisoformat(ended_at),
            "measurements": tuple(as_measurement(entry) for entry in document["measurements"]),
            "figures": tuple(
                Figure(**{**entry, "repetitions": tuple(entry["repetitions"])})
                for entry in document["figures"]
            ),
            "judgements": tuple(_judgement(entry) for entry in document["judgements"]),
            "migrations": tuple(_migration(entry) for entry in document["migrations"]),
            "budgets": tuple(as_budget(entry) for entry in document["budgets"]),
        }
    )


def _require_valid(document: Any, name: str) -> None:
    if complaint := misfit(document, "run"):
        raise UnreadableRun(f"{name} {complaint}")


def as_measurement(entry: Mapping[str, Any]) -> Measurement:
    """Make a measurement of what JSON says about it."""
    statistics = {name: Bounded(**bounded) for name, bounded in entry["statistics_ns"].items()}
    return Measurement(**{**entry, "statistics_ns": statistics})


def _migration(entry: dict[str, Any]) -> Migration:
    return Migration(**{**entry, "phases": tuple(Phase(**phase) for phase in entry["phases"])})


def _judgement(entry: dict[str, Any]) -> Judgement:
    return Judgement(
        **{
            **entry,
            "budget": as_budget(entry["budget"]),
            "bounded": Bounded(**entry["bounded"]),
            "verdict": Verdict(entry["verdict"]),
        }
    )


def machine_fingerprint() -> dict[str, Any]:
    """Describe the machine as far as it moves figures; no name, no address."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def machine_key(machine: Mapping[str, Any]) -> str:
    """Give a short name of the machine: the same for the same hardware, whatever runs on it."""
    identity = [[name, machine.get(name)] for name in IDENTIFYING]
    return hashlib.sha256(orjson.dumps(identity)).hexdigest()[:12]


def library_versions() -> dict[str, str]:
    """Give the versions of the libraries whose work is part of every sample; those that are there."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def machine_load() -> dict[str, float]:
    """Tell how busy the machine is by its own account, per core: 1 means that every core has work."""
    one_minute, five_minutes, _ = os.getloadavg()
    cores = os.cpu_count() or 1
    return {
        "load_per_core_1_min": round(one_minute / cores, 2),
        "load_per_core_5_min": round(five_minutes / cores, 2),
    }


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def commit_of(checkout: Path) -> str | None:
    """Name the checkout's commit, with "+" when something in it differs; None when there is none."""
    commit = _git(checkout, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return None
    return commit + ("+" if _git(checkout, "status", "--porcelain") else "")


def _git(checkout: Path, *arguments: str) -> str | None:
    try:
        asked = subprocess.run(
            ["git", "-C", str(checkout), *arguments],  # noqa: S607  whichever git the user has
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return asked.stdout.strip() if asked.returncode == 0 else None
