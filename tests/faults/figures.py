"""The figures of a run: a table for a person, JSON for whoever compares."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.faults.harness import Result
from tests.faults.scenario import KINDS

COUNTS = (
    "runs",
    "kills",
    "signals",
    "cuts",
    "restarts",
    "disk fulls",
    "lies",
    "resumes",
    "rollbacks",
    "reruns",
)
KILLED = "killed"


def figures(results: Sequence[Result], seconds: float) -> dict[str, Any]:
    """Sum up results by kind of fault; nothing in it tells of the machine."""
    return {
        "first_seed": results[0].seed if results else None,
        "seeds": len(results),
        "seconds": round(seconds, 1),
        "wrong_endings": [result.seed for result in results if result.violation],
        "places": max((result.doors for result in results), default=0),
        "total": _sums(results),
        "by_kind": {
            kind: _sums(of_kind)
            for kind in KINDS
            if (of_kind := [result for result in results if result.kind == kind])
        },
    }


def _sums(results: Iterable[Result]) -> dict[str, Any]:
    results = list(results)
    counts: Counter[str] = Counter()
    endings: Counter[str] = Counter()
    for result in results:
        counts.update(result.counts)
        endings.update(KILLED if code < 0 else str(code) for code in result.endings)
    return {
        "seeds": len(results),
        "fired": sum(bool(result.fired) or result.kind == "lie" for result in results),
        **{name.replace(" ", "_"): counts[name] for name in COUNTS},
        "endings": dict(sorted(endings.items())),
        "wrong": sum(bool(result.violation) for result in results),
        "seconds": round(sum(result.seconds for result in results), 1),
    }


def table(found: dict[str, Any]) -> Table:
    """Return the figures as a table."""
    codes = sorted(found["total"]["endings"])
    sheet = Table(title=f"{found['seeds']} seeds from {found['first_seed']}, {found['seconds']} s")
    sheet.add_column("fault")
    columns = ["seeds", "fired", *(name.replace(" ", "_") for name in COUNTS)]
    for name in columns:
        sheet.add_column(name.replace("_", " "), justify="right")
    for code in codes:
        sheet.add_column(f"ended {code}" if code != KILLED else KILLED, justify="right")
    sheet.add_column("wrong", justify="right")
    sheet.add_column("s", justify="right")
    for kind, sums in [*found["by_kind"].items(), ("all", found["total"])]:
        numbers = [sums[name] for name in columns]
        numbers += [sums["endings"].get(code, 0) for code in codes]
        cells = [str(number) if number else "" for number in numbers]
        sheet.add_row(kind, *cells, str(sums["wrong"] or ""), f"{sums['seconds']:.0f}")
    return sheet


def write_figures(results: Sequence[Result], seconds: float, path: Path | None) -> None:
    """Print the table, and write the figures where that is wanted."""
    found = figures(results, seconds)
    Console(width=200).print(table(found))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=2) + "\n")
