"""The page says what the run says, draws every result within its axes, and needs nothing from outside."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.budgets import Budget
from bench.judge import Verdict, judged_figure, judged_measurement
from bench.measurement import Figure, Measurement, measured
from bench.page import page_as_html, write_page
from bench.page.axes import fitted_axis, quantity
from bench.page.model import page_of
from bench.record import Migration, Phase, Run

QUERY = Budget("any query", ("*",), "p99", "ms", at_most=30, agents=(1, 25))
SPEED = Budget("copy speed", ("copy",), "share", "x", at_least=0.6)
NEVER = Budget("never measured", ("nothing",), "p99", "ms", at_most=1)

VOID_ELEMENTS = {"meta", "link", "wbr"}


def latencies(operation: str, backend: str, median_ms: float, **facts: object) -> Measurement:
    """Make a measurement of samples spread like real ones; the same arguments give the same samples."""
    chance = random.Random(f"{operation} {backend} {median_ms} {facts}")
    samples = [round(chance.lognormvariate(math.log(median_ms * 1e6), 0.4)) for _ in range(2_000)]
    return measured(operation, backend, samples, row_count=2_000, **facts)


def run_of(
    measurements: Sequence[Measurement], figures: Sequence[Figure] = (), scale: float | None = 1.0
) -> Run:
    """Make a run that is judged as a real one is."""
    budgets = (QUERY, SPEED, NEVER)
    judgements = [entry for one in measurements for entry in judged_measurement(one, budgets)]
    judgements += [entry for one in figures for entry in judged_figure(one, budgets)]
    return Run(
        started_at=datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
        ended_at=datetime(2026, 5, 4, 3, 9, 1, tzinfo=UTC),
        commit="0123456789abcdef",
        machine={"system": "Linux", "architecture": "x86_64", "processor": "Any <chip>", "cores": 2}
        | {"memory_gb": 8, "python": "CPython 3.13"},
        engines={"sqlite": {"version": "3.45.0", "settings": {"journal_mode": "WAL"}}},
        scale=scale,
        seed=3,
        measurements=tuple(measurements),
        figures=tuple(figures),
        judgements=tuple(judgements),
        migrations=(
            Migration("sqlite", "postgresql", 1_000, 3.0, (Phase("copy", 1.0, 1_000), Phase("prove", 2.0))),
            Migration("sqlite", "postgresql", 1_000, 4.0, (Phase("copy", 1.5, 1_000), Phase("prove", 2.5))),
        ),
        budgets=budgets,
        libraries={"sqlalchemy": "2.0"},
        load={"load_per_core_1_min": 0.2},
    )


FULL = run_of(
    [
        latencies(
            "select_one", backend, 0.4 * factor, stage=stage, group="queries", about="The price of all."
        )
        for backend, stage, factor in (("sqlite", "before", 1), ("postgresql", "after", 2))
    ]
    + [
        latencies("get_messages", backend, 0.5 * agents, agents=agents, group="concurrency")
        for backend in ("sqlite", "postgresql")
        for agents in (1, 25, 100)
    ],
    [Figure("share", "copy", "sqlite -> postgresql", "x", (0.7, 0.8, 0.9))],
)


class Elements(HTMLParser):
    """Every element with its attributes; complains about those that are not closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID_ELEMENTS:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def plots_of(text: str) -> list[tuple[str, str]]:
    """Give the kind and the drawing of every plot."""
    return re.findall(r'<figure data-plot="(\w+)">(.*?)</figure>', text, flags=re.DOTALL)


def test_the_page_is_well_formed_and_asks_nobody_for_anything() -> None:
    text = page_as_html([FULL])

    elements = Elements(text).found
    assert {tag for tag, _ in elements}.isdisjoint({"script", "img", "iframe", "object", "embed", "base"})
    addresses = [attributes.get(name) for _, attributes in elements for name in ("src", "href")]
    assert all(address.startswith(("#", "data:,")) for address in addresses if address is not None)
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_every_link_leads_to_a_place_on_the_page() -> None:
    elements = Elements(page_as_html([FULL])).found
    places = {attributes["id"] for _, attributes in elements if "id" in attributes}
    links = {str(attributes["href"])[1:] for tag, attributes in elements if tag == "a"}

    assert links <= places
    assert links


