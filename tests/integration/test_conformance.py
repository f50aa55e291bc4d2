"""What every backend promises, tried on a real database of every engine there is.

A new engine is picked up by the fixture ``backend_url`` alone; see :mod:`tests.contract`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import re
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from migration.backends import BATCH_BYTES, BATCH_ROWS, backend_for
from migration.errors import MigrationError, SourceUnusable, TargetLocked, UsageError
from migration.look import clause
from migration.model import (
    Check,
    Column,
    ForeignKey,
    Index,
    IndexPart,
    Kind,
    ScanColumn,
    Table,
    Unique,
)
from tests.conftest import FreshDatabase
from tests.contract import (
    KINDS,
    LARGEST,
    ODD_NAMES,
    SMALLEST,
    TEXTS,
    TRIGGER_SQL,
    VALUES,
    Subject,
    as_compared,
    batch_of,
    column_of,
    exactly,
    numbered_table,
    smaller_batches,
    table_of,
    values_for,
    wanted,
)

pytestmark = pytest.mark.every_server

NOTES = table_of(
    "notes", column_of(Kind.INTEGER, "id", nullable=False), column_of(Kind.TEXT, "note"), key=["id"]
)


@pytest.fixture
async def subject(backend_url: str) -> AsyncIterator[Subject]:
    subject = Subject(backend_url)
    yield subject
    await subject.close()


class Interrupted(Exception):
    """Something went wrong in the middle."""


class TestSchema:
    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
    async def test_a_column_is_reflected_as_the_kind_it_was_made_for(
        self, subject: Subject, kind: Kind
    ) -> None:
        schema = await subject.create(table_of("made", column_of(kind)))
        # Where any column holds any value, a type that would change some values is not used.
        expected = {kind, Kind.TEXT} if subject.traits.keeps_storage_classes and kind is Kind.JSON else {kind}
        assert schema.table("made").column("value").kind in expected

    async def test_sizes_are_kept(self, subject: Subject) -> None:
        schema = await subject.create(
            table_of(
                "sized",
                column_of(Kind.TEXT, "short", size=20),
                column_of(Kind.TEXT, "long"),
                column_of(Kind.DECIMAL, "price", precision=10, scale=2),
                column_of(Kind.DECIMAL, "whole", precision=5, scale=0),
                column_of(Kind.DECIMAL, "any"),
            )
        )
        found = {c.name: (c.size, c.precision, c.scale) for c in schema.table("sized").columns}
        assert found == {
            "short": (20, None, None),
            "long": (None, None, None),
            "price": (None, 10, 2),
            "whole": (None, 5, 0),
            "any": (None, None, None),
        }

    async def test_what_hangs_on_a_table_is_reflected_as_it_was_made(self, subject: Subject) -> None:
        parent = Table(
            "parent",
            (
                Column("a", Kind.INTEGER, nullable=False),
                Column("b", Kind.TEXT, nullable=False, size=30),
                Column("c", Kind.INTEGER, nullable=False, default="5"),
            ),
            primary_key=("a", "b"),
            uniques=(Unique("parent_c", ("c",)),),
        )
        some = Index("child_some", (IndexPart("c"),), unique=True, condition="c > 1")
        child = Table(
            "child",
            (
                Column("id", Kind.INTEGER, nullable=False, automatic=True, never_reuses=True),
                Column("a", Kind.INTEGER),
                Column("b", Kind.TEXT, size=30),
                Column("c", Kind.INTEGER),
                Column("d", Kind.INTEGER),
                Column("twice", Kind.INTEGER, generated="d + d"),
            ),
            primary_key=("id",),
            checks=(Check("child_c", "d > 0"),),
            foreign_keys=(
                ForeignKey("child_parent", ("a", "b"), "parent", ("a", "b"), on_delete="CASCADE"),
                ForeignKey("child_self", ("c",), "child", ("id",), on_update="SET NULL"),
            ),
            indexes=(
                Index("child_b", (IndexPart("b"), IndexPart("c", descending=True))),
                *([some] if subject.traits.partial_indexes else []),
            ),
        )
        schema = await subject.create(parent, child)
        found, other = schema.table("child"), schema.table("parent")
        assert (other.primary_key, other.uniques) == (("a", "b"), parent.uniques)
        assert [(c.name, c.nullable, c.default) for c in other.columns] == [
            ("a", False, None),
            ("b", False, None),
            ("c", False, "5"),
        ]
        assert found.primary_key == ("id",)
        assert found.foreign_keys == child.foreign_keys
        assert [check.name for check in found.checks] == ["child_c"]
        # Some engines make an index for each foreign key.
        made = [index for index in found.indexes if index.name in [own.name for own in child.indexes]]
        assert [(i.name, i.unique, i.condition is None) for i in made] == [
            (i.name, i.unique, i.condition is None) for i in child.indexes
        ]
        assert [part.descending for part in made[0].parts] == [False, True]
        assert [(c.name, c.automatic, c.never_reuses) for c in found.columns if c.automatic] == [
            ("id", True, True)
        ]
        assert [c.name for c in found.columns if c.generated is not None] == ["twice"]

    async def test_reflecting_twice_gives_equal_schemas_with_sorted_names(self, subject: Subject) -> None:
        names = ["b", "a", "C", "Z", "c d"]
        await subject.create(*[table_of(name, column_of(Kind.TEXT)) for name in names])
        schema = await subject.database.schema()
        assert [table.name for table in schema.tables] == sorted(names)
        assert schema == await subject.database.schema()

    async def test_facts_are_words_and_tell_the_version(self, subject: Subject) -> None:
        facts = await subject.database.facts()
        assert facts["version"]
        assert all(isinstance(word, str) for pair in facts.items() for word in pair)

    def test_the_scheme_of_the_url_leads_to_the_backend(self, subject: Subject) -> None:
        for scheme in subject.backend.schemes:
            assert backend_for(subject.url.set(drivername=scheme)) is subject.backend
            assert backend_for(subject.url.set(drivername=f"{scheme}+driver")) is subject.backend

    def test_a_scheme_that_nobody_speaks_is_told_with_those_that_are_spoken(self, subject: Subject) -> None:
        with pytest.raises(UsageError, match="'gopher'.*" + subject.backend.schemes[0]):
            backend_for(subject.url.set(drivername="gopher"))


class TestRows:
    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
    async def test_every_value_of_a_kind_arrives_as_it_was(self, subject: Subject, kind: Kind) -> None:
        table = table_of("held", column_of(Kind.INTEGER, "id", nullable=False), column_of(kind), key=["id"])
        values = values_for(kind, subject.traits)
        await subject.create(table)
        await subject.load(table, list(enumerate(values)))
        found = sorted(await subject.read(table), key=lambda row: row[0])
        assert exactly(row[1] for row in found) == exactly(as_compared(kind, values))

    async def test_columns_of_every_kind_stand_side_by_side(self, subject: Subject) -> None:
        table = table_of("all", *[column_of(kind, kind.value) for kind in KINDS])
        values = [values_for(kind, subject.traits) for kind in KINDS]
        rows = [tuple(held[at % len(held)] for held in values) for at in range(60)]
        rows += [(None,) * len(KINDS)] * 3
        await subject.create(table)
        await subject.load(table, rows)
        expected = zip(
            *[as_compared(kind, [row[at] for row in rows]) for at, kind in enumerate(KINDS)], strict=True
        )
        assert sorted(exactly(await subject.read(table))) == sorted(exactly(expected))

    async def test_rows_may_come_in_several_batches_and_transactions(self, subject: Subject) -> None:
        await subject.create(NOTES)
        async with subject.database.loader([NOTES]) as loader:
            for start in range(0, 30, 10):
                async with loader.transaction():
                    for row in range(start, start + 10, 5):
                        rows = [(number, f"note {number}") for number in range(row, row + 5)]
                        await loader.write(NOTES, wanted(NOTES), batch_of(NOTES.columns, rows))
        assert sorted(await subject.read(NOTES)) == [(number, f"note {number}") for number in range(30)]

    async def test_a_column_that_is_left_out_gets_its_default(self, subject: Subject) -> None:
        note = column_of(Kind.TEXT, "note", default="'none'")
        table = dataclasses.replace(NOTES, columns=(NOTES.columns[0], note))
        await subject.create(table)
        async with subject.loading(table) as loader:
            await loader.write(table, wanted(table)[:1], batch_of(table.columns[:1], [(1,), (2,)]))
        assert sorted(await subject.read(table)) == [(1, "none"), (2, "none")]

    async def test_rows_are_counted_even_where_no_column_is_asked_for(self, subject: Subject) -> None:
        await subject.create(NOTES)
        await subject.load(NOTES, [(number, None) for number in range(7)])
        assert sum(scanned.batch.num_rows for scanned in await subject.scan(NOTES, [])) == 7

    async def test_rows_of_defaults_alone_can_be_written(self, subject: Subject) -> None:
        table = table_of("defaults", column_of(Kind.TEXT, default="'none'"))
        await subject.create(table)
        other = table_of("other", column_of(Kind.TEXT))
        await subject.create(other)
        await subject.load(other, [("a",), ("b",), ("c",)])
        empty = (await subject.scan(other, []))[0].batch
        async with subject.loading(table) as loader:
            await loader.write(table, [], empty)
        assert await subject.read(table) == [("none",)] * 3

    async def test_a_table_without_rows_gives_no_batch(self, subject: Subject) -> None:
        await subject.create(NOTES)
        assert await subject.scan(NOTES) == []

    async def test_columns_come_in_the_order_in_which_they_are_asked_for(self, subject: Subject) -> None:
        await subject.create(NOTES)
        await subject.load(NOTES, [(1, "one")])
        turned = table_of("notes", *reversed(NOTES.columns), key=["id"])
        assert await subject.read(turned) == [("one", 1)]

    async def test_names_may_be_anything_that_is_not_refused(self, subject: Subject) -> None:
        refused = subject.traits.refused_names
        names = [name for name in ODD_NAMES if refused is None or not re.search(refused, name)]
        tables = [
            table_of(
                name,
                column_of(Kind.INTEGER, name, nullable=False),
                column_of(Kind.TEXT, f"{name}2"),
                key=[name],
            )
            for name in names
        ]
        schema = await subject.create(*tables)
        assert {t.name: [c.name for c in t.columns] for t in schema.tables} == {
            name: [name, f"{name}2"] for name in names
        }
        for table in tables:
            await subject.load(table, [(1, table.name)])
            assert await subject.read(schema.table(table.name), in_order=True) == [(1, table.name)]
            assert await subject.count(table) == 1

    async def test_a_very_wide_table_is_read_whole(self, subject: Subject) -> None:
        names = [f"c{number}" for number in range(min(1_600, subject.traits.column_count or 1_600))]
        table = table_of("wide", *[column_of(Kind.BOOLEAN, name) for name in names])
        rows = [tuple(bool((at + row) % 3) for at in range(len(names))) for row in range(3)]
        await subject.create(table)
        await subject.load(table, rows)
        assert sorted(await subject.read(table)) == sorted(rows)


class TestBatches:
    async def test_one_huge_row_among_small_ones_does_not_make_the_others_huge(
        self, subject: Subject
    ) -> None:
        table = table_of(
            "blobs", column_of(Kind.INTEGER, "id", nullable=False), column_of(Kind.BYTES), key=["id"]
        )
        huge = random.Random(1).randbytes(20 * 1024 * 1024)
        rows = [(number, huge if number == 150 else b"small" * 10) for number in range(300)]
        await subject.create(table)
        await subject.load(table, rows)
        batches = await subject.scan(table, in_order=True)
        assert subject.rows_in(table, batches) == rows
        assert all(scanned.batch.num_rows >= 1 for scanned in batches)
        assert max(scanned.batch.nbytes for scanned in batches) < len(huge) + BATCH_BYTES
        assert len([scanned for scanned in batches if scanned.batch.nbytes > BATCH_BYTES]) == 1

    async def test_batches_are_bounded_by_bytes(self, subject: Subject) -> None:
        table = table_of("texts", column_of(Kind.TEXT))
        await subject.create(table)
        for _ in range(4):
            await subject.load(table, [(letter * 100_000,) for letter in "abcdefghijklmnopqrstuvwxyz" * 3])
        batches = await subject.scan(table)
        assert sum(scanned.batch.num_rows for scanned in batches) == 4 * 78
        assert len(batches) >= 3
        assert max(scanned.batch.nbytes for scanned in batches) < 1.5 * BATCH_BYTES

    async def test_batches_are_bounded_by_rows(self, subject: Subject) -> None:
        table = table_of("numbers", column_of(Kind.INTEGER))
        count = 2 * BATCH_ROWS + 10
        await subject.create(table)
        await subject.load(table, [(number,) for number in range(count)])
        batches = await subject.scan(table)
        assert max(scanned.batch.num_rows for scanned in batches) <= BATCH_ROWS
        assert sorted(subject.rows_in(table, batches)) == [(number,) for number in range(count)]


KEYS: dict[str, list[tuple[Any, ...]]] = {
    "integer": [
        (number,) for number in (SMALLEST, -(10**12), -10, -9, -1, 0, 1, 9, 10, 2**31, 10**12, LARGEST)
    ],
    "text": [(text[:500],) for text in TEXTS],
    "composite": [(text, number) for text in ("", "a", "A", "a ", "ä", "'", "b,c") for number in (-1, 0, 3)],
    "bytes": [(value[:500],) for value in VALUES[Kind.BYTES]],
    "date": [(value,) for value in VALUES[Kind.DATE]],
    "instant": [(value,) for value in VALUES[Kind.INSTANT]],
    "decimal": [(value,) for value in VALUES[Kind.DECIMAL]],
}  # fmt: skip
KINDS_OF_KEYS = {
    "composite": (Kind.TEXT, Kind.INTEGER),
    **{name: (Kind(name),) for name in KEYS if name != "composite"},
}


class TestGoingOn:
    @pytest.mark.parametrize("kind", KEYS)
    async def test_after_any_position_comes_exactly_the_rest(
        self, subject: Subject, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Some engines want to know how long an entry of a key can be.
        columns = [
            Column(f"k{at}", of, nullable=False, size=500 if of in (Kind.TEXT, Kind.BYTES) else None)
            for at, of in enumerate(KINDS_OF_KEYS[kind])
        ]
        table = table_of(
            "keyed", *columns, column_of(Kind.TEXT, "rest"), key=[column.name for column in columns]
        )
        keys = [
            *KEYS[kind],
            *([("a\0b",), ("a\0",), ("a",)] if subject.traits.text_holds_nul and kind == "text" else []),
        ]
        rows = [(*key, f"row {number}") for number, key in enumerate(keys)]
        random.Random(2).shuffle(rows)
        schema = await subject.create(table)
        await subject.load(table, rows)
        smaller_batches(monkeypatch, rows=2)
        await self._check_every_position(subject, schema.table("keyed"), len(rows))

    async def test_without_a_key_there_is_no_position_or_a_true_one(
        self, subject: Subject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table = table_of("keyless", column_of(Kind.TEXT))
        schema = await subject.create(table)
        await subject.load(table, [(text,) for text in ("a", "b", "a", None, "", None, "b", "a", "c")])
        smaller_batches(monkeypatch, rows=2)
        batches = await subject.scan(schema.table("keyless"), in_order=True)
        if all(scanned.position is None for scanned in batches):
            assert sum(scanned.batch.num_rows for scanned in batches) == 9
        else:
            await self._check_every_position(subject, schema.table("keyless"), 9)

    async def test_positions_outlive_the_snapshot_they_come_from(
        self, subject: Subject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        schema = await subject.create(NOTES)
        await subject.load(NOTES, [(number, None) for number in range(0, 20, 2)])
        smaller_batches(monkeypatch, rows=5)
        first = (await subject.scan(schema.table("notes"), in_order=True))[0]
        await subject.load(NOTES, [(1, "before"), (9, "after")])
        rest = await subject.read(schema.table("notes"), in_order=True, after=first.position)
        assert [row[0] for row in rest] == [9, 10, 12, 14, 16, 18]

    @staticmethod
    async def _check_every_position(subject: Subject, table: Table, row_count: int) -> None:
        batches = await subject.scan(table, in_order=True)
        rows = subject.rows_in(table, batches)
        assert len(rows) == len(set(exactly(rows))) or not table.key
        assert len(rows) == row_count
        at = 0
        for scanned in batches:
            at += scanned.batch.num_rows
            rest = await subject.read(table, in_order=True, after=scanned.position)
            assert exactly(rest) == exactly(rows[at:])
        assert len(batches) > 1


class TestSnapshot:
    async def test_what_is_committed_later_is_not_seen(self, subject: Subject) -> None:
        await subject.create(NOTES)
        await subject.load(NOTES, [(1, "before")])

        async def write() -> None:
            await subject.insert(NOTES, id=2, note="later")

        async with subject.source.snapshot() as snapshot:
            # Where readers keep writers waiting, this one waits until the view is closed.
            writer = asyncio.create_task(write())
            await asyncio.wait({writer}, timeout=0.5)
            found = [scanned.batch.num_rows async for scanned in snapshot.scan(NOTES, wanted(NOTES))]
            count = await snapshot.rows(sa.select(sa.func.count()).select_from(clause(NOTES)))
        await writer
        assert (found, count) == ([1], [(1,)])
        assert await subject.count(NOTES) == 2

    async def test_two_tables_are_read_at_the_same_time(self, subject: Subject) -> None:
        other = dataclasses.replace(NOTES, name="other")
        await subject.create(NOTES, other)
        await subject.load(NOTES, [(number, "x" * 1000) for number in range(20_000)])
        await subject.load(other, [(number, "y" * 1000) for number in range(20_000)])
        async with subject.source.snapshot() as snapshot:

            async def count(table: Table) -> int:
                return sum([scanned.batch.num_rows async for scanned in snapshot.scan(table, wanted(table))])

            found = await asyncio.gather(count(NOTES), count(other), count(NOTES))
            assert list(found) == [20_000, 20_000, 20_000]

    async def test_small_queries_carry_their_values_and_give_exact_ones(self, subject: Subject) -> None:
        await subject.create(NOTES)
        texts = [text for text in TEXTS if len(text) < 100]
        await subject.load(NOTES, list(enumerate(texts)))
        table = clause(NOTES)
        async with subject.source.snapshot() as snapshot:
            for number, text in enumerate(texts):
                statement = sa.select(table.c["id"], table.c["note"]).where(table.c["note"] == text)
                assert await snapshot.rows(statement) == [(number, text)]
            assert await snapshot.rows(sa.select(table.c["id"]).where(table.c["id"] < 0)) == []

    async def test_a_scan_that_is_left_in_the_middle_leaves_the_view_usable(self, subject: Subject) -> None:
        await subject.create(NOTES)
        await subject.load(NOTES, [(number, "x" * 10_000) for number in range(3_000)])
        async with subject.source.snapshot() as snapshot:
            scan = snapshot.scan(NOTES, wanted(NOTES))
            async for _ in scan:
                break
            await scan.aclose()
            found = [scanned.batch.num_rows async for scanned in snapshot.scan(NOTES, wanted(NOTES))]
        assert sum(found) == 3_000

    async def test_a_table_that_is_not_there_is_an_error(self, subject: Subject) -> None:
        with pytest.raises(SourceUnusable):
            await subject.scan(table_of("nowhere", column_of(Kind.TEXT)))

    async def test_a_source_refuses_every_write(self, subject: Subject) -> None:
        await subject.create(NOTES)
        await subject.load(NOTES, [(1, "kept")])
        for statement in (sa.text("CREATE TABLE t (a INTEGER)"), sa.delete(clause(NOTES))):
            with pytest.raises(SourceUnusable):
                async with subject.source.changing() as connection:
                    await connection.execute(statement)
        assert await subject.read(NOTES) == [(1, "kept")]
        assert [table.name for table in (await subject.database.schema()).tables] == ["notes"]


PARENT = table_of("parent", column_of(Kind.INTEGER, "id", nullable=False), key=["id"])
CHILD = Table(
    "child",
    (Column("id", Kind.INTEGER, nullable=False), Column("parent", Kind.INTEGER)),
    primary_key=("id",),
    foreign_keys=(ForeignKey("child_parent", ("parent",), "parent", ("id",)),),
)
WATCHED = table_of("watched", column_of(Kind.INTEGER, "id", nullable=False), key=["id"])
HEARD = table_of("heard", column_of(Kind.INTEGER, "id"))


class TestLoading:
    async def test_a_transaction_that_fails_leaves_nothing(self, subject: Subject) -> None:
        await subject.create(NOTES)
        await subject.load(NOTES, [(1, "before")])
        table = clause(NOTES)
        with pytest.raises(Interrupted):  # noqa: PT012
            async with subject.loading(NOTES) as loader:
                await loader.write(NOTES, wanted(NOTES), batch_of(NOTES.columns, [(2, "lost"), (3, "lost")]))
                await loader.execute(sa.delete(table).where(table.c["id"] == 1))
                raise Interrupted
        assert await subject.read(NOTES) == [(1, "before")]

    async def test_after_a_failed_transaction_the_next_one_works(self, subject: Subject) -> None:
        await subject.create(NOTES)
        async with subject.database.loader([NOTES]) as loader:
            with pytest.raises(Interrupted):  # noqa: PT012
                async with loader.transaction():
                    await loader.write(NOTES, wanted(NOTES), batch_of(NOTES.columns, [(1, "lost")]))
                    raise Interrupted
            async with loader.transaction():
                await loader.write(NOTES, wanted(NOTES), batch_of(NOTES.columns, [(2, "kept")]))
        assert await subject.read(NOTES) == [(2, "kept")]

    async def test_a_row_that_breaks_a_rule_takes_its_transaction_with_it(self, subject: Subject) -> None:
        await subject.create(NOTES)
        with pytest.raises(MigrationError):
            await subject.load(NOTES, [(1, "one"), (2, "two"), (1, "again")])
        assert await subject.read(NOTES) == []

    async def test_a_cancelled_transaction_leaves_nothing(self, subject: Subject) -> None:
        await subject.create(NOTES)
        written = asyncio.Event()

        async def load() -> None:
            async with subject.loading(NOTES) as loader:
                await loader.write(NOTES, wanted(NOTES), batch_of(NOTES.columns, [(1, "lost")]))
                written.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(load())
        await written.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await subject.read(NOTES) == []

    async def test_foreign_keys_are_held_back(self, subject: Subject) -> None:
        await subject.create(PARENT, CHILD)
        async with subject.database.loader([PARENT, CHILD]) as loader:
            async with loader.transaction():
                await loader.write(CHILD, wanted(CHILD), batch_of(CHILD.columns, [(1, 7)]))
            async with loader.transaction():
                await loader.write(PARENT, wanted(PARENT), batch_of(PARENT.columns, [(7,)]))
        assert (await subject.read(CHILD), await subject.read(PARENT)) == ([(1, 7)], [(7,)])

    @pytest.mark.parametrize("fails", [False, True], ids=["it succeeds", "it fails in the middle"])
    async def test_triggers_are_held_back_and_are_back_afterwards(
        self, subject: Subject, fails: bool
    ) -> None:
        await subject.create(WATCHED, HEARD)
        await subject.run(*TRIGGER_SQL[subject.traits.dialect])
        before = await subject.database.schema()
        try:
            async with subject.database.loader([WATCHED]) as loader:
                async with loader.transaction():
                    await loader.write(WATCHED, wanted(WATCHED), batch_of(WATCHED.columns, [(1,)]))
                async with loader.transaction():
                    await loader.write(WATCHED, wanted(WATCHED), batch_of(WATCHED.columns, [(2,)]))
                    if fails:
                        raise Interrupted  # noqa: TRY301
        except Interrupted:
            assert fails
        assert await subject.read(HEARD) == []
        assert await subject.database.schema() == before
        await subject.insert(WATCHED, id=3)
        assert await subject.read(HEARD) == [(3,)]

    async def test_canary_the_trigger_fires_when_nobody_holds_it_back(self, subject: Subject) -> None:
        await subject.create(WATCHED, HEARD)
        await subject.run(*TRIGGER_SQL[subject.traits.dialect])
        await subject.insert(WATCHED, id=1)
        assert await subject.read(HEARD) == [(1,)]


class TestNumbers:
    async def test_a_table_that_numbers_nothing_has_no_next_number(self, subject: Subject) -> None:
        await subject.create(table_of("plain", column_of(Kind.TEXT)))
        schema = await subject.database.schema()
        assert await subject.next_number(schema.table("plain")) is None

    async def test_an_empty_table_begins_with_one(self, subject: Subject) -> None:
        schema = await subject.create(numbered_table())
        table = schema.table("numbered")
        assert (await subject.next_number(table), await subject.try_next_number(table)) == (1, 1)

    @pytest.mark.parametrize("number", [1, 2, 8, 1_000, 2**31, 2**53 + 1, LARGEST])
    @pytest.mark.parametrize("is_empty", [True, False], ids=["empty", "filled"])
    async def test_the_next_row_gets_the_number_that_was_set(
        self, subject: Subject, number: int, is_empty: bool
    ) -> None:
        schema = await subject.create(numbered_table("numbered", column_of(Kind.TEXT, "note")))
        table = schema.table("numbered")
        if not is_empty:
            await subject.load(table, [(number - 1, "last")])
        async with subject.database.changing() as connection:
            await subject.backend.set_next_number(connection, table, number)
        assert await subject.next_number(table) == number
        assert await subject.try_next_number(table) == number
        await subject.insert(table, note="new")
        assert (number, "new") in await subject.read(table)

    async def test_a_number_is_not_used_twice(self, subject: Subject) -> None:
        schema = await subject.create(numbered_table("numbered", column_of(Kind.TEXT, "note")))
        table = schema.table("numbered")
        await subject.insert(table, note="first")
        await subject.run(f"DELETE FROM {subject.database.writer.quote('numbered')}")
        assert (await subject.next_number(table), await subject.try_next_number(table)) == (2, 2)

    async def test_trying_leaves_no_trace(self, subject: Subject) -> None:
        await subject.create(WATCHED, HEARD)
        watched = numbered_table(
            "numbered",
            Column("note", Kind.TEXT, nullable=False, size=50),
            *[Column(kind.value, kind, nullable=False) for kind in KINDS],
        )
        watched = dataclasses.replace(
            watched,
            uniques=(Unique("numbered_note", ("note",)),),
            checks=(Check("numbered_check", "note = 'only this'"),),
        )
        schema = await subject.create(watched)
        table = schema.table("numbered")
        before = (await subject.next_number(table), await subject.count(table), schema)
        for _ in range(3):
            assert await subject.try_next_number(table) == 1
        assert (
            await subject.next_number(table),
            await subject.count(table),
            await subject.database.schema(),
        ) == before


class TestLock:
    async def test_a_second_migration_is_told_at_once(self, subject: Subject) -> None:
        async with subject.database.lock():
            with pytest.raises(TargetLocked):
                async with subject.database.lock():
                    pytest.fail("two hold one lock")

    async def test_it_is_free_after_release(self, subject: Subject) -> None:
        for _ in range(3):
            async with subject.database.lock():
                pass

    async def test_it_is_free_after_a_failure(self, subject: Subject) -> None:
        with pytest.raises(Interrupted):
            async with subject.database.lock():
                raise Interrupted
        async with subject.database.lock():
            pass

    async def test_it_keeps_nobody_from_reading_and_writing(self, subject: Subject) -> None:
        async with subject.database.lock():
            await subject.create(NOTES)
            await subject.load(NOTES, [(1, "under lock")])
            assert await subject.read(NOTES) == [(1, "under lock")]

    async def test_another_database_has_another_lock(
        self, subject: Subject, engine: str, fresh_database: FreshDatabase
    ) -> None:
        other = Subject(fresh_database(engine))
        async with subject.database.lock(), other.database.lock():
            pass
        await other.close()


class TestBackup:
    async def test_a_restored_backup_holds_the_same_rows(
        self, subject: Subject, engine: str, fresh_database: FreshDatabase, tmp_path: Path
    ) -> None:
        tables = [table_of(f"of {kind.value}", column_of(kind)) for kind in KINDS]
        schema = await subject.create(*tables, numbered_table(), PARENT, CHILD)
        for table, kind in zip(tables, KINDS, strict=True):
            await subject.load(table, [(value,) for value in values_for(kind, subject.traits)])
        async with subject.database.changing() as connection:
            await subject.backend.set_next_number(connection, schema.table("numbered"), 42)
        path = await subject.backend.backup(subject.url, tmp_path)
        await subject.backend.check_backup(subject.url, path, schema)
        assert path.parent == tmp_path
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        other = Subject(fresh_database(engine))
        await other.backend.restore(path, other.url)
        assert await other.database.schema() == schema
        for table in tables:
            assert await other.digest(table) == await subject.digest(table)
            assert (await other.digest(table)).row_count > 0
        assert await other.next_number(schema.table("numbered")) == 42
        await other.close()

    async def test_a_backup_that_lacks_a_table_is_refused(self, subject: Subject, tmp_path: Path) -> None:
        await subject.create(NOTES)
        path = await subject.backend.backup(subject.url, tmp_path)
        schema = await subject.create(PARENT)
        with pytest.raises(MigrationError, match="parent"):
            await subject.backend.check_backup(subject.url, path, schema)

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
    async def test_a_truncated_backup_is_refused(
        self, subject: Subject, tmp_path: Path, share: float
    ) -> None:
        schema = await subject.create(NOTES)
        noise = random.Random(3)
        await subject.load(NOTES, [(number, noise.randbytes(500).hex()) for number in range(400)])
        path = await subject.backend.backup(subject.url, tmp_path)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(MigrationError):
            await subject.backend.check_backup(subject.url, path, schema)


class TestErrors:
    async def test_a_database_that_is_not_there_is_told(self, subject: Subject) -> None:
        missing = Subject(
            subject.url.set(database=f"{subject.url.database}-missing").render_as_string(hide_password=False)
        )
        with pytest.raises(SourceUnusable, match="There is no") as caught:
            await missing.source.facts()
        assert caught.value.where
        with pytest.raises(SourceUnusable, match="There is no"):
            await missing.scan(NOTES)
        await missing.close()

    async def test_nonsense_is_told_in_the_words_of_the_database(self, subject: Subject) -> None:
        with pytest.raises(MigrationError, match="nonsense"):
            await subject.run("nonsense")

    def test_a_mistake_of_ours_means_nothing_to_a_backend(self, subject: Subject) -> None:
        assert subject.backend.translate_error(KeyError("ours"), subject.url, is_source=True) is None

    async def test_a_row_that_breaks_a_rule_is_not_taken_for_a_lock(self, subject: Subject) -> None:
        table = table_of("locked", column_of(Kind.INTEGER, "busy", nullable=False), key=["busy"])
        await subject.create(table)
        with pytest.raises(MigrationError) as caught:
            await subject.load(table, [(1,), (1,)])
        assert "Another" not in str(caught.value)


def test_scan_columns_are_what_is_asked_for() -> None:
    assert wanted(NOTES) == [ScanColumn(column, column.kind) for column in NOTES.columns]
