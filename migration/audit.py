"""Writes down what happened, so that nobody can change the story later without it being seen.

A log is a file of lines, one JSON object each, and grows at its end only. Every line carries the hash of
the line before, so a line that was changed, taken out, put in or moved breaks the chain at that line.
What a chain cannot show is that lines are missing at its very end: whoever needs that keeps the hash of
the last event, which :meth:`Audit.write` returns, somewhere else.

A line that cannot be written stops the job: what is not written down did not happen. A process that
dies while writing leaves a line without an end. That is no broken chain: the next :meth:`Audit.open`
ends the line and says so in an event of its own, and the bytes stay where they are.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import io
import json
import os
import stat
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any, Self

from migration.clock import Clock, stamp
from migration.errors import AuditUnusable
from migration.redaction import redact_value

# What stands before the first event.
NO_HASH = "0" * 64
# The event that sets aside what a dead process left behind.
TORN_LINE = "torn-line"
# The event that says that others could read or write the log until now.
MODE_TIGHTENED = "mode-tightened"
# What is told to whoever lost an event, and to whoever cannot use the file.
_ANOTHER = "Put right what keeps this user from the file, or name another one"
_STOPS = "The event is not on record, so the job stops"


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    ``previous`` is the hash of the event before; ``hash`` is the SHA-256 of the line as it stands in the
    file, less its last member.
    """

    number: int
    time: str
    run: str
    name: str
    details: dict[str, Any]
    previous: str
    hash: str

    def line(self) -> bytes:
        """Return the event as it stands in the file: compact, ASCII only, one spelling only."""
        return _spell(asdict(self))

    def own_hash(self) -> str:
        """Return the hash that the event ought to have."""
        members = asdict(self)
        del members["hash"]
        return _digest(_spell(members))


@dataclass(frozen=True)
class Problem:
    """Something odd about a log; ``breaks_chain`` means that what it says cannot be relied upon."""

    line_number: int
    what: str
    breaks_chain: bool


