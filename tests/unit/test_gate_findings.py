"""What differs from the baseline is a verdict, and so is what is not there; each says what to do next."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.baseline import Baseline, read_baseline, write_baseline
from bench.budgets import Budget
from bench.gate.accepting import NothingToAccept, accept_into, acceptance, remember_times
from bench.gate.budgeting import recorded_budgets
from bench.gate.checkout import NoBase, checked_out, filling_of
from bench.gate.comparing_work import compare_work
from bench.gate.counting import Counted, engine_label
from bench.gate.finding import EXIT_CODES, Finding, Layer, Missing, Outcome, Verdict
from bench.gate.history import change_points, write_history
from bench.gate.summary import as_junit, as_lines, as_markdown
from bench.gate.times import read_thresholds
from bench.gate.walk import Asked, known_baseline
from bench.gate.wire import MysqlListener, Passed, PostgresqlListener
from bench.gate.work import Acceptance, Work
from bench.measurement import measured
from bench.record import Run, machine_fingerprint, write_run

ROOT = Path(__file__).resolve().parents[2]
LOOK_UP = Work({"rows": 20, "vm_steps": 70}, ("SEARCH t USING INDEX i",))
SCAN = Work({"rows": 20, "vm_steps": 358}, ("SCAN t",))
OTHER = Work({"rows": 3, "vm_steps": 9})
ENGINE = "sqlite 3.40"


def found(
    now: dict[str, Work], known: dict[str, Work], skipped: dict[str, str] | None = None
) -> list[Finding]:
    return list(compare_work(Counted(ENGINE, now, skipped or {}), {ENGINE: known}, "sqlite"))


def test_the_same_work_is_met() -> None:
    assert [one.verdict for one in found({"a": LOOK_UP}, {"a": LOOK_UP})] == [Verdict.MET]


def test_canary_a_dropped_index_is_told_with_figures_and_plan() -> None:
    (one,) = found({"a": SCAN}, {"a": LOOK_UP})
    assert one.verdict is Verdict.REGRESSED
    assert "vm_steps 70 -> 358" in one.what
    assert "the plan lost “SEARCH t USING INDEX i”; the plan got “SCAN t”" in one.what
    assert "python -m bench accept a" in one.next_step


def test_less_work_is_a_difference_too() -> None:
    (one,) = found({"a": LOOK_UP}, {"a": SCAN})
    assert one.verdict is Verdict.REGRESSED


def test_many_differences_are_counted_and_a_few_are_shown() -> None:
    known = Work({f"c{number}": 1 for number in range(9)})
    (one,) = found({"a": Work({})}, {"a": known})
    assert "and 3 more" in one.what


@pytest.mark.parametrize(
    ("now", "known", "skipped", "reason", "words"),
    [
        ({}, {"a": LOOK_UP}, {}, Missing.VANISHED, "accept a"),
        ({"a": LOOK_UP}, {}, {}, Missing.NEW, "accept a"),
        ({"b": LOOK_UP}, {"a": LOOK_UP}, {}, Missing.RENAMED, "accept b a"),
        ({}, {"a": LOOK_UP}, {"a": "no index of texts"}, Missing.SKIPPED, "Make it possible"),
    ],
)
def test_what_cannot_be_compared_is_missing_and_says_why(
    now: dict[str, Work], known: dict[str, Work], skipped: dict[str, str], reason: Missing, words: str
) -> None:
    (one,) = found(now, known, skipped)
    assert (one.verdict, one.reason) == (Verdict.MISSING, reason)
    assert words in one.next_step


def test_a_new_operation_with_other_work_is_not_taken_for_a_renamed_one() -> None:
    reasons = {one.operation: one.reason for one in found({"b": OTHER}, {"a": LOOK_UP})}
    assert reasons == {"a": Missing.VANISHED, "b": Missing.NEW}


def test_another_version_of_the_engine_is_missing() -> None:
    (one,) = compare_work(Counted("sqlite 3.45", {"a": LOOK_UP}), {ENGINE: {"a": LOOK_UP}}, "sqlite")
    assert (one.verdict, one.reason) == (Verdict.MISSING, Missing.ENGINE)
    assert "knows sqlite 3.40" in one.what


def test_engines_are_named_with_what_moves_counts() -> None:
    assert engine_label("sqlite", "3.40.1") == "sqlite 3.40"
    assert engine_label("postgresql", "15.18 (Debian 15.18-1)") == "postgresql 15"
    assert engine_label("mariadb", "10.11.19-MariaDB") == "mariadb 10.11"


# --- exit codes and summaries -------------------------------------------------------------------------------

MET = Finding(Layer.WORK, Verdict.MET, "a", "sqlite", "the same")
REGRESSED = Finding(Layer.TIME, Verdict.REGRESSED, "b", "sqlite", "1.2 | times", "Mend it")
UNPROVED = Finding(Layer.BUDGET, Verdict.UNPROVED, "c", "sqlite", "too few calls", "Measure again")
MISSING = Finding(Layer.WORK, Verdict.MISSING, "d", "sqlite", "gone", "Bring it back", Missing.VANISHED)


@pytest.mark.parametrize(
    ("findings", "exit_code"),
    [
        ((MET,), 0),
        ((MET, REGRESSED, MISSING, UNPROVED), 1),
        ((MET, UNPROVED), 7),
        ((MET, UNPROVED, MISSING), 8),
        ((), 7),
    ],
)
def test_the_gravest_verdict_sets_the_exit_code(findings: tuple[Finding, ...], exit_code: int) -> None:
    assert Outcome(findings).exit_code == exit_code


def test_every_verdict_has_an_exit_code_of_its_own() -> None:
    assert sorted(EXIT_CODES.values()) == [0, 1, 7, 8]
    assert set(EXIT_CODES) == set(Verdict)


def test_every_line_but_those_that_are_met_says_what_to_do() -> None:
    lines = as_lines(Outcome((MET, UNPROVED, MISSING, REGRESSED)))
    assert [line.partition(" is ")[0] for line in lines[:3]] == [
        "time: b on sqlite",
        "work: d on sqlite",
        "budget: c on sqlite",
    ]
    assert lines[1] == "work: d on sqlite is missing (vanished): gone. Bring it back."
    assert lines[-1].startswith("The gate is regressed: 1 regressed, 1 missing, 1 unproved, 1 met.")


def test_markdown_holds_every_finding_once() -> None:
    text = as_markdown(Outcome((MET, REGRESSED), facts={"base": "0123456789abcdef"}))
    assert text.startswith("## ❌ Regression gate: regressed")
    assert "Compared with `0123456789ab`" in text
    assert "1.2 \\| times | Mend it |" in text
    assert "<details><summary>1 met</summary>" in text
    assert "exit code 1" in text


def test_junit_counts_what_it_holds() -> None:
    suite = ET.fromstring(as_junit(Outcome((MET, REGRESSED, UNPROVED, MISSING), void="two copies differ")))
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "5",
        "failures": "1",
        "errors": "2",
        "skipped": "1",
    }
    assert [len(case) for case in suite] == [0, 1, 1, 1, 1]


# --- the baseline -------------------------------------------------------------------------------------------


def test_accepting_changes_what_is_named_and_says_who_when_and_why(tmp_path: Path) -> None:
    first, later = Acceptance("a", "2026-01-01T00:00:00+00:00", "first"), acceptance("b", "meant")
    accept_into(tmp_path, "sqlite", 1.0, Counted(ENGINE, {"one": LOOK_UP, "two": OTHER}), [], first)
    now = Counted(ENGINE, {"one": SCAN, "two": SCAN})

    path, told = accept_into(tmp_path, "sqlite", 1.0, now, ["one"], later)

    work = read_baseline(path).work[ENGINE]
    assert work == {"one": replace(SCAN, accepted=later), "two": replace(OTHER, accepted=first)}
    assert told == ("one: vm_steps 70 -> 358; the plan lost “SEARCH t USING INDEX i”; the plan got “SCAN t”",)


def test_accepting_what_did_not_change_writes_the_same_file(tmp_path: Path) -> None:
    counted = Counted(ENGINE, {"one": LOOK_UP})
    path, _ = accept_into(tmp_path, "sqlite", 1.0, counted, [], acceptance("a", "first"))
    before = path.read_bytes()

    _, told = accept_into(tmp_path, "sqlite", 1.0, counted, [], acceptance("b", "again"))

    assert told == ()
    assert path.read_bytes() == before


def test_accepting_forgets_what_is_there_no_more_and_refuses_strange_names(tmp_path: Path) -> None:
    accept_into(tmp_path, "sqlite", 1.0, Counted(ENGINE, {"one": LOOK_UP}), [], acceptance("a", "first"))
    path, told = accept_into(tmp_path, "sqlite", 1.0, Counted(ENGINE, {}), ["one"], acceptance("a", "gone"))

    assert told == ("one: forgotten",)
    assert read_baseline(path).work == {ENGINE: {}}
    with pytest.raises(NothingToAccept, match="called other"):
        accept_into(tmp_path, "sqlite", 1.0, Counted(ENGINE, {}), ["other"], acceptance("a", "b"))
    with pytest.raises(NothingToAccept, match="--why"):
        acceptance("a", " ")


def test_a_baseline_that_cannot_be_used_is_missing_and_says_why(tmp_path: Path) -> None:
    def reason_of(path: Path, backend: str = "sqlite") -> Missing | None:
        asked = Asked((backend,), read_thresholds(), 1.0, baselines=path)
        known = known_baseline(asked, backend)
        assert isinstance(known, Finding)
        assert known.verdict is Verdict.MISSING
        assert "python -m bench accept" in known.next_step
        return known.reason

    assert reason_of(tmp_path) is Missing.BASELINE
    small = write_baseline(Baseline("sqlite", 0.5), tmp_path)
    assert reason_of(small) is Missing.SCALE
    whole = write_baseline(Baseline("sqlite", 1.0), tmp_path)
    assert reason_of(whole, "mariadb") is Missing.BASELINE
    whole.write_text('{"schema": "migration-bench baseline", "schema_version": 1}')
    assert reason_of(whole) is Missing.SCHEMA


def test_the_committed_baselines_can_be_read() -> None:
    for path in sorted((ROOT / "results" / "baseline").glob("*.json")):
        baseline = read_baseline(path)
        assert all(work for work in baseline.work.values())
        assert all(one.accepted for work in baseline.work.values() for one in work.values())


# --- budgets of a recorded run ------------------------------------------------------------------------------

BUDGET = Budget("any query", ("*",), "p99", "ms", at_most=30)


def run_with(**changes: object) -> Run:
    run = Run(
        started_at=datetime(2026, 1, 2, tzinfo=UTC),
        commit="0123456789abcdef",
        machine=machine_fingerprint(),
        engines={"sqlite": {"version": "3.40.1", "settings": {}}},
        scale=1.0,
        seed=1,
        measurements=(measured("one", "sqlite", [1_000_000] * 700),),
        budgets=(BUDGET,),
    )
    return replace(run, **changes)


def judged(path: Path, *budgets: Budget) -> list[Finding]:
    return list(recorded_budgets(path, scale=1.0, backends=("sqlite",), budgets=budgets))


def test_a_recorded_run_is_held_against_the_budgets(tmp_path: Path) -> None:
    (met,) = judged(write_run(run_with(), tmp_path), BUDGET)
    assert met.verdict is Verdict.MET
    slow = run_with(measurements=(measured("one", "sqlite", [99_000_000] * 700),))
    (broken,) = judged(write_run(slow, tmp_path), BUDGET)
    assert broken.verdict is Verdict.REGRESSED
    unmeasured = Budget("copy", ("copy",), "speed", "x", at_least=1.0)
    assert [one.reason for one in judged(write_run(run_with(), tmp_path), BUDGET, unmeasured)] == [
        None,
        Missing.SKIPPED,
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"machine": {**machine_fingerprint(), "cores": 999}}, Missing.MACHINE),
        ({"scale": 2.0}, Missing.SCALE),
    ],
)
def test_a_run_of_elsewhere_is_never_a_pass(
    tmp_path: Path, changes: dict[str, object], reason: Missing
) -> None:
    (one,) = judged(write_run(run_with(**changes), tmp_path), BUDGET)
    assert (one.verdict, one.reason) == (Verdict.MISSING, reason)


def test_a_run_of_another_form_is_never_a_pass(tmp_path: Path) -> None:
    path = write_run(run_with(), tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"schema_version": ', b'"schema_version": 9'))
    (one,) = judged(path, BUDGET)
    assert (one.verdict, one.reason) == (Verdict.MISSING, Missing.SCHEMA)


# --- history ------------------------------------------------------------------------------------------------


def test_history_marks_where_the_level_changed() -> None:
    scatter = [0.0, 0.02, -0.01, 0.01, -0.02, 0.0, 0.015, -0.015]
    values = [1 + one for one in scatter] + [1.5 + one for one in scatter]
    assert change_points(values) == (8,)
    assert change_points([1 + one for one in scatter * 2]) == ()
    assert change_points([1.0, 9.0]) == ()


def test_history_is_one_page_of_every_machine(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    write_baseline(Baseline("sqlite", 1.0), tmp_path / "b")
    assert "No times are remembered" in write_history(tmp_path / "b", tmp_path / "page.html").read_text()
    remember_times(tmp_path / "b", write_run(run_with(), tmp_path))
    page = write_history(tmp_path / "b", tmp_path / "page.html").read_text()
    assert "<svg" in page
    assert "1.000 ms at 2026-01-02 01234567" in page


def test_times_of_data_of_ones_own_are_not_remembered(tmp_path: Path) -> None:
    path = write_run(run_with(scale=None), tmp_path)
    with pytest.raises(NothingToAccept, match="other data"):
        remember_times(tmp_path, path)


# --- the base -----------------------------------------------------------------------------------------------


def test_a_base_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoBase), checked_out(tmp_path, "main", tmp_path):
        pytest.fail("there is no repository")


def test_what_fills_a_database_decides_which_may_share_one(tmp_path: Path) -> None:
    for tree in ("one", "two"):
        (tmp_path / tree / "bench").mkdir(parents=True)
        (tmp_path / tree / "bench" / "filler.py").write_text("rows = 1")
    assert filling_of(tmp_path / "one") == filling_of(tmp_path / "two")
    (tmp_path / "two" / "bench" / "filler.py").write_text("rows = 2")
    assert filling_of(tmp_path / "one") != filling_of(tmp_path / "two")


# --- the wire -----------------------------------------------------------------------------------------------


def typed(kind: bytes, body: bytes = b"") -> bytes:
    return kind + (len(body) + 4).to_bytes(4) + body


def test_a_round_trip_of_postgresql_is_a_sync_or_a_simple_query_however_it_is_cut() -> None:
    passed = Passed()
    listener = PostgresqlListener(passed)
    ask_for_tls, start = (
        (8).to_bytes(4) + (80877103).to_bytes(4),
        (9).to_bytes(4) + (196608).to_bytes(4) + b"\0",
    )
    talk = (
        ask_for_tls + start + typed(b"P", b"x") + typed(b"B") + typed(b"E") + typed(b"S") + typed(b"Q", b"y")
    )
    for place in range(len(talk)):
        listener.from_client(talk[place : place + 1])
    notice = typed(b"N", b"SNOTICE\0Mplan:\n{}\0\0")
    for piece in (b"N", typed(b"R") + typed(b"D")[:3], typed(b"D")[3:] + notice):
        listener.from_server(piece)

    assert (passed.round_trips, passed.statements, passed.rows) == (2, 2, 1)
    assert passed.notices == ["plan:\n{}"]
    passed.forget()
    assert passed == Passed()


def test_a_round_trip_of_mysql_is_a_packet_numbered_zero() -> None:
    passed = Passed()
    listener = MysqlListener(passed)
    packets = [(1, b"login"), (0, b"\x03SELECT 1"), (0, b"\x0e"), (0, b"\x17execute")]
    talk = b"".join(len(body).to_bytes(3, "little") + bytes([number]) + body for number, body in packets)
    for place in range(len(talk)):
        listener.from_client(talk[place : place + 1])
    assert (passed.round_trips, passed.statements, passed.texts) == (3, 2, ["SELECT 1"])
