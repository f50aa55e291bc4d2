"""What a migration gave back is not held: the program's memory is what it uses."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pytest

from migration import memory

WORK = """
import pyarrow as pa, pyarrow.compute as pc
from concurrent.futures import ThreadPoolExecutor
from bench.copy_child import peak_rss_bytes
{preparation}
text = pa.array(["what the agent keeps"] * 60_000)
before = peak_rss_bytes()
def work(number):
    for size in range(1_000 + number, 60_000, 4_001):
        pc.utf8_upper(text.slice(0, size))
for _ in range(2):
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))
print(peak_rss_bytes() - before)
"""


def growth_bytes(preparation: str = "") -> int:
    told = subprocess.run(
        [sys.executable, "-c", WORK.format(preparation=preparation)],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(told.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can be told to")
def test_threads_do_not_keep_what_they_gave_back() -> None:
    asked = growth_bytes("from migration.memory import give_memory_back; give_memory_back()")

    assert asked < growth_bytes() / 1.5


def test_where_there_is_no_glibc_arrow_s_part_is_done_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def untold(_: object) -> None:
        pytest.fail("no C library was to be told anything")

    before = pa.default_memory_pool()
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    monkeypatch.setattr(memory.ctypes, "CDLL", untold)
    try:
        memory.give_memory_back()
        assert pa.default_memory_pool().backend_name == "system"
    finally:
        pa.set_memory_pool(before)
