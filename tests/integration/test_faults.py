"""A fixed share of seeds of the fault harness, fresh ones in every run; and that it misses no safeguard.

``nox -s faults -- --seeds 500`` runs many more. A seed that fails here is run again by the command in the
message.
"""

from __future__ import annotations

import os

import pytest

from migration.servers import load_recipe
from migration.servers.programs import find_local_programs, find_wheel_programs
from migration.servers.recipe import RoadClosed
from tests.conftest import required_engines
from tests.faults import scenario
from tests.faults.command import explain, laboratory, run_seeds
from tests.faults.data import ENGINES
from tests.faults.safeguards import SAFEGUARDS

SEED_COUNT = 20


@pytest.fixture
def engines(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """All engines, or those that there are programs for; an engine that is required must be there."""
    missing = {engine: why for engine in ENGINES[1:] if (why := _missing(engine))}
    if required := missing.keys() & set(required_engines(request.config)):
        pytest.fail("; ".join(missing[engine] for engine in sorted(required)), pytrace=False)
    if missing:
        # Servers that are killed and started again must be programs on this machine.
        pytest.skip("; ".join(missing.values()))
    return ENGINES


def _missing(engine: str) -> str:
    recipe = load_recipe(engine)
    try:
        find_local_programs(recipe)
    except RoadClosed as closed:
        try:
            find_wheel_programs(recipe)
        except RoadClosed:
            return f"{engine}: {closed}"
    return ""


@pytest.mark.slow
@pytest.mark.timeout(900, method="signal")
def test_whatever_happens_the_ending_is_one_that_is_allowed(engines: tuple[str, ...]) -> None:
    first = int.from_bytes(os.urandom(4), "big") >> 1
    results = run_seeds(range(first, first + SEED_COUNT), jobs=1)
    wrong = [explain(result) for result in results if result.violation]
    assert not wrong, f"{len(wrong)} of {SEED_COUNT} seeds from {first}:" + "\n".join(wrong)
    assert len(results) == SEED_COUNT
    assert sum(bool(result.fired) for result in results) > SEED_COUNT // 3, "hardly any fault came about"


@pytest.mark.slow
@pytest.mark.timeout(600, method="signal")
def test_canary_each_safeguard_is_missed_when_it_is_switched_off(engines: tuple[str, ...]) -> None:
    unmissed = []
    with laboratory() as harness:
        for name, safeguard in SAFEGUARDS.items():
            harness.without = name
            result = harness.run(safeguard.scenario)
            if not result.violation:
                unmissed.append(f"{name}: runs ended with {result.endings}")
    assert not unmissed, unmissed


def test_a_seed_means_the_same_every_time() -> None:
    seeds = range(2_000)
    scenarios = [scenario.scenario_of(seed) for seed in seeds]
    assert scenarios == [scenario.scenario_of(seed) for seed in seeds]
    assert {found.kind for found in scenarios} == set(scenario.KINDS)
    assert {(found.shape.source, found.shape.target) for found in scenarios} == set(scenario.PAIRS)
    assert {found.shape.options for found in scenarios} == set(scenario.OPTIONS)
