"""Plans, proofs and hazards as plain data: for ``--json``, for reports, for the audit log."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from migration.difference import Report, TableComparison
from migration.errors import MigrationError
from migration.plan import Hazard, Plan, Severity, label
from migration.refusal import OF_ROWS


def counted(count: int, noun: str) -> str:
    """Write a number with its noun: one row, two rows."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def plan_as_data(plan: Plan, accept: Sequence[str]) -> dict[str, Any]:
    """Return a plan: every table with its columns, everything that is carried, every hazard."""
    return {
        "fingerprint": plan.fingerprint,
        "tables": [
            {
                "source": table.source.name,
                "target": table.target.name,
                "is_new": table.is_new,
                "rows": table.row_count,
                "key": list(table.key),
                "next_number": table.next_number,
                "columns": [
                    {
                        "source": column.source.name,
                        "declared": column.source.declared,
                        "target": column.target.name,
                        "kind": column.kind.value,
                    }
                    for column in table.columns
                ],
                "primary_key": list(table.target.primary_key),
                "unique": [list(unique.columns) for unique in table.target.uniques],
                "checks": [check.condition for check in table.target.checks],
                "indexes": [index.name for index in table.target.indexes],
                "foreign_keys": [label(key) for key in table.target.foreign_keys],
            }
            for table in plan.tables
        ],
        "views": [view.name for view in plan.views],
        "left_out": plan.left_out,
        "hazards": [hazard_as_data(hazard) for hazard in plan.hazards],
        "to_accept": to_accept(plan, accept),
    }


def hazard_as_data(hazard: Hazard) -> dict[str, Any]:
    """Return one hazard as data."""
    return {**dataclasses.asdict(hazard), "severity": hazard.severity.value}


def to_accept(plan: Plan, accept: Sequence[str]) -> list[str]:
    """Return the names that would have to be accepted for this plan to be carried out."""
    refused = [hazard for hazard in plan.refused(accept) if hazard.severity is Severity.HAZARD]
    return sorted({hazard.acceptance for hazard in refused})


def how_to_accept(plan: Plan, accept: Sequence[str]) -> str:
    """Say what has to be done before this plan can be carried out."""
    hazards = [hazard for hazard in plan.hazards if hazard.severity is Severity.BLOCKING]
    blocking = {f"{hazard.table}.{hazard.column}".rstrip(".") for hazard in hazards}
    sentences = [f"Mend first what cannot be accepted, in {', '.join(sorted(blocking))}"] if blocking else []
    if hazards and OF_ROWS.issuperset(hazard.name for hazard in hazards):
        sentences[0] += ", or set these rows aside with --reject-to FILE"
    names = to_accept(plan, accept)
    return ". ".join(sentences + ([f"Accept the rest by name: {accept_flags(names)}"] if names else []))


def accept_flags(names: Sequence[str]) -> str:
    """Write names as they are given to the command."""
    return " ".join(f"--accept '{name}'" if " " in name else f"--accept {name}" for name in names)


def error_as_data(error: MigrationError) -> dict[str, Any]:
    """Return how a job ended as data."""
    return {"name": type(error).__name__, "exit_code": error.exit_code, "sentence": error.sentence()}


def report_as_data(report: Report) -> dict[str, Any]:
    """Return a report as data.

    Keys: ``validation_passed`` (proved, nothing less), ``verdict``, ``error_count`` (exact), ``errors``
    (in words, few per table), ``could_not_look``, ``checks``, ``tables``, ``left_out`` and ``notes``.
    """
    return {
        "validation_passed": report.proved,
        "verdict": report.verdict,
        "rejected_count": report.rejected_count,
        "error_count": report.difference_count + len(report.could_not_look),
        "errors": in_words(report),
        "could_not_look": list(report.could_not_look),
        "checks": [
            {"name": check.name, "looked_at": check.looked_at, "differences": check.difference_count}
            for check in report.checks
        ],
        "tables": [table_as_data(table) for table in report.tables],
        "left_out": report.left_out,
        "notes": list(report.notes),
    }


def table_as_data(table: TableComparison) -> dict[str, Any]:
    """Return one table's comparison as data; ``samples`` are at most twenty."""
    return {
        "table": table.table,
        "equal": table.equal,
        "source_rows": table.source.row_count,
        "target_rows": table.target.row_count,
        "rejected_rows": table.rejected.row_count,
        "source_digest": str(table.source),
        "target_digest": str(table.target),
        "missing": table.missing_count,
        "extra": table.extra_count,
        "changed": table.changed_count,
        "samples": [vars(sample) for sample in table.samples],
    }


def in_words(report: Report) -> list[str]:
    """Return every difference that is named, and everything that could not be looked at."""
    return [str(difference) for difference in report.differences] + list(report.could_not_look)
