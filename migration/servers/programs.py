"""The third and fourth road: server programs of this machine or out of a wheel, in a folder of their own."""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from migration.servers import keeper
from migration.servers.recipe import (
    Recipe,
    RoadClosed,
    ServerEnded,
    ThrowawayServer,
    version_when_ready,
    words_of,
)

STOP_SECONDS_MAX = keeper.STOP_SECONDS_MAX + 10.0
"""The keeper's own limit for a polite end, and time to remove the folder."""

PORT_ATTEMPTS_MAX = 3
"""A free port can be taken by somebody else before the server binds it; thrice in a row is no accident."""


@dataclass(frozen=True)
class Programs:
    """Server programs by name, and the folders to copy when another account cannot reach them."""

    paths: Mapping[str, Path]
    movable: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Account:
    """Whom the server runs as; None stands for whoever we are."""

    user: int | None = None
    group: int | None = None


def find_local_programs(recipe: Recipe) -> Programs:
    """Find the engine's programs on PATH or in the system's usual folders, newest first."""
    usual = [folder for pattern in recipe.usual_folders for folder in Path("/").glob(pattern.lstrip("/"))]
    newest_first = sorted(usual, key=lambda folder: _number(folder.parent.name), reverse=True)
    on_path = [Path(folder) for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder]
    folders = [*on_path, *newest_first]
    for together in [folders] if recipe.are_apart else [[folder] for folder in folders]:
        found = {program: _first(program, together) for program in recipe.programs}
        if all(found.values()):
            return Programs({program: path for program, path in found.items() if path})
    raise RoadClosed(
        f"{' and '.join(recipe.programs)} are neither on PATH nor in {' or '.join(recipe.usual_folders)}"
    )


def _first(program: str, folders: Sequence[Path]) -> Path | None:
    """Return the program's path in the first of these folders that has it."""
    for folder in folders:
        if os.access(folder / program, os.X_OK):
            return folder / program
    return None


def find_wheel_programs(recipe: Recipe) -> Programs:
    """Find the engine's programs inside an installed wheel."""
    if not recipe.wheel_programs:
        raise RoadClosed("no wheel brings this server's programs")
    folders = recipe.wheel_folders()
    if not folders:
        raise RoadClosed("the extra `embedded` is not installed")
    programs = folders[0] / recipe.wheel_programs
    return Programs({program: programs / program for program in recipe.programs}, movable=tuple(folders))


@asynccontextmanager
async def from_programs(
    origin: str, recipe: Recipe, find: Callable[[Recipe], Programs]
) -> AsyncIterator[ThrowawayServer]:
    """Lay out an empty server in a folder of its own and serve it on a free port of the loopback."""
    for attempt in range(1, PORT_ATTEMPTS_MAX + 1):
        port = _free_port()
        async with AsyncExitStack() as stack:
            try:
                server = await stack.enter_async_context(_started(origin, recipe, find(recipe), port))
            except RoadClosed:
                if attempt < PORT_ATTEMPTS_MAX and _is_taken(port):
                    continue
                raise
            yield server
            return


@asynccontextmanager
async def _started(
    origin: str, recipe: Recipe, programs: Programs, port: int
) -> AsyncIterator[ThrowawayServer]:
    """Start a keeper with a server, and close the keeper's pipe on the way out: that stops both."""
    password = secrets.token_urlsafe(24)
    folder = Path(tempfile.mkdtemp(prefix="migration-bench-server-"))
    try:
        job = await asyncio.to_thread(_lay_out, recipe, programs, folder, port, password)
        process = await _start_keeper(job)
        try:
            url = recipe.url("127.0.0.1", port, password)
            version = await version_when_ready(recipe, url, lambda: process.returncode is None)
            yield ThrowawayServer(url, origin, version)
        except ServerEnded as ended:
            assert process.stdout is not None
            log = (await process.stdout.read()).decode(errors="replace")
            raise RoadClosed(f"{programs.paths[recipe.programs[-1]]}: {' '.join(log.split())}") from ended
        finally:
            await _stop_keeper(process)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _lay_out(recipe: Recipe, programs: Programs, folder: Path, port: int, password: str) -> keeper.Job:
    """Fill the folder of a server and say what is to be run in it, as whom."""
    account = _account_for(recipe)
    try:
        password_file = folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(recipe.password_words(password))
        paths = _reachable(programs, folder, account)
        if account.user is not None and account.group is not None:
            for path in [folder, *folder.rglob("*")]:
                os.chown(path, account.user, account.group, follow_symlinks=False)
    except OSError as error:
        raise RoadClosed(f"the server's folder cannot be filled: {words_of(error)}") from error
    return keeper.Job(
        folder=str(folder),
        prepare=recipe.prepare_command(paths, folder),
        serve=recipe.serve_command(paths, folder, port),
        stop_signal=recipe.stop_signal,
        user=account.user,
        group=account.group,
    )


def _reachable(programs: Programs, folder: Path, account: _Account) -> Mapping[str, Path]:
    """Return paths by which this account can reach the programs; those of a copy if need be.

    A virtual environment may lie below a private home, whose permissions are its owner's business.
    """
    if not programs.movable or all(_can_run(path, account) for path in programs.paths.values()):
        return programs.paths
    copies = folder / "programs"
    for original in programs.movable:
        # Side by side as they were: programs find their libraries relative to themselves.
        shutil.copytree(original, copies / original.name, symlinks=True)
    origin = programs.movable[0].parent
    return {name: copies / path.relative_to(origin) for name, path in programs.paths.items()}


def _account_for(recipe: Recipe) -> _Account:
    """Choose whom the server runs as: ourselves, or somebody else for root, whom servers refuse."""
    if os.geteuid() != 0:
        return _Account()
    for name in (recipe.system_user, "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return _Account(entry.pw_uid, entry.pw_gid)
    raise RoadClosed(
        f"a server refuses to run as root, and there is no account {recipe.system_user} or nobody"
    )


def _can_run(program: Path, account: _Account) -> bool:
    """Try whether that account can run the program: the permissions of every folder above it count."""
    command = [str(program), "--version"]
    try:
        return (
            subprocess.run(
                command, capture_output=True, cwd="/", user=account.user, group=account.group, check=False
            ).returncode
            == 0
        )
    except OSError:
        return False


async def _start_keeper(job: keeper.Job) -> asyncio.subprocess.Process:
    """Start the keeper and hand it its job.

    Isolated and without site packages: it starts at once and cannot be changed from outside. In a session of
    its own: Ctrl-C at the terminal reaches only us, and we then close the pipe in good order.
    """
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-I", "-S", keeper.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(job.line())
    return process


async def _stop_keeper(process: asyncio.subprocess.Process) -> None:
    """Close the pipe and wait until the keeper has stopped the server; past the limit, end both by force."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS_MAX)
    except TimeoutError:
        # The keeper began a session of its own, so its group holds the server and nothing that is not ours.
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_taken(port: int) -> bool:
    """Tell whether somebody else has that port now."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


def _number(name: str) -> float:
    """Read a folder's name as a version, so that 15 is newer than 9.6."""
    try:
        return float(name)
    except ValueError:
        return 0.0
