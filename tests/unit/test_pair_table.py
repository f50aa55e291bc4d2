"""The README's table of pairs is what the edge cases say."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from tests import pair_table
from tests.cases import cases
from tests.servers import ENGINES


def test_the_readme_says_what_the_edge_cases_say() -> None:
    assert pair_table.in_readme() == pair_table.table(), "run: python -m tests.pair_table"


def test_every_case_and_every_pair_is_in_the_table() -> None:
    lines = pair_table.table().splitlines()
    assert lines[-len(cases()) - 2].count("→") == len(list(product(ENGINES, ENGINES)))
    for case in cases():
        assert sum(f"| {case.number}. {case.name} |" in line for line in lines) == 1


def test_canary_an_old_table_is_noticed_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{pair_table.BEGIN}\n\nan old table\n\n{pair_table.END}\nafter\n")
    monkeypatch.setattr(pair_table, "README", readme)
    assert pair_table.in_readme() != pair_table.table()
    pair_table.write()
    assert pair_table.in_readme() == pair_table.table()
    assert readme.read_text().startswith("before\n")
    assert readme.read_text().endswith("after\n")
