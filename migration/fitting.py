"""Finds the values that would not arrive, and says so in the words of the plan's hazards."""

from __future__ import annotations

from collections.abc import Mapping

from migration.model import Column, ColumnProfile, Kind, Table, Traits
from migration.plan import Hazard, Severity
from migration.translation import is_current_time

_ORDER = {Severity.BLOCKING: 0, Severity.HAZARD: 1, Severity.NOTICE: 2}
_TIMES = (Kind.INSTANT, Kind.TIMESTAMP)


class Findings:
    """A list of hazards that grows while planning."""

    def __init__(self) -> None:
        self._hazards: list[Hazard] = []

    def add(
        self,
        name: str,
        severity: Severity,
        sentence: str,
        *,
        table: str = "",
        column: str = "",
        count: int = 0,
        examples: tuple[str, ...] = (),
    ) -> None:
        """Note one hazard."""
        self._hazards.append(Hazard(name, severity, sentence, table, column, count, examples))

    def not_carried(self, what: str, table: str, name: str, reason: str) -> None:
        """Note a thing that will not be there, which the user may accept."""
        self.add(f"{what}-not-carried", Severity.HAZARD, f"{name} will not be in the target: {reason}", table=table)

    def sorted(self) -> tuple[Hazard, ...]:
        """Return what was found, worst first, in an order that never changes between runs."""
        return tuple(
            sorted(self._hazards, key=lambda h: (_ORDER[h.severity], h.name, h.table, h.column, h.sentence))
        )


def check_values(column: Column, found: ColumnProfile, table: Table, target: Traits, findings: Findings) -> None:
    """Find the values of one column that the target's engine cannot hold, or would hold as something else."""
    place = {"table": table.name, "column": column.name}
    if found.kind in (Kind.TEXT, Kind.JSON) and found.nul_count and not target.text_holds_nul:
        findings.add(
            "nul-in-text", Severity.BLOCKING, "Texts hold a NUL character, which the target cannot keep",
            count=found.nul_count, examples=found.nul_examples, **place,
        )  # fmt: skip
    if found.kind is not Kind.ANY and found.invalid_text_count and not target.text_holds_any_bytes:
        findings.add(
            "invalid-utf8", Severity.BLOCKING, "Texts are not UTF-8, which the target cannot keep",
            count=found.invalid_text_count, examples=found.invalid_text_examples, **place,
        )  # fmt: skip
    elif found.failed_count:
        findings.add(
            "value-not-convertible", Severity.BLOCKING, f"Values cannot become {found.kind.value}",
            count=found.failed_count, examples=found.failed_examples, **place,
        )  # fmt: skip
    if found.nan_count and not target.holds_nan:
        findings.add(
            "nan-not-held", Severity.BLOCKING, "Values are not a number (NaN), which the target turns into NULL",
            count=found.nan_count, **place,
        )  # fmt: skip
    if found.changed_count:
        findings.add(
            "value-changed", Severity.HAZARD, f"Values ({_counted(found.storage)}) arrive as {found.kind.value}",
            count=found.changed_count, examples=found.changed_examples, **place,
        )  # fmt: skip
    if found.rounded_count:
        findings.add(
            "time-rounded", Severity.HAZARD, "Times are finer than a microsecond, which is what arrives",
            count=found.rounded_count, examples=found.rounded_examples, **place,
        )  # fmt: skip
    if found.repeated_key_count:
        findings.add(
            "json-keys-repeated", Severity.HAZARD, "JSON objects name a key twice; only the last one is kept",
            count=found.repeated_key_count, examples=found.repeated_key_examples, **place,
        )  # fmt: skip
    _check_times(column, found, place, findings)


def _check_times(column: Column, found: ColumnProfile, place: dict[str, str], findings: Findings) -> None:
    """List the forms in which times are written, and find those that could mean another moment."""
    if found.kind not in _TIMES or not found.forms:
        return
    findings.add("time-forms", Severity.NOTICE, f"Written as {_counted(found.forms)}", count=sum(found.forms.values()), **place)
    naive = sum(count for form, count in found.forms.items() if "without zone" in form or "date only" in form)
    others = sum(found.forms.values()) - naive
    if found.kind is Kind.INSTANT and naive and others and not is_current_time(column.default):
        findings.add(
            "time-ambiguous", Severity.HAZARD, f"{naive} times name no zone beside {others} that are instants; they are "
            "read as UTC", count=naive, **place,
        )  # fmt: skip
    units = {form.partition(" (")[0] for form in found.forms if form.startswith("epoch")}
    if len(units) > 1:
        findings.add(
            "time-ambiguous", Severity.HAZARD, f"Numbers are taken for {', '.join(sorted(units))}, by their size",
            count=sum(count for form, count in found.forms.items() if form.startswith("epoch")), **place,
        )  # fmt: skip


def check_fit(column: Column, there: Column, found: ColumnProfile, table: Table, findings: Findings) -> None:
    """Find the values of one column that are too large for the column they go into."""
    place = {"table": table.name, "column": column.name}
    if found.unfit_count:
        findings.add(
            "value-too-large", Severity.BLOCKING, f"Values do not fit into {there.declared or there.kind.value}",
            count=found.unfit_count, examples=found.unfit_examples, **place,
        )  # fmt: skip
    if found.null_count and not there.nullable and there.generated is None:
        findings.add(
            "null-not-allowed", Severity.BLOCKING, "Values are NULL, and the target's column may not be",
            count=found.null_count, **place,
        )  # fmt: skip
    if found.kind is Kind.JSON and column.kind is not Kind.JSON:
        findings.add(
            "json-by-meaning", Severity.NOTICE, f"Stored as {there.declared}, which writes JSON its own way: spaces and "
            "order of keys change; the meaning is what is compared", **place,
        )  # fmt: skip


def check_indexes(source: Table, target: Table, renames: Mapping[str, str], findings: Findings) -> None:
    """Name the indexes and foreign keys that an existing table does not have."""
    there = {tuple(part.text for part in index.parts) for index in target.indexes}
    there |= {unique.columns for unique in target.uniques} | {target.primary_key}
    for index in source.indexes:
        columns = tuple(renames.get(part.text, part.text) for part in index.parts)
        if columns not in there:
            findings.add(
                "index-not-in-target", Severity.NOTICE, f"No index like {index.name} ({', '.join(columns)}) is in the target",
                table=target.name,
            )  # fmt: skip
    keys = {(key.columns, key.target_table) for key in target.foreign_keys}
    for key in source.foreign_keys:
        columns = tuple(renames.get(name, name) for name in key.columns)
        if (columns, key.target_table) not in keys:
            findings.add(
                "foreign-key-not-in-target", Severity.NOTICE,
                f"No foreign key like ({', '.join(columns)}) -> {key.target_table} is in the target", table=target.name,
            )  # fmt: skip


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in sorted(counts.items()))