def test_verdicts_come_first_and_are_counted() -> None:
    text = page_as_html([FULL])
    counts = dict(page_of([FULL]).counts)
    verdicts = [judgement.verdict for judgement in FULL.judgements]

    assert text.index('id="verdicts"') < text.index('id="operations"') < text.index('id="environment"')
    assert counts == {
        "met": verdicts.count(Verdict.MET),
        "broken": verdicts.count(Verdict.BROKEN),
        "not judged": 1,
    } | ({"unproved": verdicts.count(Verdict.UNPROVED)} if Verdict.UNPROVED in verdicts else {})
    assert "never measured" in text
    assert "Nothing in this run was held against it" in text


def test_what_is_broken_stands_before_what_is_unproved_and_what_is_met_is_not_listed() -> None:
    slow = latencies("slow", "sqlite", 90)
    few = measured("few", "sqlite", [1_000_000] * 20)
    text = page_as_html([run_of([few, slow, latencies("fast", "sqlite", 0.1)])])
    listed = text[text.index("What is not met") :]
    listed = listed[: listed.index("</table>")]

    assert listed.index("slow") < listed.index("few")
    assert "fast" not in listed


def test_every_operation_has_its_plots_with_one_mark_and_more_for_each_backend() -> None:
    kinds = [kind for kind, _ in plots_of(page_as_html([FULL]))]

    assert kinds.count("distribution") == kinds.count("percentiles") == 4
    assert kinds.count("concurrency") == 1
    assert kinds.count("phases") == 1
    assert kinds.count("budget") == 2
    for _, drawing in plots_of(page_as_html([FULL])):
        assert drawing.count('class="mark ') == int(re.search(r'data-marks="(\d+)"', drawing)[1]) > 0  # type: ignore[index]


def test_each_number_in_the_table_is_the_one_in_the_run() -> None:
    text = page_as_html([FULL])
    for measurement in FULL.measurements:
        for name in measurement.statistics_ns:
            bounded = measurement.latency_ms(name)
            upper = "?" if bounded.upper is None else f"{bounded.upper:,.4f}"
            assert f"{bounded.value:,.4f}<small>{bounded.lower:,.4f} – {upper}</small>" in text


def test_a_database_keeps_its_colour_and_its_stages_differ_in_shape() -> None:
    before, after = (latencies("any", "sqlite", 1, stage=stage) for stage in ("before", "after"))
    other = latencies("any", "postgresql", 1)
    series = {one.label: one for one in page_of([run_of([before, after, other])]).series}

    assert series["sqlite, before"].colour == series["sqlite, after"].colour != series["postgresql"].colour
    assert series["sqlite, before"].shape != series["sqlite, after"].shape


def test_runs_of_two_scales_stand_side_by_side() -> None:
    runs = [run_of([latencies("any", "sqlite", scale)], scale=scale) for scale in (1.0, 10.0)]
    (view,) = page_of(runs).operations

    assert [result.series.label for result in view.results] == ["sqlite, scale 1", "sqlite, scale 10"]
    assert "scale 10" in page_as_html(runs)


def test_names_from_outside_stay_text() -> None:
    name = "<script>alert('x')</script>&\"it's\""
    run = run_of([latencies(name, name, 1, about=name, group=name, doubt=name)])
    text = page_as_html(
        [replace(run, title=name, engines={name: {"version": name, "settings": {name: name}}})]
    )

    assert "<script" not in text
    assert "script" not in {tag for tag, _ in Elements(text).found}


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    first = write_page([FULL], tmp_path / "new" / "page.html")

    assert first.read_text("utf-8") == page_as_html([FULL])
    assert [entry.name for entry in first.parent.iterdir()] == ["page.html"]


