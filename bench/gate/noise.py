"""What else a machine may do while it measures: the study's four regimes, as processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

BUSY = "while True: pass"
BURSTS = """
import random, time
chance = random.Random(1)
while True:
    end = time.monotonic() + chance.uniform(0.05, 1.0)
    while time.monotonic() < end: pass
    time.sleep(chance.uniform(0.05, 1.5))
"""
DISK = """
import os, sys
block = os.urandom(1 << 20)
while True:
    with open(sys.argv[1], "wb") as file:
        for _ in range(64):
            file.write(block)
            file.flush()
            os.fsync(file.fileno())
"""

REGIMES: Mapping[str, str] = {"idle": "", "busy": BUSY, "bursts": BURSTS, "disk": DISK}
"""By name: nothing; one core always busy; one core now and then; a disk that is written and flushed."""


@contextmanager
def regime(name: str, folder: Path) -> Iterator[None]:
    """Let the machine do this until the block ends."""
    program = REGIMES[name]
    if not program:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", program, str(folder / "noise.bin")])
    try:
        yield
        if process.poll() is not None:
            raise RuntimeError(f"the disturbance {name!r} ended by itself, so this was another regime")
    finally:
        process.kill()
        process.wait()
