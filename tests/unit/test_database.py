"""The one door to a server: what is typed becomes a URL, what fails becomes a sentence without secrets."""

from __future__ import annotations

import asyncio
import errno
import socket
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection

from migration.backends import postgresql
from migration.database import Database, open_database, parse_url
from migration.errors import MigrationError, Refused, SourceUnusable, TargetUnusable, UsageError
from migration.redaction import secrets_of
from tests.faults import SHOP
from tests.moving import made

PASSWORD = "p@ss:w/o%rd-1"


# --- what is typed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["file.db", "./file.db", "/tmp/a b/file.db", "C.db", "odd?name#.db", "über.db"]
)
def test_a_text_without_a_scheme_is_the_path_of_a_file(text: str) -> None:
    for typed in (text, Path(text)):
        url = parse_url(typed)
        assert Path(str(url.database)) == Path(text)


def test_a_url_is_taken_as_it_is() -> None:
    url = make_url("postgresql://user:word@host:5432/db?sslmode=disable")
    assert parse_url(url) is url
    assert parse_url("postgresql://user:word@host:5432/db?sslmode=disable") == url


def test_a_password_is_read_decoded() -> None:
    url = parse_url("postgresql://user:p%40ss%3Aw%2Fo%25rd-1@host/db")
    assert url.password == PASSWORD
    assert url.host == "host"


@pytest.mark.parametrize("text", ["", "   "])
def test_nothing_at_all_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="missing"):
        parse_url(text)


def test_what_is_no_url_is_a_usage_error_without_the_password() -> None:
    with pytest.raises(UsageError, match="no URL that can be read") as failure:
        parse_url("postgresql://user:secret-word@host:port/db")
    assert "secret-word" not in str(failure.value)
    assert "percent-encoded" in failure.value.next_step


def test_a_scheme_that_nobody_speaks_names_those_that_somebody_does() -> None:
    with pytest.raises(UsageError, match="oracle") as failure:
        Database(parse_url("oracle://host/db"))
    assert "postgresql" in failure.value.next_step


# --- what fails ---------------------------------------------------------------------------------------------


def database(typed: str = "postgresql://user:secret-word@host/db", *, is_source: bool = False) -> Database:
    return Database(make_url(typed), is_source=is_source, secrets=secrets_of(typed))


def raised_by(error: Exception, *, is_source: bool = False) -> Exception:
    with pytest.raises(Exception) as failure, database(is_source=is_source).told():  # noqa: PT011 - which one is the question
        raise error
    return failure.value


def test_what_a_driver_says_becomes_an_error_of_the_side_it_was_said_on() -> None:
    said = sa.exc.OperationalError("SELECT 1", {}, Exception("something odd\nDETAIL: more of it"))
    for is_source, kind in ((True, SourceUnusable), (False, TargetUnusable)):
        failure = raised_by(said, is_source=is_source)
        assert type(failure) is kind
        assert "The database answered: something odd" in str(failure)
        assert failure.__cause__ is said


def test_what_a_driver_says_past_sqlalchemy_is_told_too() -> None:
    failure = raised_by(asyncpg.exceptions.DataError("too much of it"))
    assert isinstance(failure, TargetUnusable)
    assert "too much of it" in str(failure)


def test_an_error_without_words_is_told_by_its_name() -> None:
    failure = raised_by(asyncpg.InterfaceError(""))
    assert "InterfaceError" in str(failure)


def test_what_the_operating_system_says_is_told() -> None:
    failure = raised_by(OSError(errno.ENOSPC, "No space left on device", "/somewhere"))
    assert isinstance(failure, TargetUnusable)
    assert "No space left" in str(failure)


@pytest.mark.parametrize(
    "mistake",
    [KeyError("column"), ZeroDivisionError(), AssertionError(), RuntimeError("raised StopIteration"),
     sa.exc.ArgumentError("no such option"), sa.exc.CompileError("cannot render")],
    ids=lambda mistake: type(mistake).__name__,
)  # fmt: skip
def test_a_mistake_of_our_own_is_not_dressed_up_as_a_databases(mistake: Exception) -> None:
    assert raised_by(mistake) is mistake


def test_our_own_errors_pass_less_their_secrets() -> None:
    failure = raised_by(
        Refused("secret-word was said", where="at secret-word", next_step="forget secret-word")
    )
    assert isinstance(failure, Refused)
    assert "secret-word" not in str(failure)
    assert "secret-word" not in failure.sentence()
    assert failure.done == "Nothing was touched"


