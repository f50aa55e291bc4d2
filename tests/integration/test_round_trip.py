"""Any small database survives the way to another engine and back, or is refused by name.

What arrives is compared by means that share no code with the product: each engine's plain driver, value by
value, by rules of their own (``tests/meaning.py``). ``MIGRATION_BENCH_FILES`` names a folder of SQLite files
that go around, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import math
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, currently_in_test_context, event, example, given, note, seed, settings
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from bench.dataset import fill
from migration import DataMigrationService, Options, open_database
from migration.errors import HazardsNotAccepted
from migration.plan import Severity
from migration.servers import ServerUnavailable
from tests import moving, oracle
from tests.conftest import required_engines
from tests.contract import ODD_NAMES, TEXTS
from tests.faults import SHOP
from tests.meaning import same
from tests.servers import ENGINES, Servers

SERVERS = [engine for engine in ENGINES if engine != "sqlite"]
FILES_VARIABLE = "MIGRATION_BENCH_FILES"
SIDES = (lambda compared: compared.source, lambda compared: compared.target)

# So many take about half a minute on two cores.
EXAMPLES = 40
# One seed for everybody: a new one each time would let a rare finding turn somebody else's change red.
# A number in the environment looks further.
SEED = int(os.environ.get("MIGRATION_BENCH_SEED", "1"))
settings.register_profile(
    "round trip",
    max_examples=EXAMPLES,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

DECLARED = (
    "", "INTEGER", "INT", "BIGINT", "TEXT", "VARCHAR(5)", "CHAR(1)", "BLOB", "REAL", "FLOAT",
    "DOUBLE PRECISION", "NUMERIC", "DECIMAL(10,2)", "NUMERIC(5)", "BOOLEAN", "DATE", "TIME", "DATETIME",
    "TIMESTAMP", "TIMESTAMPTZ", "JSON", "GEOMETRY", "ANY",
)  # fmt: skip
ALONE = ", PRIMARY KEY ({0})"
KEYS = ("", ALONE, ", PRIMARY KEY ({0}, n)", ", UNIQUE ({0}, n)")
DATES = ["2024-02-29", "1582-10-10", "0001-01-01", "9999-12-31", "2024-02-30", "0000-00-00", "0000-01-01"]
TIMES = ["12:30", "12:30:01", "23:59:59.999999", "00:00:00.000001", "24:00:00", "12:30:01.1234567"]
MOMENTS = [
    "2024-03-31 02:30:00", "2024-03-31T02:30:00.123456", "2024-03-31 02:30:00+02:00", "2024-03-31T02:30:00Z",
    "2024-03-31 02:30", "2024-03-31 02:30:00.123456789", "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999",
    "0001-01-01 00:00:00+14:00", "9999-12-31 23:59:59-14:00", "2024-10-27 02:30:00+0100",
]  # fmt: skip
JSONS = [
    '{"b": 1, "a": [1.10, null]}',
    "1",
    '"x"',
    "null",
    "{",
    '{"a": 1, "a": 2}',
    '"\\u0000"',
    "1e400",
    "[]",
]
NUMBERS = [
    "1",
    "-1",
    "0",
    "1.50",
    "1e5",
    "12345678901234567890.123",
    "007",
    "NaN",
    "Infinity",
    "0x10",
    ".5",
    "5.",
]
WORDS = ["true", "F", "t", "yes", "a\0b", "\0", *[text for text in TEXTS if len(text) < 100]]

integers = st.one_of(
    st.sampled_from(
        [0, 1, 2, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 1_700_000_000, 1_700_000_000_123, 2024]
    ),
    st.integers(-(2**63), 2**63 - 1),
)
reals = st.one_of(
    st.sampled_from(
        [0.5, 1.0, -1.5, 0.1, 1e15, 1e300, 5e-324, math.inf, -math.inf, 1_700_000_000.5, 2460000.5]
    ),
    st.floats(allow_nan=False).filter(lambda number: math.copysign(1, number) > 0 or number != 0),
)
texts = st.one_of(
    st.sampled_from(DATES + TIMES + MOMENTS + JSONS + NUMBERS + WORDS),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
blobs = st.one_of(st.sampled_from([b"", b"\0", b"\xff", b"{}", b"1"]), st.binary(max_size=8))
values = st.one_of(st.none(), integers, reals, texts, blobs)
# Columns mostly hold one sort of thing, else nearly everything would be refused.
SORTS: dict[str, st.SearchStrategy[Any]] = {
    "anything": values,
    "integers": integers | st.none(),
    "small integers": st.sampled_from([0, 1, None]),
    "reals": reals | st.none(),
    "texts": texts | st.none(),
    "blobs": blobs | st.none(),
    "dates": st.sampled_from([*DATES[:4], None]),
    "times": st.sampled_from([*TIMES[:4], None]),
    "moments": st.sampled_from([*MOMENTS, *DATES[:2], None]),
    "JSON": st.sampled_from([*JSONS[:4], None]),
    "numbers": st.sampled_from([1, 1.5, *NUMBERS[:4], None]),
    "words": st.sampled_from([*WORDS[3:], None]),
}
# Sorts of which no two values become one on the way; see the expected failure below.
STILL_APART = ("integers", "blobs", "words")


@dataclass(frozen=True)
class MadeTable:
    """A table and the rows that are tried on it; the column ``n`` tells them apart afterwards."""

    name: str
    ddl: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@st.composite
def tables(draw: st.DrawFn, name: str) -> MadeTable:
    names = draw(
        st.lists(st.sampled_from(["a", "b", *ODD_NAMES]), min_size=1, max_size=3, unique_by=str.lower)
    )
    sorts = [draw(st.sampled_from(sorted(SORTS))) for _ in names]
    key = draw(st.sampled_from(KEYS))
    if key == ALONE:
        sorts[0] = draw(st.sampled_from(STILL_APART))
    written = []
    for column in names:
        rule = draw(st.sampled_from(["", "", "", " NOT NULL", " COLLATE NOCASE", " DEFAULT 'x'"]))
        written.append(f"{quoted(column)} {draw(st.sampled_from(DECLARED))}{rule}")
    key = key.format(quoted(names[0]))
    number = "n INTEGER"
    if "PRIMARY" not in key:
        number += draw(st.sampled_from(["", " PRIMARY KEY", " PRIMARY KEY AUTOINCREMENT"]))
    option = " WITHOUT ROWID" if "PRIMARY KEY (" in key and draw(st.booleans()) else ""
    rows = draw(st.lists(st.tuples(*[SORTS[sort] for sort in sorts]), max_size=7))
    ddl = f"CREATE TABLE {quoted(name)} ({', '.join(written)}, {number}{key}){option}"
    return MadeTable(name, ddl, (*names, "n"), tuple((*row, at) for at, row in enumerate(rows)))


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


databases = st.lists(st.sampled_from(["t", *ODD_NAMES]), min_size=1, max_size=2, unique_by=str.lower).flatmap(
    lambda names: st.tuples(*[tables(name) for name in names])
)


@pytest.fixture(scope="module")
def server_urls(request: pytest.FixtureRequest, servers: Servers) -> Iterator[dict[str, str]]:
    """One database of each server for all examples; they are emptied in between."""
    with ExitStack() as databases:
        urls = {}
        for engine in SERVERS:
            server = servers.get(engine)
            if isinstance(server, ServerUnavailable):
                if engine in required_engines(request.config):
                    pytest.fail(f"--require-backends: {server}", pytrace=False)
                pytest.skip(str(server))
            urls[engine] = databases.enter_context(servers.fresh_database(engine))
        yield urls


def one_of(rows: Sequence[tuple[Any, ...]], *columns: str) -> tuple[MadeTable, ...]:
    """Return a database of one table, for an example that once went wrong."""
    names = [column.split('"')[1] for column in columns]
    ddl = f"CREATE TABLE t ({', '.join(columns)}, n INTEGER)"
    return (MadeTable("t", ddl, (*names, "n"), tuple((*row, at) for at, row in enumerate(rows))),)


@seed(SEED)
@settings(settings.get_profile("round trip"))
@given(databases)
@example(one_of([("a\0b",)], '"a" TEXT'))
@example(one_of([("0000-01-01",), ("2024-02-29",)], '"a" DATE'))
@example(one_of([("0001-01-01 00:00:00+14:00",)], '"a" TIMESTAMPTZ'))
@example(one_of([("1e400",), ('{"a": 1, "a": 2}',)], '"a" JSON'))
@example(one_of([(1,), (0.5,), ("x",), (b"y",), (None,)], '"a"'))
@pytest.mark.parametrize("engine", SERVERS)
def test_any_database_survives_there_and_back_or_is_refused_by_name(
    engine: str, server_urls: dict[str, str], made: tuple[MadeTable, ...]
) -> None:
    note(f"seed: {SEED}")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(around(Path(folder), [server_urls[engine]], made))


@seed(SEED)
@settings(settings.get_profile("round trip"), max_examples=EXAMPLES // 2)
@given(databases)
def test_any_database_survives_the_way_through_all_engines_or_is_refused_by_name(
    server_urls: dict[str, str], made: tuple[MadeTable, ...]
) -> None:
    note(f"seed: {SEED}")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(around(Path(folder), [*server_urls.values(), *server_urls.values()], made))


@pytest.mark.parametrize("engine", SERVERS)
@pytest.mark.parametrize(
    ("declared", "values"),
    [
        ("TIMESTAMPTZ", ["2024-03-31 02:30:00+00:00", "2024-03-31T02:30:00Z"]),
        ("BOOLEAN", [1, "true"]),
    ],
)
async def test_values_that_become_equal_under_a_key_are_refused_by_name(
    engine: str, server_urls: dict[str, str], tmp_path: Path, declared: str, values: list[Any]
) -> None:
    ddl = f"CREATE TABLE t (a {declared} PRIMARY KEY, n)"
    table = MadeTable("t", ddl, ("a", "n"), tuple(enumerate_last(values)))
    await around(tmp_path, [server_urls[engine]], (table,))


async def test_json_that_becomes_equal_under_a_key_is_refused_by_name(
    server_urls: dict[str, str], tmp_path: Path
) -> None:
    table = MadeTable(
        "t", "CREATE TABLE t (a JSON PRIMARY KEY, n)", ("a", "n"), (('{"a": 1}', 0), ('{"a":1}', 1))
    )
    await around(tmp_path, [server_urls["postgresql"]], (table,))


@pytest.mark.parametrize("engine", SERVERS)
async def test_a_text_that_begins_with_a_byte_order_mark_keeps_it(
    engine: str, server_urls: dict[str, str], tmp_path: Path
) -> None:
    await around(tmp_path, [server_urls[engine]], one_of([("\ufeff",), ("\ufeffa",)], '"a"'))


@pytest.mark.parametrize("engine", SERVERS)
async def test_a_negative_zero_is_kept_or_refused_by_name(
    engine: str, server_urls: dict[str, str], tmp_path: Path
) -> None:
    await around(tmp_path, [server_urls[engine]], one_of([(-0.0,)], '"a"'))


# --- whole databases ----------------------------------------------------------------------------------------


def whole_databases() -> list[Any]:
    """Return databases that are moved whole: two of ours, and every file of a folder that is named."""
    named = os.environ.get(FILES_VARIABLE)
    files = sorted(Path(named).glob("*.db")) if named else []
    return ["the reference application", "a shop", *files]


@pytest.mark.parametrize("database", whole_databases(), ids=lambda one: getattr(one, "name", one))
async def test_a_whole_database_goes_around_all_engines_and_ends_with_the_digests_of_the_start(
    database: str | Path, server_urls: dict[str, str], tmp_path: Path
) -> None:
    here, back = tmp_path / "here.db", tmp_path / "back.db"
    if isinstance(database, Path):
        shutil.copyfile(database, here)
    elif database == "a shop":
        moving.made(here, SHOP)
    else:
        fill(here, 0.01, SEED)
    stops = [f"sqlite:///{here}", *server_urls.values(), f"sqlite:///{back}"]
    digests = []
    for source, target in pairwise(stops):
        await emptied(target)
        service = await moving.moved(source, target, accept_all=True)
        assert service.error is None
        assert service.report is not None
        assert service.report.proved
        assert not service.report.left_out
        digests += [{each.table: side(each) for each in service.report.tables} for side in SIDES]
        assert await oracle.differences(source, target) == []
    assert digests[0]
    assert all(each == digests[0] for each in digests)


# --- the way ------------------------------------------------------------------------------------------------


def enumerate_last(values: Sequence[Any]) -> Iterator[tuple[Any, int]]:
    return ((value, at) for at, value in enumerate(values))


def noted(what: str) -> None:
    """Count an outcome in the statistics of a property; an example of its own has none."""
    if currently_in_test_context():
        event(what)


async def around(folder: Path, stops: Sequence[str], made: tuple[MadeTable, ...]) -> None:
    """Move a file through some servers and into a file, and compare at each stop with the one before.

    It ends where it is refused, and then the target is empty.
    """
    here, back = folder / "here.db", folder / "back.db"
    make(here, made)
    before = here.read_bytes()
    way = [f"sqlite:///{here}", *stops, f"sqlite:///{back}"]
    for number, (source, target) in enumerate(pairwise(way)):
        await emptied(target)
        accepted = await moved(source, target, made)
        noted(f"{'refused' if accepted is None else 'arrived'} at stop {number}")
        if accepted is None:
            assert not back.exists()
            assert target == way[-1] or await oracle.tables(target) == []
            break
        for table in made:
            compare(table, await rows_in(source, table), await rows_in(target, table), accepted)
    assert here.read_bytes() == before


EMPTYING = {
    "postgresql": "DROP SCHEMA public CASCADE; CREATE SCHEMA public",
    "mariadb": 'DROP DATABASE "{0}"; CREATE DATABASE "{0}" CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin',
}


async def emptied(url: str) -> None:
    """Take everything out of a server's database; a file is not there yet."""
    script = EMPTYING.get(oracle.engine_of(url), "")
    await oracle.run(url, script.format(make_url(url).database))


