"""What comparing two tables whole finds: each difference by name, and exactly as many as there are."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from migration import verify
from migration.difference import SAMPLES, TableComparison
from migration.model import Column, Kind, Table
from migration.plan import ColumnPlan, TablePlan
from migration.progress import Progress, Step, silent
from migration.verify import Side, compare_table
from tests.conftest import FreshDatabase
from tests.contract import KINDS, VALUES, Subject, column_of, table_of, values_for

Rows = Sequence[Sequence[Any]]

KEYED = table_of(
    "people", column_of(Kind.INTEGER, "id", nullable=False), column_of(Kind.TEXT, "name"), key=["id"]
)
KEYLESS = table_of("events", column_of(Kind.INTEGER, "number"), column_of(Kind.TEXT, "name"))


@pytest.fixture
async def pair(engine: str, fresh_database: FreshDatabase) -> AsyncIterator[tuple[Subject, Subject]]:
    source, target = Subject(fresh_database(engine)), Subject(fresh_database(engine))
    yield source, target
    await source.close()
    await target.close()


def plan_of(source: Table, target: Table, kinds: dict[str, Kind] | None = None) -> TablePlan:
    columns = tuple(
        ColumnPlan(ours, theirs, (kinds or {}).get(ours.name, ours.kind))
        for ours, theirs in zip(source.columns, target.columns, strict=True)
    )
    return TablePlan(source, target, columns, is_new=False, key=source.key)


async def compared(
    plan: TablePlan, source: Subject, target: Subject, progress: Progress = silent
) -> TableComparison:
    async with source.source.snapshot() as ours, target.source.snapshot() as theirs:
        comparison, _, _ = await compare_table(
            plan, Side("source", ours, source.traits), Side("target", theirs, target.traits), progress
        )
        return comparison


async def compare(pair: tuple[Subject, Subject], table: Table, ours: Rows, theirs: Rows) -> TableComparison:
    """Compare two sides of a table; the target's has no key, so that it may hold anything."""
    bare = dataclasses.replace(table, primary_key=())
    for subject, made, rows in zip(pair, (table, bare), (ours, theirs), strict=True):
        await subject.create(made)
        if rows:
            await subject.load(made, rows)
    return await compared(plan_of(table, table), *pair)


def counts(found: TableComparison) -> tuple[int, int, int]:
    return found.missing_count, found.extra_count, found.changed_count


def samples(found: TableComparison) -> list[str]:
    return sorted(str(sample) for sample in found.samples)


ROWS = [(number, f"name {number}") for number in range(1, 101)]


