"""The reference application's schema, written by hand for each engine: what benchmarks and tests run on.

Its users have one such script per engine, and the scripts differ: that is the case "migrate into a schema
that is already there". Each script ends with the `schema_version` row that the application's own set-up
inserts.
"""

import re
from importlib import resources

TABLES = ("sessions", "messages", "agent_memory", "audit_log", "secure_tokens", "schema_version")
"""Every table, parents before children."""


def schema_script(engine: str) -> str:
    """Give the whole schema of one engine ("sqlite", "postgresql", "mysql") as a script of many statements.

    Hand it over whole, to SQLite with `executescript`, to the others with their drivers' `execute`:
    cutting it at semicolons would cut through the bodies of its triggers.
    """
    folder = resources.files(__name__)
    known = sorted(
        entry.name.removesuffix(".sql") for entry in folder.iterdir() if entry.name.endswith(".sql")
    )
    if engine not in known:
        raise LookupError(f"there is no reference schema for {engine!r}, only for {', '.join(known)}")
    return folder.joinpath(f"{engine}.sql").read_text(encoding="utf-8")


def table_script(engine: str, table: str) -> str:
    """Give one table alone: columns, checks and keys of its own, no foreign key, index or trigger.

    So that one table can be filled and copied by itself, and still has the shape of the hand-written one.
    """
    pattern = rf"^CREATE TABLE {re.escape(table)} \(\n.*?^\);$"
    found = re.search(pattern, schema_script(engine), re.DOTALL | re.MULTILINE)
    if found is None:
        raise LookupError(f"there is no reference table {table!r}, only {', '.join(TABLES)}")
    lines = [line for line in found.group().splitlines() if not line.lstrip().startswith("FOREIGN KEY")]
    lines[-2] = lines[-2].rstrip(",")
    return "\n".join(lines) + "\n"
