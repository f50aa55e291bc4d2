"""What went wrong for users of other tools: each of the thirty edge cases, on every pair that it can be on.

The situations and what must become of them are data, in ``tests/cases``. What has arrived is read by each
engine's own driver, and compared by rules that share no code with the product.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from migration import DataMigrationService, MigrationValidator, open_database
from migration.errors import HazardsNotAccepted, RolledBack
from migration.plan import Hazard, Severity
from tests import oracle
from tests.cases import EDGE_CASES, Case, Outcome, Pointer, Told, cases, everything, matches
from tests.conftest import FreshDatabase
from tests.moving import moved
from tests.servers import ENGINES
from tests.side_by_side import can_stand_beside, mark, placed

ROOT = Path(__file__).resolve().parents[2]
PAIRS = list(product(ENGINES, ENGINES))


# Pairs on which cases disturb one another though they should not, and why.
APART: dict[tuple[str, str], str] = {}


def moves() -> list[object]:
    """Return every case on every pair, those that are known to fail marked so; first all of a pair together.

    One pair after the other: what they share is made by the process that runs them, and two processes divide
    a list between them.
    """
    found = []
    for source, target in PAIRS:
        gap = APART.get((source, target), "")
        found.append(move(None, "all together", source, target, gap))
        found += [
            move(case, f"{case.number:02} {case.name}", source, target, outcome.gap)
            for case in cases()
            if (outcome := case.outcome(source, target)) is not None
        ]
    return found


def move(case: Case | None, name: str, source: str, target: str, gap: str) -> object:
    marks = [pytest.mark.xfail(strict=True, reason=gap)] if gap else []
    return pytest.param(case, source, target, id=f"{name}, {source} to {target}", marks=marks)


@pytest.mark.parametrize(("case", "source_engine", "target_engine"), moves())
async def test_it_arrives_or_is_named_or_is_refused(
    case: Case | None, source_engine: str, target_engine: str, fresh_database: FreshDatabase
) -> None:
    pair = (source_engine, target_engine)
    together, wrong = await moved_together(pair, fresh_database)
    if case is None:
        if wrong is not None:
            raise wrong
        assert len(together) > len(PAIRS)
    elif case.name not in together:
        await assert_moves({"": case}, pair, fresh_database)


TOGETHER: dict[tuple[str, str], tuple[set[str], Exception | None]] = {}


async def moved_together(
    pair: tuple[str, str], fresh_database: FreshDatabase
) -> tuple[set[str], Exception | None]:
    """Move all cases of a pair that can stand side by side, once a run; return their names, or what is wrong.

    Where something is wrong each is moved alone, too, which tells the one that is wrong from the others.
    """
    if pair not in TOGETHER:
        expected = [(case, case.outcome(*pair)) for case in cases() if can_stand_beside(case)]
        here = [case for case, outcome in expected if outcome is not None and not outcome.gap]
        beside = {mark(number): placed(case, number) for number, case in enumerate(here)}
        try:
            await assert_moves(beside, pair, fresh_database)
        except Exception as wrong:  # noqa: BLE001 - whatever it is, it is told by the test above
            TOGETHER[pair] = set(), wrong
        else:
            TOGETHER[pair] = {case.name for case in here}, None
    return TOGETHER[pair]


async def assert_moves(beside: dict[str, Case], pair: tuple[str, str], fresh_database: FreshDatabase) -> None:
    """Move the cases together: first what is refused by name, then what arrives."""
    refusing = {at: case for at, case in beside.items() if outcome_of(case, pair).how == "refused"}
    arriving = {at: case for at, case in beside.items() if at not in refusing}
    if refusing:
        async with made(beside, pair, fresh_database) as (source, target):
            await assert_nothing_is_written(beside, pair, source, target, accept_all=True)
    if arriving:
        async with made(arriving, pair, fresh_database) as (source, target):
            if any(outcome_of(case, pair).how == "asked" for case in arriving.values()):
                await assert_nothing_is_written(arriving, pair, source, target)
            if any(outcome_of(case, pair).undone for case in arriving.values()):
                await assert_put_back(arriving, pair, source, target)
            else:
                await assert_arrives(arriving, pair, source, target)


def outcome_of(case: Case, pair: tuple[str, str]) -> Outcome:
    outcome = case.outcome(*pair)
    assert outcome is not None
    return outcome


@asynccontextmanager
async def made(
    beside: dict[str, Case], pair: tuple[str, str], fresh_database: FreshDatabase
) -> AsyncIterator[tuple[str, str]]:
    """Make the source and the target, and put back afterwards what is not the database's alone."""
    source, target = fresh_database(pair[0]), fresh_database(pair[1])
    try:
        for case in beside.values():
            await oracle.run(source, case.script(case.build, pair[0]))
            await oracle.run(target, case.script(case.there, pair[1]))
        yield source, target
    finally:
        for case in beside.values():
            for url, engine in zip((source, target), pair, strict=True):
                await oracle.run(url, case.script(case.afterwards, engine))


