"""What a developer and CI run: ``nox`` alone is everything before a commit.

=======  ==========================================================================================
lint     style, formatting and the floors of the architecture
types    strict type checking of `migration` and `bench`
tests    all tests, on all cores; lines of `migration` that none runs are listed. Arguments after `--` go to
         pytest; `-- -n0` is one process
faults   lets faults happen while the tool runs: kills, cuts, full disks, lies. Arguments after `--`:
         --seeds 500, or --seed N to have one again
bench    the benchmarks; needs several quiet minutes. Arguments after `--`: --scale 10 --backends all, or
         those of pytest
load     agents on a database: Locust's page with our verdicts in it. Arguments after `--`: ramp, spike, soak
         or during_migration; --headless --agents 25 --run-time 60s --backend postgresql
gate     regressions; arguments after `--`: --base origin/main --backends sqlite --markdown summary.md. The
         exit code of `python -m bench gate` tells more than that of nox
gate-study
         records parts of the gate's own study; needs a quiet machine. Arguments after `--`: --minutes 100
=======  ==========================================================================================
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
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

MEMORY = Path("/dev/shm")  # noqa: S108 - what is written there is in folders of its own, as in /tmp
"""Files here are in memory. Most of what tests wait for is a disk, and no test needs one."""

MEMORY_BYTES_MIN = 4 * 1024**3
"""Several times what two processes of tests, each with its servers, have there at any time."""


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting, floors."""
    # These read the code and import none of it: what it needs need not be here.
    session.install(*_tools("ruff", "import-linter"))
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
    ran = session.run(
        "pytest",
        # Each process has servers of its own. Who is done takes tests from the other: some are long.
        *("--numprocesses=logical", "--dist=worksteal"),
        # Whoever wants them to be done sooner looks here first.
        "--durations=25",
        # Of tests that passed nothing is left lying in memory.
        *("-o", "tmp_path_retention_policy=failed"),
        "--cov=migration",
        "--cov-branch",
        "--cov-report=term",
        f"--cov-report=json:{report}",
        *session.posargs,
        env=_in_memory(),
    )
    if ran is None:
        # Told to install only.
        return
    if _is_selective(session.posargs):
        session.log("Only some of the tests were run: coverage is not judged.")
        return
    _judge_coverage(session, report)


@nox.session
def faults(session: nox.Session) -> None:
    """Let faults happen while the tool runs; fails when one of them ends as it may not."""
    session.install("-e", ".[tests]")
    wanted = session.posargs
    # What is kept in git changes on purpose only: `--json results/faults/latest.json`.
    kept = [] if "--json" in wanted else ["--json", "results/runs/faults/latest.json"]
    session.run("python", "-m", "tests.faults", *kept, *wanted)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the reference operations with pytest-benchmark and judge them."""
    session.install("-e", ".[bench]")
    session.run("python", "-m", "bench", "run", *session.posargs)


def _tools(*names: str) -> list[str]:
    """Return what the extra `dev` says of these tools: which of their versions are meant."""
    extra = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]["dev"]
    return [next(wanted for wanted in extra if wanted.startswith(f"{name}>")) for name in names]


def _in_memory() -> dict[str, str]:
    """Return the environment in which temporary files are in memory, where there is room; else none."""
    named = "TMPDIR" in os.environ
    if named or not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < MEMORY_BYTES_MIN:
        return {}
    return {"TMPDIR": str(MEMORY)}


@nox.session
def gate(session: nox.Session) -> None:
    """Look for regressions: exact work, budgets, time against the base commit."""
    session.install("-e", ".[bench]")
    # What it proves stands in its exit code: 1 regressed, 7 unproved, 8 missing.
    session.run("python", "-m", "bench", "gate", *session.posargs)


@nox.session(name="gate-study")
def gate_study(session: nox.Session) -> None:
    """Record missing parts of the gate's own study, as many as fit, and write its report."""
    session.install("-e", ".[bench]")
    session.run("python", "-m", "bench.gate.study", "run", *session.posargs)
    session.run("python", "-m", "bench.gate.study", "report")


@nox.session
def load(session: nox.Session) -> None:
    """Let agents work on a database: in Locust's page, or with --headless as a gate (exit 0, 1 or 7)."""
    session.install("-e", ".[load]")
    python = Path(session.bin) / "python"
    # Not session.run(): nox knows only success and failure, and here 1 and 7 are different answers.
    answer = subprocess.run([python, "-m", "bench.load", *session.posargs], check=False).returncode
    if answer:
        raise SystemExit(answer)


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
