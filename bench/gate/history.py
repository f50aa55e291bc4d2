"""Draws the remembered times of each machine, and marks where they changed; a report, never a verdict.

Change points are found by `ruptures` (the extra `history`); without it the curves are drawn without them, and
the page says so.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.baseline import Times, read_baseline

WIDTH, HEIGHT, EDGE = 560, 120, 8

MOMENTS_MIN = 6
"""Fewer moments than this have no change worth marking."""

PENALTY_FACTOR = 3.0
"""How much a change must explain before it is marked, in units of what chance explains."""

_STYLE = (
    "body{font:14px system-ui;margin:2em;max-width:60em}svg{border:1px solid #ccc;width:100%;height:auto}"
    "h3{margin-bottom:0}p{color:#555;margin:.2em 0 1em}"
)


def write_history(folder: Path, out: Path) -> Path:
    """Write one HTML page of every baseline in the folder; it needs no network."""
    found = sorted(folder.glob("*.json")) if folder.is_dir() else [folder]
    parts = [f"<!doctype html><meta charset=utf-8><title>History</title><style>{_STYLE}</style>"]
    parts.append("<h1>Times by date and commit</h1><p>p50 of each operation; dashed lines mark changes. ")
    parts.append("Times of another day are advice: the gate compares with the base commit instead.</p>")
    if not _has_ruptures():
        parts.append("<p>Changes are not marked: install the extra <code>history</code>.</p>")
    for path in found:
        baseline = read_baseline(path)
        for key, times in baseline.machines.items():
            machine = f"{times.machine.get('processor', '?')}, {times.machine.get('cores', '?')} cores"
            title = f"{baseline.backend}, scale {baseline.scale:g}, machine {key} ({machine})"
            parts.append(f"<h2>{html.escape(title)}</h2>")
            parts += _curves(times)
        if not baseline.machines:
            parts.append(
                f"<h2>{html.escape(baseline.backend)}</h2><p>No times are remembered: add some with "
            )
            parts.append("<code>python -m bench accept --run results/runs/....json</code>.</p>")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(parts) + "\n", encoding="utf-8")
    return out


def _curves(times: Times) -> list[str]:
    names = sorted({name for moment in times.history for name in moment.p50_ns})
    drawn = []
    for name in names:
        moments = [moment for moment in times.history if name in moment.p50_ns]
        values = [moment.p50_ns[name] / 1e6 for moment in moments]
        labels = [f"{moment.measured_at:%Y-%m-%d} {(moment.commit or '')[:8]}" for moment in moments]
        drawn.append(f"<h3>{html.escape(name)}</h3>")
        drawn.append(f"<p>{values[-1]:.3f} ms at {labels[-1]}, {len(values)} moments</p>")
        drawn.append(_svg(values, labels, change_points(values)))
    return drawn


def change_points(values: Sequence[float]) -> tuple[int, ...]:
    """Give the places where the level changes, each the first moment of the new level."""
    if len(values) < MOMENTS_MIN or not _has_ruptures():
        return ()
    import ruptures

    # Times scatter in proportion to themselves; so do their changes.
    signal = np.log(np.maximum(np.asarray(values, dtype=np.float64), 1e-9))
    steps = np.diff(signal)
    # From neighbours, so that the changes themselves do not count as scatter.
    variance = max(float(np.median(np.abs(steps)) / 0.6745 / math.sqrt(2)) ** 2, 1e-6)
    penalty = PENALTY_FACTOR * variance * math.log(len(signal))
    found = ruptures.Pelt(model="l2", min_size=2, jump=1).fit(signal.reshape(-1, 1)).predict(pen=penalty)
    return tuple(int(place) for place in found[:-1])


def _has_ruptures() -> bool:
    from importlib.util import find_spec

    return find_spec("ruptures") is not None


def _svg(values: Sequence[float], labels: Sequence[str], changes: Sequence[int]) -> str:
    top = max(values) or 1.0
    step = (WIDTH - 2 * EDGE) / max(1, len(values) - 1)
    places = [
        (EDGE + number * step, HEIGHT - EDGE - value / top * (HEIGHT - 2 * EDGE))
        for number, value in enumerate(values)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#36c">'
        f"<title>{html.escape(label)}: {value:.3f} ms</title></circle>"
        for (x, y), label, value in zip(places, labels, values, strict=True)
    )
    marks = "".join(
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}" stroke="#c33" stroke-dasharray="4"/>'
        for x in (EDGE + (place - 0.5) * step for place in changes)
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}"><polyline points="{line}" fill="none" stroke="#36c"/>'
        f"{marks}{dots}</svg>"
    )
