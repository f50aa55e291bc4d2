"""Writes costs into the baseline, by name and with a reason; nothing else ever changes it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench.baseline import Baseline, baseline_path, read_baseline, with_run, with_work, write_baseline
from bench.gate.counting import Counted
from bench.gate.work import Acceptance, Work
from bench.record import read_run


class NothingToAccept(ValueError):
    """A name that neither the baseline nor the checkout knows, or a reason that is missing."""


def accepted(
    baseline: Baseline, counted: Counted, names: Sequence[str], acceptance: Acceptance
) -> tuple[Baseline, tuple[str, ...]]:
    """Give the baseline with the counted costs under these names, and what changed in words.

    A name that is known and was not counted is forgotten. What did not change keeps who accepted it.
    """
    known = baseline.work.get(counted.engine, {})
    if strange := [name for name in names if name not in known and name not in counted.work]:
        raise NothingToAccept(f"no operation is called {', '.join(strange)}, here or in the baseline")
    changes: dict[str, Work | None] = {}
    told = []
    for name in names:
        now = counted.work.get(name)
        if now is None:
            changes[name] = None
            told.append(f"{name}: forgotten")
        elif name not in known or not known[name].is_like(now):
            changes[name] = replace(now, accepted=acceptance)
            told.append(f"{name}: {'; '.join(known[name].differences(now)) if name in known else 'new'}")
    return with_work(baseline, counted.engine, changes), tuple(told)


def accept_into(
    folder: Path, backend: str, scale: float, counted: Counted, names: Sequence[str], acceptance: Acceptance
) -> tuple[Path, tuple[str, ...]]:
    """Do so in the file of this backend and scale; without names, everything that is there or known."""
    path = baseline_path(folder, backend, scale)
    baseline = read_baseline(path) if path.exists() else Baseline(backend, scale)
    names = names or sorted({*counted.work, *baseline.work.get(counted.engine, {})})
    changed, told = accepted(baseline, counted, names, acceptance)
    return write_baseline(changed, folder), told


def remember_times(folder: Path, run_path: Path) -> tuple[Path, ...]:
    """Add the times of a recorded run to the history of its machine, for every backend that it measured."""
    run = read_run(run_path)
    if run.scale is None:
        raise NothingToAccept(f"{run_path} measured other data than baselines are about")
    written = []
    for backend in sorted({one.backend for one in run.measurements}):
        path = baseline_path(folder, backend, run.scale)
        baseline = read_baseline(path) if path.exists() else Baseline(backend, run.scale)
        written.append(write_baseline(with_run(baseline, run), folder))
    return tuple(written)


def acceptance(who: str, why: str) -> Acceptance:
    """Say who accepts now, and why; the name that git knows, where none is given."""
    if not why.strip():
        raise NothingToAccept("a cost is accepted for a reason: give one with --why")
    return Acceptance(who or _git_name(), datetime.now(UTC).isoformat(timespec="seconds"), why.strip())


def _git_name() -> str:
    try:
        asked = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True, check=False)  # noqa: S607
    except FileNotFoundError:
        asked = None
    name = asked.stdout.strip() if asked else ""
    if not name:
        raise NothingToAccept("git knows no name: say who accepts it with --who")
    return name
