"""How to serve MySQL for a while: which programs, which commands, and when it is ready.

``migration.servers`` looks this module up by its name and uses the object ``RECIPE``; it decides where the
programs come from and sees to starting and stopping. Here is only what is peculiar to MySQL, and what MariaDB
has kept of it since they parted.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path

import asyncmy
import asyncmy.errors
from sqlalchemy import URL, make_url

CONNECT_SECONDS_MAX = 5.0
"""A server on the same machine answers at once, or is not ready yet and is asked again."""

SOCKET_PATH_BYTES_MAX = 100
"""The system allows 107 bytes or fewer; past our limit there is no socket, only the port."""

NO_SUCH_THREAD = 1094
"""It has ended by itself between the question and the answer."""

DATABASE = "throwaway"
"""The first database: the server's own tables live in one that nobody else may use."""

MiB = 1024 * 1024


class MysqlRecipe:
    """Serves MySQL from plain server programs, or from a container's image."""

    advice = "Install the server program `mysqld`"
    scheme = "mysql"
    programs: tuple[str, ...] = ("mysqld",)
    usual_folders: tuple[str, ...] = ("/usr/sbin", "/usr/bin", "/usr/local/mysql/bin", "/opt/homebrew/bin")
    are_apart = True
    wheel_programs = ""
    system_user = "mysql"
    stop_signal = int(signal.SIGTERM)
    image = "mysql:8.4"
    image_port = 3306
    # Of new databases, the same on every server: bytes decide, and trailing spaces count.
    collation = "utf8mb4_0900_bin"
    processes = "performance_schema.processlist"
    not_ready: tuple[type[Exception], ...] = (
        OSError,
        TimeoutError,
        asyncio.IncompleteReadError,  # A port that is open before the server behind it.
        asyncmy.errors.MySQLError,
    )

    def wheel_folders(self) -> list[Path]:
        """Return nothing: no wheel brings the programs."""
        return []

    def password_words(self, password: str) -> str:
        """Return the statements that the server runs each time it starts, before it lets anybody in."""
        quoted = password.replace("\\", "\\\\").replace("'", "\\'")
        statements = [
            statement
            for host in ("localhost", "127.0.0.1")
            for statement in (
                f"DROP USER IF EXISTS root@'{host}';\n",
                f"CREATE USER root@'{host}' IDENTIFIED BY '{quoted}';\n",
                f"GRANT ALL ON *.* TO root@'{host}' WITH GRANT OPTION;\n",
            )
        ]
        first = f"CREATE DATABASE IF NOT EXISTS {DATABASE};\n"
        return "".join([first, "DROP USER IF EXISTS root@'::1';\n", *statements])

    def prepare_command(self, programs: Mapping[str, Path], folder: Path) -> list[str]:
        """Return the command that lays out the system's own tables; nobody listens meanwhile."""
        return [
            str(programs["mysqld"]),
            "--no-defaults",
            "--initialize-insecure",
            *self.settings(folder),
        ]

    def serve_command(self, programs: Mapping[str, Path], folder: Path, port: int) -> list[str]:
        """Return the command that serves the data on the loopback interface only."""
        return [
            str(programs["mysqld"]),
            "--no-defaults",
            *self.serving(folder, port),
            "--mysqlx=OFF",
            *self.settings(folder),
        ]

    def serving(self, folder: Path, port: int) -> list[str]:
        """Return the settings that only a server needs: where it listens, and what it lets in."""
        socket = folder / "socket"
        return [
            f"--init-file={folder / 'password'}",
            "--bind-address=127.0.0.1",
            f"--port={port}",
            f"--socket={socket if len(str(socket).encode()) <= SOCKET_PATH_BYTES_MAX else ''}",
            f"--pid-file={folder / 'pid'}",
            *self.image_arguments(),
            # As good as a crash; only the next start would notice, and there is none.
            "--innodb-fast-shutdown=2",
        ]

    def settings(self, folder: Path) -> list[str]:
        """Return the settings that the folder is laid out with and served with.

        The server is thrown away: surviving a power cut is worth nothing here, and costs most of the time.
        """
        return [
            *self._common_settings(folder),
            "--secure-file-priv=NULL",
            f"--innodb-redo-log-capacity={128 * MiB}",
        ]

    def _common_settings(self, folder: Path) -> list[str]:
        """Return the settings that both servers understand."""
        return [
            f"--datadir={folder / 'data'}",
            f"--tmpdir={folder}",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-doublewrite=OFF",
            f"--innodb-buffer-pool-size={128 * MiB}",
        ]

    def image_arguments(self) -> list[str]:
        """Return the arguments for the server, in the image and elsewhere."""
        return [
            "--skip-name-resolve",
            "--max-connections=200",
            "--character-set-server=utf8mb4",
            f"--collation-server={self.collation}",
            "--local-infile=ON",
            f"--max-allowed-packet={1024 * MiB}",
            "--skip-log-bin",
            "--innodb-flush-log-at-trx-commit=0",
        ]

    def image_environment(self, password: str) -> dict[str, str]:
        """Return what the image's entry point wants to know."""
        return {"MYSQL_ROOT_PASSWORD": password, "MYSQL_DATABASE": DATABASE}

    def url(self, host: str, port: int, password: str) -> str:
        """Return the URL of the server's first database."""
        url = URL.create(self.scheme, "root", password, host, port, DATABASE)
        return url.render_as_string(hide_password=False)

    async def version(self, url: str) -> str:
        """Return the server's version, over a real connection; raise one of ``not_ready`` otherwise."""
        [(version,)] = await _ask(url, "SELECT VERSION()")
        return str(version).split("-", maxsplit=1)[0]

    async def create_database(self, url: str, name: str) -> str:
        """Create an empty database and return its URL; the same on every server, whatever its defaults."""
        await _ask(url, f"CREATE DATABASE {_quoted(name)} CHARACTER SET utf8mb4 COLLATE {self.collation}")
        return make_url(url).set(database=name).render_as_string(hide_password=False)

    async def drop_database(self, url: str, name: str) -> None:
        """Drop a database, together with whatever is still connected to it."""
        # A transaction that somebody left open there would keep the tables, and the drop would wait for it.
        for thread, database in await _ask(url, f"SELECT id, db FROM {self.processes}"):
            if database == name:
                await _kill(url, thread)
        await _ask(url, f"DROP DATABASE IF EXISTS {_quoted(name)}")


async def _kill(url: str, thread: object) -> None:
    """End a connection, unless it has ended meanwhile."""
    try:
        await _ask(url, f"KILL CONNECTION {thread}")
    except asyncmy.errors.MySQLError as error:
        if error.args[0] != NO_SUCH_THREAD:
            raise


async def _ask(url: str, statement: str) -> list[tuple[object, ...]]:
    """Run one statement on a connection of its own."""
    parts = make_url(url)
    connection = await asyncmy.connect(
        host=parts.host,
        port=parts.port or 3306,
        user=parts.username,
        password=parts.password or "",
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=CONNECT_SECONDS_MAX,
    )
    try:
        async with connection.cursor() as cursor:
            await cursor.execute(statement)
            return [tuple(row) for row in await cursor.fetchall()] if cursor.description else []
    finally:
        await connection.ensure_closed()


def _quoted(name: str) -> str:
    """Quote a name."""
    return f"`{name.replace('`', '``')}`"


RECIPE = MysqlRecipe()
