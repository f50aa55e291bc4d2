"""Keeps one server process running for exactly as long as somebody wants it.

This file is a program of its own, started by ``programs.py`` with nothing but the standard library. A
throw-away server must not outlive the process that asked for it, however that process ends, and a process
that was killed can no longer stop anything. So a second, tiny process stands between the two. It holds one
end of a pipe: when the other end is closed, on purpose or because the kernel closed it, the keeper stops the
server and removes its folder.

Linux could send the server a signal when its parent dies (``PR_SET_PDEATHSIG``), but that would follow the
thread that started it instead of the process, exists on no other system, and would leave the folder behind.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PREPARE_SECONDS_MAX = 60.0
"""An empty database is laid out in a second or two; a minute is a machine that is stuck."""

STOP_SECONDS_MAX = 10.0
"""A server that holds nothing worth keeping stops within a second; after this it is killed."""

LOOK_SECONDS = 0.2
"""How often the keeper looks whether the server and its owner still live."""

LOG_CHARACTERS_MAX = 2000
"""As much of the server's log as fits into an error message."""


@dataclass(frozen=True)
class Job:
    """What to keep: a folder, the command that fills it, and the command that serves it."""

    folder: str
    prepare: list[str]
    serve: list[str]
    stop_signal: int
    user: int | None = None
    group: int | None = None

    def line(self) -> bytes:
        """Say the whole job as one line that :func:`read_job` understands."""
        return json.dumps(vars(self)).encode() + b"\n"


def read_job(line: bytes) -> Job:
    """Understand the line that :meth:`Job.line` wrote."""
    return Job(**json.loads(line))


def keep(job: Job, pipe: int, owner: int) -> str:
    """Serve until the pipe closes or the owner is gone; return the log's end if the server ended first.

    Whatever happens, the server is stopped and the folder removed on the way out.
    """
    log = Path(job.folder, "log")
    try:
        with log.open("ab") as output:
            if _run(job.prepare, job, output) != 0:
                return _end_of(log)
            server = _start(job.serve, job, output)
        try:
            _wait_for_the_end(server, pipe, owner)
            return "" if server.poll() is None else _end_of(log)
        finally:
            _stop(server, job.stop_signal)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{error}\n{_end_of(log)}".strip()
    finally:
        shutil.rmtree(job.folder, ignore_errors=True)


def _start(command: list[str], job: Job, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a command of the job under the job's account, with its words going to the log."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd=job.folder,
        env=_environment(),
        user=job.user,
        group=job.group,
        extra_groups=None if job.user is None else [],
    )


def _run(command: list[str], job: Job, output: IO[bytes]) -> int:
    """Run a command of the job to its end and return its exit code."""
    process = _start(command, job, output)
    try:
        return process.wait(PREPARE_SECONDS_MAX)
    finally:
        _stop(process, signal.SIGKILL)


def _environment() -> dict[str, str]:
    """Give the server nothing of the caller's environment but where programs are.

    A stray variable of the caller (a data folder, a port, options) would otherwise change the server.
    """
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _wait_for_the_end(server: subprocess.Popen[bytes], pipe: int, owner: int) -> None:
    """Return once the server has ended, the pipe is closed, or the owner is gone.

    The owner is looked at as well as the pipe because a process forked by the owner may hold the pipe open.
    """
    while server.poll() is None and os.getppid() == owner:
        readable, _, _ = select.select([pipe], [], [], LOOK_SECONDS)
        if readable and not os.read(pipe, 1):
            return


def _stop(server: subprocess.Popen[bytes], stop_signal: int) -> None:
    """End the server: politely at first, certainly at last."""
    if server.poll() is None:
        server.send_signal(stop_signal)
    try:
        server.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _end_of(log: Path) -> str:
    """Return the last words of a log, or nothing when there is none."""
    if not log.exists():
        return ""
    return log.read_text(errors="replace")[-LOG_CHARACTERS_MAX:].strip()


def main() -> None:
    """Read a job and the owner's process id from standard input's first line, then keep the server."""
    # Being asked to end is the same as the pipe being closed: leave through the same door.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    owner = os.getppid()
    sys.stdout.write(keep(read_job(sys.stdin.buffer.readline()), sys.stdin.fileno(), owner))


if __name__ == "__main__":
    main()
