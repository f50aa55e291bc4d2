"""Operations derived from any schema: what every application does, on the tables that it finds.

A row by its key, the newest page by the key's index, a join along a foreign key, a count, a search in the
longest text, and an insert that is rolled back. What cannot be derived is told, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.types import NullType

from bench.operation import Operation
from bench.subject import Subject
from migration.database import Database
from migration.model import ForeignKey, Kind, Schema, Table

KEYS_ASKED_FOR = 500
PAGE = 50
FOUND_MAX = 10
TABLES_MAX = 12
"""The largest ones; more would make the comparison longer and tell no more."""

MIXED_TABLES_MAX = 4
"""Of these the agents' mix is made: with more operations in it each would have too few samples to judge."""

SAMPLED_TEXTS = 200
NEEDLE_CHARACTERS = 5


class NotDerived(LookupError):
    """There is no such operation for a table; the reason is the message."""


async def derived_operations(
    subject: Subject, schema: Schema | None = None
) -> tuple[tuple[Operation, ...], tuple[str, ...]]:
    """Give the operations of a database's schema, and for each that there is not the reason."""
    if schema is None:
        database = Database(subject.engine.url if subject.url is None else subject.url, is_source=True)
        try:
            schema = await database.schema()
        finally:
            await database.close()
    operations: list[Operation] = []
    missing: list[str] = []
    for rank, table in enumerate(await _largest(subject, schema)):
        before = tuple(operations)
        for derive in (_by_key, _newest_page, _count, _search, _insert):
            try:
                operations.append(await derive(subject, table))
            except NotDerived as reason:
                missing.append(f"{table.name}: {reason}")
        operations += [
            _join(table, foreign_key, await _keys(subject, table, foreign_key.columns))
            for foreign_key in table.foreign_keys
        ]
        if rank >= MIXED_TABLES_MAX:
            operations = [replace(one, weight=0) if one not in before else one for one in operations]
    return tuple(operations), tuple(missing)


def clause(table: Table) -> sa.TableClause:
    """Give a table as statements speak of it; values keep the driver's own types."""
    return sa.table(table.name, *(sa.column(column.name) for column in table.columns))


async def _largest(subject: Subject, schema: Schema) -> list[Table]:
    counts: dict[str, int] = {}
    for table in schema.tables:
        rows = await _read(subject, select(func.count()).select_from(clause(table)))
        counts[table.name] = rows[0][0]
    filled = [table for table in schema.tables if counts[table.name]]
    return sorted(filled, key=lambda table: -counts[table.name])[:TABLES_MAX]


async def _read(subject: Subject, statement: sa.Select[Any]) -> Sequence[Any]:
    async with subject.connection() as connection:
        return list((await connection.execute(statement)).all())


async def _keys(subject: Subject, table: Table, names: Sequence[str]) -> list[tuple[Any, ...]]:
    """Read values that are there, spread over the table as far as its order spreads them."""
    target = clause(table)
    columns = [target.c[name] for name in names]
    present = select(*columns).where(*(column.is_not(None) for column in columns))
    rows = await _read(subject, present.order_by(*columns).limit(KEYS_ASKED_FOR))
    return [tuple(row) for row in rows]


def _named(operation: str, table: Table) -> str:
    return f"{operation} {table.name}"


def _equal(table: sa.TableClause, names: Sequence[str]) -> list[sa.ColumnElement[bool]]:
    # Without a type: the driver sends what it has itself given, and the server knows the column's type.
    return [table.c[name] == bindparam(f"v{place}", type_=NullType()) for place, name in enumerate(names)]


def _reader(name: str, statement: sa.Select[Any], keys: Sequence[tuple[Any, ...]], **facts: Any) -> Operation:
    """Make an operation that reads, with one of the keys in each call."""

    async def read(subject: Subject, number: int) -> int:
        key = keys[number % len(keys)]
        values = {f"v{place}": value for place, value in enumerate(key)}
        async with subject.connection() as connection:
            return len((await connection.execute(statement, values)).all())

    read.__doc__ = str(facts.pop("about"))
    return Operation(name, read, rounds_small=5, **{"rounds_real": 1_000, "group": "queries", **facts})


async def _by_key(subject: Subject, table: Table) -> Operation:
    keys = await _keys(subject, table, table.key) if table.key else []
    if not keys:
        raise NotDerived("no key, so no look-up by one")
    target = clause(table)
    statement = select(target).where(*_equal(target, table.key))
    return _reader(_named("by key", table), statement, keys, weight=20, about="A row by its key.")


