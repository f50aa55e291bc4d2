"""The process beside a run: `python -m bench.load.keeper`, asked by `keeping` in lines of JSON.

It starts the server, fills the database, watches its statistics, migrates while agents work, and counts at
the end. So none of this takes time of the process whose clock is read, none of it meets gevent, and the
server ends with it: when its input ends, for whatever reason, it leaves.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from bench.copying import copied_in_a_child
from bench.dataset import DatasetKey, cached
from bench.load.ledger import Ledger, counted
from bench.load.present import memories_that_end, newest_numbers, read_present
from bench.load.statistics import statistics_of
from bench.places import RENAMED, Place, fill, make_reference_schema
from bench.reference import TABLES
from bench.subject import Subject, open_subject
from migration.errors import MigrationError, UsageError
from migration.redaction import redact
from migration.servers import fresh_database, throwaway_server

LINE_BYTES_MAX = 1 << 30
"""The ledger of a long run is one line."""

TEXT_LIMIT = 1_000


class Keeper:
    """Does what it is asked; what it has opened is closed when it leaves."""

    def __init__(self, stack: AsyncExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._servers: dict[str, str] = {}
        self._subject: Subject | None = None
        self._newest: dict[str, int] = {}
        self._may_end: set[Any] = set()
        self._target = ("", "")
        self._made = 0

    @property
    def subject(self) -> Subject:
        """The database of the run."""
        if self._subject is None:
            raise UsageError("there is no database yet", next_step="Ask to prepare one first")
        return self._subject

    async def prepare(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Give the URL of a filled database: a new one of our own, or the user's."""
        url = asked["url"] or await self._fresh(asked["backend"])
        backend, is_empty = await _looked_at(url)
        if is_empty:
            dataset = await asyncio.to_thread(cached, DatasetKey(asked["scale"], asked["seed"], TABLES))
            await fill(Place(backend, "before"), url, dataset)
        if target := asked.get("target"):
            self._target = (target, await self._fresh(target))
        # It reads and counts; who writes keeps SQLite's log short, and two would be in each other's way.
        reading = open_subject(url, pool_size=2, keeps_writes=False)
        self._subject = await self._stack.enter_async_context(reading)
        if self.subject.asked is None:
            raise UsageError(
                "this database has tables, and they are not the filled reference tables",
                done="Nothing was written",
                next_step="Give an empty database, which is filled, or leave the URL out",
            )
        described = self.subject.described
        return {
            "url": url,
            "backend": self.subject.backend,
            "engine": {"version": described.version, "settings": described.settings},
        }

    async def begin(self, _asked: dict[str, Any]) -> dict[str, Any]:
        """Note what is there before a run."""
        self._newest = await newest_numbers(self.subject)
        self._may_end = await memories_that_end(self.subject)
        return {}

    async def count(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Hold what agents were told against what is there."""
        span = range(asked["base"], asked["end"])
        present = await read_present(self.subject, self._newest, self._may_end, span)
        slack_ns = int(asked.get("clock_slack_ns", 0))
        return asdict(counted(Ledger.from_message(asked["ledger"]), present, clock_slack_ns=slack_ns))

    async def statistics(self, _asked: dict[str, Any]) -> dict[str, float]:
        """Tell how the database stands."""
        return await statistics_of(self.subject)

    async def migrate(self, _asked: dict[str, Any]) -> dict[str, Any]:
        """Migrate the database, agents or not, into a new one of another engine; tell how it went."""
        target, url = self._target
        if target != "sqlite":
            await make_reference_schema(target, url)
        source = self.subject.url
        assert source is not None
        outcome = await copied_in_a_child(
            source.render_as_string(hide_password=False), url, RENAMED.get(target, {})
        )
        return orjson.loads(orjson.dumps(asdict(outcome.migration(self.subject.backend, target))))  # type: ignore[no-any-return]

    async def _fresh(self, backend: str) -> str:
        """Give an empty database of this engine, in a server of our own where the engine has one."""
        self._made += 1
        if backend == "sqlite":
            return f"sqlite:///{self._folder / f'load-{self._made}.db'}"
        if backend not in self._servers:
            server = await self._stack.enter_async_context(throwaway_server(backend))
            self._servers[backend] = server.url
        return await self._stack.enter_async_context(fresh_database(backend, self._servers[backend]))


async def _looked_at(url: str) -> tuple[str, bool]:
    """Tell which engine this is, and whether it has no table."""
    async with open_subject(url, pool_size=1, is_ours=False) as subject:
        return subject.backend, not subject.indexes


async def main() -> None:
    """Answer requests until there are no more."""
    requests = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin.buffer)
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        async with AsyncExitStack() as stack:
            keeper = Keeper(stack, Path(folder))
            doors: dict[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {
                one.__name__: one
                for one in (keeper.prepare, keeper.begin, keeper.count, keeper.statistics, keeper.migrate)
            }
            answering: set[asyncio.Task[None]] = set()
            while line := await requests.readline():
                request = orjson.loads(line)
                if request["do"] == "prepare":
                    # What is entered into the stack is left by the same task.
                    await _answer(request, doors)
                    continue
                task = asyncio.create_task(_answer(request, doors))
                answering.add(task)
                task.add_done_callback(answering.discard)
            for task in answering:
                task.cancel()


async def _answer(
    request: dict[str, Any], doors: dict[str, Callable[[dict[str, Any]], Awaitable[Any]]]
) -> None:
    answer: dict[str, Any] = {"number": request["number"]}
    try:
        answer["result"] = await doors[request["do"]](request)
    except MigrationError as error:
        answer["error"] = error.sentence()
    except Exception as error:  # noqa: BLE001  told to whoever asked, who stops
        answer["error"] = redact(f"{type(error).__name__}: {error}")[:TEXT_LIMIT]
    sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    asyncio.run(main())
