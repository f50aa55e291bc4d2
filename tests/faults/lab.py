"""Where faults happen: servers that can be killed and started again, disks that can be full, and the nursery.

Everything here was started by the harness and is ended by it, by its own id.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
from sqlalchemy.engine import make_url

from migration.servers import keeper, load_recipe
from migration.servers.programs import _free_port, _lay_out, find_local_programs, find_wheel_programs
from migration.servers.recipe import RoadClosed, version_when_ready

Value = TypeVar("Value")

RUN_SECONDS_MAX = 120.0
"""No run takes longer than some seconds; one that does is hung, which is no ending that is allowed."""

SERVER_DISK_BYTES = 384 * 1024 * 1024
SMALL_DISK_BYTES = 16 * 1024 * 1024
FILLER = "filler"
START_ATTEMPTS_MAX = 20
READY_SECONDS = 0.2

SAFE_WHEN_KILLED = {
    "postgresql": ["-c", "synchronous_commit=on", "-c", "max_wal_size=96MB", "-c", "min_wal_size=32MB"],
    "mariadb": ["--innodb-flush-log-at-trx-commit=2"],
}
"""What a server needs to keep its word when its process is killed (and not the machine)."""

ROOT = Path(__file__).parents[2]


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="faults", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, Value], seconds: float = RUN_SECONDS_MAX) -> Value:
        """Run a coroutine there and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def close(self) -> None:
        """End the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


def mount_disk(folder: Path, byte_count: int) -> bool:
    """Put a small disk at a folder; tell whether that is allowed here."""
    if os.geteuid() != 0:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={byte_count},mode=0755", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def unmount_disk(folder: Path) -> None:
    """Take a small disk away."""
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=True)


def fill_disk(folder: Path, spare_bytes: int) -> None:
    """Let a disk have no more than so many bytes left."""
    filler = folder / FILLER
    with filler.open("wb") as file:
        free = os.statvfs(folder)
        rest = max(0, free.f_bavail * free.f_frsize - spare_bytes)
        while rest >= 4096:
            try:
                os.posix_fallocate(file.fileno(), file.tell(), rest)
                file.seek(0, os.SEEK_END)
                free = os.statvfs(folder)
                rest = free.f_bavail * free.f_frsize - spare_bytes
            except OSError:
                rest //= 2


def free_disk(folder: Path) -> None:
    """Take away what fills a disk."""
    (folder / FILLER).unlink(missing_ok=True)


class Server:
    """A server of our own, on its own disk where possible; it outlives being killed, its process does not."""

    def __init__(self, engine: str, loop: Loop) -> None:
        self.engine = engine
        self.kill_count = 0
        self._loop = loop
        self.recipe = load_recipe(engine)
        self.folder = Path(tempfile.mkdtemp(prefix=f"faults-{engine}-"))
        self.folder.chmod(0o755)
        self.has_own_disk = mount_disk(self.folder, SERVER_DISK_BYTES)
        self._process: subprocess.Popen[bytes] | None = None
        # It may be started by whoever needs it and by whoever has killed it.
        self._lock = threading.RLock()
        try:
            programs = find_local_programs(self.recipe)
        except RoadClosed:
            programs = find_wheel_programs(self.recipe)
        password = secrets.token_urlsafe(12)
        port = _free_port()
        self._job = _lay_out(self.recipe, programs, self.folder, port, password)
        self.url = self.recipe.url("127.0.0.1", port, password)
        self._log = (self.folder / "log").open("ab")
        self._spawn(self._job.prepare).wait(keeper.PREPARE_SECONDS_MAX)
        self.start()

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            cwd=self.folder,
            env=keeper._environment(),
            user=self._job.user,
            group=self._job.group,
            extra_groups=None if self._job.user is None else [],
        )

    def start(self) -> None:
        """Serve, unless it does already."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()

    def _start(self) -> None:
        for _ in range(START_ATTEMPTS_MAX):
            process = self._process = self._spawn([*self._job.serve, *SAFE_WHEN_KILLED[self.engine]])
            try:
                ready = version_when_ready(self.recipe, self.url, lambda: process.poll() is None)  # noqa: B023
                self._loop.call(ready)
            except Exception:  # noqa: BLE001 - a leftover of the killed one may still be there; tried again
                process.kill()
                process.wait()
                time.sleep(READY_SECONDS)
            else:
                return
        raise RuntimeError(f"{self.engine} does not start: {(self.folder / 'log').read_text()[-2000:]}")

    def kill(self) -> None:
        """Kill it and all its processes, as a machine's power would."""
        with self._lock:
            self.kill_count += 1
            self._kill()

    def _kill(self) -> None:
        assert self._process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            ours = psutil.Process(self._process.pid)
            family = [ours, *ours.children(recursive=True)]
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(family, timeout=10)
        self._process.wait()

    def close(self) -> None:
        """Stop it and remove all that it had."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._log.close()
        if self.has_own_disk:
            unmount_disk(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    def make_database(self, name: str) -> str:
        """Make an empty database and return its URL."""
        return self._loop.call(self.recipe.create_database(self.url, name))

    def drop_database(self, name: str) -> None:
        """Drop a database."""
        self._loop.call(self.recipe.drop_database(self.url, name))


@dataclass
class Ending:
    """How one run ended: ``code`` is negative for a signal, ``fired`` says at which door the fault was."""

    name: str
    argv: list[str]
    code: int
    fired: str
    stdout: str
    stderr: str
    notes: dict[str, Any] = field(default_factory=dict)
    is_hung: bool = False


class Nursery:
    """Runs the tool, each time as a process of its own; what it asks for meanwhile is done by ``answer``."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._numbers = iter(range(1, 1_000_000))
        self._waiting: dict[int, Future[int]] = {}
        self._pids: dict[int, int] = {}
        self._answers: dict[int, Callable[[], Awaitable[None]]] = {}
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "MIGRATION_BENCH_SERVER": ""}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.victim"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=environment,
        )
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        self._server = loop.call(self._serve())
        self._port = self._server.sockets[0].getsockname()[1]

    async def _serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._answer, "127.0.0.1", 0)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = json.loads(await reader.readline())["number"]
        try:
            await self._answers[number]()
        finally:
            writer.write(b".")
            writer.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            words = json.loads(line)
            if "pid" in words:
                self._pids[words["number"]] = words["pid"]
            elif "status" in words:
                self._waiting.pop(words["number"]).set_result(words["status"])

    def run(
        self,
        folder: Path,
        name: str,
        argv: list[str],
        answer: Callable[[], Awaitable[None]] | None = None,
        **job: Any,
    ) -> Ending:
        """Run the tool to whatever end it comes."""
        number = next(self._numbers)
        ended: Future[int] = Future()
        self._waiting[number] = ended
        if answer is not None:
            self._answers[number] = answer
        job |= {"number": number, "folder": str(folder), "name": name, "argv": argv, "port": self._port}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        self._process.stdin.flush()
        is_hung = False
        try:
            code = ended.result(RUN_SECONDS_MAX)
        except TimeoutError:
            is_hung = True
            os.kill(self._pids[number], signal.SIGKILL)
            code = ended.result(10)
        return Ending(
            name,
            argv,
            code,
            _read(folder / f"{name}.fired.txt"),
            _read(folder / f"{name}.stdout.txt"),
            _read(folder / f"{name}.stderr.txt"),
            json.loads(_read(folder / f"{name}.notes.json") or "{}"),
            is_hung,
        )

    def close(self) -> None:
        """End the nursery."""
        self._loop.loop.call_soon_threadsafe(self._server.close)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._reader.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


