"""The audit log: what it promises, and every way of breaking it that must be noticed."""

# ruff: noqa: ASYNC240 - the files here are a few lines long, and nothing else waits for the loop.

from __future__ import annotations

import asyncio
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration import audit as audit_module
from migration.audit import MODE_TIGHTENED, NO_HASH, TORN_LINE, Audit, AuditReading, Event, read_audit
from migration.errors import AuditUnusable, Refused

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
NOBODY = 65534


class Ticking:
    """A clock that goes on by one second whenever it is read."""

    def __init__(self, moment: datetime = START) -> None:
        self.moment = moment

    def __call__(self) -> datetime:
        self.moment += timedelta(seconds=1)
        return self.moment


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


async def opened(path: Path, run: str = "run-1", **settings: object) -> Audit:
    return await Audit.open(path, clock=Ticking(), run=run, **settings)  # type: ignore[arg-type]


async def written(path: Path, count: int = 4) -> list[bytes]:
    """Write a log of so many events and return its lines."""
    async with await opened(path) as audit:
        for number in range(1, count + 1):
            await audit.write("copied", table="messages", rows=number * 1000)
    return path.read_bytes().splitlines(keepends=True)


def breaks(reading: AuditReading) -> list[tuple[int, str]]:
    return [(problem.line_number, problem.what) for problem in reading.problems if problem.breaks_chain]


# --- what a log is ------------------------------------------------------------------------------------------


async def test_an_event_is_one_line_and_carries_the_hash_of_the_line_before(path: Path) -> None:
    async with await opened(path) as audit:
        first = await audit.write("opened", source="sqlite:///a.db")
        second = await audit.write("copied", table="größe", rows=3)
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert lines[0] == {
        "number": 1,
        "time": "2024-05-06T07:08:10.000000Z",
        "run": "run-1",
        "name": "opened",
        "details": {"source": "sqlite:///a.db"},
        "previous": NO_HASH,
        "hash": first.hash,
    }
    assert lines[1]["previous"] == first.hash
    assert lines[1]["details"] == {"rows": 3, "table": "größe"}
    assert await read_audit(path) == AuditReading((first, second), ())


async def test_a_hash_can_be_computed_again_with_nothing_but_the_line(path: Path) -> None:
    for line in await written(path):
        body, _, rest = line.partition(b',"hash":"')
        assert hashlib.sha256(body + b"}").hexdigest() == rest[:64].decode()


async def test_an_event_cannot_be_changed_in_memory_either(path: Path) -> None:
    async with await opened(path) as audit:
        event = await audit.write("opened")
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.number = 2  # type: ignore[misc]


async def test_an_empty_file_is_an_empty_log(path: Path) -> None:
    path.touch(0o600)
    assert await read_audit(path) == AuditReading((), ())
    async with await opened(path) as audit:
        assert (await audit.write("opened")).number == 1


async def test_another_run_goes_on_with_the_chain(path: Path) -> None:
    await written(path, 2)
    async with await Audit.open(path, clock=Ticking(START + timedelta(days=1)), run="run-2") as audit:
        event = await audit.write("resumed")
    reading = await read_audit(path)
    assert (event.number, event.run, event.previous) == (3, "run-2", reading.events[1].hash)
    assert reading.is_whole
    assert not reading.problems