async def assert_nothing_is_written(
    beside: dict[str, Case], pair: tuple[str, str], source: str, target: str, *, accept_all: bool = False
) -> None:
    """Refused by just the hazards that are expected, each told with what is needed; nothing is touched."""
    before = await oracle.dump(target)
    first = await moved(source, target, **said_by(beside))
    assert isinstance(first.error, HazardsNotAccepted), told(first)
    assert first.plan is not None
    for at, case in beside.items():
        outcome = outcome_of(case, pair)
        hazards = [hazard for hazard in first.plan.hazards if at in words_of(hazard)]
        standing = [h for h in hazards if h in first.plan.refused(first.options.accept)]
        # Where something is blocking, what else could be accepted is beside the point.
        severities = [Severity.BLOCKING] if outcome.how == "refused" else list(Severity)
        assert {h.name for h in standing if h.severity in severities} == outcome.hazards, told(first)
        assert_said(hazards, outcome, at)
    if accept_all:
        again = await moved(source, target, accept_all=True, mapping=said_by(beside)["mapping"])
        assert isinstance(again.error, HazardsNotAccepted), told(again)
    assert await oracle.dump(target) == before


async def assert_arrives(beside: dict[str, Case], pair: tuple[str, str], source: str, target: str) -> None:
    """Accepted by name, everything arrives and is proved; each engine's own driver sees it, too."""
    left = await oracle.dump(source)
    said = said_by(beside)
    names = {name for case in beside.values() for name in outcome_of(case, pair).names}
    service = await moved(source, target, accept=(*said["accept"], *sorted(names)), mapping=said["mapping"])
    assert service.error is None, told(service)
    assert service.report is not None
    assert service.report.proved
    assert service.plan is not None
    changed = [column for case in beside.values() for column in outcome_of(case, pair).changed]
    ignored = [*changed, *service.report.left_out]
    assert await oracle.differences(source, target, said["mapping"], ignored) == []
    for at, case in beside.items():
        assert_said([h for h in service.plan.hazards if at in words_of(h)], outcome_of(case, pair), at)
        await assert_then(case, *pair, target)
    assert await oracle.dump(source) == left


async def assert_put_back(beside: dict[str, Case], pair: tuple[str, str], source: str, target: str) -> None:
    """Who accepted what the target cannot take has a target as it was, and is told why."""
    before = await oracle.dump(target)
    names = [name for case in beside.values() for name in outcome_of(case, pair).names]
    service = await moved(source, target, **(said_by(beside) | {"accept": tuple(names)}))
    assert isinstance(service.error, RolledBack), told(service)
    assert await oracle.dump(target) == before


def said_by(beside: dict[str, Case]) -> dict[str, Any]:
    """Return what the user says from the start, for all cases together."""
    return {
        "accept": tuple(name for case in beside.values() for name in case.accept),
        "mapping": {one: other for case in beside.values() for one, other in case.mapping.items()},
    }


def words_of(hazard: Hazard) -> str:
    place = f"{hazard.name} {hazard.table}.{hazard.column} {hazard.count}"
    return f"{place} {hazard.sentence} {' '.join(hazard.examples)}"


def assert_said(hazards: list[Hazard], outcome: Outcome, at: str) -> None:
    said = "\n".join(map(words_of, hazards)).replace(at, "")
    for words in outcome.says:
        assert words in said


async def assert_then(case: Case, source: str, target_engine: str, target: str) -> None:
    """Look at what the case says must be there, with the target's own driver."""
    for then in case.then:
        if not matches(then.on, source, target_engine):
            continue
        if then.refuses:
            with pytest.raises(Exception, match=r"."):
                await oracle.run(target, then.first)
        else:
            await oracle.run(target, then.first)
        found = await oracle.rows(target, then.query)
        assert [list(map(exactly, row)) for row in found] == [list(map(exactly, row)) for row in then.rows], (
            then.query
        )


def exactly(value: object) -> object:
    """Return a value as it is compared here: 1 is not 1.0, nor True."""
    return type(value).__name__, repr(value)


def told(service: DataMigrationService) -> str:
    """Return how it ended, for a person who reads a failed test."""
    hazards = service.plan.hazards if service.plan is not None else ()
    return "\n".join([
        repr(service.error),
        *(f"{h.severity.value} {h.name} {h.table}.{h.column} ({h.count}): {h.sentence} {h.examples}"
          for h in hazards if h.severity is not Severity.NOTICE),
    ])  # fmt: skip


