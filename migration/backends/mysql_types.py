"""The types of MySQL and MariaDB, as kinds and back, and how a table that is made here is written.

Texts compare by their bytes and keep their trailing spaces, numbers with a point are double precision,
times keep microseconds. Neither engine has a type for instants that goes beyond 2038: they are kept as
DATETIME in UTC, and the column's comment says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from migration.backends.mysql_connection import literal
from migration.model import Column, Kind

Row: TypeAlias = Mapping[str, Any]

CHARACTER_SET = "utf8mb4"
# Bytes decide, and a trailing space counts; MariaDB has the one, MySQL the other.
MARIADB_COLLATION = "utf8mb4_nopad_bin"
MYSQL_COLLATION = "utf8mb4_0900_bin"
BINARY_COLLATIONS = frozenset({MARIADB_COLLATION, MYSQL_COLLATION})
# What tells instants, which are in UTC, from timestamps, which are anywhere.
INSTANT_COMMENT = "UTC"

DECIMAL_DIGITS, DECIMAL_SCALE = 65, 30
FRACTION_DIGITS = 6
# A row has 65,535 bytes for all sized columns, two of which tell the length.
VARBINARY_BYTES_MAX = 65_533
VARCHAR_CHARACTERS_MAX = VARBINARY_BYTES_MAX // 4
UNSIGNED_BIGINT_DIGITS = 20

# The first and the last second of a TIMESTAMP (the last has all its microseconds), since 1970.
TIMESTAMP_FIRST, TIMESTAMP_LAST = 1_000_000, 2**31 * 1_000_000 - 1
# latin1 is Windows-1252 here; what it lacks below its last character, the server refuses by itself.
LAST_CHARACTERS = {"utf8mb3": 0xFFFF, "utf8": 0xFFFF, "ucs2": 0xFFFF, "latin1": 0x2122, "ascii": 0x7F}

GEOMETRIES = frozenset(
    {"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
     "geometrycollection", "geomcollection"}
)  # fmt: skip
KINDS = {
    "tinyint": Kind.INTEGER, "smallint": Kind.INTEGER, "mediumint": Kind.INTEGER, "int": Kind.INTEGER,
    "bigint": Kind.INTEGER, "year": Kind.INTEGER, "bit": Kind.INTEGER,
    "decimal": Kind.DECIMAL, "float": Kind.FLOAT, "double": Kind.FLOAT,
    "binary": Kind.BYTES, "varbinary": Kind.BYTES, "tinyblob": Kind.BYTES, "blob": Kind.BYTES,
    "mediumblob": Kind.BYTES, "longblob": Kind.BYTES, "vector": Kind.BYTES,
    "date": Kind.DATE, "time": Kind.TIME, "datetime": Kind.TIMESTAMP, "timestamp": Kind.INSTANT,
    "json": Kind.JSON, **dict.fromkeys(GEOMETRIES, Kind.BYTES),
}  # fmt: skip
"""What a type means; every other one (texts, enum, set, uuid, inet6) is a text."""

BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64, "year": 16,
        "float": 32, "double": 64}  # fmt: skip
# Types with a limit in bytes, whatever the characters.
BYTES_MAX = {
    "tinytext": 255, "text": 65_535, "mediumtext": 2**24 - 1,
    "tinyblob": 255, "blob": 65_535, "mediumblob": 2**24 - 1,
}  # fmt: skip


# --- new tables ---------------------------------------------------------------------------------------


class Collated(TypeDecorator[str]):
    """A text in UTF-8 that compares by its bytes, or by the collation of the column it comes from."""

    impl = mysql.LONGTEXT
    cache_ok = True

    def __init__(self, size: int | None = None, collation: str | None = None) -> None:
        self.size, self.collation = size, collation
        super().__init__()

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the text type as one of the two engines spells it."""
        own = MARIADB_COLLATION if is_mariadb(dialect) else MYSQL_COLLATION
        collation = self.collation or own
        character_set = collation.partition("_")[0]
        if self.size is None:
            return mysql.LONGTEXT(charset=character_set, collation=collation)
        return mysql.VARCHAR(self.size, charset=character_set, collation=collation)


class Instant(TypeDecorator[Any]):
    """A DATETIME in UTC, of a column whose comment says so."""

    impl = mysql.DATETIME(fsp=FRACTION_DIGITS)
    cache_ok = True