@dataclass(frozen=True)
class AuditReading:
    """What a log says, and what is wrong with it.

    ``torn`` is what follows the last whole line; ``lacks_newline`` means that the last line has only its
    end missing.
    """

    events: tuple[Event, ...]
    problems: tuple[Problem, ...]
    torn: bytes = b""
    lacks_newline: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether every line is as it was written and follows from the line before."""
        return not any(problem.breaks_chain for problem in self.problems)


class Audit:
    """The log of one job, open for writing; made by :meth:`open`.

    Safe to share between tasks. An ``async with`` closes it.
    """

    def __init__(self, path: Path, file: io.FileIO, clock: Clock, run: str, secrets: Iterable[str]) -> None:
        self.path = path
        self._file = file
        self._clock = clock
        self._run = run
        self._secrets = tuple(secrets)
        # Threads write, and a cancelled task leaves its thread behind: only this keeps lines apart.
        self._lock = threading.Lock()
        self._number = 0
        self._previous = NO_HASH
        self._byte_count = 0
        self._failure = ""

    @classmethod
    async def open(cls, path: Path, *, clock: Clock, run: str, secrets: Iterable[str] = ()) -> Audit:
        """Continue a log, or begin one, with nobody but its owner allowed to read it.

        Parameters
        ----------
        run
            Name of this run, written into each of its events.
        secrets
            Texts that no event may contain; see :func:`migration.redaction.secrets_of`.

        Raises
        ------
        AuditUnusable
            When the log cannot be opened, another process is writing to it, or its chain is broken.
        """
        return await asyncio.to_thread(cls._open, path, clock, run, tuple(secrets))

    async def write(self, name: str, /, **details: object) -> Event:
        """Append one event; when this returns, it is on the disk.

        Raises
        ------
        AuditUnusable
            When it cannot be written. So does every later attempt: a log with a gap is no log.
        """
        return await asyncio.to_thread(self._append, name, details)

    async def close(self) -> None:
        """Let go of the log; closing twice does no harm."""
        await asyncio.to_thread(self._close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @classmethod
    def _open(cls, path: Path, clock: Clock, run: str, secrets: tuple[str, ...]) -> Audit:
        # Every write looks whether the file is still there, wherever the process has gone since.
        path = path.absolute()
        file = _open_file(path)
        try:
            _lock_file(file, path)
            data = _read_file(path)
            reading = _examine(data)
            _refuse_broken(reading, path)
            audit = cls(path, file, clock, run, secrets)
            audit._byte_count = len(data)
            audit._continue(reading)
        except BaseException:
            file.close()
            raise
        return audit

    def _continue(self, reading: AuditReading) -> None:
        """Go on after the last event, having put in order and on record what is not as it should be."""
        if reading.events:
            self._number, self._previous = reading.events[-1].number, reading.events[-1].hash
        if reading.lacks_newline:
            self._write_bytes(b"\n")
        if reading.torn:
            # One character for each byte, so that none is lost in this spelling.
            text, digest = reading.torn.decode("latin-1"), _digest(reading.torn)
            details = {"byte_count": len(reading.torn), "sha256": digest, "text": text}
            self._append(TORN_LINE, details, before=b"\n")
        mode = stat.S_IMODE(os.fstat(self._file.fileno()).st_mode)
        if mode & 0o077:
            try:
                os.fchmod(self._file.fileno(), 0o600)
            except OSError as error:
                what = "The audit log is open to others, and that cannot be changed"
                raise _unusable(what, self.path, error) from error
            self._append(MODE_TIGHTENED, {"before": f"{mode:04o}", "after": "0600"})

    def _append(self, name: str, details: Mapping[str, object], before: bytes = b"") -> Event:
        with self._lock:
            plain = redact_value(details, self._secrets)
            time = stamp(self._clock())
            event = Event(self._number + 1, time, self._run, name, plain, self._previous, hash="")
            event = replace(event, hash=event.own_hash())
            self._write_bytes(before + event.line() + b"\n")
            self._number, self._previous = event.number, event.hash
            return event

    def _write_bytes(self, data: bytes) -> None:
        """Append and wait for the disk; whatever goes wrong, nothing is ever appended after it."""
        if self._failure:
            raise AuditUnusable(self._failure, where=str(self.path), done=_STOPS)
        try:
            self._refuse_strangers()
            written = 0
            while written < len(data):
                written += self._file.write(data[written:]) or 0
            os.fsync(self._file.fileno())
            self._byte_count += len(data)
        except OSError as error:
            self._failure = "The audit log could not be written before, and is not gone on with"
            # A full disk takes half a line. It was never on record, and is taken back where possible, so
            # that the log ends with a whole line; where it is not, the next run finds a torn line.
            with suppress(OSError):
                os.ftruncate(self._file.fileno(), self._byte_count)
            raise _unusable("The audit log cannot be written", self.path, error, done=_STOPS) from error
        except AuditUnusable as error:
            self._failure = error.what
            raise

    def _refuse_strangers(self) -> None:
        """Raise when the file at our path is not ours any more, or has grown without us."""
        ours, there = os.fstat(self._file.fileno()), self.path.stat()
        what = ""
        if (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino):
            what = "The audit log was replaced by another file while it was being written"
        elif ours.st_size != self._byte_count:
            what = f"Somebody else wrote to the audit log: {ours.st_size} bytes instead of {self._byte_count}"
        if what:
            raise AuditUnusable(what, where=str(self.path), done=_STOPS, next_step="Find out who did it")

    def _close(self) -> None:
        with self._lock:
            self._failure = self._failure or "The audit log is closed"
            self._file.close()


async def read_audit(path: Path) -> AuditReading:
    """Read a log to its end and verify all of it; what is wrong is told, not raised.

    Raises
    ------
    AuditUnusable
        When there is no such file, or it cannot be read.
    """
    return await asyncio.to_thread(lambda: _examine(_read_file(path)))


def _open_file(path: Path) -> io.FileIO:
    """Open the log for appending, made with mode 0600 in a folder that is made when missing."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists():
            _refuse_special(path)
        # The file's name lives in its folder, and has to reach the disk too.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            file = io.FileIO(path, "a", opener=lambda name, flags: os.open(name, flags, 0o600))
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise _unusable("The audit log cannot be opened", path, error) from error
    return file


def _lock_file(file: io.FileIO, path: Path) -> None:
    """Keep every other process out until the file is closed, or its process is gone."""
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        what = "Another migration is writing to the audit log"
        raise AuditUnusable(what, where=str(path), next_step="Wait for it, or name another file") from error
    except OSError as error:
        raise _unusable("The audit log cannot be locked", path, error) from error


