"""Small, seeded damage to a database that was moved: each fault must be seen by the check it is meant for.

Every fault starts from :data:`SHOP`, moved into any engine, and is a script for that engine. Which row it
hits is drawn from a ``Random``, so that a run can be repeated and another seed hits another row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

CUSTOMERS = 60
ORDERS = 200
NOTES = 40

SHOP = f"""
CREATE TABLE customers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    city TEXT DEFAULT 'nowhere',
    joined TIMESTAMP,
    CONSTRAINT city_has_a_name CHECK (length(city) > 0)
);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL REFERENCES customers (id) ON DELETE CASCADE,
    amount INTEGER NOT NULL,
    doubled INTEGER GENERATED ALWAYS AS (amount * 2) STORED,
    placed TIMESTAMP,
    photo BLOB
);
CREATE INDEX orders_by_customer ON orders (customer_id, placed DESC);
CREATE TABLE notes (body TEXT, weight REAL);
CREATE VIEW totals AS SELECT customer_id, sum(amount) AS total FROM orders GROUP BY customer_id;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {CUSTOMERS})
INSERT INTO customers SELECT i, 'customer ' || i, 'city ' || (i % 7), 1700000000 + i * 1000.25 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ORDERS})
INSERT INTO orders (id, customer_id, amount, placed, photo)
SELECT i, i % {CUSTOMERS} + 1, i * 10, datetime(1700000000 + i * 60, 'unixepoch'), randomblob(4) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {NOTES})
INSERT INTO notes SELECT 'note ' || (i / 2), i / 2 / 3.0 FROM n;
UPDATE sqlite_sequence SET seq = 1000 WHERE name = 'customers';
"""
"""A small shop for SQLite: all that checks look at, with rows in pairs and a sequence ahead of its rows."""

Script = Callable[[Random], str]


@dataclass(frozen=True)
class Fault:
    """One kind of damage.

    ``check`` is the name of the check that must see it, ``what`` the word it must use. A script that is None
    is damage that the engine cannot suffer.
    """

    name: str
    check: str
    what: str
    sqlite: Script | None
    postgresql: Script | None
    mariadb: Script | None

    def script(self, engine: str, random: Random) -> str | None:
        """Return the damage for an engine, or None."""
        make: Script | None = getattr(self, engine)
        return None if make is None else make(random)


def everywhere(name: str, check: str, what: str, make: Script) -> Fault:
    return Fault(name, check, what, make, make, make)


def order(random: Random) -> int:
    return random.randint(1, ORDERS)


def customer(random: Random) -> int:
    return random.randint(1, CUSTOMERS)


def plain(script: str) -> Script:
    """A script that hits no row in particular."""
    return lambda random: script


def rewritten(table: str, old: str, new: str) -> Script:
    """Change how SQLite declares a table, for which it has no ALTER."""
    return plain(
        "PRAGMA writable_schema = ON;"
        f"UPDATE sqlite_master SET sql = replace(sql, '{old}', '{new}') WHERE name = '{table}';"
        # Only another version of the schema makes it read anew.
        "PRAGMA schema_version = 4711; PRAGMA writable_schema = OFF;"
    )


def reindexed(name: str, columns: str) -> Fault:
    """Put another index in the place of one, or none."""
    new = f"CREATE INDEX orders_by_customer ON orders ({columns})" if columns else ""
    script = plain(f"DROP INDEX orders_by_customer; {new}")
    # There a foreign key needs an index of its columns; this one takes over.
    instead = "CREATE INDEX instead ON orders (customer_id); DROP INDEX orders_by_customer ON orders;"
    return Fault(name, "indexes", "missing index", script, script, plain(instead + new))


def _swap(random: Random) -> str:
    one, other = random.sample(range(1, ORDERS + 1), 2)
    return f"UPDATE orders SET amount = {one * 10} + {other * 10} - amount WHERE id IN ({one}, {other})"


def _moved_earlier(random: Random) -> str:
    return f"UPDATE orders SET placed = '1999-12-31 23:59:59' WHERE id = {order(random)}"


def _orphan(random: Random) -> str:
    return (
        f"INSERT INTO orders (id, customer_id, amount) VALUES ({ORDERS + order(random)}, {CUSTOMERS + 1}, 1)"
    )


CONTENT = "content"
"""The check that is no function of `checks.py`: every row and column of both sides."""

FAULTS = (
    everywhere("a changed cell", CONTENT, "changed value",
               lambda r: f"UPDATE customers SET city = city || ' ' WHERE id = {customer(r)}"),
    everywhere("a value that became NULL", CONTENT, "changed value",
               lambda r: f"UPDATE customers SET city = NULL WHERE id = {customer(r)}"),
    everywhere("two values swapped", CONTENT, "changed value", _swap),
    everywhere("a row lost", CONTENT, "missing row", lambda r: f"DELETE FROM orders WHERE id = {order(r)}"),
    everywhere("a row too many", CONTENT, "extra row",
               lambda r: f"INSERT INTO notes VALUES ('extra {order(r)}', 1)"),
    everywhere("another row of a pair lost than the one that is there thrice", CONTENT, "repeated row",
               plain("UPDATE notes SET body = 'note 3', weight = 1.0 WHERE body = 'note 4'")),
    everywhere("all rows lost", "row counts", "row count", plain("DELETE FROM notes")),
    everywhere("one row lost", "row counts", "row count",
               lambda r: f"DELETE FROM orders WHERE id = {order(r)}"),
    Fault("a row that refers to nothing", "relationships", "rows that refer to nothing", _orphan,
          lambda r: f"SET session_replication_role = replica; {_orphan(r)}",
          lambda r: f"SET foreign_key_checks = 0; {_orphan(r)}"),
    # In SQLite the column may hold anything, so its times are compared as what they are stored as.
    Fault("a time moved", "timestamps", "range of times", None, _moved_earlier, _moved_earlier),
    everywhere("a table lost", "tables", "missing table", plain("DROP TABLE notes")),
    everywhere("a column lost", "columns", "missing column", plain("ALTER TABLE notes DROP COLUMN weight")),
    Fault("a column of another type", "columns", "type", None,
          plain("ALTER TABLE notes ALTER weight TYPE text"),
          plain("ALTER TABLE notes MODIFY weight longtext")),
    Fault("a default lost", "columns", "default", rewritten("customers", "DEFAULT ''nowhere''", ""),
          plain("ALTER TABLE customers ALTER city DROP DEFAULT"),
          plain("ALTER TABLE customers ALTER city DROP DEFAULT")),
    Fault("a column that may be empty", "columns", "column may be NULL",
          rewritten("customers", "\"name\" TEXT NOT NULL", "\"name\" TEXT"),
          plain("ALTER TABLE customers ALTER name DROP NOT NULL"),
          plain("ALTER TABLE customers MODIFY name varchar(255) COLLATE utf8mb4_nopad_bin")),
    Fault("a column no longer generated", "columns", "generated column", None,
          plain("ALTER TABLE orders ALTER doubled DROP EXPRESSION"),
          plain("ALTER TABLE orders MODIFY doubled bigint")),
    Fault("a column that no longer numbers itself", "columns", "column does not number itself",
          rewritten("orders", "\"id\" INTEGER", "\"id\" INT"),
          plain("ALTER TABLE customers ALTER id DROP IDENTITY"),
          plain("ALTER TABLE orders MODIFY id bigint NOT NULL")),
    Fault("a primary key lost", "indexes", "primary key", None,
          plain("ALTER TABLE orders DROP CONSTRAINT orders_id_pkey"),
          plain("ALTER TABLE orders MODIFY id bigint NOT NULL, DROP PRIMARY KEY")),
    Fault("a uniqueness rule lost", "indexes", "missing unique constraint", None,
          plain("ALTER TABLE customers DROP CONSTRAINT customers_name_key"),
          plain("ALTER TABLE customers DROP INDEX customers_name_key")),
    reindexed("an index lost", ""),
    reindexed("an index of the same name on another column", "amount, placed DESC"),
    reindexed("an index that sorts the other way", "customer_id, placed"),
    Fault("a check lost", "indexes", "missing check",
          rewritten("customers", "CHECK (length(city) > 0)", "FOREIGN KEY (id) REFERENCES customers (id)"),
          plain("ALTER TABLE customers DROP CONSTRAINT city_has_a_name"),
          plain("ALTER TABLE customers DROP CONSTRAINT city_has_a_name")),
    Fault("a check replaced by another", "indexes", "missing check",
          rewritten("customers", "city_has_a_name", "another"),
          plain("ALTER TABLE customers DROP CONSTRAINT city_has_a_name;"
                "ALTER TABLE customers ADD CONSTRAINT another CHECK (true)"),
          plain("ALTER TABLE customers DROP CONSTRAINT city_has_a_name;"
                "ALTER TABLE customers ADD CONSTRAINT another CHECK (1 = 1)")),
    Fault("a foreign key lost", "foreign keys", "missing foreign key",
          rewritten("orders", "REFERENCES \"customers\"", "REFERENCES \"others\""),
          plain("ALTER TABLE orders DROP CONSTRAINT orders_customer_id_fkey"),
          plain("ALTER TABLE orders DROP FOREIGN KEY orders_customer_id_fkey")),
    Fault("a foreign key that deletes no more", "foreign keys", "missing foreign key",
          rewritten("orders", "ON DELETE CASCADE", ""),
          plain("ALTER TABLE orders DROP CONSTRAINT orders_customer_id_fkey;"
                "ALTER TABLE orders ADD CONSTRAINT orders_customer_id_fkey FOREIGN KEY (customer_id)"
                " REFERENCES customers (id)"),
          plain("ALTER TABLE orders DROP FOREIGN KEY orders_customer_id_fkey;"
                "ALTER TABLE orders ADD CONSTRAINT orders_customer_id_fkey FOREIGN KEY (customer_id)"
                " REFERENCES customers (id)")),
    everywhere("a view lost", "views", "missing view", plain("DROP VIEW totals")),
    Fault("a sequence reset", "sequences", "next number",
          plain("DELETE FROM sqlite_sequence"),
          plain("SELECT setval(pg_get_serial_sequence('customers', 'id'), 7)"),
          plain("ALTER TABLE customers AUTO_INCREMENT = 7")),
    Fault("a sequence lost", "sequences", "next number",
          rewritten("orders", "\"id\" INTEGER", "\"id\" INT"),
          plain("ALTER TABLE customers ALTER id DROP IDENTITY"),
          plain("SET foreign_key_checks = 0; ALTER TABLE customers MODIFY id bigint NOT NULL")),
)  # fmt: skip
