"""The application's tables, in the words of each engine."""

from __future__ import annotations

from typing import Any

from alembic import op
from sqlalchemy.util import await_only

from bench.reference import schema_script

revision = "0001_reference"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the whole script at once: cut at semicolons, its triggers would be cut too."""
    connection = op.get_bind()
    driver: Any = connection.connection.driver_connection
    script = schema_script(connection.dialect.name.replace("mariadb", "mysql"))
    if connection.dialect.name == "sqlite":
        await_only(driver.executescript(script))
    elif connection.dialect.name == "postgresql":
        await_only(driver.execute(script))
    else:
        await_only(_run_all(driver, script))


async def _run_all(driver: Any, script: str) -> None:
    async with driver.cursor() as cursor:
        await cursor.execute(script)
        while await cursor.nextset():
            pass