async def test_an_event_is_on_the_disk_when_write_returns(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    async with await opened(path) as audit:
        monkeypatch.setattr(os, "fsync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
        await audit.write("copied")
        assert sizes == [path.stat().st_size]


async def test_events_written_at_the_same_moment_do_not_mix(path: Path) -> None:
    async with await opened(path) as audit:
        await asyncio.gather(*(audit.write("copied", chunk=number) for number in range(50)))
    reading = await read_audit(path)
    assert not reading.problems
    assert sorted(event.details["chunk"] for event in reading.events) == list(range(50))


async def test_a_write_that_was_cancelled_leaves_whole_lines(path: Path) -> None:
    async with await opened(path) as audit:
        for _ in range(20):
            task = asyncio.create_task(audit.write("copied"))
            await asyncio.sleep(0)
            task.cancel()
        last = await audit.write("stopped")
    reading = await read_audit(path)
    assert not reading.problems
    assert last in reading.events


async def test_details_of_any_kind_are_written(path: Path) -> None:
    async with await opened(path) as audit:
        await audit.write("odd", name="x", value=float("nan"), when=START, raw=b"\x00", text="\ud800\u2028\n")
    (event,) = (await read_audit(path)).events
    assert event.details == {
        "name": "x",
        "value": "nan",
        "when": "2024-05-06 07:08:09+00:00",
        "raw": "00",
        "text": "\ud800\u2028\n",
    }


async def test_no_secret_reaches_the_file(path: Path) -> None:
    async with await opened(path, secrets=("p@ss/w:rd",)) as audit:
        await audit.write(
            "failed", why="role u: p@ss/w:rd", url="mysql://u:other@h/d", more=[{"p@ss/w:rd": 1}]
        )
    text = path.read_text()
    assert "p@ss/w:rd" not in text
    assert "other" not in text


@given(details=st.dictionaries(st.text(), st.text() | st.integers() | st.floats() | st.binary(), max_size=4))
async def test_whatever_is_written_is_read_back(details: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "audit.jsonl")
        async with await opened(path) as audit:
            event = await audit.write("any", details=details)
        assert await read_audit(path) == AuditReading((event,), ())


# --- the file -----------------------------------------------------------------------------------------------


async def test_a_new_log_and_its_new_folder_are_its_owners_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "audit.jsonl"
    before = os.umask(0)
    try:
        await (await opened(path)).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o666])
async def test_a_log_that_was_open_to_others_is_closed_to_them_and_says_so(path: Path, mode: int) -> None:
    await written(path, 1)
    path.chmod(mode)
    await (await opened(path)).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    event = (await read_audit(path)).events[-1]
    assert (event.name, event.details) == (MODE_TIGHTENED, {"before": f"{mode:04o}", "after": "0600"})


async def test_a_log_of_somebody_else_that_is_open_to_all_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(path, 1)
    path.chmod(0o666)
    monkeypatch.setattr(os, "fchmod", failing(errno.EPERM))
    with pytest.raises(AuditUnusable, match="open to others"):
        await opened(path)


async def test_a_second_process_is_refused_until_the_first_is_gone(path: Path) -> None:
    holder = child(
        path, "audit = await Audit.open(path, clock=now, run='first'); print('held', flush=True); input()"
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(Refused, match="Another migration is writing to the audit log.*Nothing was touched"):
        await opened(path)
    holder.communicate("\n")
    await (await opened(path)).close()


async def test_a_second_opening_in_the_same_process_is_refused(path: Path) -> None:
    async with await opened(path):
        with pytest.raises(AuditUnusable, match="Another migration"):
            await opened(path)


async def test_a_refused_opening_holds_nothing(path: Path) -> None:
    lines = await written(path)
    path.write_bytes(b"".join(lines[1:]))
    for _ in range(2):
        with pytest.raises(AuditUnusable, match="broken at line 1"):
            await opened(path)


async def test_a_file_system_without_locks_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    with pytest.raises(AuditUnusable, match="cannot be locked"):
        await opened(path)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
async def test_what_is_no_plain_file_is_refused(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    with pytest.raises(AuditUnusable, match="not a plain file"):
        await opened(path)
    with pytest.raises(AuditUnusable, match="not a plain file"):
        await read_audit(path)


async def test_a_log_that_is_not_there_cannot_be_read(path: Path) -> None:
    with pytest.raises(AuditUnusable, match=r"cannot be read: No such file.*audit\.jsonl"):
        await read_audit(path)


async def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AuditUnusable, match="cannot be opened.*Nothing was touched"):
        await opened(tmp_path / "file" / "audit.jsonl")


async def test_a_folder_that_may_not_be_written_to_is_refused() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        with unprivileged(), pytest.raises(AuditUnusable, match="cannot be opened: Permission denied"):
            await opened(folder / "audit.jsonl")
        assert not list(folder.iterdir())


async def test_a_log_that_may_not_be_written_to_is_refused() -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "audit.jsonl")
        await written(path, 1)
        path.chmod(0o444)
        Path(name).chmod(0o755)
        with unprivileged(), pytest.raises(AuditUnusable, match="cannot be opened: Permission denied"):
            await opened(path)


