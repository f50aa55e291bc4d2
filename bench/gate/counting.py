"""Counts the work of every operation on one engine; the same on any machine, and every time.

Each operation runs once unheeded, so that connections, prepared statements and pages are where they will be,
and is counted the second time. What it writes is rolled back, names that it would make up come from a seed,
and statistics were settled before (`settling`).
"""

from __future__ import annotations

import json
import random
import re
import sqlite3
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import make_url

from bench.gate.wire import Passed, watched
from bench.gate.work import COUNTED_CALLS, Work
from bench.operation import Operation
from bench.subject import Subject, open_subject

POSTGRESQL_SETTINGS = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_buffers": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "auto_explain.log_level": "notice",
    # Which process of several finds the tenth row first, or where a scan begins, is chance.
    "max_parallel_workers_per_gather": "0",
    "synchronize_seqscans": "off",
    "jit": "off",
}
"""Every statement tells its plan and its pages as it is executed: nothing is executed a second time."""

HANDLER_READS = "SHOW SESSION STATUS WHERE Variable_name BETWEEN 'Handler_read' AND 'Handler_reae'"
"""Those that count reads, named without a percent sign: drivers take it for a place of a value."""


@dataclass(frozen=True)
class Counted:
    """What was counted on one engine; `skipped` tells for an operation why it was not.

    The engine is named with its version as far as that moves counts.
    """

    engine: str
    work: Mapping[str, Work]
    skipped: Mapping[str, str] = field(default_factory=dict)


class Counter(Protocol):
    """Counts on one engine: begin, let the operation run, end."""

    async def begin(self) -> None:
        """Count from here on."""
        ...

    async def end(self) -> Work:
        """Give what was counted since :meth:`begin`."""
        ...


async def count_work(url: str, operations: Iterable[Operation]) -> Counted:
    """Count the work of each operation on a filled and settled database."""
    work: dict[str, Work] = {}
    skipped: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        subject, counter = await stack.enter_async_context(_counted_subject(url))
        stack.enter_context(_seeded_names())
        for operation in operations:
            if operation.agents > 1:
                # Who of a crowd comes first is chance; alone the same function is counted exactly.
                continue
            if reason := operation.impossible(subject):
                skipped[operation.name] = reason
                continue
            await _rows_of(operation, subject)
            await counter.begin()
            rows = await _rows_of(operation, subject)
            counted = await counter.end()
            work[operation.name] = Work({"rows": rows, **counted.counters}, counted.plan)
        engine = engine_label(subject.backend, subject.described.version)
    return Counted(engine, work, skipped)


def engine_label(backend: str, version: str) -> str:
    """Name an engine with as much of its version as moves counts: a patch does not."""
    numbers = re.findall(r"\d+", version)
    return f"{backend} {numbers[0] if backend == 'postgresql' else '.'.join(numbers[:2])}"


async def _rows_of(operation: Operation, subject: Subject) -> int:
    rows = 0
    for number in range(COUNTED_CALLS):
        outcome = await operation.function(subject, number)
        rows += int(outcome) if operation.after is None else await operation.after(outcome)
    return rows


@contextmanager
def _seeded_names() -> Iterator[None]:
    """Let made-up names come from a seed: where a new key falls into an index would else be chance."""
    chance, real = random.Random(1), uuid.uuid4
    uuid.uuid4 = lambda: uuid.UUID(int=chance.getrandbits(128), version=4)
    try:
        yield
    finally:
        uuid.uuid4 = real


@asynccontextmanager
async def _counted_subject(url: str) -> AsyncIterator[tuple[Subject, Counter]]:
    scheme = make_url(url).get_backend_name()
    if scheme == "sqlite":
        async with open_subject(url, keeps_writes=False) as subject, _steps(subject) as counter:
            yield subject, counter
        return
    async with watched(url) as (through, passed):
        settings = POSTGRESQL_SETTINGS if scheme == "postgresql" else {}
        async with open_subject(through.update_query_dict(settings), keeps_writes=False) as subject:
            yield subject, _Pages(passed) if scheme == "postgresql" else _Handlers(subject, passed)


# --- SQLite -------------------------------------------------------------------------------------------------


