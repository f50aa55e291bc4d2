"""What the findings recommend does what they say: turns in order, and no table read whole for a few rows."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from bench.dataset import fill
from bench.loading import load
from bench.search_index import INDEXED_SEARCH, add_search_index
from bench.subject import open_subject
from bench.tuning import tune

SCALE = 0.02
EXPIRED = (
    "EXPLAIN SELECT id FROM agent_memory WHERE expires_at IS NOT NULL AND expires_at < '2020-01-01' LIMIT 1"
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dataset") / "reference.db"
    fill(path, SCALE, seed=1)
    return path


async def test_connections_are_given_in_the_order_of_asking(tmp_path: Path) -> None:
    """A pool gives one to whoever asks at that moment, and who has waited longest waits on."""
    served: list[int] = []
    async with open_subject(tmp_path / "empty.db", pool_size=1, pool_overflow=0) as subject:

        async def request(number: int) -> None:
            async with subject.connection() as connection:
                await connection.execute(text("SELECT 1"))
                served.append(number)
                if number < 10:
                    # Who asks while others wait comes after all of them.
                    asked.create_task(request(number + 10))

        async with asyncio.TaskGroup() as asked:
            for number in range(10):
                asked.create_task(request(number))

    assert served == list(range(20))


async def test_looking_for_an_expired_memory_reads_an_index(mariadb_url: str, dataset: Path) -> None:
    await load(dataset, mariadb_url)

    async def how() -> str:
        async with open_subject(mariadb_url) as subject, subject.connection() as connection:
            return str((await connection.execute(text(EXPIRED))).one().type)

    untuned = await how()
    async with open_subject(mariadb_url) as subject:
        await tune(subject)
    assert (untuned, await how()) == ("ALL", "range")


async def test_a_rolled_back_message_is_not_found_by_the_index(mariadb_url: str, dataset: Path) -> None:
    """The table of texts knows no transactions; the message that it speaks of must be there."""
    await load(dataset, mariadb_url)
    async with open_subject(mariadb_url) as subject:
        await add_search_index(subject)
        new = text(
            "INSERT INTO messages (session_id, sender, content)"
            " SELECT id, 'qa-bot', :words FROM sessions LIMIT 1"
        )
        async with subject.rolled_back() as connection:
            await connection.execute(new, {"words": "zeppelin taken back"})
        async with subject.transaction() as connection:
            await connection.execute(new, {"words": "zeppelin kept"})
    async with open_subject(mariadb_url) as subject:
        statement, values = INDEXED_SEARCH["mariadb"].asked(["zeppelin"])
        async with subject.connection() as connection:
            found = (await connection.execute(statement, values)).all()

    assert [row.content for row in found] == ["zeppelin kept"]