def make(path: Path, made: Sequence[MadeTable]) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for table in made:
            connection.execute(table.ddl)
            for row in table.rows:
                # A row that breaks a rule of its table is no row of it.
                with contextlib.suppress(sqlite3.IntegrityError):
                    marks = ", ".join("?" * len(row))
                    connection.execute(f"INSERT INTO {quoted(table.name)} VALUES ({marks})", row)
        connection.commit()


async def rows_in(url: str, table: MadeTable) -> list[tuple[Any, ...]]:
    columns = ", ".join(quoted(column) for column in table.columns)
    return await oracle.rows(url, f"SELECT {columns} FROM {quoted(table.name)} ORDER BY n")


async def moved(source: Any, target: Any, made: Sequence[MadeTable]) -> set[tuple[str, str]] | None:
    """Move one database into another and return the columns whose change was accepted, or ``None``: refused.

    Refused only ever by what is blocking, and that says which table and which column.
    """
    async with open_database(source, is_source=True) as ours, open_database(target) as theirs:
        service = DataMigrationService(ours, theirs, options=Options(accept_all=True))
        try:
            report = await service.migrate()
        except HazardsNotAccepted:
            assert service.plan is not None
            blocking = [hazard for hazard in service.plan.hazards if hazard.severity is Severity.BLOCKING]
            columns = {(table.name, column) for table in made for column in table.columns}
            names = {(table.name, "") for table in made}
            assert blocking
            for hazard in blocking:
                is_about_a_name = (hazard.table, hazard.column) in names and "name" in hazard.name
                assert is_about_a_name or (hazard.table, hazard.column) in columns
                assert is_about_a_name or hazard.count >= 1
            return None
        assert report.proved
        assert service.plan is not None
        return {(h.table, h.column) for h in service.plan.hazards if h.severity is Severity.HAZARD}


