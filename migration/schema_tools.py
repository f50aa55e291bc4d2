"""Tables that belong to a tool which keeps the schema: each side has its own, and nobody else writes to them.

Such a table says how far the tool is *in this database*. Carried to another one it would say so of a schema
that the tool has never seen. A table is known by its name and by all its columns, so that a user's own table
of the same name goes like any other.
"""

from __future__ import annotations

from dataclasses import dataclass

from migration.model import Schema, Table


@dataclass(frozen=True)
class ToolTable:
    """One table of one tool.

    ``columns`` are all that it has; ``revision`` are those that say how far the tool is, in its last row by
    ``latest``, or, where that is empty, in all of its rows.
    """

    tool: str
    name: str
    columns: frozenset[str]
    revision: tuple[str, ...] = ()
    latest: str = ""


def _table(tool: str, name: str, columns: str, revision: str = "", latest: str = "") -> ToolTable:
    return ToolTable(tool, name, frozenset(columns.split()), tuple(revision.split()), latest)


# Names in lower case: some engines fold them, and the tools do not mind.
TOOL_TABLES = (
    _table("Alembic", "alembic_version", "version_num", "version_num"),
    _table(
        "Flyway",
        "flyway_schema_history",
        "installed_rank version description type script checksum installed_by installed_on execution_time"
        " success",
        "version description",
        "installed_rank",
    ),
    _table(
        "Liquibase",
        "databasechangelog",
        "id author filename dateexecuted orderexecuted exectype md5sum description comments tag liquibase"
        " contexts labels deployment_id",
        "id",
        "orderexecuted",
    ),
    _table("Liquibase", "databasechangeloglock", "id locked lockgranted lockedby"),
    _table("Django", "django_migrations", "id app name applied", "app name", "id"),
    _table("Rails", "schema_migrations", "version", "version", "version"),
    _table("Rails", "ar_internal_metadata", "key value created_at updated_at"),
    _table("Ecto", "schema_migrations", "version inserted_at", "version", "version"),
    _table("golang-migrate", "schema_migrations", "version dirty", "version", "version"),
    _table("Knex", "knex_migrations", "id name batch migration_time", "name", "id"),
    _table("Knex", "knex_migrations_lock", "index is_locked"),
    _table("Sequelize", "sequelizemeta", "name", "name", "name"),
    _table(
        "Prisma",
        "_prisma_migrations",
        "id checksum finished_at migration_name logs rolled_back_at started_at applied_steps_count",
        "migration_name",
        "started_at",
    ),
)


def tool_table(table: Table) -> ToolTable | None:
    """Return what a table is to a tool; ``None`` for a table like any other."""
    name = table.name.lower()
    columns = {column.name.lower() for column in table.columns}
    return next((known for known in TOOL_TABLES if known.name == name and known.columns == columns), None)


def kept_by_tools(schema: Schema) -> dict[str, str]:
    """Name the tables of a schema that belong to a tool, each with the reason why it stays as it is."""
    found = ((table.name, tool_table(table)) for table in schema.tables)
    return {name: f"kept by {known.tool}" for name, known in found if known is not None}
