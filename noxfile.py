"""What a developer and CI run: ``nox`` alone is everything before a commit.

=======  ==========================================================================================
lint     style, formatting and the floors of the architecture
types    strict type checking of `migration` and `bench`
tests    all tests, on all cores; lines of `migration` that none runs are listed. Arguments after `--` go to
         pytest; `-- -n0` is one process
bench    the benchmarks; needs several quiet minutes. Arguments after `--`: --scale 10 --backends all, or
         those of pytest
=======  ==========================================================================================
"""

from __future__ import annotations

import json
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True

SELECTING_OPTIONS = ("-k", "-m", "--lf", "--last-failed", "--co", "--collect-only", "--deselect", "--ignore")
"""With these pytest runs only some of the tests; nothing can be said about what the others cover."""

MISSED_LINES_SHARE_MAX = 0.005
"""The aim is every line, and what is missed is listed. Some lines are reached only when a stop or a lost
connection falls into microseconds; a gate that failed on those would be switched off before long."""


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting, floors."""
    session.install("-e", ".[tests,dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Strict types of the product and of the benchmarks."""
    session.install("-e", ".[tests,dev]")
    session.run("mypy", "--strict")


@nox.session
def tests(session: nox.Session) -> None:
    """All tests; fails when more than a few lines of `migration` were not run by any of them."""
    session.install("-e", ".[tests]")
    # Not session.create_tmp(): that becomes TMPDIR, and servers started as another account may not reach it.
    report = Path(session.virtualenv.location) / "coverage.json"
    session.run(
        "pytest",
        # Each process has servers of its own. Who is done takes tests from the other: some are long.
        *("--numprocesses=logical", "--dist=worksteal"),
        "--cov=migration",
        "--cov-branch",
        "--cov-report=term",
        f"--cov-report=json:{report}",
        *session.posargs,
    )
    if _is_selective(session.posargs):
        session.log("Only some of the tests were run: coverage is not judged.")
        return
    _judge_coverage(session, report)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the reference operations with pytest-benchmark and judge them."""
    session.install("-e", ".[bench]")
    session.run("python", "-m", "bench", "run", *session.posargs)


def _is_selective(arguments: list[str]) -> bool:
    """Tell whether these arguments make pytest run only some of the tests."""
    words = [argument.split("=")[0] for argument in arguments]
    paths = [argument.split("::")[0] for argument in arguments if not argument.startswith("-")]
    return any(word in SELECTING_OPTIONS for word in words) or any(Path(path).exists() for path in paths)


def _judge_coverage(session: nox.Session, report: Path) -> None:
    """Print branch coverage and the lines that were not run, and fail when they are more than a few.

    Lines and branches are judged apart: coverage's own ``fail_under`` looks at one number mixed of both. A
    line that no test runs is a hole; a branch never taken is a question, printed for whoever reads it.
    """
    measured = json.loads(report.read_text())
    totals = measured["totals"]
    session.log(f"branches: {totals['covered_branches']} of {totals['num_branches']} taken")
    holes = {name: lines for name, entry in measured["files"].items() if (lines := entry["missing_lines"])}
    if not totals["num_statements"]:
        session.error("Nothing of `migration` was measured.")
    listed = "\n".join(f"  {name}: {', '.join(map(str, lines))}" for name, lines in sorted(holes.items()))
    missed = totals["missing_lines"]
    if missed > totals["num_statements"] * MISSED_LINES_SHARE_MAX:
        session.error(f"No test runs these lines:\n{listed}")
    session.log(f"lines: {totals['num_statements'] - missed} of {totals['num_statements']} run\n{listed}")