def _read_file(path: Path) -> bytes:
    try:
        _refuse_special(path)
        return path.read_bytes()
    except OSError as error:
        raise _unusable("The audit log cannot be read", path, error) from error


def _refuse_special(path: Path) -> None:
    """Raise unless this is a plain file: a device or a pipe might never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise AuditUnusable("The audit log is not a plain file", where=str(path), next_step=_ANOTHER)


def _refuse_broken(reading: AuditReading, path: Path) -> None:
    for problem in reading.problems:
        if problem.breaks_chain:
            raise AuditUnusable(
                f"The audit log is broken at line {problem.line_number}: {problem.what}",
                where=str(path),
                next_step="Keep the file for whoever has to look into it, and name another one",
            )


def _unusable(what: str, path: Path, error: OSError, *, done: str = "Nothing was touched") -> AuditUnusable:
    return AuditUnusable(f"{what}: {error.strerror or error}", where=str(path), done=done, next_step=_ANOTHER)


def _examine(data: bytes) -> AuditReading:
    """Verify a whole log: numbers, hashes, the chain, the order of times, the end of the last line."""
    *lines, tail = data.split(b"\n")
    walk = _Walk()
    for line in lines:
        walk.take(line)
    torn = b""
    if tail and _parse(tail) is None:
        # Setting a torn line aside may have been cut short as well, which leaves several pieces.
        torn = walk.unreadable_bytes(tail)
        walk.line_number += 1
        # What was torn began as a line; a file with nothing of the kind in it is no log.
        is_foreign = not walk.events and not torn.startswith(b"{")
        walk.report(f"{len(torn)} bytes at the end are a torn line", breaks_chain=is_foreign)
    else:
        if tail:
            # Half a line is never a whole event, so nothing but the newline is missing.
            walk.take(tail)
        walk.refuse_unreadable()
    return AuditReading(tuple(walk.events), tuple(walk.problems), torn, bool(tail) and not torn)


class _Walk:
    """Goes from line to line, and holds each against the one before."""

    def __init__(self) -> None:
        self.line_number = 0
        self.events: list[Event] = []
        self.problems: list[Problem] = []
        # Lines that are no events, not yet explained by an event that sets them aside.
        self.unreadable: list[tuple[int, bytes]] = []

    def take(self, line: bytes) -> None:
        """Look at the next line, and go on from what it says, so that one fault is told once."""
        self.line_number += 1
        event = _parse(line)
        if event is None:
            self.unreadable.append((self.line_number, line))
            return
        if event.name == TORN_LINE and event.details.get("sha256") == _digest(self.unreadable_bytes()):
            self.unreadable.clear()
        self.refuse_unreadable()
        number, previous, time = 1, NO_HASH, ""
        if self.events:
            last = self.events[-1]
            number, previous, time = last.number + 1, last.hash, last.time
        if event.number != number:
            self.report(f"event {number} should be here, and it is {event.number}")
        if event.hash != event.own_hash():
            self.report("it was changed after it was written")
        if event.previous != previous:
            self.report("it does not follow from the line before")
        if event.time < time:
            self.report(f"its time {event.time} is before {time}", breaks_chain=False)
        self.events.append(event)

    def unreadable_bytes(self, *end: bytes) -> bytes:
        return b"\n".join([*(line for _, line in self.unreadable), *end])

    def refuse_unreadable(self) -> None:
        """Report the lines that are no events and were not set aside."""
        for line_number, _ in self.unreadable:
            self.report("it is not an event as this program writes it", line_number=line_number)
        self.unreadable.clear()

    def report(self, what: str, *, breaks_chain: bool = True, line_number: int = 0) -> None:
        self.problems.append(Problem(line_number or self.line_number, what, breaks_chain))


# What the members of an event are, in their order.
_KINDS = (int, str, str, str, dict, str, str)


def _parse(line: bytes) -> Event | None:
    """Return the event on a line, or ``None`` unless it is spelled exactly as it was written."""
    try:
        event = Event(**json.loads(line))
        is_event = all(map(isinstance, astuple(event), _KINDS))
        return event if is_event and event.line() == line else None
    # Half a line, other members, bytes that are no text, brackets deeper than a parser goes.
    except (TypeError, ValueError, RecursionError):
        return None


def _spell(members: Mapping[str, Any]) -> bytes:
    return json.dumps(members, separators=(",", ":"), allow_nan=False).encode("ascii")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