async def test_a_log_named_from_the_current_folder_is_found_after_leaving_it(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with await opened(Path(path.name)) as audit:
        monkeypatch.chdir("/")
        await audit.write("copied")
    assert (await read_audit(path)).is_whole


# --- lines that cannot be written ---------------------------------------------------------------------------


async def test_a_line_that_cannot_be_written_stops_the_job_for_good(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = await opened(path)
    await audit.write("opened")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(errno.EIO))
        with pytest.raises(AuditUnusable, match=r"cannot be written: .*not on record, so the job stops"):
            await audit.write("copied")
    with pytest.raises(AuditUnusable, match="could not be written before"):
        await audit.write("proved")
    await audit.close()
    reading = await read_audit(path)
    assert [event.name for event in reading.events] == ["opened"]
    assert not reading.problems


async def test_nothing_is_written_after_closing(path: Path) -> None:
    audit = await opened(path)
    await audit.close()
    await audit.close()
    with pytest.raises(AuditUnusable, match="is closed"):
        await audit.write("late")


FULL = """
import resource
audit = await Audit.open(path, clock=now, run="first")
await audit.write("opened")
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100,) * 2)
{before}
try:
    await audit.write("copied", text="x" * 200)
except MigrationError as error:
    print(error)
"""


async def test_a_full_disk_stops_the_job_and_leaves_whole_lines(path: Path) -> None:
    said, _ = child(path, FULL.format(before="")).communicate()
    assert "The audit log cannot be written: File too large" in said
    reading = await read_audit(path)
    assert [event.name for event in reading.events] == ["opened"]
    assert not reading.problems


async def test_half_a_line_that_cannot_be_taken_back_is_set_aside_by_the_next_run(path: Path) -> None:
    keep = "os.ftruncate = lambda *_: None"
    said, _ = child(path, FULL.format(before=keep)).communicate()
    assert "cannot be written" in said
    reading = await read_audit(path)
    assert len(reading.torn) == 100
    await (await opened(path)).close()
    assert (await read_audit(path)).events[-1].name == TORN_LINE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
async def test_a_device_that_is_full_stops_the_job(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = await opened(path)
    monkeypatch.setattr(Audit, "_refuse_strangers", lambda self: None)
    with open("/dev/full", "ab") as full:  # noqa: ASYNC230, PTH123 - a device that is always ready.
        os.dup2(full.fileno(), audit._file.fileno())
    with pytest.raises(AuditUnusable, match="No space left on device"):
        await audit.write("copied")
    await audit.close()


async def test_a_log_that_somebody_else_wrote_to_stops_the_job(path: Path) -> None:
    async with await opened(path) as audit:
        await audit.write("opened")
        with path.open("ab") as file:
            file.write(b"{}\n")
        with pytest.raises(AuditUnusable, match="Somebody else wrote to the audit log"):
            await audit.write("copied")
        with pytest.raises(AuditUnusable, match="Somebody else"):
            await audit.write("proved")


async def test_a_log_that_was_replaced_stops_the_job(path: Path, tmp_path: Path) -> None:
    async with await opened(path) as audit:
        (tmp_path / "other").touch()
        (tmp_path / "other").replace(path)
        with pytest.raises(AuditUnusable, match="replaced by another file"):
            await audit.write("copied")


async def test_a_log_that_was_removed_stops_the_job(path: Path) -> None:
    async with await opened(path) as audit:
        path.unlink()
        with pytest.raises(AuditUnusable, match="cannot be written: No such file"):
            await audit.write("copied")


# --- canaries: whatever is done to a log, it is noticed -----------------------------------------------------


async def assert_broken_at(path: Path, line_number: int) -> None:
    """Check that reading reports the line and that nobody can go on with this log."""
    reading = await read_audit(path)
    assert not reading.is_whole
    assert breaks(reading)[0][0] == line_number
    content = path.read_bytes()
    with pytest.raises(AuditUnusable, match=f"broken at line {line_number}: "):
        await opened(path)
    assert path.read_bytes() == content


async def test_canary_every_flipped_byte_is_noticed(path: Path) -> None:
    content = b"".join(await written(path, 3))
    for position in range(len(content) - 1):
        changed = bytearray(content)
        changed[position] ^= 1
        reading = audit_module._examine(bytes(changed))
        line_number = content[:position].count(b"\n") + 1
        # A newline that became something else joins its line with the next.
        assert breaks(reading), f"byte {position} of {len(content)}"
        assert breaks(reading)[0][0] == line_number


async def test_canary_a_last_newline_that_was_changed_is_no_whole_line(path: Path) -> None:
    lines = await written(path, 2)
    path.write_bytes(b"".join(lines)[:-1] + b" ")
    reading = await read_audit(path)
    assert reading.torn == lines[1][:-1] + b" "


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_canary_a_deleted_line_is_noticed(path: Path, number: int) -> None:
    lines = await written(path)
    del lines[number - 1]
    path.write_bytes(b"".join(lines))
    await assert_broken_at(path, number)
    assert (number, f"event {number} should be here, and it is {number + 1}") in breaks(
        await read_audit(path)
    )


async def test_canary_lines_missing_at_the_end_are_seen_by_whoever_kept_the_last_hash(path: Path) -> None:
    lines = await written(path)
    last = json.loads(lines[-1])["hash"]
    path.write_bytes(b"".join(lines[:-1]))
    reading = await read_audit(path)
    assert reading.is_whole
    assert reading.events[-1].hash != last


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_canary_two_lines_that_changed_places_are_noticed(path: Path, number: int) -> None:
    lines = await written(path)
    lines[number - 1], lines[number] = lines[number], lines[number - 1]
    path.write_bytes(b"".join(lines))
    await assert_broken_at(path, number)


@pytest.mark.parametrize("number", [1, 2, 4])
async def test_canary_a_doubled_line_is_noticed(path: Path, number: int) -> None:
    lines = await written(path)
    lines.insert(number, lines[number - 1])
    path.write_bytes(b"".join(lines))
    await assert_broken_at(path, number + 1)


async def test_canary_an_edited_number_is_noticed(path: Path) -> None:
    lines = await written(path)
    lines[1] = lines[1].replace(b'"number":2', b'"number":7')
    path.write_bytes(b"".join(lines))
    await assert_broken_at(path, 2)
    assert breaks(await read_audit(path))[:2] == [
        (2, "event 2 should be here, and it is 7"),
        (2, "it was changed after it was written"),
    ]


async def test_canary_an_edited_detail_is_noticed(path: Path) -> None:
    lines = await written(path)
    lines[2] = lines[2].replace(b"3000", b"3001")
    path.write_bytes(b"".join(lines))
    await assert_broken_at(path, 3)
    assert breaks(await read_audit(path)) == [(3, "it was changed after it was written")]


async def test_canary_an_edited_line_with_a_new_hash_is_noticed_at_the_next(path: Path) -> None:
    lines = await written(path)
    event = Event(**json.loads(lines[1]))
    event = dataclasses.replace(event, details={"rows": 1})
    lines[1] = dataclasses.replace(event, hash=event.own_hash()).line() + b"\n"
    path.write_bytes(b"".join(lines))
    await assert_broken_at(path, 3)
    assert breaks(await read_audit(path)) == [(3, "it does not follow from the line before")]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b"{}",
        b'{"number":2}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"number":"2","time":"","run":"","name":"","details":{},"previous":"","hash":""}',
        b'{"number":2,"time":"","run":"","name":"","details":[],"previous":"","hash":""}',
        b'{"number":2,"time":"","run":"","name":"","details":{"x":NaN},"previous":"","hash":""}',
    ],
)
async def test_canary_a_line_that_is_no_event_is_noticed(path: Path, line: bytes) -> None:
    lines = await written(path)
    path.write_bytes(b"".join([lines[0], line + b"\n", *lines[1:]]))
    await assert_broken_at(path, 2)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"number":2,', b'{"number": 2,'),
        (b'{"number":2,', b'{"number":2,"number":2,'),
        (b'"rows":2000,"table":"messages"', b'"table":"messages","rows":2000'),
        (b"}\n", b"}\r\n"),
        (b"messages", b"message\\u0073"),
    ],
)
async def test_canary_another_spelling_of_the_same_event_is_noticed(
    path: Path, old: bytes, new: bytes
) -> None:
    lines = await written(path)
    assert old in lines[1]
    lines[1] = lines[1].replace(old, new)
    path.write_bytes(b"".join(lines))
    await assert_broken_at(path, 2)


