"""Fills the page's template: runs in, one HTML text out that needs nothing else to be shown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path
from statistics import median

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from bench.judge import Judgement, Verdict, worst
from bench.measurement import CONFIDENCE, STATISTICS, Bounded, Figure
from bench.page import plots
from bench.page.axes import quantity
from bench.page.model import SIGNS, Page, page_of
from bench.record import Run, machine_key


def write_page(runs: Sequence[Run], path: Path) -> Path:
    """Write the page of these runs into the file and give its path; the folder is made when it is missing."""
    content = page_as_html(runs)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(content, encoding="utf-8")
    unfinished.replace(path)
    return path


def page_as_html(runs: Sequence[Run]) -> str:
    """Give the whole page as text; the same runs give the same text."""
    # A name that the template misspells is an error, never an empty place on the page.
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        {
            "ms": milliseconds,
            "bounds": bounds_ms,
            "number": number,
            "moment": moment,
            "words": words,
            "limit": limit_in_words,
            "breakable": breakable,
        }
    )
    page = page_of(runs)
    template = environment.from_string(_text("page.html"))
    return template.render(
        page=page,
        plots=plots,
        style=Markup(_text("page.css")),  # noqa: S704  our own file
        signs=SIGNS,
        statistics=STATISTICS,
        confidence=f"{CONFIDENCE:.0%}",
        not_met=_not_met(page),
        verdict_of_figure=verdict_of_figure,
        machine_key=machine_key,
        median=median,
    )


def _text(name: str) -> str:
    return resources.files("bench.page").joinpath(name).read_text(encoding="utf-8")


def _not_met(page: Page) -> list[tuple[str, Judgement]]:
    """Everything that a reader must look at, the gravest first, with the series it belongs to."""
    entries = [
        (entry.series.label, entry.judgement)
        for view in page.budgets
        for entry in view.judged
        if entry.judgement.verdict is not Verdict.MET
    ]
    return sorted(entries, key=lambda entry: entry[1].verdict is not Verdict.BROKEN)


def verdict_of_figure(run: Run, figure: Figure) -> Verdict | None:
    """Give the gravest verdict on a figure; None where no budget speaks of it."""
    return worst(
        judgement
        for judgement in run.judgements
        if (judgement.operation, judgement.backend, judgement.budget.statistic)
        == (figure.operation, figure.backend, figure.name)
    )


def milliseconds(value: float) -> str:
    """Write a latency for a column: always four decimals, so that the points stand under each other."""
    return f"{value:,.4f}"


def bounds_ms(bounded: Bounded) -> str:
    """Write the bounds of an estimate; an open end is said, not left out."""
    upper = "?" if bounded.upper is None else f"{bounded.upper:,.4f}"
    return f"{bounded.lower:,.4f} – {upper}"


def number(value: float) -> str:
    """Write a number that is no latency: whole where it is large, else with three digits."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def moment(value: datetime) -> str:
    """Write a moment in UTC to the minute."""
    return f"{value:%Y-%m-%d %H:%M} UTC"


def words(name: str) -> str:
    """Write a name from the program as words."""
    return name.replace("_", " ")


def breakable(name: str) -> Markup:
    """Write a name that may go on in the next line after an underscore, and nowhere else."""
    return Markup("_<wbr>").join(name.split("_"))


def limit_in_words(judgement: Judgement) -> str:
    """Write the limit that a judgement was made by."""
    budget = judgement.budget
    if budget.at_most is not None:
        return f"at most {quantity(budget.at_most, budget.unit)}"
    assert budget.at_least is not None
    return f"at least {quantity(budget.at_least, budget.unit)}"
