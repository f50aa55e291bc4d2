"""Budgets in the gate: judged by bounds, from samples taken now or from a run that was recorded here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bench.budgets import Budget
from bench.catalogue import OPERATIONS
from bench.gate.finding import Finding, Layer, Missing, Verdict
from bench.judge import Judgement, judged_figure, judged_measurement
from bench.judge import Verdict as BudgetVerdict
from bench.measurement import Measurement
from bench.record import UnreadableRun, machine_fingerprint, machine_key, read_run
from bench.stopwatch import take_samples
from bench.subject import open_subject

CALLS = 700
"""A p99 has an upper bound from 528 samples on; what is slower than its limit shows with far fewer."""

_VERDICTS = {
    BudgetVerdict.MET: Verdict.MET,
    BudgetVerdict.BROKEN: Verdict.REGRESSED,
    BudgetVerdict.UNPROVED: Verdict.UNPROVED,
}
_NEXT_STEPS = {
    Verdict.MET: "",
    Verdict.REGRESSED: "Make it faster, or ask whoever set the budget in bench/budgets.toml",
    Verdict.UNPROVED: "Measure again with more calls, or on a quieter machine: `python -m bench run`",
}


async def measured_budgets(
    url: str, operations: Iterable[str], budgets: Sequence[Budget], seed: int
) -> tuple[Finding, ...]:
    """Measure each operation and judge it by every budget that speaks of it."""
    findings: list[Finding] = []
    async with open_subject(url, keeps_writes=False) as subject:
        for name in operations:
            operation = OPERATIONS.get(name)
            if operation is None or operation.impossible(subject):
                # The comparison of work tells of those: here it would be told twice.
                continue
            samples = await take_samples(operation, subject, CALLS, seed=seed)
            measurement: Measurement = samples.measurement(operation, subject, "", operation.agents)
            findings += [finding_of(judgement) for judgement in judged_measurement(measurement, budgets)]
    return tuple(findings)


def recorded_budgets(
    path: Path, *, scale: float, backends: Sequence[str], budgets: Sequence[Budget]
) -> tuple[Finding, ...]:
    """Judge a recorded run; one of another machine, scale or form is not judged and says so."""
    try:
        run = read_run(path)
    except UnreadableRun as error:
        return (_missing(Missing.SCHEMA, str(error), "Record it again: `python -m bench run`"),)
    if machine_key(run.machine) != machine_key(machine_fingerprint()):
        told = "it was recorded on another machine, and says nothing of this one"
        return (_missing(Missing.MACHINE, told, "Record it here: `python -m bench run`"),)
    if run.scale != scale:
        told = f"it was recorded at scale {run.scale}, and this is scale {scale:g}"
        return (_missing(Missing.SCALE, told, f"Record it again: `python -m bench run --scale {scale:g}`"),)
    measured = [one for one in run.measurements if one.backend in backends]
    judged = [judgement for one in measured for judgement in judged_measurement(one, budgets)]
    judged += [judgement for figure in run.figures for judgement in judged_figure(figure, budgets)]
    return (*map(finding_of, judged), *_unjudged(judged, budgets))


def _unjudged(judged: Sequence[Judgement], budgets: Sequence[Budget]) -> Iterator[Finding]:
    spoken_of = {judgement.budget for judgement in judged}
    for budget in budgets:
        if budget not in spoken_of:
            yield _missing(
                *(Missing.SKIPPED, f"nothing in the run is held against the budget {budget.name!r}"),
                "Measure all of it: `python -m bench run --backends all`",
            )


def finding_of(judgement: Judgement) -> Finding:
    """Give the gate's words for a judgement."""
    verdict = _VERDICTS[judgement.verdict]
    what = judgement.sentence().partition(": ")[2]
    return Finding(Layer.BUDGET, verdict, judgement.operation, judgement.backend, what, _NEXT_STEPS[verdict])


def _missing(reason: Missing, what: str, next_step: str) -> Finding:
    return Finding(Layer.BUDGET, Verdict.MISSING, "the run", "this machine", what, next_step, reason)
