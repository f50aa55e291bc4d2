"""The page in a real browser: nothing fails to load, every plot has data, and it fits phone, desk and paper.

The browser is headless Chromium from `MIGRATION_BENCH_CHROMIUM` or the PATH. Without one these tests are
skipped by name; ``--require-browser`` makes that a failure. With `MIGRATION_BENCH_SCREENSHOTS` set to a
folder, the screenshots stay there.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench.budgets import Budget
from bench.judge import judged_figure, judged_measurement
from bench.measurement import Figure, measured
from bench.page import page_as_html
from bench.record import Migration, Phase, Run

CHROMIUM = "MIGRATION_BENCH_CHROMIUM"
SCREENSHOTS = "MIGRATION_BENCH_SCREENSHOTS"

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Nothing of its own may go to the network, and it may run as root in a container."""

PHONE, DESK = 390, 1280

INSPECTION = """() => {
    const complaints = [];
    const root = document.documentElement;
    if (root.scrollWidth > root.clientWidth) complaints.push(`the page is ${root.scrollWidth} px wide`);
    const figures = [...document.querySelectorAll('figure[data-plot]')];
    if (!figures.length) complaints.push('there is no plot');
    for (const figure of figures) {
        const name = figure.dataset.plot;
        const drawing = figure.querySelector('svg');
        if (!drawing) { complaints.push(`${name}: no drawing`); continue; }
        const told = `${name} (${drawing.getAttribute('aria-label')})`;
        const frame = drawing.getBoundingClientRect();
        const marks = [...drawing.querySelectorAll('.mark')];
        if (!marks.length || marks.length !== Number(drawing.dataset.marks))
            complaints.push(`${told}: ${marks.length} marks of ${drawing.dataset.marks}`);
        const outside = box => box.left < frame.left - 1 || box.right > frame.right + 1
            || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
        for (const mark of marks) {
            const box = mark.getBoundingClientRect();
            if (!(box.width + box.height > 0)) complaints.push(`${told}: a mark without size`);
            if (outside(box)) complaints.push(`${told}: a mark outside`);
            const style = getComputedStyle(mark);
            if (style.fill === 'none' && style.stroke === 'none')
                complaints.push(`${told}: a mark without colour`);
        }
        for (const text of drawing.querySelectorAll('text'))
            if (outside(text.getBoundingClientRect()))
                complaints.push(`${told}: "${text.textContent}" is cut`);
        const ticks = [...drawing.querySelectorAll('text.tick')].map(tick => tick.getBoundingClientRect());
        for (const [number, one] of ticks.entries())
            for (const other of ticks.slice(number + 1))
                if (one.left < other.right && other.left < one.right
                    && one.top < other.bottom && other.top < one.bottom)
                    complaints.push(`${told}: two ticks cover each other`);
        if (ticks.length < 2) complaints.push(`${told}: an axis without ticks`);
        if (!drawing.querySelector('.axis')) complaints.push(`${told}: no axis`);
    }
    return [...new Set(complaints)];
}"""
"""What a person would complain of, looked for by the browser itself."""


