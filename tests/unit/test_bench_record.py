"""A run goes into JSON and comes back equal; anything else is refused; the table is plain text in a pipe."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from bench.budgets import read_budgets
from bench.measurement import Figure, measured
from bench.record import (
    SCHEMA_VERSION,
    Run,
    UnreadableRun,
    commit_of,
    machine_fingerprint,
    read_run,
    write_run,
)
from bench.report import Report

FAST = measured("select_one", "sqlite", [900_000] * 1_000, row_count=1_000)
SLOW = measured("like_search", "postgresql", [31_000_000] * 1_000, row_count=10_000)
SHARE = Figure("share_of_binary_copy", "copy_messages", "sqlite -> postgresql", "x", (0.7, 0.8, 0.9))


def empty_run() -> Run:
    return Run(
        started_at=datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
        commit="0123456789abcdef",
        machine=machine_fingerprint(),
        engines={"sqlite": {"version": "3.45.0", "settings": {"journal_mode": "WAL"}}},
        scale=0.1,
        seed=3,
    )


def filled_report(folder: Path) -> Report:
    report = Report(empty_run(), read_budgets(), folder)
    report.add_measurement(FAST)
    report.add_measurement(SLOW)
    report.add_figure(SHARE)
    return report


def test_a_run_comes_back_equal(tmp_path: Path) -> None:
    report = filled_report(tmp_path)
    assert report.path is not None

    assert read_run(report.path) == report.run


def test_every_result_is_on_disk_as_soon_as_it_is_known(tmp_path: Path) -> None:
    report = Report(empty_run(), read_budgets(), tmp_path)
    report.add_measurement(FAST)
    assert report.path is not None

    assert read_run(report.path).measurements == (FAST,)
    report.add_measurement(SLOW)
    assert [entry.name for entry in tmp_path.iterdir()] == [report.path.name]
    assert read_run(report.path).measurements == (FAST, SLOW)


def test_two_runs_never_share_a_file(tmp_path: Path) -> None:
    first = empty_run()
    second = Run(**{**vars(first), "started_at": first.started_at.replace(microsecond=1)})

    assert write_run(first, tmp_path) != write_run(second, tmp_path)


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = write_run(empty_run(), tmp_path)
    document = orjson.loads(path.read_bytes())
    path.write_bytes(orjson.dumps({**document, "schema_version": SCHEMA_VERSION + 1}))

    with pytest.raises(UnreadableRun, match="has form 3"):
        read_run(path)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"{", "not JSON"), (b"[]", "not a run"), (b"{}", "not a run")]
)
def test_a_file_that_is_no_run_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content)

    with pytest.raises(UnreadableRun, match=reason):
        read_run(path)


def test_a_folder_outside_git_has_no_commit(tmp_path: Path) -> None:
    assert commit_of(tmp_path) is None


def test_a_changed_checkout_is_marked(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True, capture_output=True)

    git("init")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--allow-empty", "-m", "first")
    clean = commit_of(tmp_path)
    (tmp_path / "changed").write_text("x")

    assert clean is not None
    assert len(clean) == 40
    assert commit_of(tmp_path) == clean + "+"


def test_the_machine_is_described_without_its_name() -> None:
    fingerprint = machine_fingerprint()

    assert set(fingerprint) == {"system", "architecture", "processor", "cores", "memory_gb", "python"}
    assert fingerprint["cores"] >= 1


def test_the_table_shows_each_result_with_its_verdict_and_no_colour_codes_in_a_pipe(tmp_path: Path) -> None:
    text = filled_report(tmp_path).rendered(colour=False)

    assert "\x1b" not in text
    lines = text.splitlines()
    assert any("select_one" in line and "0.900" in line and "met" in line for line in lines)
    assert any("like_search" in line and "31.000" in line and "broken" in line for line in lines)
    assert any("share_of_binary_copy" in line and "0.8" in line and "met" in line for line in lines)
    assert "\x1b" in filled_report(tmp_path).rendered(colour=True)


def test_a_budget_that_nothing_was_judged_by_is_named(tmp_path: Path) -> None:
    report = filled_report(tmp_path)

    assert [budget.name for budget in report.unjudged()] == [
        "25 agents",
        "pool checkout",
        "pool checkout, aim",
        "verification time",
        "client memory",
    ]
    assert "Not judged in this run: 25 agents, pool checkout, pool checkout, aim" in report.rendered(
        colour=False
    )
