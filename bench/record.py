"""One run as JSON: what was measured, on which machine, of which commit, against which servers.

A figure without these is a rumour: whoever compares two runs must see whether they may be compared.
The form has a version; a file of another version is refused, never half understood.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import psutil

from bench.budgets import as_budget
from bench.judge import Judgement, Verdict
from bench.measurement import Bounded, Figure, Measurement

SCHEMA_NAME = "migration-bench run"
SCHEMA_VERSION = 1


class UnreadableRun(ValueError):
    """A file that is no run, or a run in a form that this version does not know."""


@dataclass(frozen=True)
class Run:
    """Everything that is known about one session of benchmarks.

    Attributes
    ----------
    commit
        The commit that was measured, with "+" when the checkout held more than it; None outside a checkout.
    machine
        Fingerprint of the machine; see :func:`machine_fingerprint`.
    engines
        Version and settings of each backend, by name.
    """

    started_at: datetime
    commit: str | None
    machine: Mapping[str, Any]
    engines: Mapping[str, Mapping[str, Any]]
    scale: float
    seed: int
    measurements: tuple[Measurement, ...] = ()
    figures: tuple[Figure, ...] = ()
    judgements: tuple[Judgement, ...] = ()


def write_run(run: Run, folder: Path) -> Path:
    """Write the run into the folder and give the path; the same run overwrites its own earlier file only."""
    folder.mkdir(parents=True, exist_ok=True)
    commit = run.commit[:8] if run.commit else "no-commit"
    path = folder / f"{run.started_at:%Y%m%dT%H%M%S.%fZ}-{commit}.json"
    document = {"schema": SCHEMA_NAME, "schema_version": SCHEMA_VERSION, **asdict(run)}
    # In one step, so that a run that is cut off leaves its last whole state.
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    unfinished.replace(path)
    return path


def read_run(path: Path) -> Run:
    """Read a run back, equal to the one that was written."""
    try:
        document = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise UnreadableRun(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict) or document.pop("schema", None) != SCHEMA_NAME:
        raise UnreadableRun(f"{path} is not a run of these benchmarks")
    version = document.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise UnreadableRun(f"{path} has form {version}, and this version reads form {SCHEMA_VERSION} only")
    return Run(
        **{
            **document,
            "started_at": datetime.fromisoformat(document["started_at"]),
            "measurements": tuple(_measurement(entry) for entry in document["measurements"]),
            "figures": tuple(
                Figure(**{**entry, "repetitions": tuple(entry["repetitions"])})
                for entry in document["figures"]
            ),
            "judgements": tuple(_judgement(entry) for entry in document["judgements"]),
        }
    )


def _measurement(entry: dict[str, Any]) -> Measurement:
    statistics = {name: Bounded(**bounded) for name, bounded in entry["statistics_ns"].items()}
    return Measurement(**{**entry, "statistics_ns": statistics})


def _judgement(entry: dict[str, Any]) -> Judgement:
    return Judgement(
        budget=as_budget(entry["budget"]),
        operation=entry["operation"],
        backend=entry["backend"],
        bounded=Bounded(**entry["bounded"]),
        verdict=Verdict(entry["verdict"]),
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
