"""Imported first by every scenario: gevent patches what it may, or the start is refused.

Locust patches threads and sockets into greenlets, and asyncio drivers do not survive it: twenty-five SQLite
writers hang for ever, because a greenlet that waits in SQLite's busy handler holds up the one that has the
lock. What Locust itself needs is patched here: time, processes and signals.
"""

from __future__ import annotations

import os
import sys

from gevent import monkey

MISUSE = 2

REFUSAL = (
    "Refused: Locust has patched `threading` for gevent, and asyncio drivers hang in a patched interpreter. "
    "Nothing was started. Start it with `nox -s load`, with `python -m bench.load`, or set the variable "
    "LOCUST_SKIP_MONKEY_PATCH=1 before `locust -f locustfiles/agents.py`."
)

FORBIDDEN = ("threading", "socket", "select", "queue")
"""Modules that asyncio and the drivers use as they are."""


def patch_what_locust_needs() -> None:
    """Patch time, processes and signals; leave with an explanation when more than that was patched."""
    if any(monkey.is_module_patched(name) for name in FORBIDDEN):
        sys.stderr.write(REFUSAL + "\n")
        raise SystemExit(MISUSE)
    monkey.patch_time()
    monkey.patch_os()
    # gevent's own closes a file when its loop comes round, and `subprocess` waits for that close in between.
    os.close = monkey.get_original("os", "close")
    monkey.patch_signal()


patch_what_locust_needs()
