"""Locust's page with ours in it, in a real browser: start agents, watch the verdicts, stop, download.

The browser is headless Chromium from `MIGRATION_BENCH_CHROMIUM` or the PATH; without one this is skipped by
name, and fails with ``--require-browser``. Screenshots stay in `MIGRATION_BENCH_SCREENSHOTS`, if it is set.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.record import run_from_json

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = "MIGRATION_BENCH_CHROMIUM"
SCREENSHOTS = "MIGRATION_BENCH_SCREENSHOTS"
AGENTS = 25
LIMIT_MS = 90_000


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest) -> Iterator[Any]:
    program = os.environ.get(CHROMIUM) or shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        reason = f"there is no Chromium; install Debian's package chromium or set {CHROMIUM}"
        if request.config.getoption("--require-browser"):
            pytest.fail(f"--require-browser: {reason}", pytrace=False)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=arguments)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a load generator shows its page, with a small database of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("load")
    said = (folder / "said.txt").open("w+")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "bench.load", "--web-port", str(port), "--scale", "0.01"),
            *("--warm-up", "0.2", "--rate", "4", "--results", str(folder / "runs")),
            *("--url", f"sqlite:///{folder / 'load.db'}", "--let-agents-write"),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdout=said,
        stderr=subprocess.STDOUT,
    )
    try:
        until = time.monotonic() + LIMIT_MS / 1_000
        while not _answers(f"http://127.0.0.1:{port}/verdicts/state"):
            assert process.poll() is None, Path(said.name).read_text()
            assert time.monotonic() < until, Path(said.name).read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        said.close()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_agents_are_started_watched_stopped_and_their_run_is_downloaded(
    browser: Any, address: str, tmp_path: Path
) -> None:
    folder = Path(os.environ.get(SCREENSHOTS) or tmp_path)
    page = browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()
    page.set_default_timeout(LIMIT_MS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    assert "load.db" not in page.content(), "the URL may hold a password, and stands in the page's source"
    frame = page.frame_locator("#verdicts")
    assert page.locator("input[name=userCount]").input_value() == str(AGENTS)
    page.get_by_role("button", name="Start").click()

    frame.locator("#operations tbody tr").nth(5).wait_for()
    frame.get_by_text(f"{AGENTS} agents, running, measuring").wait_for()
    frame.locator("#history figure[data-series=pool_in_use]").wait_for()
    frame.locator("#history figure[data-series=wal_mb]").wait_for()
    words = frame.locator("#operations tbody .badge").all_inner_texts()
    assert words
    assert {word.split()[-1] for word in words} <= {"met", "broken", "unproved"}
    assert frame.locator("#plot .mark").count() >= 3 * 6
    page.screenshot(path=folder / "load-running.png", full_page=True)

    page.get_by_role("button", name="Stop").click()
    frame.get_by_text("every one of them is there").wait_for()
    with page.expect_download() as download:
        frame.get_by_role("link", name="JSON").click()
    run = run_from_json(Path(download.value.path()).read_bytes(), "the download")
    assert {measurement.agents for measurement in run.measurements} == {AGENTS}
    with page.expect_download() as download:
        frame.get_by_role("link", name="HTML").click()
    assert b"<title>Bench report" in Path(download.value.path()).read_bytes()
    page.screenshot(path=folder / "load-judged.png", full_page=True)
    assert errors == []


def test_a_run_that_may_not_be_is_refused_in_the_page_too(address: str) -> None:
    fields = "user_count=1&spawn_rate=1&let_agents_write=false&mix=nothing%3D1"
    request = urllib.request.Request(f"{address}/swarm", data=fields.encode(), method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        told = orjson.loads(answer.read())

    assert told["success"] is False
    assert "--let-agents-write" in told["message"]
