"""A recording of times -> findings, and whether the run is void; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.gate.finding import Finding, Layer, Missing, Verdict
from bench.gate.sides import Group, Recording
from bench.gate.times import Thresholds, TimeJudgement, TimeVerdict, is_alarmed, judge_time

_VERDICTS = {
    TimeVerdict.MET: Verdict.MET,
    TimeVerdict.REGRESSED: Verdict.REGRESSED,
    TimeVerdict.UNPROVED: Verdict.UNPROVED,
}
_NEXT_STEPS = {
    Verdict.MET: "",
    Verdict.REGRESSED: "Profile it against the base; a slowdown that is meant is told in the pull request",
    Verdict.UNPROVED: "Run the gate again when the machine has less to do",
}


def log_ratios(groups: Sequence[Group], side: str) -> list[float]:
    """Give one value for each group."""
    return [group.log_ratio(side) for group in groups]


def judge_recording(recording: Recording, thresholds: Thresholds, backend: str) -> tuple[Finding, ...]:
    """Judge every operation of a recording."""
    return tuple(
        _finding(
            name, backend, judge_time(log_ratios(groups, "head"), thresholds, len(recording)), thresholds
        )
        for name, groups in recording.items()
    )


def void_reason(recording: Recording, thresholds: Thresholds) -> str:
    """Tell why the run counts for nothing: its two copies of the base differ. Empty where they do not."""
    differing = [
        name
        for name, groups in recording.items()
        if is_alarmed(log_ratios(groups, "twin"), thresholds, len(recording))
    ]
    return f"two copies of the base differ in {', '.join(differing)}" if differing else ""


def one_sided(able: Mapping[str, set[str]], wanted: Sequence[str], backend: str) -> tuple[Finding, ...]:
    """Tell of each benchmark that only one side can do, or neither."""
    findings = []
    for name in wanted:
        there = {side for side in ("base", "head") if name in able[side]}
        if there == {"base", "head"}:
            continue
        reason, what, step = {
            frozenset({"head"}): (
                Missing.NEW,
                "the base commit cannot do it, so its time is compared with nothing",
                "It is compared once it is in the base",
            ),
            frozenset({"base"}): (
                Missing.VANISHED,
                "the base commit can do it, and the head cannot",
                "Bring it back, or take it out of bench/gate/thresholds.toml",
            ),
            frozenset(): (
                Missing.SKIPPED,
                "neither the base nor the head can do it",
                "Take it out of bench/gate/thresholds.toml, or make it possible",
            ),
        }[frozenset(there)]
        findings.append(Finding(Layer.TIME, Verdict.MISSING, name, backend, what, step, reason))
    return tuple(findings)


def _finding(name: str, backend: str, judged: TimeJudgement, thresholds: Thresholds) -> Finding:
    lower = "?" if judged.lower is None else f"{judged.lower:.3f}"
    upper = "?" if judged.upper is None else f"{judged.upper:.3f}"
    verdict = _VERDICTS[judged.verdict]
    what = (
        f"{judged.ratio:.3f} times the base's time (between {lower} and {upper}, {judged.groups} fresh "
        f"groups of processes); regressed is above {1 + thresholds.margin:g}, "
        f"met below {1 + thresholds.met_below:g}"
    )
    return Finding(Layer.TIME, verdict, name, backend, what, _NEXT_STEPS[verdict])
