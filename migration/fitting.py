"""Finds the values that would not arrive, and says so in the words of the plan's hazards."""

from __future__ import annotations

from collections.abc import Mapping

from migration.model import FALLBACKS, Column, ColumnProfile, Kind, Table
from migration.plan import Hazard, Severity, label
from migration.refusal import allows_null, blocking
from migration.schema_difference import missing_foreign_keys, missing_indexes
from migration.traits import Traits
from migration.translation import is_current_time

_ORDER = {Severity.BLOCKING: 0, Severity.HAZARD: 1, Severity.SET_ASIDE: 2, Severity.NOTICE: 3}
_TIMES = (Kind.INSTANT, Kind.TIMESTAMP)
# What keeps a value out of any column of the target; what keeps it out of one column is told by check_fit.
_BLOCKING = {
    "nul": "Texts hold a NUL character, which the target cannot keep",
    "invalid_text": "Texts are not UTF-8, which the target cannot keep",
    "failed": "Values cannot become {kind}",
    "nan": "Values are not a number (NaN), which the target turns into NULL",
    "infinity": "Values are infinite, which the target cannot keep",
    "negative_zero": "Values are a zero with a minus sign, which the target would drop",
}


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
        sentence = f"{name} will not be in the target: {reason}"
        self.add(f"{what}-not-carried", Severity.HAZARD, sentence, table=table)

    def sorted(self) -> tuple[Hazard, ...]:
        """Return what was found, worst first, in an order that never changes between runs."""
        return tuple(
            sorted(self._hazards, key=lambda h: (_ORDER[h.severity], h.name, h.table, h.column, h.sentence))
        )


def check_values(
    column: Column, found: ColumnProfile, table: Table, target: Traits, findings: Findings
) -> None:
    """Find the values of one column that the target's engine cannot hold, or would hold as something else."""

    def note(
        name: str, severity: Severity, sentence: str, count: int, examples: tuple[str, ...] = ()
    ) -> None:
        if count:
            findings.add(
                name, severity, sentence, table=table.name, column=column.name, count=count, examples=examples
            )

    hazard = Severity.HAZARD
    for what, name in blocking(found.kind, target).items():
        # What is no text cannot become anything: it is told as what it is.
        is_told = what == "failed" and "invalid_text" in blocking(found.kind, target)
        count = max(getattr(found, f"{what}_count") - (found.invalid_text_count if is_told else 0), 0)
        if what in _BLOCKING:
            sentence = _BLOCKING[what].format(kind=found.kind.value)
            note(name, Severity.BLOCKING, sentence, count, getattr(found, f"{what}_examples", ()))
    sentence = f"Values ({_counted(found.storage)}) arrive as {found.kind.value}"
    if FALLBACKS.get(column.kind) is found.kind and found.storage.keys() <= {"text", "null"}:
        sentence = f"Not every value is a {column.kind.value} that can be carried, so all arrive as text"
    note("value-changed", hazard, sentence, found.changed_count, found.changed_examples)
    if column.kind is not Kind.DECIMAL:
        sentence = "Texts stand beside numbers and arrive as numbers, so that '1' and 1 become equal"
        note("text-as-number", hazard, sentence, _texts_beside_numbers(found))
    sentence = "Times have more digits of a second than arrive"
    note("time-rounded", hazard, sentence, found.rounded_count, found.rounded_examples)
    sentence = "JSON objects name a key twice; only the last one is kept"
    note("json-keys-repeated", hazard, sentence, found.repeated_key_count, found.repeated_key_examples)
    _check_times(column, found, table, findings)


def _texts_beside_numbers(found: ColumnProfile) -> int:
    """Count the texts that become decimals in a column that holds numbers too."""
    if found.kind is not Kind.DECIMAL or not found.storage.keys() & {"integer", "real"}:
        return 0
    return found.storage.get("text", 0)


def _check_times(column: Column, found: ColumnProfile, table: Table, findings: Findings) -> None:
    """List the forms in which times are written, and find those that could mean another moment."""
    if found.kind not in _TIMES or not found.forms:
        return

    def note(name: str, severity: Severity, sentence: str, count: int) -> None:
        findings.add(name, severity, sentence, table=table.name, column=column.name, count=count)

    note("time-forms", Severity.NOTICE, f"Written as {_counted(found.forms)}", sum(found.forms.values()))
    naive = sum(count for form, count in found.forms.items() if "without zone" in form or "date only" in form)
    others = sum(found.forms.values()) - naive
    if found.kind is Kind.INSTANT and naive and others and not is_current_time(column.default):
        sentence = f"{naive} times name no zone beside {others} that are instants; they are read as UTC"
        note("time-ambiguous", Severity.HAZARD, sentence, naive)
    epochs = {
        form.partition(" (")[0]: count for form, count in found.forms.items() if form.startswith("epoch")
    }
    if len(epochs) > 1:
        sentence = f"Numbers are taken for {', '.join(sorted(epochs))}, by their size"
        count = sum(count for form, count in found.forms.items() if form.startswith("epoch"))
        note("time-ambiguous", Severity.HAZARD, sentence, count)


def check_fit(column: Column, there: Column, found: ColumnProfile, table: Table, findings: Findings) -> None:
    """Find the values of one column that are too large for the column they go into."""
    if found.unfit_count:
        findings.add(
            "value-too-large",
            Severity.BLOCKING,
            f"Values do not fit into {there.declared or there.kind.value}",
            table=table.name,
            column=column.name,
            count=found.unfit_count,
            examples=found.unfit_examples,
        )
    if found.null_count and not allows_null(there):
        findings.add(
            "null-not-allowed",
            Severity.BLOCKING,
            "Values are NULL, and the target's column may not be",
            table=table.name,
            column=column.name,
            count=found.null_count,
        )
    if found.kind is Kind.JSON and column.kind is not Kind.JSON:
        findings.add(
            "json-by-meaning",
            Severity.NOTICE,
            f"Stored as {there.declared}, which writes JSON its own way: spaces and order of keys change; "
            "the meaning is what is compared",
            table=table.name,
            column=column.name,
        )


def check_indexes(source: Table, target: Table, renames: Mapping[str, str], findings: Findings) -> None:
    """Name the indexes and foreign keys that an existing table does not have."""
    for index, columns in missing_indexes(source, target, renames):
        sentence = f"No index like {index.name} ({', '.join(columns)}) is in the target"
        findings.add("index-not-in-target", Severity.NOTICE, sentence, table=target.name)
    for key in missing_foreign_keys(source, target, renames):
        sentence = f"No foreign key like {label(key)} is in the target"
        findings.add("foreign-key-not-in-target", Severity.NOTICE, sentence, table=target.name)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in sorted(counts.items()))
