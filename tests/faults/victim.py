"""The tool as a process that something happens to: a nursery that forks one child for every run.

The nursery has imported the tool already, so that a child is there in a moment; each child is a process of
its own all the same, with its own folder, arguments, and one fault. Jobs come as lines of JSON on stdin, and
what became of them goes out the same way.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.data import CHUNK_BYTES, CHUNK_ROWS
from tests.faults.doors import Doors, small_chunks

BROKEN_HARNESS = 99
"""Exit code of a child in which the harness itself went wrong; never one of the tool's."""

NOTES = "notes.json"
"""What a child that came to its end says of the doors it passed."""

FIRED = "fired.txt"
"""Written just before the fault: at which door."""


def main() -> None:
    """Fork a child for each job until stdin ends."""
    _import_everything()
    children: dict[int, Child] = {}
    reading, left = sys.stdin.fileno(), b""
    is_open = True
    while is_open or children:
        ends = [end for child in children.values() for end in child.outputs]
        ready, _, _ = select.select([*ends, *([reading] if is_open else [])], [], [], 0.02)
        for child in children.values():
            child.take(ready)
        if reading in ready:
            data = os.read(reading, 65_536)
            is_open = bool(data)
            *lines, left = (left + data).split(b"\n")
            for line in lines:
                child = _fork(json.loads(line))
                children[child.pid] = child
        for pid in list(children):
            gone, status = os.waitpid(pid, os.WNOHANG)
            if gone:
                child = children.pop(pid)
                child.take(list(child.outputs))
                child.close()
                _say({"number": child.number, "status": os.waitstatus_to_exitcode(status)})


class Child:
    """One process under way; what it prints goes through pipes, which no full disk and no limit stops."""

    def __init__(self, pid: int, number: int, outputs: dict[int, Path]) -> None:
        self.pid, self.number, self.outputs = pid, number, outputs
        self._said = dict.fromkeys(outputs, b"")
        for end in outputs:
            os.set_blocking(end, False)

    def take(self, ready: list[int]) -> None:
        """Take what was printed meanwhile."""
        for end in self.outputs:
            while end in ready:
                try:
                    data = os.read(end, 65_536)
                except BlockingIOError:
                    break
                if not data:
                    break
                self._said[end] += data

    def close(self) -> None:
        """Write down what was printed."""
        for end, path in self.outputs.items():
            path.write_bytes(self._said[end])
            os.close(end)


def _import_everything() -> None:
    import aiosqlite  # noqa: F401
    import asyncmy
    import asyncpg  # noqa: F401

    import migration.cli
    from migration.backends import MODULES, backend_named

    assert all(backend_named(name) for name in MODULES)
    assert asyncmy.connect
    assert migration.cli.main


def _say(words: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def _fork(job: dict[str, Any]) -> Child:
    pipes = {name: os.pipe() for name in ("stdout", "stderr")}
    pid = os.fork()
    if pid:
        _say({"number": job["number"], "pid": pid})
        for _, writing in pipes.values():
            os.close(writing)
        outputs = {pipe[0]: Path(job["folder"], f"{job['name']}.{name}.txt") for name, pipe in pipes.items()}
        return Child(pid, job["number"], outputs)
    try:
        for number, (_, writing) in enumerate(pipes.values(), 1):
            os.dup2(writing, number)
        code = _live(job)
    except BaseException:  # noqa: BLE001 - a child must never come back into the nursery
        traceback.print_exc()
        code = BROKEN_HARNESS
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _live(job: dict[str, Any]) -> int:
    """Run the tool with one fault, and return its exit code."""
    folder = Path(job["folder"])
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ["COLUMNS"] = "200"
    doors = Doors(job.get("at", 0), _act_of(job), job.get("door", ""))
    small_chunks(CHUNK_ROWS, CHUNK_BYTES)
    doors.watch()
    _spoil(job, doors)
    sys.argv = ["migration", *job["argv"]]
    from migration import cli

    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    # What a door does to files is over: the notes are ours.
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    notes = {"count": doors.count, "phases": doors.phase_starts, "doors": doors.by_door}
    Path(f"{job['name']}.{NOTES}").write_text(json.dumps(notes))
    return code


def _spoil(job: dict[str, Any], doors: Doors) -> None:
    """Put lies, a jumping clock, and safeguards that are switched off into this process."""
    from tests.faults import lies, safeguards

    if job.get("lie"):
        lies.tell(job["lie"], doors)
    if job.get("clock_seed") is not None:
        lies.let_clock_jump(job["clock_seed"])
    if job.get("without"):
        safeguards.SAFEGUARDS[job["without"]].switch_off(doors)


def _act_of(job: dict[str, Any]) -> Callable[[str], None]:
    act, name = job.get("act", ""), job["name"]

    def fire(door: str) -> None:
        descriptor = os.open(f"{name}.{FIRED}", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(descriptor, f"{act} at {door}\n".encode())
        os.close(descriptor)
        if act == "call":
            _call(job)
        elif act == "small-files":
            size = Path(job["file"]).stat().st_size if Path(job["file"]).exists() else 0
            limit = size + job["spare_bytes"]
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        else:
            os.kill(os.getpid(), getattr(signal, act))

    return fire


def _call(job: dict[str, Any]) -> None:
    """Have something done outside, and wait until it is done."""
    with socket.create_connection(("127.0.0.1", job["port"]), timeout=60) as connection:
        connection.sendall(json.dumps({"number": job["number"]}).encode() + b"\n")
        connection.recv(1)


if __name__ == "__main__":
    main()