def a_run() -> Run:
    """Make a run with everything that a page can show; latencies over five decades, seeded."""
    chance = random.Random(4)
    budgets = (
        Budget("any query", ("*",), "p99", "ms", at_most=30, agents=(1, 25)),
        Budget("search", ("like_search",), "mean", "ms", at_most=3),
        Budget("copy speed", ("copy_messages",), "share_of_binary_copy", "x", at_least=0.6),
        Budget("never measured", ("nothing",), "p99", "ms", at_most=1),
    )
    measurements = [
        measured(
            operation,
            backend,
            [round(chance.lognormvariate(0, 0.5) * typical_ms * factor * agents * 1e6) for _ in range(1_000)],
            agents=agents,
            stage=stage,
            group=group,
            about="What it does, in one sentence of the usual length, so that it must be wrapped.",
            counters={"late_calls": 3.0},
        )
        for operation, group, typical_ms in (
            ("empty", "queries", 0.0002),
            ("latest_messages_of_one_session", "queries", 0.7),
            ("like_search", "search", 2.8),
        )
        for backend, stage, factor in (
            ("sqlite", "before", 1.0),
            ("postgresql", "after", 1.4),
            ("mariadb", "after", 0.8),
        )
        for agents in (1, 25, 50, 100)
    ]
    figures = [Figure("share_of_binary_copy", "copy_messages", "sqlite -> postgresql", "x", (0.5, 0.7, 0.8))]
    judgements = [entry for one in measurements for entry in judged_measurement(one, budgets)]
    judgements += [entry for one in figures for entry in judged_figure(one, budgets)]
    phases = ("open", "look, plan, prepare", "copy", "finish", "prove", "close")
    return Run(
        started_at=datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
        commit="0123456789abcdef+",
        machine={
            "system": "Linux 6.1",
            "architecture": "x86_64",
            "processor": "A processor with the long name that processors have @ 2.60GHz",
            "cores": 2,
            "memory_gb": 8,
            "python": "CPython 3.13",
        },
        engines={
            "postgresql": {"version": "18.0 (packaged by somebody)", "settings": {"shared_buffers": "128MB"}}
        },
        scale=1.0,
        seed=4,
        measurements=tuple(measurements),
        figures=tuple(figures),
        judgements=tuple(judgements),
        migrations=tuple(
            Migration(
                "sqlite",
                "postgresql",
                100_000,
                6.0,
                tuple(Phase(name, chance.random()) for name in phases),
                200_000_000,
            )
            for _ in range(3)
        ),
        budgets=budgets,
    )


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Headless Chromium with a profile of its own."""
    program = os.environ.get(CHROMIUM) or shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        reason = f"there is no Chromium; install Debian's package chromium or set {CHROMIUM}"
        if request.config.getoption("--require-browser"):
            pytest.fail(f"--require-browser: {reason}", pytrace=False)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def html() -> str:
    return page_as_html([a_run()])


class Look:
    """One look at a page: what it asked for, what it said, and what a person would complain of."""

    def __init__(self, browser: Any, path: Path, *, width: int = DESK, scheme: str = "light") -> None:
        self.complaints: list[str] = []
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        )
        self.page = context.new_page()
        self.page.on("console", lambda message: self.complaints.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))
        self.page.on("request", self._asked)
        self._own = path.as_uri()
        self.page.goto(self._own)
        self.complaints += self.page.evaluate(INSPECTION)

    def _asked(self, request: Any) -> None:
        if request.url != self._own and not request.url.startswith("data:"):
            self.complaints.append(f"asked for {request.url}")

    def background(self) -> tuple[int, ...]:
        colour = self.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return tuple(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))

    def photograph(self, folder: Path, name: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=folder / name, full_page=True)
        return folder / name


def written(text: str, folder: Path) -> Path:
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_page_loads_whole_and_every_plot_has_data(
    browser: Any, html: str, tmp_path: Path, width: int, scheme: str
) -> None:
    look = Look(browser, written(html, tmp_path), width=width, scheme=scheme)

    assert look.complaints == []
    light = sum(look.background()) > 3 * 128
    assert light == (scheme == "light")
    folder = Path(os.environ.get(SCREENSHOTS) or tmp_path)
    assert look.photograph(folder, f"{width}-{scheme}.png").stat().st_size > 10_000


def test_it_prints_on_white_paper(browser: Any, html: str, tmp_path: Path) -> None:
    look = Look(browser, written(html, tmp_path), scheme="dark")
    look.page.emulate_media(media="print")

    assert look.background() == (255, 255, 255)
    printed = look.page.pdf(prefer_css_page_size=True)
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") > 1


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("</main>", '<img src="missing.png"></main>', "missing.png"),
        ("</main>", "<script>1</script></main>", "console"),
        ("</main>", '<figure data-plot="none"></figure></main>', "none: no drawing"),
        ('class="mark ', 'class="', "0 marks of"),
        ('class="tick"', 'class="other"', "an axis without ticks"),
        ("<main>", '<main><p style="width: 2000px">wide</p>', "px wide"),
        ("limit 30 ms</text>", f"limit {'3' * 90} ms</text>", "is cut"),
        ("--s1: #b9530c", "--s1: none", "a mark without colour"),
        ('<figure data-plot="', '<figure data-other="', "there is no plot"),
    ],
)
def test_canary_a_broken_page_is_complained_of(
    browser: Any, html: str, tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    broken = html.replace(old, new)
    assert broken != html

    look = Look(browser, written(broken, tmp_path))

    assert any(complaint in told for told in look.complaints), look.complaints