def test_a_run_without_any_result_makes_a_page_that_says_so() -> None:
    text = page_as_html([replace(run_of([]), migrations=())])

    assert plots_of(text) == []
    assert text.count("Nothing in this run was held against it") == 3


def test_no_run_makes_no_page() -> None:
    with pytest.raises(ValueError, match="at least one run"):
        page_as_html([])


SAMPLES = st.lists(st.integers(1, 60_000_000_000), min_size=1, max_size=60)


@settings(max_examples=25)
@given(
    samples=st.lists(SAMPLES, min_size=1, max_size=3),
    limit=st.floats(0.001, 10_000),
    repetitions=st.lists(st.floats(0, 1e9), min_size=1, max_size=4),
)
def test_whatever_was_measured_every_mark_lies_within_its_drawing(
    samples: list[list[int]], limit: float, repetitions: list[float]
) -> None:
    agents = (1, 2, 25)
    measurements = [
        measured("any", "sqlite", values, agents=count)
        for values, count in zip(samples, agents, strict=False)
    ]
    run = run_of(measurements, [Figure("share", "copy", "a -> b", "x", tuple(repetitions))])
    budget = replace(QUERY, at_most=limit, agents=agents)
    judgements = [entry for one in measurements for entry in judged_measurement(one, [budget])]
    run = replace(run, budgets=(budget, SPEED), judgements=(*judgements, *run.judgements))

    plots = plots_of(page_as_html([run]))

    assert plots
    for kind, drawing in plots:
        width, height = (float(part) for part in re.search(r'viewBox="0 0 (\S+) (\S+)"', drawing).groups())  # type: ignore[union-attr]
        assert "nan" not in drawing
        for name, value in re.findall(r'\b(x|x1|x2|cx|y|y1|y2|cy)="([^"]+)"', drawing):
            most = width if "x" in name else height
            assert -1 <= float(value) <= most + 1, (kind, name, value)
        for points in re.findall(r'points="([^"]+)"', drawing):
            for point in points.split():
                x, y = map(float, point.split(","))
                assert -1 <= x <= width + 1, kind
                assert -1 <= y <= height + 1, kind


@given(values=st.lists(st.floats(1e-5, 1e8), min_size=1, max_size=8), is_log=st.booleans())
def test_an_axis_shows_every_value_in_order_and_has_ticks(values: list[float], is_log: bool) -> None:
    axis = fitted_axis(values, 10, 400, "ms", is_log=is_log)
    positions = [axis.at(value) for value in sorted(values)]

    assert positions == sorted(positions)
    assert all(10 <= position <= 400 for position in positions)
    assert axis.least <= min(values) * (1 + 1e-6)
    assert axis.most >= max(values) * (1 - 1e-6)
    assert 1 <= len(axis.ticks()) <= 20
    assert len({written for _, written in axis.ticks()}) == len(axis.ticks())


def test_latencies_that_span_decades_have_a_logarithmic_axis_and_others_begin_at_zero() -> None:
    assert fitted_axis([0.1, 30], 0, 1, "ms").is_log
    narrow = fitted_axis([20, 30], 0, 1, "ms")
    assert not narrow.is_log
    assert narrow.least == 0


@pytest.mark.parametrize(
    ("value", "unit", "written"),
    [
        (0.2, "ms", "200 µs"),
        (5, "ms", "5 ms"),
        (1_500, "ms", "1.5 s"),
        (0, "ms", "0 ms"),
        (40_000, "rows/s", "40 k rows/s"),
        (2_500_000, "rows/s", "2.5 M rows/s"),
        (0.6, "x", "0.6 x"),
        (25, "", "25"),
    ],
)
def test_a_quantity_is_written_with_its_unit(value: float, unit: str, written: str) -> None:
    assert quantity(value, unit) == written