class Lab:
    """One worker's servers, nursery and folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loop = Loop()
        self.nursery = Nursery(self.loop)
        self._servers: dict[str, Server] = {}
        self._sources: dict[tuple[str, int], str] = {}

    def server(self, engine: str) -> Server:
        """Return the server of an engine, started when it is first asked for."""
        if engine not in self._servers:
            self._servers[engine] = Server(engine, self.loop)
        return self._servers[engine]

    def close(self) -> None:
        """End everything."""
        with contextlib.ExitStack() as closing:
            # One that does not end well keeps none of the others.
            closing.callback(self.loop.close)
            closing.callback(self.nursery.close)
            for server in self._servers.values():
                closing.callback(server.close)

    @contextlib.contextmanager
    def database(self, engine: str, folder: Path, name: str) -> Iterator[str]:
        """Give the URL of an empty database that is dropped afterwards; a file that is not there yet."""
        if engine == "sqlite":
            yield f"sqlite:///{folder / name}.db"
            return
        server = self.server(engine)
        server.start()
        name = f"{name}_{secrets.token_hex(4)}"
        try:
            yield server.make_database(name)
        finally:
            server.start()
            server.drop_database(name)


def with_port(url: str, port: int) -> str:
    """Return a URL that leads somewhere else on this machine."""
    return make_url(url).set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
