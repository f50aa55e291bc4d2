"""What every road to a throw-away server speaks of: the server, its recipe, and why a road may be closed."""

from __future__ import annotations

import asyncio
import importlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

from migration.errors import Refused

START_SECONDS_MAX = 30.0
"""A server that was just laid out answers in a second or two; a loaded machine takes longer."""

READY_SECONDS = 0.05
"""How often a server that is starting is asked whether it is ready."""


@dataclass(frozen=True)
class ThrowawayServer:
    """A server that answers: its URL (with the password), where it came from, and its version."""

    url: str = field(repr=False)
    origin: str
    version: str


class ServerUnavailable(Refused):
    """No road leads to a server of the engine that was asked for; the message says why for each of them."""


class Recipe(Protocol):
    """All that must be known about one kind of server.

    ``advice`` says how to get the programs. ``usual_folders`` are patterns of folders. ``are_apart``
    tells whether the programs may lie in different folders, which elsewhere would mix two versions.
    ``wheel_programs`` is where they lie in a wheel; empty when there is no such wheel.
    ``not_ready`` are the exceptions that mean "no server answers here, or not yet"; every other one is a
    defect.
    """

    advice: str
    programs: tuple[str, ...]
    usual_folders: tuple[str, ...]
    are_apart: bool
    wheel_programs: str
    system_user: str
    stop_signal: int
    image: str
    image_port: int
    not_ready: tuple[type[Exception], ...]

    def wheel_folders(self) -> list[Path]:
        """Return the folders of an installed wheel, siblings, the programs' first; empty without it."""
        ...

    def password_words(self, password: str) -> str:
        """Return what the password file must hold: the password, or a statement that sets it."""
        ...

    def prepare_command(self, programs: Mapping[str, Path], folder: Path) -> list[str]:
        """Return the command that lays out an empty server in ``folder / "data"``, which does not exist yet.

        The file ``folder / "password"`` holds :meth:`password_words`.
        """
        ...

    def serve_command(self, programs: Mapping[str, Path], folder: Path, port: int) -> list[str]:
        """Return the command that serves it in the foreground, on the loopback interface only."""
        ...

    def image_arguments(self) -> list[str]:
        """Return the arguments for the server in the container's image."""
        ...

    def image_environment(self, password: str) -> dict[str, str]:
        """Return the environment variables that the container's image wants."""
        ...

    def url(self, host: str, port: int, password: str) -> str:
        """Return the URL of the server's first database, password included."""
        ...

    async def version(self, url: str) -> str:
        """Return the version over a real connection, or raise one of ``not_ready``."""
        ...

    async def create_database(self, url: str, name: str) -> str:
        """Create an empty database and return its URL."""
        ...

    async def drop_database(self, url: str, name: str) -> None:
        """Drop a database, together with whatever is still connected to it."""
        ...


class RoadClosed(Exception):
    """One road does not lead to a server; the message is the reason."""


class ServerEnded(Exception):
    """The server's process ended before the server was ready."""


def load_recipe(engine: str) -> Recipe:
    """Return the recipe of an engine, found by its module's name."""
    module = f"migration.backends.{engine}_server"
    try:
        return cast("Recipe", importlib.import_module(module).RECIPE)
    except ModuleNotFoundError as error:
        if error.name == module:
            raise ServerUnavailable(
                f"there is no throw-away server for {engine}",
                next_step=f"Add {module.replace('.', '/')}.py, or give the URL of a running server",
            ) from error
        raise ServerUnavailable(
            f"a throw-away {engine} server needs the Python package {error.name}, which is not installed",
            next_step=f"Install it with `pip install {error.name}`",
        ) from error


@asynccontextmanager
async def fresh_database(engine: str, server_url: str) -> AsyncIterator[str]:
    """Give the URL of a new, empty database on that server; the database is dropped when the block ends."""
    recipe = load_recipe(engine)
    name = f"throwaway_{secrets.token_hex(8)}"
    url = await recipe.create_database(server_url, name)
    try:
        yield url
    finally:
        await recipe.drop_database(server_url, name)


async def version_when_ready(recipe: Recipe, url: str, is_running: Callable[[], bool]) -> str:
    """Return the version as soon as a real connection succeeds."""
    latest = ""
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            while is_running():
                try:
                    return await recipe.version(url)
                except recipe.not_ready as error:
                    latest = words_of(error)
                await asyncio.sleep(READY_SECONDS)
    except TimeoutError as error:
        raise RoadClosed(f"started, but gave no answer within {START_SECONDS_MAX:g} s: {latest}") from error
    raise ServerEnded


def words_of(error: BaseException) -> str:
    """Say an error in one line."""
    return " ".join(str(error).split()) or type(error).__name__
