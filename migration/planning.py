"""Makes the plan: where everything in the source goes, and what would not arrive as it was.

Pure: two schemas, a profile and the traits of both engines go in, a plan comes out. What the target
itself refuses to create is found out later (:mod:`migration.trial`) and taken out of the plan there.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from migration import fitting
from migration.choice import Chosen
from migration.fitting import Findings
from migration.model import (
    FALLBACKS,
    Column,
    ColumnProfile,
    Kind,
    Schema,
    Table,
    TableProfile,
    Trigger,
    View,
    fingerprint,
)
from migration.new_tables import NewTables, renames, why_it_names_other_things
from migration.plan import (
    TARGET_ROWS,
    ColumnPlan,
    Plan,
    Severity,
    TablePair,
    TablePlan,
    label,
    load_order,
    winner,
)
from migration.profile import ladder
from migration.sizes import why_not_taken, why_too_long
from migration.traits import Traits
from migration.translation import Untranslatable, is_current_time, translate_query

_TIMES = (Kind.TIME, Kind.TIMESTAMP, Kind.INSTANT)
# What times travel as, and what new columns keep.
MICROSECOND_DIGITS = 6


def kinds_to_try(pair: TablePair, source: Traits, target: Traits) -> dict[str, tuple[Kind, ...]]:
    """Return, for each column of the source, the kinds it may become, the wished one first."""
    # Beside a table that is not there yet stands no column, only the name that one will have.
    return {
        column.name: (pair.types[column.name].kind,)
        if column.name in pair.types
        else _kinds_to_try(column, there if pair.target is not None else None, source, target)
        for column, there in pair.columns
    }


def _kinds_to_try(column: Column, there: Column | None, source: Traits, target: Traits) -> tuple[Kind, ...]:
    if source.keeps_storage_classes and target.keeps_storage_classes:
        return (Kind.ANY,)
    if there is not None and not target.keeps_storage_classes:
        return (there.kind,)
    if not source.keeps_storage_classes:
        fallback = FALLBACKS.get(column.kind)
        return (column.kind,) if fallback is None else (column.kind, fallback)
    if column.kind is Kind.TIMESTAMP and is_current_time(column.default):
        # The database itself writes UTC here, so text without a zone is an instant.
        return ladder(Kind.INSTANT)
    return ladder(column.kind)


def fraction_digits(pair: TablePair, target: Traits) -> dict[str, int]:
    """Return how many digits of a second's fraction the target's columns keep, where they keep fewer."""
    if pair.target is None or target.keeps_storage_classes:
        return {}
    return {
        column.name: there.precision
        for column, there in pair.columns
        if there is not None
        and there.kind in _TIMES
        and there.precision is not None
        and there.precision < MICROSECOND_DIGITS
    }


# Two databases with what they hold and can do, and what the user says about them: no two belong together.
def make_plan(
    chosen: Chosen,
    target: Schema,
    profiles: Mapping[str, TableProfile],
    target_rows: Mapping[str, int],
    source_traits: Traits,
    target_traits: Traits,
    accept: Sequence[str] = (),
) -> Plan:
    """Decide how everything in the source goes into the target, and list what would not arrive as it was.

    Parameters
    ----------
    profiles
        What the source's tables hold, by table; each column's profile was taken for the kind chosen.
    target_rows
        How many rows the target's tables hold already, by table.
    accept
        Names of accepted hazards; ``target-rows:TABLE=source`` or ``=target`` says whose rows stay.
    """
    source = chosen.schema
    absent = {name: reason for name, reason in chosen.left_out.items() if not target.has(name)}
    planner = _Planner(source_traits, target_traits, chosen.pairs, absent)
    tables, left_out = [], dict(chosen.left_out)
    for pair in chosen.pairs:
        rows = target_rows.get(pair.target_name, 0)
        if rows:
            planner.note_own_rows(pair.target_name, rows)
        if rows and winner(pair.target_name, accept) == "target":
            left_out[pair.source.name] = "the target keeps its own rows"
            continue
        plan = planner.table(pair, profiles[pair.source.name])
        tables.append(dataclasses.replace(plan, replaces_rows=bool(rows)))
    planner.check_names(target)
    views = planner.views(source, target, tables)
    triggers = planner.triggers(source, tables)
    planner.rest(source, target, left_out)
    return Plan(
        tables=load_order(tables),
        views=views,
        triggers=triggers,
        hazards=planner.findings.sorted(),
        left_out=left_out,
        source_fingerprint=fingerprint(source),
        target_fingerprint=fingerprint(target),
    )


class _Planner:
    """Plans table by table and gathers what it finds."""

    def __init__(
        self, source: Traits, target: Traits, pairs: Sequence[TablePair], absent: Mapping[str, str]
    ) -> None:
        self.source, self.target, self.pairs = source, target, pairs
        self.findings = Findings()
        self.new_tables = NewTables(source, target, self.findings, pairs, absent)
        self.same_dialect = source.dialect == target.dialect

    def note_own_rows(self, table: str, rows: int) -> None:
        """Ask whose rows stay in a table that is not empty."""
        self.findings.add(
            TARGET_ROWS,
            Severity.HAZARD,
            f"The target's {table} holds {rows} rows of its own; accept with "
            f"--accept {TARGET_ROWS}:{table}=source (they go; only with --backup can that be undone "
            "later) or =target (they stay, no others come)",
            table=table,
            count=rows,
        )

    def table(self, pair: TablePair, profile: TableProfile) -> TablePlan:
        """Plan one table."""
        for column, _ in pair.columns:
            fitting.check_values(
                column, profile.columns[column.name], pair.source, self.target, self.findings
            )
        if pair.target is None:
            for name, chosen in pair.types.items():
                column = pair.source.column(name)
                as_chosen = dataclasses.replace(chosen, nullable=True)
                fitting.check_fit(column, as_chosen, profile.columns[name], pair.source, self.findings)
            target, columns = self.new_tables.plan(pair, profile)
        else:
            target, columns = pair.target, self._existing_columns(pair, profile)
        key = pair.source.primary_key
        is_key = bool(key) and not any(profile.columns[name].null_count for name in key)
        planned = {column.source.name for column in columns}
        return TablePlan(
            source=pair.source,
            target=target,
            columns=columns,
            is_new=pair.target is None,
            key=key if is_key and planned.issuperset(key) else (),
            row_count=profile.row_count,
            next_number=self._next_number(target, columns, profile),
        )

    def _next_number(self, target: Table, columns: Sequence[ColumnPlan], profile: TableProfile) -> int | None:
        """Return the number that the next row must get; a sequence, unlike a rowid, begins at one."""
        numbered = [column for column in columns if column.target.automatic]
        if profile.next_number is None or not numbered:
            return None
        numbers = profile.columns[numbered[0].source.name]
        largest, smallest = numbers.largest, numbers.smallest
        is_taken = largest is not None and smallest is not None and smallest <= profile.next_number <= largest
        if is_taken and not self.source.keeps_storage_classes:
            assert largest is not None
            self.findings.add(
                "number-taken",
                Severity.NOTICE,
                f"The next number in the source, {profile.next_number}, is taken already; the target goes on "
                f"after the largest, {largest}",
                table=target.name,
                column=numbered[0].target.name,
            )
            return int(largest) + 1
        if not self.target.keeps_storage_classes:
            return max(profile.next_number, 1)
        if numbered[0].target.never_reuses or profile.next_number == (largest or 0) + 1:
            return profile.next_number
        self.findings.add(
            "numbers-used-again",
            Severity.HAZARD,
            f"The next row would get {profile.next_number}; the target's column goes on after the largest "
            f"number in it, {largest}, so numbers of rows that were deleted come again",
            table=target.name,
            column=numbered[0].target.name,
        )
        return None

    def _existing_columns(self, pair: TablePair, profile: TableProfile) -> tuple[ColumnPlan, ...]:
        assert pair.target is not None
        columns, digits = [], fraction_digits(pair, self.target)
        for column, there in pair.columns:
            if there is None:
                self.findings.add(
                    "column-left-behind",
                    Severity.HAZARD,
                    "The target has no such column; map it with --map, or accept that it stays behind",
                    table=pair.source.name,
                    column=column.name,
                    count=profile.row_count,
                )
                continue
            found = profile.columns[column.name]
            fitting.check_fit(
                column, there, _where_it_matters(found, there, self.target), pair.source, self.findings
            )
            columns.append(ColumnPlan(column, there, found.kind, digits.get(column.name)))
        if not columns and pair.columns:
            sentence = "The two tables have no column in common; map some with --map"
            self.findings.add("no-column-in-common", Severity.BLOCKING, sentence, table=pair.source.name)
        filled = {column.target.name for column in columns}
        for there in pair.target.columns:
            if there.name not in filled:
                self._note_unfilled(pair.target.name, there)
        for key in pair.target.foreign_keys:
            count, examples = profile.orphans.get(label(key), (0, ()))
            if count:
                self.findings.add(
                    "rows-without-parent",
                    Severity.BLOCKING,
                    f"Rows refer to rows that are not there, which the target forbids: {label(key)}",
                    table=pair.source.name,
                    column=", ".join(key.columns),
                    count=count,
                    examples=examples,
                )
        fitting.check_indexes(pair.source, pair.target, renames(pair), self.findings)
        return tuple(columns)

    def _note_unfilled(self, table: str, there: Column) -> None:
        has_value = (
            there.nullable or there.default is not None or there.automatic or there.generated is not None
        )
        severity = Severity.NOTICE if has_value else Severity.BLOCKING
        consequence = "it gets its default" if has_value else "and it may not be empty"
        sentence = f"The source has no such column; {consequence}"
        self.findings.add("column-without-source", severity, sentence, table=table, column=there.name)

    # --- what is no table -----------------------------------------------------------------------------

    def views(self, source: Schema, target: Schema, tables: Sequence[TablePlan]) -> tuple[View, ...]:
        """Translate the views that the target does not have."""
        kinds = _kinds_everywhere(tables)
        there = {view.name for view in target.views}
        views = []
        for view in source.views:
            if view.name in there:
                sentence = f"The target keeps its own view {view.name}"
                self.findings.add("view-kept", Severity.NOTICE, sentence, table=view.name)
                continue
            reason = (
                why_it_names_other_things(view.definition, self._renamed())
                or why_too_long(view.name, self.target)
                or why_not_taken(view.name, self.target)
            )
            if reason:
                self.findings.not_carried("view", view.name, view.name, reason)
                continue
            try:
                definition = translate_query(view.definition, self.source, self.target, kinds)
            except Untranslatable as why:
                self.findings.not_carried("view", view.name, view.name, str(why))
            else:
                views.append(View(view.name, definition))
        return tuple(views)

    def triggers(self, source: Schema, tables: Sequence[TablePlan]) -> tuple[Trigger, ...]:
        """Carry triggers between equal dialects; name them otherwise."""
        new = {table.source.name for table in tables if table.is_new}
        carried = []
        for trigger in source.triggers:
            if trigger.table not in new:
                continue
            reason = why_it_names_other_things(trigger.definition, self._renamed())
            if not self.same_dialect or not trigger.definition:
                reason = "code is not translated; write it anew for the target"
            if reason:
                self.findings.not_carried("trigger", trigger.table, trigger.name, reason)
            else:
                carried.append(trigger)
        return tuple(carried)

    def rest(self, source: Schema, target: Schema, left_out: Iterable[str]) -> None:
        """Name what has no portable form, and what the target has alone."""
        kept = {(thing.what, thing.name) for thing in target.uncarried}
        there = {pair.source.name for pair in self.pairs if pair.target is not None}
        for thing in source.uncarried:
            if (thing.what, thing.name) in kept or thing.name.partition(".")[0] in there:
                sentence = f"The target keeps what it has in place of the {thing.what} {thing.name}"
                self.findings.add(
                    f"{thing.what.replace(' ', '-')}-kept", Severity.NOTICE, sentence, table=thing.name
                )
                continue
            self.findings.not_carried(thing.what.replace(" ", "-"), thing.name, thing.name, thing.reason)
        paired = {pair.target_name for pair in self.pairs}.union(left_out)
        for table in target.tables:
            if table.name not in paired:
                sentence = "The source has no such table; it stays as it is"
                self.findings.add("table-only-in-target", Severity.NOTICE, sentence, table=table.name)

    # --- names ----------------------------------------------------------------------------------------

    def check_names(self, target: Schema) -> None:
        """Find names that the target would cut or take for one another."""
        tables = [(pair.source.name, pair.target_name) for pair in self.pairs]
        paired = {name for _, name in tables}
        there = [(table.name, table.name) for table in target.tables if table.name not in paired]
        self._check_taken(tables + there)
        for pair in self.pairs:
            is_new = pair.target is None
            names = [
                new
                for (_, there), new in zip(pair.columns, renames(pair).values(), strict=True)
                if is_new or there
            ]
            self._check_taken([(pair.source.name, name) for name in names], within=pair.source.name)
            for name in (pair.target_name, *names):
                if reason := why_too_long(name, self.target):
                    sentence = f"{name!r}: {reason}; map it to a shorter one with --map"
                    self.findings.add("name-too-long", Severity.BLOCKING, sentence, table=pair.source.name)
                if reason := why_not_taken(name, self.target):
                    sentence = f"{name!r}: {reason}; map it to another one with --map"
                    self.findings.add("name-not-held", Severity.BLOCKING, sentence, table=pair.source.name)

    def _check_taken(self, names: Sequence[tuple[str, str]], within: str = "") -> None:
        """Find names, each with the table it is about, that come to the same in the target."""
        folds = self.target.folds_names or (bool(within) and self.target.folds_column_names)
        folded = [name.lower() if folds else name for _, name in names]
        counts = Counter(folded)
        for (table, name), same in zip(names, folded, strict=True):
            if counts[same] > 1:
                what = f"{counts[same]} columns of {within}" if within else f"{counts[same]} tables"
                sentence = f"{what} would be called {name!r}; map all but one to another name with --map"
                self.findings.add("name-taken-twice", Severity.BLOCKING, sentence, table=table)

    def _renamed(self) -> set[str]:
        """Return the names of tables and columns that are others in the target."""
        tables = {pair.source.name for pair in self.pairs if pair.target_name != pair.source.name}
        return tables | {old for pair in self.pairs for old, new in renames(pair).items() if old != new}


def _where_it_matters(found: ColumnProfile, there: Column, target: Traits) -> ColumnProfile:
    """Return a profile less the values that only a declared limit forbids, where such limits mean nothing."""
    digits, limit = found.integer_digits + found.fraction_digits, target.decimal_digits
    is_too_long = there.kind is Kind.DECIMAL and limit is not None and digits > limit
    if not target.keeps_storage_classes or is_too_long:
        return found
    return dataclasses.replace(found, unfit_count=0, unfit_examples=())


def _kinds_everywhere(tables: Iterable[TablePlan]) -> dict[str, Kind]:
    """Return the kinds of the column names that mean one kind in every table."""
    kinds: dict[str, set[Kind]] = {}
    for table in tables:
        for column in table.columns:
            kinds.setdefault(column.target.name, set()).add(column.target.kind)
    return {name: next(iter(found)) for name, found in kinds.items() if len(found) == 1}
