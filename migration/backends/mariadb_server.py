"""How to serve MariaDB for a while: where it differs from MySQL.

``migration.servers`` looks this module up by its name and uses the object ``RECIPE``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from migration.backends.mysql_server import DATABASE, MiB, MysqlRecipe


class MariadbRecipe(MysqlRecipe):
    """Serves MariaDB from plain server programs, or from a container's image."""

    advice = "Install the server programs (Debian: `apt install mariadb-server-core mariadb-client-core`)"
    scheme = "mariadb"
    # Debian keeps the server in one folder and the program that prepares its data in another.
    programs = ("mariadb-install-db", "mariadbd")
    image = "mariadb:11.8"
    collation = "utf8mb4_nopad_bin"
    processes = "information_schema.processlist"

    def prepare_command(self, programs: Mapping[str, Path], folder: Path) -> list[str]:
        """Return the command that lays out the system's own tables; nobody listens meanwhile."""
        return [
            str(programs["mariadb-install-db"]),
            "--no-defaults",
            f"--basedir={programs['mariadbd'].resolve().parent.parent}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
            *self.settings(folder),
        ]

    def serve_command(self, programs: Mapping[str, Path], folder: Path, port: int) -> list[str]:
        """Return the command that serves the data on the loopback interface only."""
        return [
            str(programs["mariadbd"]),
            "--no-defaults",
            *self.serving(folder, port),
            *self.settings(folder),
        ]

    def settings(self, folder: Path) -> list[str]:
        """Return the settings that the folder is laid out with and served with."""
        return [
            *self._common_settings(folder),
            f"--innodb-log-file-size={64 * MiB}",
            "--performance-schema=OFF",
        ]

    def image_environment(self, password: str) -> dict[str, str]:
        """Return what the image's entry point wants to know."""
        return {"MARIADB_ROOT_PASSWORD": password, "MARIADB_DATABASE": DATABASE}


RECIPE = MariadbRecipe()