class _Steps:
    """Counts SQLite's own steps: its progress handler is called once for each."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._steps = 0
        self._texts: list[str] = []

    def step(self) -> int:
        self._steps += 1
        return 0

    def statement(self, text: str) -> None:
        self._texts.append(text)

    async def begin(self) -> None:
        self._steps = 0
        self._texts.clear()

    async def end(self) -> Work:
        # A line that begins so is what a trigger does, within the statement that set it off.
        texts = [text for text in self._texts if not text.startswith("--")]
        counters = {"statements": len(texts), "vm_steps": self._steps}
        return Work(counters, self._plan(set(texts)))

    def _plan(self, texts: set[str]) -> tuple[str, ...]:
        lines: set[str] = set()
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as connection:
            for text in texts:
                if text.partition(" ")[0].upper() in {"SELECT", "UPDATE", "DELETE"}:
                    lines |= {str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {text}")}
        return tuple(sorted(lines))


@asynccontextmanager
async def _steps(subject: Subject) -> AsyncIterator[_Steps]:
    assert subject.url is not None
    assert subject.writer is not None
    counter = _Steps(str(subject.url.database))
    # One caller takes turns with itself: the pool has this one connection only, and gives it every time.
    async with subject.engine.connect() as connection:
        pooled = (await connection.get_raw_connection()).driver_connection
    for watched_connection in (pooled, subject.driver):
        assert watched_connection is not None
        await watched_connection.set_progress_handler(counter.step, 1)
        await watched_connection.set_trace_callback(counter.statement)

    def watch_writer(connection: sa.Connection) -> None:
        raw: Any = connection.connection.driver_connection
        raw.set_progress_handler(counter.step, 1)
        raw.set_trace_callback(counter.statement)

    await subject.writer.do(watch_writer)
    yield counter


# --- PostgreSQL ---------------------------------------------------------------------------------------------


class _Pages:
    """Counts pages and rows from the plans that the server tells as it executes."""

    def __init__(self, passed: Passed) -> None:
        self._passed = passed

    async def begin(self) -> None:
        self._passed.forget()

    async def end(self) -> Work:
        passed = self._passed
        seen = _PlanCounts()
        for notice in passed.notices:
            _, is_plan, told = notice.partition("plan:\n")
            if is_plan:
                seen.add(json.loads(told)["Plan"])
        counters = {
            "statements": passed.statements,
            "round_trips": passed.round_trips,
            "rows_sent": passed.rows,
            "rows_read": seen.rows_read,
            "pages": seen.pages,
        }
        return Work(counters, tuple(sorted(seen.lines)))


@dataclass
class _PlanCounts:
    pages: int = 0
    rows_read: int = 0
    lines: set[str] = field(default_factory=set)

    def add(self, node: dict[str, Any]) -> None:
        """Count a plan; of a statement that writes, only what it reads: where rows go is chance."""
        if node["Node Type"] == "ModifyTable":
            self.lines.add(f"{node['Operation']} {node.get('Relation Name', '')}".strip())
            for child in node.get("Plans", ()):
                self.add(child)
            return
        # The pages of a node hold those of what is below it.
        self.pages += int(node.get("Shared Hit Blocks", 0)) + int(node.get("Shared Read Blocks", 0))
        self._add_reads(node)

    def _add_reads(self, node: dict[str, Any]) -> None:
        names = [str(node[key]) for key in ("Relation Name", "Index Name") if key in node]
        if names:
            self.lines.add(" ".join([str(node["Node Type"]), *names]))
            thrown_away = (node.get(key, 0) for key in node if key.startswith("Rows Removed by"))
            self.rows_read += round((node["Actual Rows"] + sum(thrown_away)) * node["Actual Loops"])
        else:
            self.lines.add(str(node["Node Type"]))
        for child in node.get("Plans", ()):
            self._add_reads(child)


# --- MySQL and MariaDB --------------------------------------------------------------------------------------


class _Handlers:
    """Counts reads by the server's own `Handler_read` counters of the connections that the subject uses."""

    def __init__(self, subject: Subject, passed: Passed) -> None:
        self._subject = subject
        self._passed = passed
        self._blank: dict[str, int] = {}
        self._before: dict[str, int] = {}

    async def begin(self) -> None:
        # Asking reads too: what two questions with nothing between them differ by is taken off.
        first, second = await self._reads(), await self._reads()
        self._blank = {name: second[name] - first[name] for name in second}
        self._before = await self._reads()
        self._passed.forget()

    async def end(self) -> Work:
        passed = self._passed
        counters = {"statements": passed.statements, "round_trips": passed.round_trips}
        texts = set(passed.texts)
        after = await self._reads()
        for name, value in after.items():
            reads = value - self._before[name] - self._blank[name]
            if reads:
                counters[name.lower()] = reads
        return Work(counters, await self._plan(texts))

    async def _reads(self) -> dict[str, int]:
        async with self._subject.engine.connect() as connection:
            rows = [tuple(row) for row in (await connection.exec_driver_sql(HANDLER_READS)).all()]
        async with self._subject.driver.cursor() as cursor:
            await cursor.execute(HANDLER_READS)
            rows += await cursor.fetchall()
        reads: dict[str, int] = {}
        for name, value in rows:
            reads[str(name)] = reads.get(str(name), 0) + int(value)
        return reads

    async def _plan(self, texts: set[str]) -> tuple[str, ...]:
        lines: set[str] = set()
        async with self._subject.driver.cursor() as cursor:
            for text in sorted(texts):
                if text.partition(" ")[0].upper() in {"SELECT", "UPDATE", "DELETE"}:
                    await cursor.execute(f"EXPLAIN {text}")
                    names = [column[0] for column in cursor.description]
                    found = [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]
                    lines |= {_access(row) for row in found if row.get("table")}
        return tuple(sorted(lines))


def _access(row: Mapping[str, Any]) -> str:
    """Tell one line of EXPLAIN without its estimates."""
    index = f" by {row['key']}" if row.get("key") else ""
    return f"{row['type']} {row['table']}{index}"
