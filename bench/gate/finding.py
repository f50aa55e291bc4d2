"""What the gate has found: verdicts with a sentence that says what to do next, and the exit code; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """What is known about one thing that the gate looked at."""

    MET = "met"
    REGRESSED = "regressed"
    UNPROVED = "unproved"
    MISSING = "missing"


class Layer(StrEnum):
    """Which of the gate's three questions was asked."""

    WORK = "work"
    BUDGET = "budget"
    TIME = "time"


class Missing(StrEnum):
    """Why there is nothing to compare; never a pass."""

    VANISHED = "vanished"
    NEW = "new"
    RENAMED = "renamed"
    SKIPPED = "skipped"
    MACHINE = "other machine"
    SCALE = "other scale"
    SCHEMA = "other schema version"
    ENGINE = "other engine version"
    BASELINE = "no baseline"
    BASE = "no base"


EXIT_CODES = {Verdict.MET: 0, Verdict.REGRESSED: 1, Verdict.UNPROVED: 7, Verdict.MISSING: 8}
"""What a run ends with, by its gravest verdict."""

BY_GRAVITY = (Verdict.REGRESSED, Verdict.MISSING, Verdict.UNPROVED, Verdict.MET)


@dataclass(frozen=True)
class Finding:
    """One verdict.

    Attributes
    ----------
    what
        What was seen, in words with figures.
    next_step
        What to do about it; empty where nothing need be done.
    """

    layer: Layer
    verdict: Verdict
    operation: str
    backend: str
    what: str
    next_step: str = ""
    reason: Missing | None = None

    def sentence(self) -> str:
        """Tell all of it in one line."""
        kind = f"{self.verdict} ({self.reason})" if self.reason else str(self.verdict)
        step = f" {self.next_step}." if self.next_step else ""
        return f"{self.layer}: {self.operation} on {self.backend} is {kind}: {self.what}.{step}"


@dataclass(frozen=True)
class Outcome:
    """All that one run of the gate has found.

    Attributes
    ----------
    void
        Why what was found about times counts for nothing; empty where it counts.
    notes
        What a reader should know and no verdict follows from.
    """

    findings: tuple[Finding, ...]
    void: str = ""
    notes: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The gravest one; where nothing was looked at, nothing is proved."""
        found = {finding.verdict for finding in self.findings}
        if self.void:
            found.add(Verdict.UNPROVED)
        return next((verdict for verdict in BY_GRAVITY if verdict in found), Verdict.UNPROVED)

    @property
    def exit_code(self) -> int:
        """What the command ends with."""
        return EXIT_CODES[self.verdict]

    def summary(self) -> str:
        """Tell in one line what came of it, and what to do."""
        counted = dict.fromkeys(BY_GRAVITY, 0)
        for finding in self.findings:
            counted[finding.verdict] += 1
        told = ", ".join(f"{number} {verdict}" for verdict, number in counted.items() if number)
        void = f" The comparison of times is void: {self.void}." if self.void else ""
        return f"The gate is {self.verdict}: {told or 'nothing was looked at'}.{void} {_ADVICE[self.verdict]}"


_ADVICE = {
    Verdict.MET: "Nothing need be done.",
    Verdict.REGRESSED: "Mend what regressed, or accept it by name with `python -m bench accept`.",
    Verdict.MISSING: "Something was not compared: do what its line says; this is not a pass.",
    Verdict.UNPROVED: "Nothing is known to be worse, and not all is proved: run it on a quieter machine.",
}


def gravest_first(findings: Iterable[Finding]) -> Sequence[Finding]:
    """Give the findings in the order in which a reader must know of them."""
    return sorted(
        findings, key=lambda one: (BY_GRAVITY.index(one.verdict), one.layer, one.backend, one.operation)
    )