async def test_a_time_that_goes_backwards_is_told_and_breaks_nothing(path: Path) -> None:
    await written(path, 2)
    async with await Audit.open(path, clock=lambda: START, run="run-2") as audit:
        await audit.write("resumed")
    reading = await read_audit(path)
    assert reading.is_whole
    (problem,) = reading.problems
    assert problem.line_number == 3
    assert problem.what == "its time 2024-05-06T07:08:09.000000Z is before 2024-05-06T07:08:11.000000Z"


# --- torn lines ---------------------------------------------------------------------------------------------


async def test_a_line_torn_at_any_byte_is_told_and_set_aside_with_its_bytes(path: Path) -> None:
    lines = await written(path, 3)
    for length in range(1, len(lines[2]) - 1):
        torn = lines[2][:length]
        path.write_bytes(lines[0] + lines[1] + torn)
        reading = await read_audit(path)
        assert (reading.is_whole, reading.torn, len(reading.events)) == (True, torn, 2)
        assert [(problem.line_number, problem.what) for problem in reading.problems] == [
            (3, f"{length} bytes at the end are a torn line")
        ]
        async with await opened(path) as audit:
            await audit.write("resumed")
        assert path.read_bytes().startswith(lines[0] + lines[1] + torn + b"\n")
        after = await read_audit(path)
        assert not breaks(after)
        assert [event.name for event in after.events] == ["copied", "copied", TORN_LINE, "resumed"]
        details = after.events[2].details
        assert details["text"].encode("latin-1") == torn
        assert (details["byte_count"], details["sha256"]) == (length, hashlib.sha256(torn).hexdigest())


