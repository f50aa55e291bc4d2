"""Where the operations are measured: on each backend, before and after a migration of the same data."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.copying import CopyOutcome, copied_in_a_child
from bench.loading import load, mysql_connection, run_mysql_script
from bench.reference import schema_script
from bench.search_index import add_search_index
from bench.subject import open_subject
from bench.tuning import tune

Entered = TypeVar("Entered")

BACKENDS = ("sqlite", "postgresql", "mariadb")
"""Every backend that can be measured. Adding an engine adds its name here and its script in `reference`."""

USUAL_BACKENDS = ("sqlite", "postgresql")
"""What is measured when nobody asks for more: both can be had on a fresh machine, from wheels alone."""

SOURCE = "sqlite"
"""What is migrated; every other backend is measured after it too."""

RENAMED: Mapping[str, Mapping[str, str]] = {"mariadb": {"agent_memory.key": "key_name"}}
"""Columns that have another name in the hand-written schema of that backend."""


@dataclass(frozen=True)
class Place:
    """One backend at one stage: filled by a road of the bench's own, or by a migration."""

    backend: str
    stage: str

    def __str__(self) -> str:
        """Write it as a test's name shows it."""
        return f"{self.backend}-{self.stage}"


def places(backends: tuple[str, ...]) -> list[Place]:
    """Give the places to measure, those that are compared side by side."""
    return [
        Place(backend, stage)
        for backend in backends
        for stage in ("before", "after")
        if stage == "before" or backend != SOURCE
    ]


def chosen(words: str) -> tuple[str, ...]:
    """Read a list of backends; `all` is every one, and a word that is none is an error."""
    names = tuple(word.strip() for word in words.split(",") if word.strip())
    if names == ("all",):
        return BACKENDS
    if unknown := set(names) - set(BACKENDS):
        raise ValueError(f"{', '.join(sorted(unknown))}: know only all, {', '.join(BACKENDS)}")
    return names or USUAL_BACKENDS


async def fill(place: Place, url: str, dataset: Path, *, tuned: bool = True) -> CopyOutcome | None:
    """Fill an empty database for a place and add its indexes; tell of the migration if there was one."""
    outcome = None
    if place.stage == "after":
        await make_reference_schema(place.backend, url)
        renamed = RENAMED.get(place.backend, {})
        outcome = await copied_in_a_child(f"sqlite:///{dataset}", url, renamed)
    else:
        await load(dataset, url)
    async with open_subject(url) as subject:
        await add_search_index(subject)
        if tuned:
            await tune(subject)
    return outcome


async def make_reference_schema(backend: str, url: str) -> None:
    """Create the hand-written schema, empty but for its own row of `schema_version`."""
    if backend == "postgresql":
        import asyncpg

        connection = await asyncpg.connect(url)
        try:
            await connection.execute(schema_script(backend))
        finally:
            await connection.close()
    else:
        async with mysql_connection(url) as connection:
            await run_mysql_script(connection, schema_script("mysql"))


@contextmanager
def held(loop: asyncio.AbstractEventLoop, manager: AbstractAsyncContextManager[Entered]) -> Iterator[Entered]:
    """Enter an asynchronous context manager from synchronous code; one task enters and leaves it."""
    entered: asyncio.Future[Entered] = loop.create_future()
    leave = asyncio.Event()

    async def hold() -> None:
        try:
            async with manager as value:
                entered.set_result(value)
                await leave.wait()
        except BaseException as error:
            if entered.done():
                raise
            entered.set_exception(error)

    holding = loop.create_task(hold())
    value = loop.run_until_complete(entered)
    try:
        yield value
    finally:
        leave.set()
        loop.run_until_complete(holding)
