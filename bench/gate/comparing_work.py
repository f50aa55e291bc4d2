"""Counted work against the baseline: every difference is a verdict, and so is every hole; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench.gate.counting import Counted
from bench.gate.finding import Finding, Layer, Missing, Verdict
from bench.gate.work import Work

SHOWN_DIFFERENCES_MAX = 6
"""More lines of a plan than this say nothing more; their number is told."""


def compare_work(
    counted: Counted, known: Mapping[str, Mapping[str, Work]], backend: str
) -> tuple[Finding, ...]:
    """Judge each operation that is there or that the baseline knows of."""
    if counted.engine not in known:
        there = ", ".join(sorted(known)) or "no engine at all"
        return (
            _missing(
                *("every operation", backend, Missing.ENGINE if known else Missing.BASELINE),
                f"this is {counted.engine}, and the baseline knows {there}",
                f"Use that version, or run `python -m bench accept --all --backends {backend}` with this one",
            ),
        )
    return tuple(_findings(counted, known[counted.engine], backend))


def _findings(counted: Counted, known: Mapping[str, Work], backend: str) -> Iterator[Finding]:
    renamed = dict(_renamed(counted, known))
    for name, work in counted.work.items():
        if name in known:
            yield _compared(name, backend, known[name], work)
        elif name in renamed:
            yield _missing(
                *(name, backend, Missing.RENAMED),
                f"its work is exactly that of {renamed[name]}, which is there no more",
                f"If it was renamed, run `python -m bench accept {name} {renamed[name]}`",
            )
        else:
            yield _missing(
                *(name, backend, Missing.NEW),
                "the baseline does not know it",
                f"Look at its figures and run `python -m bench accept {name}`",
            )
    for name in known:
        if name in counted.work or name in renamed.values():
            continue
        if name in counted.skipped:
            yield _missing(
                *(name, backend, Missing.SKIPPED),
                counted.skipped[name],
                "Make it possible again, or remove the operation and accept that",
            )
        else:
            yield _missing(
                *(name, backend, Missing.VANISHED),
                "the baseline knows it, and it is not there",
                f"Bring it back, or run `python -m bench accept {name}` to forget it",
            )


def _compared(name: str, backend: str, known: Work, work: Work) -> Finding:
    differences = known.differences(work)
    if not differences:
        return Finding(Layer.WORK, Verdict.MET, name, backend, "the same work as in the baseline")
    shown = list(differences[:SHOWN_DIFFERENCES_MAX])
    if len(differences) > len(shown):
        shown.append(f"and {len(differences) - len(shown)} more")
    return Finding(
        *(Layer.WORK, Verdict.REGRESSED, name, backend, "; ".join(shown)),
        next_step=f"Mend it, or run `python -m bench accept {name} --why ...` if it is meant, "
        "also where it got better",
    )


def _renamed(counted: Counted, known: Mapping[str, Work]) -> Iterator[tuple[str, str]]:
    """Yield new operations that do exactly what a vanished one did, if only one did."""
    gone = [name for name in known if name not in counted.work and name not in counted.skipped]
    for name, work in counted.work.items():
        like = [one for one in gone if known[one].is_like(work)]
        if name not in known and len(like) == 1:
            yield name, like[0]


def _missing(operation: str, backend: str, reason: Missing, what: str, next_step: str) -> Finding:
    return Finding(Layer.WORK, Verdict.MISSING, operation, backend, what, next_step, reason)