# --- what a verification says -------------------------------------------------------------------------------


def told_of(source: str, target: str) -> list[Told]:
    """Return every case that can be on this pair."""
    return [
        case
        for case in everything()
        if isinstance(case, Told)
        and {source, target} <= set(case.engines) | (set(ENGINES) if "*" in case.engines else set())
    ]


def comparisons() -> list[object]:
    return [
        pytest.param(case, source, target, id=f"{case.number:02} {case.name}, {source} and {target}")
        for source, target in PAIRS
        for case in told_of(source, target)
    ]


@pytest.mark.parametrize(("case", "source_engine", "target_engine"), comparisons())
async def test_a_verification_tells_equal_from_different(
    case: Told, source_engine: str, target_engine: str, fresh_database: FreshDatabase
) -> None:
    pair = (source_engine, target_engine)
    differs = case.differs_between(*pair)
    report, table = await compared_together(pair, case, fresh_database)
    assert table["equal"] is not differs, report
    assert bool(table["missing"] + table["extra"] + table["changed"]) is differs, report
    # With it are only those of which the same is true: that one of them differs makes the whole different,
    # and where the whole is equal each of them is.
    assert report["validation_passed"] is not differs, report
    assert bool(report["error_count"]) is differs
    assert report["could_not_look"] == []


COMPARED: dict[tuple[str, str, bool], dict[str, Any]] = {}


async def compared_together(
    pair: tuple[str, str], case: Told, fresh_database: FreshDatabase
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compare all cases of a pair that differ, or all that do not, once a run; return report and table."""
    differs = case.differs_between(*pair)
    names = {
        other.name: f"t{mark(number)}"
        for number, other in enumerate(told_of(*pair))
        if other.differs_between(*pair) is differs
    }
    if (*pair, differs) not in COMPARED:
        beside = {names[other.name]: other for other in told_of(*pair) if other.name in names}
        COMPARED[*pair, differs] = await compared(pair, beside, fresh_database)
    report = COMPARED[*pair, differs]
    assert sorted(table["table"] for table in report["tables"]) == sorted(names.values())
    (table,) = [table for table in report["tables"] if table["table"] == names[case.name]]
    return report, table


async def compared(
    pair: tuple[str, str], beside: dict[str, Told], fresh_database: FreshDatabase
) -> dict[str, Any]:
    """Make each case's table on both sides and return what a verification reports."""
    urls = fresh_database(pair[0]), fresh_database(pair[1])
    for side, (url, engine) in enumerate(zip(urls, pair, strict=True)):
        statements = []
        for name, case in beside.items():
            values = (case.ours, case.theirs)[side]
            statements += [
                case.create(engine, name),
                *(f"INSERT INTO {name} VALUES ({row})" for row in values),
            ]
        await oracle.run(url, ";\n".join(statements))
    async with open_database(urls[0], is_source=True) as ours, open_database(urls[1]) as theirs:
        validator = MigrationValidator(ours, theirs)
        is_same = await validator.validate_data_integrity()
        report = validator.get_validation_report()
    assert is_same is report["validation_passed"]
    return report


# --- that nothing is left out -------------------------------------------------------------------------------


def test_every_edge_case_has_tests() -> None:
    assert {case.number for case in everything()} == set(EDGE_CASES)


def test_every_pair_of_engines_occurs_and_every_case_runs_somewhere() -> None:
    run = {(case.name, source, target) for case in cases() for source, target in PAIRS
           if case.outcome(source, target) is not None}  # fmt: skip
    assert {(source, target) for _, source, target in run} == set(PAIRS)
    known = {"*", *ENGINES}
    needed = {
        case.name
        for case in cases()
        if known & case.build.keys() and known & (case.there or case.build).keys()
    }
    assert {name for name, _, _ in run} == needed


def test_no_two_cases_have_one_name() -> None:
    names = [(case.number, case.name) for case in everything()]
    assert len(names) == len(set(names))


def test_the_tests_that_are_pointed_to_are_there_and_run() -> None:
    pointed = sorted({name for case in everything() if isinstance(case, Pointer) for name in case.tests})
    collected = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *pointed],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert collected.returncode == 0, collected.stdout + collected.stderr
    for name in pointed:
        assert name in collected.stdout, name
        assert not marked(name) & {"skip", "skipif", "xfail"}, name


def marked(name: str) -> set[str]:
    """Return the marks that stand above a test."""
    path, *_, function = name.split("::")
    (found,) = [
        node
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == function
    ]
    return {
        part.attr
        for mark in found.decorator_list
        for part in ast.walk(mark)
        if isinstance(part, ast.Attribute)
    }
