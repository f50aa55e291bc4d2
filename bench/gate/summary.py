"""What the gate has found, for a terminal, a pull request and a CI server."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from bench.gate.finding import BY_GRAVITY, Finding, Outcome, Verdict, gravest_first

_MARKS = {Verdict.MET: "✅", Verdict.REGRESSED: "❌", Verdict.UNPROVED: "❔", Verdict.MISSING: "⚠️"}


def as_lines(outcome: Outcome) -> list[str]:
    """Give what is not met line by line, the gravest first, and the summary last."""
    told = [
        finding.sentence() for finding in gravest_first(outcome.findings) if finding.verdict != Verdict.MET
    ]
    return [*told, outcome.summary()]


def as_markdown(outcome: Outcome) -> str:
    """Give a summary for a pull request; what is met is folded away."""
    counted = ", ".join(
        f"{sum(1 for one in outcome.findings if one.verdict is verdict)} {verdict}" for verdict in BY_GRAVITY
    )
    lines = [f"## {_MARKS[outcome.verdict]} Regression gate: {outcome.verdict}", "", outcome.summary(), ""]
    lines += [f"Compared with `{base}`.\n" for base in [outcome.facts.get("base", "")[:12]] if base]
    shown = [one for one in gravest_first(outcome.findings) if one.verdict is not Verdict.MET]
    met = [one for one in outcome.findings if one.verdict is Verdict.MET]
    if shown:
        lines += [*_table(shown), ""]
    if met:
        lines += [f"<details><summary>{len(met)} met</summary>", "", *_table(met), "", "</details>", ""]
    lines.append(f"_{counted}; exit code {outcome.exit_code}._")
    return "\n".join(lines) + "\n"


def _table(findings: list[Finding]) -> list[str]:
    rows = ["| | layer | operation | on | what was seen | what to do |", "|---|---|---|---|---|---|"]
    for one in findings:
        kind = f" {one.reason}" if one.reason else ""
        cells = (
            f"{_MARKS[one.verdict]}{kind}",
            one.layer,
            one.operation,
            one.backend,
            one.what,
            one.next_step,
        )
        rows.append(
            "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
        )
    return rows


def _cell(words: str) -> str:
    return str(words).replace("|", "\\|").replace("\n", " ")


def as_junit(outcome: Outcome) -> str:
    """Give JUnit's XML: regressed is a failure, missing an error, unproved is skipped."""
    counts = {verdict: sum(1 for one in outcome.findings if one.verdict is verdict) for verdict in BY_GRAVITY}
    suite = ET.Element(
        "testsuite",
        name="regression gate",
        tests=str(len(outcome.findings) + bool(outcome.void)),
        failures=str(counts[Verdict.REGRESSED]),
        errors=str(counts[Verdict.MISSING] + bool(outcome.void)),
        skipped=str(counts[Verdict.UNPROVED]),
    )
    kinds = {Verdict.REGRESSED: "failure", Verdict.MISSING: "error", Verdict.UNPROVED: "skipped"}
    for one in outcome.findings:
        case = ET.SubElement(
            suite, "testcase", classname=f"gate.{one.layer}.{one.backend}", name=one.operation
        )
        if one.verdict in kinds:
            told = ET.SubElement(case, kinds[one.verdict], message=f"{one.reason or one.verdict}: {one.what}")
            told.text = one.next_step
    if outcome.void:
        case = ET.SubElement(suite, "testcase", classname="gate.time", name="base against base")
        ET.SubElement(case, "error", message=f"void: {outcome.void}").text = outcome.summary()
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suite, encoding="unicode") + "\n"