async def test_a_line_without_its_newline_is_whole_and_gone_on_after(path: Path) -> None:
    lines = await written(path, 2)
    path.write_bytes(b"".join(lines)[:-1])
    assert (await read_audit(path)).lacks_newline
    async with await opened(path) as audit:
        assert (await audit.write("resumed")).number == 3
    assert path.read_bytes().startswith(b"".join(lines))
    assert (await read_audit(path)).is_whole


async def test_a_changed_last_line_without_a_newline_is_no_torn_line(path: Path) -> None:
    lines = await written(path, 2)
    path.write_bytes(lines[0] + lines[1][:-1].replace(b"2000", b"2001"))
    await assert_broken_at(path, 2)


@pytest.mark.parametrize("torn", [b"\0" * 4096, bytes(range(128, 256)), b'{"number":3}', b"\r"])
async def test_whatever_a_power_cut_leaves_is_set_aside(path: Path, torn: bytes) -> None:
    lines = await written(path, 2)
    path.write_bytes(b"".join(lines) + torn)
    await (await opened(path)).close()
    last = (await read_audit(path)).events[-1]
    assert last.details["text"].encode("latin-1") == torn


async def test_a_second_crash_while_setting_aside_loses_nothing(path: Path) -> None:
    lines = await written(path, 2)
    path.write_bytes(b"".join(lines) + b'{"numb' + b"\n" + b'{"number":3,"ti')
    await (await opened(path)).close()
    reading = await read_audit(path)
    assert reading.is_whole
    assert reading.events[-1].details["text"] == '{"numb\n{"number":3,"ti'


async def test_a_log_that_is_torn_in_its_first_line_begins_again(path: Path) -> None:
    path.touch(0o600)
    path.write_bytes(b'{"number":1')
    await (await opened(path)).close()
    (event,) = (await read_audit(path)).events
    assert (event.number, event.name, event.previous) == (1, TORN_LINE, NO_HASH)


async def test_canary_a_torn_line_that_was_changed_after_it_was_set_aside_is_noticed(path: Path) -> None:
    lines = await written(path, 1)
    path.write_bytes(lines[0] + b'{"numb')
    await (await opened(path)).close()
    path.write_bytes(path.read_bytes().replace(b'\n{"numb\n', b'\n{"nimb\n'))
    await assert_broken_at(path, 2)


async def test_a_secret_in_a_torn_line_is_not_repeated(path: Path) -> None:
    path.touch(0o600)
    path.write_bytes(b'{"run":"hunter2')
    await (await opened(path, secrets=("hunter2",))).close()
    (event,) = (await read_audit(path)).events
    assert event.details["text"] == '{"run":"***'


# --- tools --------------------------------------------------------------------------------------------------


def failing(number: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def child(path: Path, body: str) -> subprocess.Popen[str]:
    """Start a process that runs ``body`` with a log at ``path`` to open."""
    program = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from migration.audit import Audit\n"
        "from migration.clock import now\n"
        "from migration.errors import MigrationError\n"
        "async def main(path):\n" + textwrap.indent(body, "    ") + "\nasyncio.run(main(Path(sys.argv[1])))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be a user to whom permissions apply, when the tests run as one to whom they do not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