class TableWriter(mysql.base.MySQLDDLCompiler):
    """Writes tables of the engine that has transactions, in UTF-8, whatever the server is set to."""

    def post_create_table(self, table: sa.Table) -> str:
        """Return what stands behind the columns; what a generic writer asks for has no place there."""
        del table
        collation = MARIADB_COLLATION if is_mariadb(self.dialect) else MYSQL_COLLATION
        return f" ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET={CHARACTER_SET} COLLATE={collation}"

    def get_column_specification(self, column: sa.Column[Any], **kw: Any) -> str:
        """Return one column, with the comment that tells an instant."""
        if isinstance(column.type, Instant):
            column.comment = INSTANT_COMMENT
        return super().get_column_specification(column, **kw)

    def get_column_default_string(self, column: sa.Column[Any]) -> str | None:
        """Return a default; MySQL takes one of a long text or of bytes only as an expression."""
        default = super().get_column_default_string(column)
        if default is None or default.startswith("(") or is_mariadb(self.dialect):
            return default
        is_long = isinstance(column.type, (Collated, mysql.LONGBLOB, mysql.JSON))
        return f"({default})" if is_long and getattr(column.type, "size", None) is None else default

    def visit_create_index(self, create: Any, **kw: Any) -> str:  # type: ignore[override]
        """Return an index; the condition of a partial one is left to the server to refuse."""
        options = create.element.dialect_options[self.dialect.name]
        if str(options["using"]).upper() in NOT_TREES:
            # These are no ways to keep an index, but other indexes.
            options["prefix"], options["using"] = options["using"].upper(), None
        text = super().visit_create_index(create, **kw)
        condition = options["where"]
        return text if condition is None else f"{text} WHERE {self.sql_compiler.process(condition)}"


# What an index of texts or of places is asked for by, before the word INDEX.
NOT_TREES = ("FULLTEXT", "SPATIAL")
for _dialect in ("mysql", "mariadb"):
    sa.Index.argument_for(_dialect, "where", None)


def is_mariadb(dialect: Dialect) -> bool:
    """Tell MariaDB from MySQL, as the first connection has found."""
    return bool(getattr(dialect, "is_mariadb", False))


def column_type(column: Column) -> TypeEngine[Any]:
    """Return the type in which a new table keeps a column, told by its kind and sizes.

    Integers are all of one width, because a foreign key refers to a column of its own width only.
    """
    if column.kind is Kind.DECIMAL:
        return _decimal(column)
    if column.kind is Kind.TEXT:
        fits = column.size is not None and 0 < column.size <= VARCHAR_CHARACTERS_MAX
        return Collated(column.size if fits else None, column.collation)
    if column.kind is Kind.BYTES and column.size is not None and 0 < column.size <= VARBINARY_BYTES_MAX:
        return mysql.VARBINARY(column.size)
    return _TYPES[column.kind]


def _decimal(column: Column) -> TypeEngine[Any]:
    precision, scale = column.precision, column.scale or 0
    if precision is None:
        return mysql.DECIMAL(DECIMAL_DIGITS, DECIMAL_SCALE)
    # A scale may be negative elsewhere, or greater than the precision.
    whole = max(precision - scale, 0)
    scale = max(scale, 0)
    if whole + scale > DECIMAL_DIGITS or scale > DECIMAL_SCALE:
        return mysql.DECIMAL(DECIMAL_DIGITS, DECIMAL_SCALE)
    return mysql.DECIMAL(whole + scale, scale)


_TYPES: dict[Kind, TypeEngine[Any]] = {
    Kind.BOOLEAN: mysql.TINYINT(1),
    Kind.INTEGER: mysql.BIGINT(),
    Kind.FLOAT: mysql.DOUBLE(),
    Kind.BYTES: mysql.LONGBLOB(),
    Kind.DATE: sa.DATE(),
    Kind.TIME: mysql.TIME(fsp=FRACTION_DIGITS),
    Kind.TIMESTAMP: mysql.DATETIME(fsp=FRACTION_DIGITS),
    Kind.INSTANT: Instant(),
    Kind.JSON: mysql.JSON(),
}


# --- tables that are there ----------------------------------------------------------------------------


