"""Whether the machine had time for what is measured: slow samples on a busy machine prove nothing.

Linux counts for every thread how long it ran and how long it was ready and waited for a processor. Elsewhere
the whole machine's load stands in.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil

WAITING_SHARE_MAX = 0.25
"""Of the time in which this process wanted to run. With two cores and one other program on each, it is about
a half; on a machine left alone, a few hundredths."""

IDLE_SHARE_ENOUGH = 0.5
"""Of all processors: while so much of them is idle, a process that waits for one waits for itself, thread for
thread; twenty-five agents on SQLite wait a third of their time on a machine that is three quarters idle."""

STOLEN_SHARE_MAX = 0.01
"""Of the time in which the machine's processors wanted to run: what the host gave to other machines. One call
in a hundred decides a p99, and of calls at least this share meets such a gap. On a machine whose host was
quiet it was 0, and runs with more than a hundredth had p99s two to four times as long."""

OWN_CPU_SHARE_MAX = 0.9
"""Of one core: an event loop that is always busy measures its own queue."""

MACHINE_SHARE_MAX = 0.9
"""Where waiting is not counted: the share of all processors that were busy."""

_TASKS = Path("/proc/self/task")


@dataclass(frozen=True)
class _Reading:
    wall_s: float
    cpu_s: float
    ran_ns: int
    waited_ns: int
    busy_s: float
    idle_s: float
    stolen_s: float


class Burden:
    """Watches from its making until it is asked; tells why slow samples would prove nothing."""

    def __init__(self) -> None:
        psutil.cpu_percent()
        self._first = _reading()

    def counters(self) -> dict[str, float]:
        """Give the share of its wanted time that this process waited, and the share of a core it used."""
        now, first = _reading(), self._first
        wall_s = max(now.wall_s - first.wall_s, 1e-9)
        ran_ns, waited_ns = now.ran_ns - first.ran_ns, max(0, now.waited_ns - first.waited_ns)
        counted = {"own_cpu_share": round((now.cpu_s - first.cpu_s) / wall_s, 3)}
        busy_s, idle_s, stolen_s = (
            getattr(now, name) - getattr(first, name) for name in ("busy_s", "idle_s", "stolen_s")
        )
        counted["stolen_cpu_share"] = round(stolen_s / max(busy_s + stolen_s, 1e-9), 3)
        counted["idle_cpu_share"] = round(idle_s / max(busy_s + idle_s + stolen_s, 1e-9), 3)
        if now.ran_ns:
            counted["waited_for_cpu_share"] = round(waited_ns / max(1, ran_ns + waited_ns), 3)
        else:
            counted["machine_cpu_share"] = psutil.cpu_percent() / 100
        return counted


def doubt_of(counters: dict[str, float], *, agents: int) -> str:
    """Tell in a sentence why a broken budget would say nothing of the database; empty when it would."""
    waited = counters.get("waited_for_cpu_share", 0.0)
    if waited > WAITING_SHARE_MAX and counters.get("idle_cpu_share", 0.0) < IDLE_SHARE_ENOUGH:
        return f"the machine was busy: this process waited {waited:.0%} of its time for a processor"
    stolen = counters.get("stolen_cpu_share", 0.0)
    if stolen > STOLEN_SHARE_MAX:
        return f"the machine's host was busy: it took {stolen:.1%} of the processors' time for other machines"
    machine = counters.get("machine_cpu_share", 0.0)
    if machine > MACHINE_SHARE_MAX:
        return f"the machine was busy: {machine:.0%} of all processors"
    own = counters.get("own_cpu_share", 0.0)
    if agents > 1 and own > OWN_CPU_SHARE_MAX:
        return f"the load generator itself was the bottleneck: it used {own:.0%} of a core"
    return ""


def _reading() -> _Reading:
    ran_ns = waited_ns = 0
    if _TASKS.exists():
        for task in _TASKS.iterdir():
            try:
                ran, waited, _ = (task / "schedstat").read_text(encoding="ascii").split()
            except (FileNotFoundError, ProcessLookupError, ValueError):
                # A thread that ended meanwhile, or a kernel that does not count.
                continue
            ran_ns, waited_ns = ran_ns + int(ran), waited_ns + int(waited)
    times = psutil.cpu_times()
    # A guest's own guests are counted in `user` already; only Linux knows what was stolen.
    busy_s = times.user + times.system + getattr(times, "nice", 0.0)
    idle_s = times.idle + getattr(times, "iowait", 0.0)
    stolen_s = getattr(times, "steal", 0.0)
    return _Reading(time.perf_counter(), time.process_time(), ran_ns, waited_ns, busy_s, idle_s, stolen_s)