def compare(
    table: MadeTable,
    ours: Sequence[tuple[Any, ...]],
    theirs: Sequence[tuple[Any, ...]],
    accepted: set[tuple[str, str]],
) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        for name, here, there in zip(table.columns, one, other, strict=True):
            if (table.name, name) not in accepted:
                is_same = same(here, there) or same_as_declared(table, name, here, there)
                assert is_same, f"{table.name}.{name}: {here!r} and {there!r}"


def same_as_declared(table: MadeTable, column: str, one: Any, other: Any) -> bool:
    """Tell what only the declared type can: 1 and '1' are one JSON, 't' and 1 are one truth."""
    if f"{quoted(column)} JSON" in table.ddl:
        with contextlib.suppress(ValueError, TypeError):
            return bool(_json(one) == _json(other))
    if f"{quoted(column)} BOOLEAN" in table.ddl:
        return _TRUTHS.get(str(one).lower()) is _TRUTHS.get(str(other).lower(), "neither")
    return False


def _json(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value)
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


_TRUTHS = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}


@pytest.mark.parametrize(
    ("stored", "served"),
    [
        (None, ""), ("", None), (1, 2), (0.1, 0.2), (0.0, -0.0), ("1", 1), ("a", "b"),
        ("1.1", Decimal("1.2")),
        (b"a", b"b"), ("2024-01-01", dt.date(2024, 1, 2)), ("12:00", dt.time(12, 0, 1)),
        ("2024-01-01 00:00:00+02:00", dt.datetime(2024, 1, 1, tzinfo=dt.UTC)), ('{"a": 1}', '{"a": 2}'),
        (0, True), (2, True), (1_700_000_000, dt.datetime(2023, 11, 14, 22, 13, 21, tzinfo=dt.UTC)),
    ],
)  # fmt: skip
def test_canary_values_that_differ_are_not_the_same(stored: Any, served: Any) -> None:
    assert not same(stored, served)