@pytest.mark.parametrize("spelling", ["secret-word", "'secret-word'"])
def test_no_secret_is_in_what_a_driver_says(spelling: str) -> None:
    failure = raised_by(sa.exc.OperationalError("SELECT 1", {}, Exception(f"near {spelling}: no")))
    assert "secret-word" not in str(failure)
    assert "***" in str(failure)


def test_the_text_that_was_typed_tells_more_secrets_than_the_url() -> None:
    # A parser ends the password at its first "@", and takes the rest for the host.
    typed = "postgresql://user:first@second@host/db"
    with pytest.raises(MigrationError) as failure, database(typed).told():
        raise OSError("cannot find second@host")
    assert "second" not in str(failure.value)
    assert "first" not in str(database(typed))


async def test_a_stop_is_not_an_error_of_the_database() -> None:
    with pytest.raises(asyncio.CancelledError), database().told():
        raise asyncio.CancelledError


# --- a snapshot's own errors --------------------------------------------------------------------------------


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return made(tmp_path / "shop.db", SHOP)


async def test_what_fails_while_two_snapshots_are_open_is_told_of_the_side_it_failed_on(
    shop: Path, tmp_path: Path
) -> None:
    other = made(tmp_path / "other.db", "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    missing: sa.Select[Any] = sa.select(sa.column("id")).select_from(sa.table("missing"))
    async with (
        open_database(shop, is_source=True) as ours,
        open_database(other) as theirs,
        theirs.snapshot() as there,
        ours.snapshot() as here,
    ):
        with pytest.raises(SourceUnusable):
            await here.rows(missing)
        with pytest.raises(TargetUnusable):
            await there.rows(missing)
        table = (await ours.schema()).table("orders")
        with pytest.raises(TargetUnusable, match="no such table"):
            await there.next_number(table)
        with pytest.raises(Refused, match="no such table"):
            _ = [batch async for batch in there.scan(table, [])]


async def test_a_mistake_inside_a_snapshot_stays_a_mistake(shop: Path) -> None:
    async with open_database(shop, is_source=True) as ours:
        with pytest.raises(sa.exc.ArgumentError):
            async with ours.snapshot():
                raise sa.exc.ArgumentError("ours")


async def test_a_source_is_never_written_to(shop: Path) -> None:
    async with open_database(shop, is_source=True) as ours:
        with pytest.raises(SourceUnusable):
            async with ours.changing() as connection:
                await connection.exec_driver_sql("DELETE FROM orders")


async def test_what_fails_inside_a_change_is_rolled_back(shop: Path) -> None:
    async with open_database(shop) as database:

        async def delete_and_stumble() -> None:
            async with database.changing() as connection:
                await connection.exec_driver_sql("DELETE FROM orders")
                raise KeyError

        with pytest.raises(KeyError):
            await delete_and_stumble()
        async with database.control() as connection:
            assert await connection.scalar(sa.text("SELECT count(*) FROM orders")) == 200


async def test_a_database_that_was_closed_opens_again(shop: Path) -> None:
    async with open_database(shop) as database:
        first = await database.facts()
        await database.close()
        await database.close()
        assert await database.facts() == first
        assert str(database) == f"sqlite:///{shop}"


async def test_an_idle_connection_that_was_cut_is_replaced(postgresql_url: str) -> None:
    async with open_database(postgresql_url) as database:
        await database.facts()
        async with open_database(postgresql_url) as other, other.control() as connection:
            await connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert (await database.facts())["version"]


async def test_a_connection_that_cannot_be_tried_is_told(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(self: AsyncConnection, statement: str) -> None:
        raise sa.exc.OperationalError(statement, {}, Exception("out of order"))

    monkeypatch.setattr(AsyncConnection, "exec_driver_sql", refuse)
    async with open_database(shop) as database:
        with pytest.raises(TargetUnusable, match="out of order"):
            await database.facts()


async def test_a_stop_while_a_connection_is_opened_leaves_none_half_open(shop: Path) -> None:
    async with open_database(shop) as database:
        for turns in range(12):
            job = asyncio.create_task(database.facts())
            for _ in range(turns):
                await asyncio.sleep(0)
            job.cancel()
            with pytest.raises(asyncio.CancelledError):
                await job
        assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_a_stop_while_nobody_answers_is_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://user:word@127.0.0.1:{silent.getsockname()[1]}/db"
        async with open_database(url) as database:
            job = asyncio.create_task(database.facts())
            await asyncio.sleep(0.05)
            job.cancel()
            with pytest.raises(asyncio.CancelledError):
                await job


def test_a_url_object_is_opened_as_it_is() -> None:
    async def name() -> str:
        async with open_database(URL.create("sqlite", database="some.db")) as database:
            return str(database)

    assert asyncio.run(name()) == "sqlite:///some.db"
