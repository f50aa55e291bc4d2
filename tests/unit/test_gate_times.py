"""Times are judged without crying wolf; seeded noise stands in for a machine, the study has a real one."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import numpy as np
import orjson
import pytest

from bench.gate.comparing_times import judge_recording, one_sided, void_reason
from bench.gate.finding import Missing, Outcome, Verdict
from bench.gate.noise import REGIMES, regime
from bench.gate.rivals import RIVALS, slower_p
from bench.gate.sides import Group, Recording
from bench.gate.study import Part, missing_parts, planned, read_recording, write_recording
from bench.gate.study_report import share_bounds, write_report
from bench.gate.times import (
    Thresholds,
    TimeVerdict,
    estimate,
    is_alarmed,
    judge_time,
    looks_at,
    lower_bound,
    read_thresholds,
    upper_bound,
)

THRESHOLDS = read_thresholds()
BENCHMARKS = len(THRESHOLDS.operations)
GROUPS = max(THRESHOLDS.looks)


def noisy(share: float, deviation: float, seed: int, groups: int = GROUPS) -> list[float]:
    """Log-ratios of a head that is slower by a share, on a machine with heavy tails."""
    chance = np.random.default_rng(seed)
    return list(math.log1p(share) + deviation * chance.standard_t(3, size=groups))


def recording_of(
    share: float, *, twin: float = 0.0, seed: int = 1, names: tuple[str, ...] = ("one",)
) -> Recording:
    """A recording as a machine would leave it, with calls of about a millisecond."""
    chance = np.random.default_rng(seed)

    def round_ns() -> tuple[int, ...]:
        factors = [1.0, 1.0, 1 + share, 1 + share, 1 + twin, 1 + twin]
        return tuple(round(4e3 * factor * chance.lognormal(0, 0.02)) for factor in factors)

    def group() -> Group:
        rounds = [round_ns() for _ in range(6)]
        return Group(4, rounds, rounds, rounds, {"measured": share} if share else {})

    return {name: [group() for _ in range(GROUPS)] for name in names}


def test_twelve_benchmarks_can_be_called_regressed_at_the_first_look() -> None:
    assert BENCHMARKS == 12
    surely = [math.log(1.1)] * min(THRESHOLDS.looks)
    assert judge_time(surely, THRESHOLDS, BENCHMARKS).verdict is TimeVerdict.REGRESSED


def test_the_same_code_on_a_noisy_machine_raises_no_alarm() -> None:
    noise = [noisy(0.0, deviation, seed) for deviation, seed in product((0.005, 0.02, 0.05), range(200))]
    assert not [
        one for one in noise if judge_time(one, THRESHOLDS, BENCHMARKS).verdict is TimeVerdict.REGRESSED
    ]
    assert not [one for one in noise if is_alarmed(one, THRESHOLDS, BENCHMARKS)]


def test_canary_a_slower_head_is_seen() -> None:
    def seen(share: float, deviation: float) -> int:
        verdicts = [judge_time(noisy(share, deviation, seed), THRESHOLDS, BENCHMARKS) for seed in range(100)]
        return sum(one.verdict is TimeVerdict.REGRESSED for one in verdicts)

    assert seen(0.10, 0.01) == 100
    assert seen(0.05, 0.01) >= 80


def test_a_head_that_is_slower_by_exactly_the_margin_is_seldom_alarmed() -> None:
    verdicts = [
        judge_time(noisy(THRESHOLDS.margin, 0.01, seed), THRESHOLDS, BENCHMARKS) for seed in range(300)
    ]
    assert sum(one.verdict is TimeVerdict.REGRESSED for one in verdicts) <= 2


def test_too_few_groups_and_too_much_noise_prove_nothing() -> None:
    few = noisy(0.5, 0.001, 1, groups=min(THRESHOLDS.looks) - 1)
    assert judge_time(few, THRESHOLDS, BENCHMARKS).verdict is TimeVerdict.UNPROVED
    assert judge_time([], THRESHOLDS, BENCHMARKS).verdict is TimeVerdict.UNPROVED
    assert judge_time(noisy(0.0, 0.3, 1), THRESHOLDS, BENCHMARKS).verdict is TimeVerdict.UNPROVED


def test_where_the_time_is_up_between_two_looks_what_is_there_is_looked_at() -> None:
    first, second, third, last = THRESHOLDS.looks
    # Beyond the margin but for one wild group, which is too many until a few groups after the second look.
    values = [math.log(1.1)] * (second + 4)
    values[0] = -1.0
    assert judge_time(values[:second], THRESHOLDS, BENCHMARKS).verdict is TimeVerdict.UNPROVED
    judged = judge_time(values, THRESHOLDS, BENCHMARKS)
    assert (judged.verdict, judged.groups) == (TimeVerdict.REGRESSED, second + 4)
    assert is_alarmed(values, THRESHOLDS, BENCHMARKS)
    assert not is_alarmed(values[:second], THRESHOLDS, BENCHMARKS)
    # Every count of groups is looked at as often as was planned, and not once more.
    for groups in range(last + 1):
        looks = looks_at(groups, THRESHOLDS)
        assert len(looks) <= len(THRESHOLDS.looks)
        assert looks == [] or looks[-1] == groups
    assert looks_at(first - 1, THRESHOLDS) == []
    assert looks_at(third + 1, THRESHOLDS) == [first, second, third, third + 1]


def test_the_head_is_compared_with_both_copies_of_the_base_and_the_twin_with_one() -> None:
    group = Group(1, [(100, 100, 110, 110, 121, 121)] * 3, [], [])
    assert group.log_ratio("head") == pytest.approx(0.0, abs=1e-9)
    assert group.log_ratio("twin") == pytest.approx(math.log(1.21))


def test_one_wild_group_moves_nothing() -> None:
    quiet = [0.001 * number for number in range(-12, 13)]
    assert estimate([*quiet, 5.0]) == pytest.approx(0.0, abs=0.002)
    assert judge_time([5.0, *quiet], THRESHOLDS, BENCHMARKS).verdict is TimeVerdict.MET


@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_bounds_miss_the_true_value_as_seldom_as_they_say(alpha: float) -> None:
    missed = sum(
        bound > 0 for seed in range(2000) if (bound := lower_bound(noisy(0, 1, seed, 15), alpha)) is not None
    )
    assert missed <= 2000 * alpha + 3 * math.sqrt(2000 * alpha) + 1


def test_bounds_are_the_signed_rank_statistic_turned_round() -> None:
    # Of 2^5 orders of signs one has every rank positive: 1/32 is the most that five values can say.
    assert lower_bound([1, 2, 3, 4, 5], 1 / 32) == 1
    assert lower_bound([1, 2, 3, 4, 5], 1 / 33) is None
    assert upper_bound([1, 2, 3, 4, 5], 2 / 32) == 4.5


def test_canary_two_copies_of_the_base_that_differ_void_the_run() -> None:
    recording = recording_of(0.0, twin=0.1, names=("one", "two"))
    reason = void_reason(recording, THRESHOLDS)
    outcome = Outcome(judge_recording(recording, THRESHOLDS, "sqlite"), reason)

    assert reason == "two copies of the base differ in one, two"
    assert (outcome.verdict, outcome.exit_code) == (Verdict.UNPROVED, 7)
    assert "void" in outcome.summary()
    assert void_reason(recording_of(0.0, twin=-0.1), THRESHOLDS)
    assert not void_reason(recording_of(0.1), THRESHOLDS)


def test_a_recording_is_judged_by_operation() -> None:
    recording = {**recording_of(0.0), **recording_of(0.1, names=("slower",))}
    one, slower = judge_recording(recording, THRESHOLDS, "sqlite")

    assert (one.verdict, slower.verdict) == (Verdict.MET, Verdict.REGRESSED)
    assert "times the base's time" in slower.what
    assert slower.next_step


@pytest.mark.parametrize(
    ("base", "head", "reason"),
    [(set(), {"one"}, Missing.NEW), ({"one"}, set(), Missing.VANISHED), (set(), set(), Missing.SKIPPED)],
)
def test_what_only_one_side_can_do_is_missing(base: set[str], head: set[str], reason: Missing) -> None:
    (found,) = one_sided({"base": base, "head": head, "twin": base}, ["one"], "sqlite")
    assert (found.verdict, found.reason) == (Verdict.MISSING, reason)
    assert not one_sided({"base": {"one"}, "head": {"one"}}, ["one"], "sqlite")


# --- the study ----------------------------------------------------------------------------------------------


def test_the_whole_study_has_the_verdicts_that_were_asked_for() -> None:
    parts = planned()
    alike = [part for part in parts if not part.kind]

    assert len(alike) * BENCHMARKS >= 300
    assert len(alike) >= 25
    assert {part.regime for part in alike} == set(REGIMES)
    for share in (0.05, 0.10):
        injected = [part for part in parts if part.share == share]
        assert len(injected) * BENCHMARKS >= 100
        assert len({part.kind for part in injected}) == 4
        assert {part.regime for part in injected} == set(REGIMES)


def test_parts_add_up_and_the_report_holds_the_gate_beside_other_rules(tmp_path: Path) -> None:
    raw, alike, slower = tmp_path / "raw", planned()[0], Part("idle", "rows", 0.1)
    names = THRESHOLDS.operations
    write_recording(raw, alike, THRESHOLDS, 1.0, recording_of(0.0, names=names), 100.0)
    path = write_recording(raw, slower, THRESHOLDS, 1.0, recording_of(0.1, names=names), 120.0)

    assert len(missing_parts(raw)) == len(planned()) - 2
    assert read_recording(path)[1] == recording_of(0.1, names=names)
    recordings = [read_recording(one) for one in sorted(raw.iterdir())]
    page = write_report(recordings, THRESHOLDS, tmp_path, 3).read_text()
    assert "| this gate | 0.000 (0 of 12) | - | 1.000 (12 of 12) |" in page
    assert all(name in page for name in RIVALS)
    figures = orjson.loads((tmp_path / "figures.json").read_bytes())
    assert figures["rules"]["this gate"]["0.1"]["alarms"] == 12
    with pytest.raises(ValueError, match="other thresholds"):
        write_report(recordings, replace(THRESHOLDS, margin=0.03), tmp_path, 3)


def test_thresholds_are_those_of_the_recordings_that_are_there() -> None:
    folder = Path(__file__).resolve().parents[2] / "results" / "gate-study" / "raw"
    frozen = orjson.loads(orjson.dumps(asdict(THRESHOLDS)))
    strange = [
        path.name for path in folder.glob("*.json.gz") if read_recording(path)[0]["thresholds"] != frozen
    ]
    assert not strange, "thresholds.toml was changed after the study: record it anew"


def test_thresholds_with_a_misspelt_name_are_refused() -> None:
    with pytest.raises(TypeError, match="marginn"):
        read_thresholds("marginn = 0.02")
    assert isinstance(THRESHOLDS, Thresholds)


def test_shares_have_exact_bounds() -> None:
    assert share_bounds(0, 300) == pytest.approx((0.0, 1 - 0.05 ** (1 / 300)))
    lower, upper = share_bounds(99, 100)
    assert lower == pytest.approx(0.9534, abs=1e-3)
    assert upper == pytest.approx(0.9995, abs=1e-3)
    assert share_bounds(5, 5)[1] == 1.0
    assert share_bounds(0, 0) == (0.0, 1.0)


def test_the_other_rules_see_what_they_look_for() -> None:
    alike, slower = recording_of(0.0)["one"], recording_of(0.3)["one"]
    assert all(rule(slower) for rule in RIVALS.values())
    assert not any(rule(alike) for rule in RIVALS.values())
    assert slower_p([2.0, 3.0], [1.0, 1.5]) == 1.0


@pytest.mark.parametrize("name", REGIMES)
def test_a_regime_disturbs_until_its_block_ends(name: str, tmp_path: Path) -> None:
    with regime(name, tmp_path):
        assert name in REGIMES


def test_canary_a_disturbance_that_ended_by_itself_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.gate.noise.REGIMES", {"busy": "raise SystemExit"})
    ended = "ended by itself"
    with pytest.raises(RuntimeError, match=ended), regime("busy", tmp_path):
        # Waits until it has ended, and leaves the ending to whoever started it.
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