async def _newest_page(_: Subject, table: Table) -> Operation:
    if not table.key:
        raise NotDerived("no key, so no newest page by one")
    target = clause(table)
    newest = [target.c[name].desc() for name in table.key]
    statement = select(target).order_by(*newest).limit(PAGE)
    return _reader(
        _named("newest page", table), statement, [()], weight=5, about="The last fifty rows by the key."
    )


async def _count(_: Subject, table: Table) -> Operation:
    statement = select(func.count()).select_from(clause(table))
    return _reader(_named("count", table), statement, [()], rounds_real=600, about="Count all rows.")


def _join(table: Table, foreign_key: ForeignKey, keys: list[tuple[Any, ...]]) -> Operation:
    child, parent = (
        clause(table).alias("child"),
        sa.table(foreign_key.target_table, *(sa.column(name) for name in foreign_key.target_columns)).alias(
            "parent"
        ),
    )
    pairs = zip(foreign_key.columns, foreign_key.target_columns, strict=True)
    along = sa.and_(*(child.c[own] == parent.c[other] for own, other in pairs))
    statement = (
        select(child)
        .join_from(child, parent, along)
        .where(
            *(
                parent.c[name] == bindparam(f"v{place}", type_=NullType())
                for place, name in enumerate(foreign_key.target_columns)
            )
        )
        .limit(PAGE)
    )
    name = f"join {table.name} to {foreign_key.target_table} by {', '.join(foreign_key.columns)}"
    return _reader(
        name,
        statement,
        keys or [(None,) * len(foreign_key.columns)],
        weight=10,
        about="Fifty rows that point to one row.",
    )


async def _search(subject: Subject, table: Table) -> Operation:
    texts = [column for column in table.columns if column.kind is Kind.TEXT and column.name not in table.key]
    target = clause(table)
    longest, needle = 0.0, ""
    for column in texts:
        text = target.c[column.name]
        rows = await _read(subject, select(text).where(text.is_not(None)).limit(SAMPLED_TEXTS))
        found = [row[0] for row in rows if isinstance(row[0], str)]
        mean = sum(map(len, found)) / len(found) if found else 0.0
        if mean > longest:
            longest, searched, needle = mean, text, _middle_word(found)
    if not needle:
        raise NotDerived("no text to search in")
    pattern = f"%{needle}%"
    statement = select(searched).where(searched.like(pattern)).limit(FOUND_MAX)
    name = f"search {table.name}.{searched.name}"
    return _reader(
        name, statement, [()], group="search", rounds_real=600, about=f"Ten rows that are LIKE {pattern!r}."
    )


def _middle_word(texts: list[str]) -> str:
    """Give the part of a word that several texts hold, so that something is found."""
    words = sorted(word for word in _words(texts) if word.isalnum() and len(word) >= NEEDLE_CHARACTERS)
    return words[len(words) // 2][:NEEDLE_CHARACTERS] if words else ""


def _words(texts: list[str]) -> Iterator[str]:
    for text in texts:
        yield from text.split()


async def _insert(subject: Subject, table: Table) -> Operation:
    """Make an insert of a copy of a row under a key of its own; rolled back, always.

    The key is below all others: a rolled back insert above them would still move the engine's own numbering.
    """
    if len(table.key) != 1 or table.column(table.key[0]).kind is not Kind.INTEGER:
        raise NotDerived("no key of one integer, so no insert under a key that is free for certain")
    target, key = clause(table), table.key[0]
    written = [column.name for column in table.columns if column.generated is None]
    (row,) = await _read(subject, select(*(target.c[name] for name in written)).limit(1)) or [None]
    (least,) = (await _read(subject, select(func.min(target.c[key]))))[0]
    assert row is not None
    values = {f"v{place}": value for place, value in enumerate(row)}
    place = f"v{written.index(key)}"
    statement = sa.insert(target).values(
        {name: bindparam(f"v{number}", type_=NullType()) for number, name in enumerate(written)}
    )

    async def insert(subject: Subject, number: int) -> int:
        new = {**values, place: min(int(least), 0) - 1 - number}
        await subject.rolled_back(lambda connection: connection.execute(statement, new))
        return 1

    insert.__doc__ = "Insert a copy of a row and roll it back."
    try:
        await insert(subject, 0)
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).partition("\n")[0]
        raise NotDerived(f"a copy of a row under another key is refused ({reason})") from error
    return Operation(_named("insert", table), insert, 5, 600, group="queries", weight=5)
