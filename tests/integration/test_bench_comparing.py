"""`python -m bench` from outside: two databases side by side, one's own operations, and what goes wrong."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from bench.comparing import compare
from bench.derived import derived_operations
from bench.record import read_run
from bench.subject import open_subject
from tests.conftest import FreshDatabase
from tests.moving import moved

ROOT = Path(__file__).resolve().parents[2]
SHARE = 0.01

SHOP = """
CREATE TABLE "all customers" (id INTEGER PRIMARY KEY, "full name" TEXT NOT NULL, joined TEXT);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES "all customers"(id), note TEXT
);
CREATE TABLE no_key (a TEXT, b TEXT);
CREATE TABLE codes (code TEXT NOT NULL PRIMARY KEY, meaning TEXT);
CREATE TABLE empty (id INTEGER PRIMARY KEY);
CREATE INDEX orders_customer ON orders (customer);
INSERT INTO "all customers"
SELECT value, 'customer number ' || value, '2026-01-01' FROM json_each('[1,2,3,4,5,6]');
INSERT INTO orders
SELECT value, 1 + value % 6, 'wonderful parcel ' || value FROM json_each('[1,2,3,4,5,6,7,8,9]');
INSERT INTO no_key VALUES ('something', 'else');
INSERT INTO codes VALUES ('a', 'first letter'), ('b', 'second letter');
"""

OWN_OPERATIONS = '''
from sqlalchemy import text

from bench.operation import operation


@operation(rounds_real=50)
async def orders_of_a_customer(subject, number):
    """The orders of one customer."""
    async with subject.connection() as connection:
        statement = text("SELECT * FROM orders WHERE customer = :one")
        return len((await connection.execute(statement, {"one": 1 + number % 6})).all())
'''


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SHOP)
    return path


def content(path: Path) -> bytes:
    with closing(sqlite3.connect(path)) as connection:
        return "\n".join(connection.iterdump()).encode()


def bench(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


async def test_operations_are_derived_from_the_schema_and_what_cannot_be_is_told(shop: Path) -> None:
    async with open_subject(shop, keeps_writes=False, is_ours=False) as subject:
        operations, missing = await derived_operations(subject)

    names = [operation.name for operation in operations]
    assert len(names) == len(set(names))
    assert {
        *("by key all customers", "by key orders", "by key codes", "newest page orders"),
        *("count no_key", "insert orders", "search orders.note", "join orders to all customers by customer"),
    } <= set(names)
    assert not [name for name in names if "empty" in name]
    assert "no_key: no key, so no look-up by one" in missing
    assert "codes: no key of one integer, so no insert under a key that is free for certain" in missing


async def test_both_sides_of_a_migration_are_measured_and_nothing_is_changed(
    engine: str, backend_url: str, shop: Path, tmp_path: Path
) -> None:
    assert (await moved(shop, backend_url, accept_all=True)).error is None
    before = content(shop)

    comparison = await compare(str(shop), backend_url, folder=tmp_path / "runs", share=SHARE, agents=5)

    by_stage = {
        stage: {
            (one.operation, one.agents) for one in comparison.report.run.measurements if one.stage == stage
        }
        for stage in ("before", "after")
    }
    assert by_stage["before"] == by_stage["after"]
    assert ("by key orders", 1) in by_stage["after"]
    assert ("by key orders", 5) in by_stage["after"]
    assert content(shop) == before
    rows = {
        (one.operation, one.stage): one.row_count
        for one in comparison.report.run.measurements
        if one.agents == 1
    }
    for (operation, stage), count in rows.items():
        assert rows[operation, "before"] == count, (operation, stage)


async def test_rolled_back_inserts_leave_the_numbering_of_a_server_alone(
    fresh_database: FreshDatabase, shop: Path, tmp_path: Path
) -> None:
    url = fresh_database("postgresql")
    assert (await moved(shop, url, accept_all=True)).error is None
    await compare(str(shop), url, folder=tmp_path / "runs", share=SHARE, agents=2)

    async with open_subject(url) as subject, subject.connection() as connection:
        await connection.exec_driver_sql("INSERT INTO orders (customer) VALUES (1)")
        newest = (await connection.exec_driver_sql("SELECT max(id), min(id) FROM orders")).one()
    assert tuple(newest) == (10, 1)


def test_the_command_prints_both_sides_and_leaves_a_run(shop: Path, tmp_path: Path) -> None:
    told = bench("compare", str(shop), str(shop), "--share", "0.01", "--agents", "2", folder=tmp_path)

    # 1 where a budget is broken, which a test that shares its machine cannot rule out.
    assert told.returncode in {0, 1}, told.stderr + told.stdout
    assert "by key orders" in told.stdout
    assert "Not measured: before: no_key: no key, so no look-up by one" in told.stdout
    (written,) = (tmp_path / "results" / "runs").glob("*.json")
    run = read_run(written)
    assert {one.stage for one in run.measurements} == {"before", "after"}
    assert run.scale is None

    page = bench("report", folder=tmp_path)
    assert page.returncode == 0, page.stderr + page.stdout
    assert (tmp_path / "results" / "runs" / "report.html").read_text().startswith("<!")


def test_a_file_that_is_not_there_is_refused_and_not_made(tmp_path: Path, shop: Path) -> None:
    told = bench("compare", "missing.db", str(shop), folder=tmp_path)

    assert told.returncode == 3
    assert "missing.db" in told.stderr
    assert not (tmp_path / "missing.db").exists()


def test_no_password_is_shown_when_a_server_does_not_answer(tmp_path: Path, shop: Path) -> None:
    told = bench("compare", str(shop), "postgresql://me:s3cret-word@127.0.0.1:1/none", folder=tmp_path)

    assert told.returncode != 0
    assert "s3cret-word" not in told.stdout + told.stderr


def test_operations_of_ones_own_are_measured_with_the_same_decorator(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "my_operations.py").write_text(OWN_OPERATIONS)
    arguments = ("run", "--operations", "my_operations.py", "--url", str(shop), "--url", str(shop))
    told = bench(*arguments, folder=tmp_path)

    assert told.returncode in {0, 1}, told.stderr + told.stdout
    (written,) = (tmp_path / "results" / "runs").glob("*.json")
    own = [one for one in read_run(written).measurements if one.operation == "orders_of_a_customer"]
    assert [one.stage for one in own] == ["before", "after"]
    assert own[0].about == "The orders of one customer."
    assert own[0].row_count == own[1].row_count > 50


def test_a_file_without_operations_says_what_to_write(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing.py").write_text("value = 1\n")
    told = bench("run", "--operations", "nothing.py", "--url", str(shop), folder=tmp_path)

    assert told.returncode == 2
    assert "from bench.operation import operation" in told.stderr