def column_of(row: Row, *, is_mariadb: bool, is_json: bool) -> Column:
    """Return the column that a row of ``information_schema.COLUMNS`` tells of.

    Parameters
    ----------
    is_mariadb
        Whose spelling of defaults it is.
    is_json
        Whether a check says that the texts of the column are JSON.
    """
    base, extra = row["data_type"], row["extra"].lower()
    kind = _kind(row, is_json=is_json)
    automatic = "auto_increment" in extra
    generated = row["generation_expression"] or None
    size, byte_size = _sizes(row, kind)
    precision, scale = _digits(row, kind)
    is_single_instant = base == "timestamp"
    return Column(
        name=row["name"],
        kind=kind,
        declared=row["column_type"],
        nullable=row["is_nullable"] == "YES",
        size=size,
        bits=_bits(row) if kind in (Kind.INTEGER, Kind.FLOAT) else None,
        precision=precision,
        scale=scale,
        byte_size=byte_size,
        largest_character=_last_character(row) if kind is Kind.TEXT else None,
        earliest=TIMESTAMP_FIRST if is_single_instant else None,
        latest=TIMESTAMP_LAST if is_single_instant else None,
        default=None if automatic or generated else default_of(row, kind, is_mariadb=is_mariadb),
        generated=expression(generated, is_mariadb=is_mariadb) if generated else None,
        automatic=automatic,
        never_reuses=automatic,
        collation=_collation(row, kind),
        choices=choices_of(row["column_type"]) if base == "enum" else (),
    )


def _kind(row: Row, *, is_json: bool) -> Kind:
    base, declared = row["data_type"], row["column_type"]
    if declared in ("tinyint(1)", "bit(1)"):
        return Kind.BOOLEAN
    if is_json:
        return Kind.JSON
    if base == "datetime" and row["comment"] == INSTANT_COMMENT:
        return Kind.INSTANT
    if declared.startswith("bigint") and "unsigned" in declared and "auto_increment" not in row["extra"]:
        return Kind.DECIMAL
    if declared == "bit(64)":
        return Kind.DECIMAL
    return KINDS.get(base, Kind.TEXT)


def _bits(row: Row) -> int:
    """Return the width of a signed number that holds all that the column holds."""
    if row["data_type"] == "bit":
        return int(row["numeric_precision"]) + 1
    bits = BITS[row["data_type"]]
    return min(bits + 1, 64) if "unsigned" in row["column_type"] and bits < 64 else bits


def _sizes(row: Row, kind: Kind) -> tuple[int | None, int | None]:
    """Return the most characters and the most bytes of a text or of bytes."""
    base = row["data_type"]
    if base in ("char", "varchar", "binary", "varbinary"):
        return int(row["character_maximum_length"]), None
    return None, BYTES_MAX.get(base) if kind in (Kind.TEXT, Kind.BYTES, Kind.JSON) else None


def _digits(row: Row, kind: Kind) -> tuple[int | None, int | None]:
    if kind is Kind.DECIMAL and row["data_type"] != "decimal":
        return UNSIGNED_BIGINT_DIGITS, 0
    if kind is Kind.DECIMAL:
        found = (int(row["numeric_precision"]), int(row["numeric_scale"]))
        # The widest there is stands for one without a limit.
        return (None, None) if found == (DECIMAL_DIGITS, DECIMAL_SCALE) else found
    if kind in (Kind.TIME, Kind.TIMESTAMP, Kind.INSTANT):
        return int(row["datetime_precision"] or 0), None
    return None, None


def _last_character(row: Row) -> int | None:
    """Return the last code point that a column's character set holds, where that is not the last of all."""
    return LAST_CHARACTERS.get(row["character_set"])


def _collation(row: Row, kind: Kind) -> str | None:
    collation = row["collation"]
    if kind is not Kind.TEXT or collation is None or collation in BINARY_COLLATIONS:
        return None
    return str(collation)


def choices_of(declared: str) -> tuple[str, ...]:
    """Return the values of an enum from its declaration, in which only quotes are doubled."""
    return tuple(found.replace("''", "'") for found in re.findall(r"'((?:[^']|'')*)'", declared))


def default_of(row: Row, kind: Kind, *, is_mariadb: bool) -> str | None:
    """Return a column's default as an expression: MariaDB tells one, MySQL tells the bare value."""
    default = row["column_default"]
    if default is None or (is_mariadb and default == "NULL"):
        return None
    if bits := re.fullmatch(r"b'([01]*)'", default):
        return str(int(bits[1] or "0", 2))
    if is_mariadb:
        return str(default)
    if "default_generated" in row["extra"].lower():
        return expression(default, is_mariadb=False)
    is_bare = kind in (Kind.BOOLEAN, Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT)
    if is_bare or re.fullmatch(r"(?i)current_timestamp(\(\d*\))?", default):
        return str(default)
    return literal(default)


def expression(sql: str, *, is_mariadb: bool) -> str:
    """Return an expression as it could be written; MySQL keeps its quotes escaped, and names encodings."""
    if is_mariadb:
        return sql
    plain = re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), sql)
    return re.sub(r"(?<![\w`])_(?:utf8mb[34]|latin1|ascii)(?=')", "", plain)


_ESCAPES = {"n": "\n", "r": "\r", "0": "\0"}
