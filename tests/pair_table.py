"""Makes the README's table of what is carried over on every pair, out of the edge cases and their outcomes.

``python -m tests.pair_table`` writes it into the README; a test says when it is no longer what the cases say.
The cases themselves are run on every pair, so the table says nothing that is not tested.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

from tests.cases import Case, cases
from tests.servers import ENGINES

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN = "<!-- Made by `python -m tests.pair_table`; a test compares it with the edge cases. -->"
END = "<!-- End of what is made. -->"

SHORT = {"sqlite": "S", "postgresql": "P", "mariadb": "M"}
SIGNS = {"carried": "=", "asked": "ask", "refused": "no"}
NOWHERE = ""
GAP = "gap"


def table() -> str:
    """Return the table, and above it what its signs mean."""
    pairs = list(product(ENGINES, ENGINES))
    head = ["situation", *(f"{SHORT[source]}→{SHORT[target]}" for source, target in pairs), "named"]
    lines = [row(head), row(["---", *[":-:"] * len(pairs), "---"])]
    lines += [row([described(case), *(sign(case, *pair) for pair in pairs), named(case)]) for case in cases()]
    return "\n".join([legend(), "", *lines])


def legend() -> str:
    engines = ", ".join(f"{SHORT[engine]} {engine}" for engine in ENGINES)
    return (
        f"{engines}. `=` arrives as it is, and nothing is asked; `ask` is refused until it is accepted by\n"
        f"name; `no` is refused, and nothing is written; `{GAP}` is not yet what it should be, as a test\n"
        "says; what is empty cannot be."
    )


def described(case: Case) -> str:
    return f"{case.number}. {case.name}"


def sign(case: Case, source: str, target: str) -> str:
    outcome = case.outcome(source, target)
    if outcome is None:
        return NOWHERE
    return GAP if outcome.gap else SIGNS[outcome.how]


def named(case: Case) -> str:
    """Return the hazards of all pairs, each once."""
    outcomes = [case.outcome(source, target) for source, target in product(ENGINES, ENGINES)]
    names = {name for outcome in outcomes if outcome is not None for name in outcome.hazards}
    return ", ".join(f"`{name}`" for name in sorted(names))


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def in_readme() -> str:
    """Return what the README has of it now."""
    text = README.read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1, f"the README marks the table with {BEGIN} and {END}"
    return text.partition(BEGIN)[2].partition(END)[0].strip()


def write() -> None:
    """Put the table into the README, in place of the one there."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    write()