class TestKeyed:
    async def test_equal_tables_are_equal_in_any_order(self, pair: tuple[Subject, Subject]) -> None:
        found = await compare(pair, KEYED, ROWS, list(reversed(ROWS)))
        assert found.equal
        assert counts(found) == (0, 0, 0)
        assert found.samples == ()
        assert (found.source.row_count, found.target.row_count) == (100, 100)

    async def test_a_changed_cell_is_shown_with_both_values(self, pair: tuple[Subject, Subject]) -> None:
        theirs = [(number, "Name 7" if number == 7 else name) for number, name in ROWS]
        found = await compare(pair, KEYED, ROWS, theirs)
        assert not found.equal
        assert counts(found) == (0, 0, 1)
        assert samples(found) == ["changed value in people.name [id=7]: source 'name 7', target 'Name 7'"]

    async def test_a_deleted_row_is_missing(self, pair: tuple[Subject, Subject]) -> None:
        found = await compare(pair, KEYED, ROWS, ROWS[:50] + ROWS[51:])
        assert counts(found) == (1, 0, 0)
        assert samples(found) == ["missing row in people [id=51]"]

    async def test_an_added_row_is_extra(self, pair: tuple[Subject, Subject]) -> None:
        found = await compare(pair, KEYED, ROWS, [*ROWS, (0, None)])
        assert counts(found) == (0, 1, 0)
        assert samples(found) == ["extra row in people [id=0]"]

    async def test_a_row_that_came_twice_is_extra(self, pair: tuple[Subject, Subject]) -> None:
        found = await compare(pair, KEYED, ROWS, [*ROWS, ROWS[3]])
        assert counts(found) == (0, 1, 0)
        assert samples(found) == ["extra row in people [id=4]"]

    async def test_two_values_that_were_swapped_are_two_changes(self, pair: tuple[Subject, Subject]) -> None:
        swapped = {7: "name 8", 8: "name 7"}
        theirs = [(number, swapped.get(number, name)) for number, name in ROWS]
        found = await compare(pair, KEYED, ROWS, theirs)
        assert counts(found) == (0, 0, 2)
        assert samples(found) == [
            "changed value in people.name [id=7]: source 'name 7', target 'name 8'",
            "changed value in people.name [id=8]: source 'name 8', target 'name 7'",
        ]

    async def test_a_value_that_moved_to_the_next_column_is_found(
        self, pair: tuple[Subject, Subject]
    ) -> None:
        table = table_of(
            "t", column_of(Kind.TEXT, "a", nullable=False, size=20), column_of(Kind.TEXT, "b"), key=["a"]
        )
        found = await compare(pair, table, [("x|y", "z"), ("p", "")], [("x", "y|z"), ("p", None)])
        assert counts(found) == (1, 1, 1)

    async def test_no_value_is_not_the_word_for_it(self, pair: tuple[Subject, Subject]) -> None:
        ours = [(1, None), (2, "None"), (3, "")]
        theirs = [(1, "None"), (2, None), (3, None)]
        found = await compare(pair, KEYED, ours, theirs)
        assert counts(found) == (0, 0, 3)

    async def test_when_all_rows_differ_the_counts_are_exact_and_the_samples_few(
        self, pair: tuple[Subject, Subject], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # So few rows are matched at once that there are many parts.
        monkeypatch.setattr(verify, "PART_ROWS", 100)
        ours = [(number, "ours") for number in range(5_000)]
        theirs = [(number, "theirs") for number in range(1_000, 7_000)]
        found = await compare(pair, KEYED, ours, theirs)
        assert counts(found) == (1_000, 2_000, 4_000)
        assert len(found.samples) == SAMPLES

    async def test_parts_are_never_more_than_files_that_may_be_open(
        self, pair: tuple[Subject, Subject], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(verify, "PART_ROWS", 1)
        found = await compare(pair, KEYED, [(number, "ours") for number in range(1_000)], [])
        assert counts(found) == (1_000, 0, 0)

    @pytest.mark.parametrize(
        ("ours", "theirs", "expected"),
        [(ROWS, [], (100, 0, 0)), ([], ROWS, (0, 100, 0)), ([], [], (0, 0, 0))],
        ids=["target empty", "source empty", "both empty"],
    )
    @pytest.mark.parametrize("table", [KEYED, KEYLESS], ids=["keyed", "keyless"])
    async def test_an_empty_side_is_compared_like_any_other(
        self,
        pair: tuple[Subject, Subject],
        table: Table,
        ours: Rows,
        theirs: Rows,
        expected: tuple[int, int, int],
    ) -> None:
        found = await compare(pair, table, ours, theirs)
        assert counts(found) == expected
        assert found.equal is (expected == (0, 0, 0))
        assert len(found.samples) == min(SAMPLES, sum(expected))


class TestKeyless:
    async def test_duplicates_count(self, pair: tuple[Subject, Subject]) -> None:
        ours = [(1, "a")] * 3 + [(2, "b")] * 2 + [(None, None)] * 2
        found = await compare(pair, KEYLESS, ours, list(reversed(ours)))
        assert found.equal

    async def test_two_of_one_are_not_two_of_another(self, pair: tuple[Subject, Subject]) -> None:
        found = await compare(pair, KEYLESS, [(1, "a"), (1, "a"), (2, "b")], [(1, "a"), (2, "b"), (2, "b")])
        assert counts(found) == (1, 1, 0)
        assert samples(found) == [
            "repeated row in events [number=1, name='a' (another number of times)]",
            "repeated row in events [number=2, name='b' (another number of times)]",
        ]

    async def test_four_rows_that_would_cancel_each_other_do_not(self, pair: tuple[Subject, Subject]) -> None:
        found = await compare(pair, KEYLESS, [(1, "a")] * 2 + [(2, "b")] * 2, [(3, "c")] * 2 + [(4, "d")] * 2)
        assert counts(found) == (4, 4, 0)

    async def test_a_changed_cell_is_one_row_less_and_one_more(self, pair: tuple[Subject, Subject]) -> None:
        found = await compare(pair, KEYLESS, [(1, "a"), (2, None)], [(1, "a"), (2, "")])
        assert counts(found) == (1, 1, 0)
        assert samples(found) == [
            "extra row in events [number=2, name='']",
            "missing row in events [number=2, name=None]",
        ]


class TestKinds:
    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
    async def test_every_value_of_a_kind_differs_from_every_other(
        self, pair: tuple[Subject, Subject], kind: Kind
    ) -> None:
        values = values_for(kind, pair[0].traits)
        table = table_of("t", column_of(Kind.INTEGER, "id", nullable=False), column_of(kind), key=["id"])
        turned = values[1:] + values[:1]
        found = await compare(pair, table, list(enumerate(values)), list(enumerate(turned)))
        assert counts(found) == (0, 0, len(values))

    async def test_times_have_a_range_on_each_side(self, pair: tuple[Subject, Subject]) -> None:
        values = VALUES[Kind.DATE]
        table = table_of("t", column_of(Kind.DATE, "day"), column_of(Kind.TIME, "never"))
        for subject, rows in zip(pair, (values, values[1:]), strict=True):
            await subject.create(table)
            for value in rows:
                await subject.load(table, [(value, None)])
        source, target = pair
        async with source.source.snapshot() as ours, target.source.snapshot() as theirs:
            _, one, other = await compare_table(
                plan_of(table, table),
                Side("source", ours, source.traits),
                Side("target", theirs, target.traits),
                silent,
            )
        days = [(value - dt.date(1970, 1, 1)).days for value in values]
        assert one.times == {"day": (min(days), max(days)), "never": (None, None)}
        assert other.times["day"] == (min(days[1:]), max(days))


class TestStrays:
    """Values that are not of the kind they are compared as: only an engine that keeps any has them."""

    @pytest.fixture
    async def loose(self, fresh_database: FreshDatabase) -> AsyncIterator[tuple[Subject, Subject]]:
        source, target = Subject(fresh_database("sqlite")), Subject(fresh_database("sqlite"))
        yield source, target
        await source.close()
        await target.close()

    async def _compare(
        self,
        pair: tuple[Subject, Subject],
        ours: Sequence[str],
        theirs: Sequence[str],
        key: str = "PRIMARY KEY",
    ) -> TableComparison:
        for subject, values in zip(pair, (ours, theirs), strict=True):
            rows = ", ".join(f"({number}, {value})" for number, value in enumerate(values))
            await subject.run(f"CREATE TABLE t (id INTEGER {key}, value)", f"INSERT INTO t VALUES {rows}")
        table = (await pair[0].source.schema()).table("t")
        return await compared(plan_of(table, table, {"value": Kind.INTEGER}), *pair)

    async def test_equal_strays_are_equal(self, loose: tuple[Subject, Subject]) -> None:
        values = ["1", "'one'", "x'01'", "0.5", "NULL", "'NULL'"]
        assert (await self._compare(loose, values, values)).equal

    async def test_a_stray_is_neither_nothing_nor_another_stray(self, loose: tuple[Subject, Subject]) -> None:
        ours = ["'one'", "'one'", "'one'", "NULL", "x'31'", "1"]
        theirs = ["NULL", "'two'", "1", "'one'", "'1 '", "'one'"]
        found = await self._compare(loose, ours, theirs)
        assert counts(found) == (0, 0, 6)
        assert samples(found) == [
            "changed value in t.value [id=0]: source 'one', target None",
            "changed value in t.value [id=1]: source 'one', target 'two'",
            "changed value in t.value [id=2]: source 'one', target 1",
            "changed value in t.value [id=3]: source None, target 'one'",
            "changed value in t.value [id=4]: source x'31', target '1 '",
            "changed value in t.value [id=5]: source 1, target 'one'",
        ]

    async def test_strays_are_shown_without_a_key_too(self, loose: tuple[Subject, Subject]) -> None:
        found = await self._compare(loose, ["'one'", "2"], ["NULL", "2"], key="")
        assert counts(found) == (1, 1, 0)
        assert samples(found) == ["extra row in t [id=0, value=None]", "missing row in t [id=0, value='one']"]


class TestProgress:
    async def test_both_sides_tell_how_far_they_are(self, pair: tuple[Subject, Subject]) -> None:
        for subject in pair:
            await subject.create(KEYED)
            await subject.load(KEYED, ROWS)
        told: list[Step] = []
        plan = dataclasses.replace(plan_of(KEYED, KEYED), row_count=len(ROWS))
        await compared(plan, *pair, told.append)
        assert {(step.phase, step.table, step.done, step.total) for step in told} == {
            ("prove source", "people", 100, 100),
            ("prove target", "people", 100, 100),
        }

    async def test_a_side_that_cannot_be_read_is_an_error_and_no_difference(
        self, pair: tuple[Subject, Subject]
    ) -> None:
        source, target = pair
        await source.create(KEYED)
        await source.load(KEYED, ROWS)
        await target.create(KEYLESS)
        with pytest.raises(Exception, match="people"):
            await compared(plan_of(KEYED, KEYED), source, target)
        # Nobody goes on reading the other side.
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_columns_may_have_other_names_on_the_other_side(
        self, pair: tuple[Subject, Subject]
    ) -> None:
        renamed = Table(
            "persons",
            (Column("number", Kind.INTEGER, nullable=False), Column("called", Kind.TEXT)),
            primary_key=("number",),
        )
        source, target = pair
        await source.create(KEYED)
        await source.load(KEYED, ROWS)
        await target.create(renamed)
        await target.load(renamed, [*ROWS[1:], (1, "other")])
        found = await compared(plan_of(KEYED, renamed), source, target)
        assert samples(found) == [
            "changed value in persons.called [number=1]: source 'name 1', target 'other'"
        ]


class TestReadingAhead:
    """What is read while something else is summed up is one batch, and nobody leaves it behind."""

    @staticmethod
    async def batches(begun: list[int], ended: list[str], *, fails_at: int = 9) -> AsyncIterator[Any]:
        try:
            for number in range(5):
                if number == fails_at:
                    raise ConnectionResetError("the server went away")
                begun.append(number)
                yield number
        finally:
            ended.append("closed")

    async def test_one_batch_is_read_ahead_and_never_two(self) -> None:
        begun: list[int] = []
        seen = []
        async for batch in verify._ahead(self.batches(begun, [])):
            await asyncio.sleep(0.01)
            seen.append((batch, len(begun)))
        assert seen == [(0, 2), (1, 3), (2, 4), (3, 5), (4, 5)]

    async def test_who_stops_early_leaves_nothing_open(self) -> None:
        ended: list[str] = []
        tasks = asyncio.all_tasks()
        async with contextlib.aclosing(verify._ahead(self.batches([], ended))) as reading:
            assert await anext(reading) == 0
        assert ended == ["closed"]
        assert asyncio.all_tasks() == tasks

    async def test_a_reading_that_fails_ahead_is_heard_of_after_what_came_before(self) -> None:
        ended: list[str] = []
        reading = verify._ahead(self.batches([], ended, fails_at=2))
        assert [await anext(reading), await anext(reading)] == [0, 1]
        with pytest.raises(ConnectionResetError, match="the server went away"):
            await anext(reading)
        assert ended == ["closed"]
