"""No run leaves a password anywhere, nor a file that others may read.

Every command is a process of its own, whose every child is written down by an audit hook of Python, with its
arguments and its environment; then all that is left is searched: what was printed, every file, the databases.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from sqlalchemy.engine import make_url

from migration import Stopped
from tests import oracle
from tests.conftest import FreshDatabase
from tests.moving import made, moved

ROOT = Path(__file__).parents[2]
SECONDS_MAX = 60
MARK = "m4rk3rm4rk3rm4rk3r"
# What a URL, a shell, SQL, a setting of libpq and an option file would each trip over.
PASSWORD = f"é{MARK}@x:y/z%q?&#\"'\\ $"
SOURCE = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'one'), (2, 'two');"

CHILD = """
import os, sys
record = open(os.environ.pop("RECORD"), "a")
EVENTS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.spawn")
def note(event, arguments):
    if event in EVENTS:
        print(event, arguments, dict(os.environ), file=record, flush=True)
sys.addaudithook(note)
os.umask(0)
from migration import cli
if os.environ.pop("BREAKS", ""):
    from migration import service
    def broken(*_):
        raise KeyError(sys.argv[-1])
    service.survey = broken
cli.main()
"""


class Place:
    """A folder in which commands run and leave whatever they leave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        (self.folder / "tmp").mkdir()
        self.record = folder / "children.txt"
        self.record.touch()
        self.printed = ""

    def run(self, *arguments: object, exit_code: int = 0, **environment: str) -> str:
        """Run one command, and keep what it printed."""
        done = subprocess.run(
            [sys.executable, "-c", CHILD, *map(str, arguments)],
            capture_output=True, text=True, timeout=SECONDS_MAX, cwd=self.folder, stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200",
                 "TMPDIR": str(self.folder / "tmp"), "HOME": str(self.folder), "RECORD": str(self.record),
                 **environment},
            check=False,
        )  # fmt: skip
        self.printed += done.stdout + done.stderr
        assert done.returncode == exit_code, (arguments[0], done.returncode, done.stderr)
        return done.stdout + done.stderr

    def left(self) -> dict[str, bytes]:
        """Return everything that is left, by where it is."""
        files = {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        return {
            **files,
            "names": " ".join(files).encode(),
            "children": self.record.read_bytes(),
            "printed": self.printed.encode(),
        }

    def open_to_others(self) -> list[str]:
        """Return the files, sockets and folders that others may read or write."""
        return [
            f"{path.name} {stat.filemode(path.lstat().st_mode)}"
            for path in self.folder.rglob("*")
            if path.name != "tmp" and path.lstat().st_mode & 0o077
        ]


def spellings(secret: str) -> set[bytes]:
    """Return every spelling in which a secret may be found."""
    texts = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), MARK, MARK.upper()}
    found = {text.encode(encoding) for text in texts for encoding in ("utf-8", "utf-16-le", "latin-1")}
    found |= {text.encode().hex().encode() for text in (secret, MARK)}
    for shift in range(3):
        # Whatever stands before it.
        found.add(base64.b64encode(b"x" * shift + MARK.encode())[4:-4])
    return found


def told(left: dict[str, bytes], secret: str = PASSWORD) -> list[str]:
    """Name where a secret is told."""
    wanted = spellings(secret)
    return [f"{place}: {found!r}" for place, content in left.items() for found in wanted if found in content]


def with_user(url: str) -> str:
    """Make a user with the password, who may do everything; return the URL as a person would write it."""
    parsed = make_url(url)
    user = f"u{re.sub(r'[^a-z0-9]', '', str(parsed.database))[-12:]}"
    text = PASSWORD.replace("'", "''")
    if oracle.engine_of(url) == "postgresql":
        script = f"CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{text}'"
    else:
        script = f"CREATE USER {user}@'%' IDENTIFIED BY '{text}'; GRANT ALL ON *.* TO {user}@'%';"
    asyncio.run(oracle.run(url, script))
    place = f"{parsed.host}:{parsed.port}/{parsed.database}"
    return f"{parsed.drivername}://{user}:{quote(PASSWORD, safe='')}@{place}"


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"])
def test_no_command_leaves_a_password_anywhere(
    engine: str, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    url = fresh_database(engine)
    secret = with_user(url)
    place = Place(tmp_path)
    source = made(tmp_path / "source.db", SOURCE)
    place.run("migrate", source, secret, "--dry-run", "--save-plan", "plan.toml", "--json")
    place.run("migrate", source, secret, "--backup", "backups", "--json")
    place.run("migrate", secret, "back.db", "--backup", "backups", "--audit", "back.jsonl")
    # What it was told with a wrong password, where nobody listens, and when it breaks.
    place.run("verify", source, secret.replace(MARK, f"{MARK}0"), exit_code=3)
    if engine == "postgresql":
        place.run("verify", source, secret)
        unreachable = make_url(url).set(port=1).render_as_string(hide_password=False).partition("@")[2]
        place.run("diff", source, f"{secret.rpartition('@')[0]}@{unreachable}", "--json", exit_code=3)
        place.run("migrate", source, secret, exit_code=70, BREAKS="1")
    left = place.left()
    assert told(left) == []
    # Nothing is told of nothing: these files are there, and the programs that dump were called.
    names = {Path(name).name for name in left}
    assert {"plan.toml", "migration-audit.jsonl", "back.jsonl", "back.db"} <= names
    assert b"dump" in left["children"]
    assert place.open_to_others() == []
    assert told({"the target": asyncio.run(oracle.dump(url)).encode(errors="replace")}) == []


async def test_what_a_stopped_run_leaves_in_its_target_tells_no_password(
    postgresql_url: str, tmp_path: Path
) -> None:
    await oracle.run(postgresql_url, "CREATE TABLE t (id bigint PRIMARY KEY); INSERT INTO t VALUES (1), (2)")
    target = tmp_path / "target.db"
    job = asyncio.ensure_future(moved(postgresql_url, target, progress=lambda step: stop(step.phase)))

    def stop(phase: str) -> None:
        if phase == "copy":
            job.cancel()

    service = await job
    assert isinstance(service.error, Stopped)
    left = target.read_bytes()
    assert b"migration_bench_checkpoint" in left
    password = make_url(postgresql_url).password
    assert password is not None
    assert password.encode() not in left


def test_canary_a_secret_in_any_spelling_is_found() -> None:
    for spelling in spellings(PASSWORD):
        assert told({"here": b"before" + spelling + b"after"}), spelling
    in_base64 = base64.b64encode(f"user:{PASSWORD}".encode())
    assert told({"here": in_base64})
    assert told({"here": b"nothing"}) == []


def test_canary_a_file_that_others_may_read_is_found(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (place.folder / "open").touch(0o644)
    assert place.open_to_others() == ["open -rw-r--r--"]
