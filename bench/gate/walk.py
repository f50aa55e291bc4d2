"""The gate's walk: fill, count, compare, judge budgets, compare times. Nothing here decides anything."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.baseline import Baseline, UnreadableBaseline, baseline_path, read_baseline
from bench.budgets import read_budgets
from bench.catalogue import OPERATIONS
from bench.gate.budgeting import measured_budgets, recorded_budgets
from bench.gate.checkout import NoBase, checked_out, filling_of
from bench.gate.comparing_times import judge_recording, one_sided, void_reason
from bench.gate.comparing_work import compare_work
from bench.gate.counting import Counted, count_work
from bench.gate.databases import Databases, FillingFailed, opened
from bench.gate.finding import Finding, Layer, Missing, Outcome, Verdict
from bench.gate.sides import Recording, Side, SideFailed, able_operations, record
from bench.gate.times import Thresholds
from migration.servers import ServerUnavailable

ROOT = Path(__file__).resolve().parents[2]
EVERY_OPERATION = "every operation"


@dataclass(frozen=True)
class Asked:
    """What one run of the gate is to look at.

    Attributes
    ----------
    tree
        The head: the checkout that is judged.
    baselines
        The folder of baselines, or one file.
    base
        The commit to compare times with; None leaves times out.
    run
        A recorded run whose figures are held against the budgets, in place of measuring now.
    """

    backends: tuple[str, ...]
    thresholds: Thresholds
    scale: float = 1.0
    seed: int = 1
    tree: Path = ROOT
    baselines: Path = Path("results") / "baseline"
    base: str | None = None
    run: Path | None = None


Told = Callable[[str], None]


async def gate(asked: Asked, told: Told) -> Outcome:
    """Look at all of it and give what was found."""
    findings: list[Finding] = []
    void = ""
    facts: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="gate-") as scratch:
        folder = Path(scratch)
        async with opened(folder, asked.scale, asked.seed) as databases:
            for backend in asked.backends:
                told(f"{backend}: fill, count the work, measure against the budgets")
                findings += await _one_backend(asked, databases, backend)
            if asked.run is not None:
                findings += recorded_budgets(
                    asked.run, scale=asked.scale, backends=asked.backends, budgets=read_budgets()
                )
            if asked.base is not None:
                found, void, facts = await _times(asked, databases, folder, told)
                findings += found
    return Outcome(tuple(findings), void, facts=facts)


async def _one_backend(asked: Asked, databases: Databases, backend: str) -> Sequence[Finding]:
    try:
        url = await databases.filled(backend, asked.tree, filling_of(asked.tree))
    except ServerUnavailable as unavailable:
        return [missing(Layer.WORK, backend, Missing.SKIPPED, str(unavailable), unavailable.next_step)]
    baseline = known_baseline(asked, backend)
    if isinstance(baseline, Finding):
        return [baseline]
    counted = await count_work(url, OPERATIONS.values())
    findings = list(compare_work(counted, baseline.work, backend))
    if asked.run is None:
        findings += await measured_budgets(url, asked.thresholds.operations, read_budgets(), asked.seed)
    return findings


def known_baseline(asked: Asked, backend: str) -> Baseline | Finding:
    """Give the backend's baseline, or the finding that says why it cannot be used."""
    path = asked.baselines
    if path.is_dir() or not path.suffix:
        path = baseline_path(path, backend, asked.scale)
    command = f"python -m bench accept --all --backends {backend} --scale {asked.scale:g} --why ..."
    step = f"Run `{command}` and commit it"
    if not path.exists():
        return missing(Layer.WORK, backend, Missing.BASELINE, f"there is no {path}", step)
    try:
        baseline = read_baseline(path)
    except UnreadableBaseline as error:
        return missing(Layer.WORK, backend, Missing.SCHEMA, str(error), step)
    if baseline.scale != asked.scale:
        told = f"{path} is of scale {baseline.scale:g}, and this is scale {asked.scale:g}"
        return missing(Layer.WORK, backend, Missing.SCALE, told, step)
    if baseline.backend != backend:
        told = f"{path} is of {baseline.backend}"
        return missing(Layer.WORK, backend, Missing.BASELINE, told, step)
    return baseline


async def _times(
    asked: Asked, databases: Databases, folder: Path, told: Told
) -> tuple[list[Finding], str, dict[str, str]]:
    assert asked.base is not None
    findings: list[Finding] = []
    voids: list[str] = []
    facts: dict[str, str] = {}
    try:
        with checked_out(asked.tree, asked.base, folder) as (tree, commit):
            facts["base"] = commit
            for backend in asked.thresholds.backends:
                found, void = await _times_on(asked, databases, tree, backend, told)
                findings += found
                voids += [void] if void else []
    except NoBase as error:
        step = "Fetch the history (`git fetch --unshallow`), or name another base with --base"
        findings.append(missing(Layer.TIME, "any backend", Missing.BASE, str(error), step))
    return findings, "; ".join(voids), facts


async def _times_on(
    asked: Asked, databases: Databases, tree: Path, backend: str, told: Told
) -> tuple[list[Finding], str]:
    try:
        sides = await _sides(asked, databases, tree, backend)
        return await asyncio.to_thread(_compared, sides, asked.thresholds, backend, told)
    except (SideFailed, FillingFailed) as error:
        step = "Name a base that runs with these dependencies, with --base"
        what = f"the base or the head does not run: {error}"
        return [missing(Layer.TIME, backend, Missing.BASE, what, step)], ""
    except ServerUnavailable as error:
        return [missing(Layer.TIME, backend, Missing.SKIPPED, str(error), error.next_step)], ""


async def _sides(asked: Asked, databases: Databases, tree: Path, backend: str) -> dict[str, Side]:
    head_url = await databases.filled(backend, asked.tree, filling_of(asked.tree))
    base_url = await databases.filled(backend, tree, filling_of(tree))
    base = Side(tree, base_url)
    return {"base": base, "head": Side(asked.tree, head_url), "twin": base}


def _compared(
    sides: dict[str, Side], thresholds: Thresholds, backend: str, told: Told
) -> tuple[list[Finding], str]:
    able = able_operations(sides)
    findings = list(one_sided(able, thresholds.operations, backend))
    both = [name for name in thresholds.operations if name in able["base"] and name in able["head"]]
    told(f"{backend}: compare the times of {len(both)} operations with the base's")
    recording: Recording = record(sides, both, thresholds, told=told) if both else {}
    findings += judge_recording(recording, thresholds, backend)
    return findings, void_reason(recording, thresholds)


async def counted_now(asked: Asked, backend: str) -> Counted:
    """Count the work of the head on one engine, for a baseline."""
    with tempfile.TemporaryDirectory(prefix="gate-") as scratch:
        async with opened(Path(scratch), asked.scale, asked.seed) as databases:
            url = await databases.filled(backend, asked.tree, filling_of(asked.tree))
            return await count_work(url, OPERATIONS.values())


def missing(layer: Layer, backend: str, reason: Missing, what: str, next_step: str) -> Finding:
    """Give the finding that nothing could be compared."""
    return Finding(layer, Verdict.MISSING, EVERY_OPERATION, backend, what, next_step.rstrip("."), reason)
