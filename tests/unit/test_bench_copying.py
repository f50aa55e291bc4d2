"""The copy figures: their arithmetic, and a memory that is the migrating process's own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.copying import COPY_FIGURES, CopyOutcome, figures

MEGABYTE = 1_000_000
OUTCOMES = (
    CopyOutcome(rows=1_000, copy_s=2.0, verification_s=1.0, whole_s=5.0, peak_rss_bytes=200 * MEGABYTE),
    CopyOutcome(rows=1_000, copy_s=4.0, verification_s=6.0, whole_s=12.0, peak_rss_bytes=210 * MEGABYTE),
)


def test_each_ratio_is_of_two_durations_from_the_same_repetition() -> None:
    found = {figure.name: figure.repetitions for figure in figures("any", OUTCOMES, (1.0, 3.0), (6.0, 18.0))}

    assert found == {
        "copied_rows_per_s": (500, 250),
        "binary_copy_rows_per_s": (1_000, pytest.approx(333.3, abs=0.1)),
        "share_of_binary_copy": (0.5, 0.75),
        "verification_over_copy": (0.5, 1.5),
        "whole_migration_s": (5, 12),
        "resumed_over_whole": (1.2, 1.5),
        "client_peak_rss": (200, 210),
    }
    assert set(found) == set(COPY_FIGURES)


def test_where_there_is_no_limit_there_is_no_share() -> None:
    names = {figure.name for figure in figures("any", OUTCOMES)}

    assert names == set(COPY_FIGURES) - {
        "share_of_binary_copy",
        "binary_copy_rows_per_s",
        "resumed_over_whole",
    }


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def peak_of_a_child(preparation: str) -> int:
    return int(run(f"from bench.copy_child import peak_rss_bytes\n{preparation}\nprint(peak_rss_bytes())"))


def test_memory_that_was_given_back_still_counts() -> None:
    plain = peak_of_a_child("")
    greedy = peak_of_a_child(f"held = b'x' * {300 * MEGABYTE}\ndel held")

    assert greedy - plain > 250 * MEGABYTE


def test_memory_of_the_parent_does_not_count() -> None:
    """On Linux the maximum that getrusage tells survives exec: the child of a large process looks large."""
    held = b"x" * (600 * MEGABYTE)

    assert peak_of_a_child("") < len(held) / 2


def test_memory_of_a_process_of_its_own_counts() -> None:
    inner = f"held = b'x' * {500 * MEGABYTE}"
    outer = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {inner!r}], check=True)"

    assert peak_of_a_child(outer) > 400 * MEGABYTE
