"""Writes the statements that make a table and all that hangs on it; SQLAlchemy spells them.

A table can be had in pieces (:func:`pieces`), each of which the target can be asked about alone, so
that what it refuses is known by name before anything is made.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateTable, DropConstraint, DropTable
from sqlalchemy.types import TypeEngine

from migration.model import Check, Column, ForeignKey, Index, Table, Trigger, Unique, View

ColumnType = Callable[[Column], TypeEngine[Any]]
# What a constraint is and is called in a hazard, and the constraint.
_Named: TypeAlias = tuple[str, str, sa.Constraint]

# Numbers, words such as TRUE or CURRENT_TIMESTAMP, and texts, which one engine puts in double quotes too.
_PLAIN_DEFAULT = re.compile(r"[+-]?[\w.]+|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")


@dataclass(frozen=True)
class Piece:
    """One thing the target is asked to make: what it is called in a hazard, and the statement.

    ``probe`` is a statement that must work afterwards, where making alone proves too little;
    ``undo`` takes it away again, where a rollback would not.
    """

    what: str
    table: str
    name: str
    statement: str
    probe: str | None = None
    undo: str | None = None


@dataclass(frozen=True)
class Writer:
    """Writes DDL for one engine.

    Parameters
    ----------
    dialect
        SQLAlchemy's dialect of the target.
    column_type
        The target's type for a column.
    alters_constraints
        Whether keys and checks can be added after the rows; else they are part of the table.
    identifier_bytes
        The longest name the engine keeps.
    """

    dialect: Dialect
    column_type: ColumnType
    alters_constraints: bool
    identifier_bytes: int | None

    def create_table(self, table: Table, *, complete: bool) -> str:
        """Return CREATE TABLE; ``complete`` with every constraint in it, else with columns alone."""
        return self._ddl(CreateTable(self._table(table, complete=complete)))

    def drop_table(self, name: str) -> str:
        """Return DROP TABLE, which passes over a table that is not there."""
        return self._ddl(DropTable(sa.Table(sa.quoted_name(name, True), sa.MetaData()), if_exists=True))

    def before_rows(self, table: Table) -> list[str]:
        """Return what makes a table ready for rows."""
        return [self.create_table(table, complete=not self.alters_constraints)]

    def after_rows(self, table: Table) -> list[Piece]:
        """Return what is made once the rows are there, foreign keys left out."""
        found = [] if not self.alters_constraints else list(self._added(table, self._keys_and_checks))
        return found + list(self.indexes(table))

    def foreign_keys(self, table: Table) -> list[Piece]:
        """Return the foreign keys that are made when all tables and their keys are there."""
        return [] if not self.alters_constraints else list(self._added(table, self._references))

    def drop_foreign_keys(self, table: Table) -> list[str]:
        """Return what takes the foreign keys away again."""
        if not self.alters_constraints:
            return []
        built = self._table(table, complete=False)
        statements = []
        for _, _, constraint in self._references(table, built):
            built.append_constraint(constraint)
            statements.append(self._ddl(DropConstraint(constraint, if_exists=True)))
        return statements

    def indexes(self, table: Table) -> Iterator[Piece]:
        """Return the indexes of a table."""
        built = self._table(table, complete=False)
        for index in table.indexes:
            yield Piece("index", table.name, index.name, self._ddl(CreateIndex(self._index(built, index))))

    def view(self, view: View) -> Piece:
        """Return CREATE VIEW; some engines look at what is in a view only when it is read."""
        name = self.quote(view.name)
        return Piece(
            what="view",
            table=view.name,
            name=view.name,
            statement=f"CREATE VIEW {name} AS {self._ddl(_literal(view.definition))}",
            probe=f"SELECT 1 FROM {name} LIMIT 0",
            undo=self.drop_view(view),
        )

    def trigger(self, trigger: Trigger) -> Piece:
        """Return CREATE TRIGGER, as the engine wrote it."""
        return Piece("trigger", trigger.table, trigger.name, self._ddl(_literal(trigger.definition)))

    def drop_view(self, view: View) -> str:
        """Return DROP VIEW."""
        return f"DROP VIEW IF EXISTS {self.quote(view.name)}"

    def quote(self, name: str) -> str:
        """Quote an identifier, always."""
        return self.dialect.identifier_preparer.quote_identifier(name)

    def pieces(self, table: Table) -> Iterator[Piece]:
        """Return the table with one of its expressions at a time, to learn which ones the target takes."""
        bare = bare_table(table)
        for column in table.columns:
            if column.default is not None:
                yield self._default_in_use(bare.name, column)
            if column.generated is not None:
                changed = _with(bare, column.name, generated=column.generated)
                yield self._probe("generated", bare, column.name, columns=changed)
        for check in table.checks:
            yield self._probe("check", bare, check.name or check.condition, checks=(check,))

    def parts(self, table: Table) -> list[Piece]:
        """Return what CREATE TABLE says beside plain columns, the first to be done without last; not how."""
        found = []
        if not self.alters_constraints:
            found += [Piece("foreign-key", table.name, written_key(key), "") for key in table.foreign_keys]
            found += [Piece("check", table.name, check.name or check.condition, "") for check in table.checks]
        generated = [column.name for column in table.columns if column.generated is not None]
        return found + [Piece("generated", table.name, name, "") for name in generated]

    def _default_in_use(self, table: str, column: Column) -> Piece:
        """Return a table of one column, and a row that takes its default: some are looked at only then."""
        alone = Table(table, (replace(column, nullable=True, generated=None, automatic=False),))
        statement = self.create_table(alone, complete=True)
        # A number that a sequence gives away is gone, and it is not ours.
        takes_number = "nextval" in str(column.default).lower()
        row = None if takes_number else self._ddl(sa.insert(self._table(alone, complete=True)).values())
        return Piece("default", table, column.name, statement, probe=row, undo=self.drop_table(table))

    def _probe(self, what: str, bare: Table, name: str, **changes: Any) -> Piece:
        statement = self.create_table(replace(bare, **changes), complete=True)
        return Piece(what, bare.name, name, statement, undo=self.drop_table(bare.name))

    # --- building -------------------------------------------------------------------------------------

    def _added(
        self, table: Table, constraints: Callable[[Table, sa.Table], Iterator[_Named]]
    ) -> Iterator[Piece]:
        """Write each constraint as an addition to a table that has none."""
        built = self._table(table, complete=False)
        for what, name, constraint in constraints(table, built):
            built.append_constraint(constraint)
            yield Piece(what, table.name, name, self._ddl(AddConstraint(constraint)))

    def _keys_and_checks(self, table: Table, built: sa.Table) -> Iterator[_Named]:
        if self.alters_constraints and table.primary_key:
            name = self._name(table, table.primary_key, "pkey")
            yield "primary-key", ", ".join(table.primary_key), _key(built, table.primary_key, name)
        elif len(table.primary_key) > 1:
            yield "primary-key", ", ".join(table.primary_key), _key(built, table.primary_key, None)
        for unique in table.uniques:
            yield "unique", ", ".join(unique.columns), self._unique(table, built, unique)
        for position, check in enumerate(table.checks):
            yield "check", check.name or check.condition, self._check(table, check, position)

    def _references(self, table: Table, built: sa.Table) -> Iterator[_Named]:
        for key in table.foreign_keys:
            yield "foreign-key", written_key(key), self._foreign_key(table, built, key)

    def _table(self, table: Table, *, complete: bool) -> sa.Table:
        # Quoted always: a name keeps its spelling on engines that fold, and reserved words need no list.
        built = sa.Table(
            sa.quoted_name(table.name, True),
            sa.MetaData(),
            *[self._column(table, column, complete) for column in table.columns],
            **self._numbering(table),
        )
        if not complete:
            return built
        for constraints in (self._keys_and_checks, self._references):
            for _, _, constraint in constraints(table, built):
                built.append_constraint(constraint)
        return built

    def _numbering(self, table: Table) -> dict[str, Any]:
        """Ask for numbers that are never used twice, where that is said of the table and not of a column."""
        needed = any(column.never_reuses and column.automatic for column in table.columns)
        return {f"{self.dialect.name}_autoincrement": True} if needed and not self.alters_constraints else {}

    def _column(self, table: Table, column: Column, complete: bool) -> sa.Column[Any]:
        arguments: list[Any] = []
        if column.generated is not None:
            arguments.append(sa.Computed(_literal(column.generated), persisted=True))
        elif column.automatic and self.alters_constraints:
            arguments.append(sa.Identity(always=column.always_automatic))
        return sa.Column(
            sa.quoted_name(column.name, True),
            self.column_type(column),
            *arguments,
            nullable=column.nullable,
            server_default=None if column.default is None else _literal(self._default(column)),
            # A key of one column is part of the column where that is how it comes to number itself.
            primary_key=complete and not self.alters_constraints and table.primary_key == (column.name,),
            autoincrement=column.automatic,
        )

    def _default(self, column: Column) -> str:
        """An expression that is no plain literal stands in parentheses, which every engine takes."""
        text = str(column.default)
        return text if _PLAIN_DEFAULT.fullmatch(text) or _is_wrapped(text) else f"({text})"

    def _unique(self, table: Table, built: sa.Table, unique: Unique) -> sa.UniqueConstraint:
        name = unique.name or self._name(table, unique.columns, "key")
        return sa.UniqueConstraint(*[built.c[column] for column in unique.columns], name=name)

    def _check(self, table: Table, check: Check, position: int) -> sa.CheckConstraint:
        name = check.name or self._name(table, (str(position + 1),), "check")
        return sa.CheckConstraint(_literal(check.condition), name=name)

    def _foreign_key(self, table: Table, built: sa.Table, key: ForeignKey) -> sa.ForeignKeyConstraint:
        # The other table is only a name here: it is made, or there already.
        other = built if key.target_table == table.name else self._other(built.metadata, key)
        return sa.ForeignKeyConstraint(
            [built.c[name] for name in key.columns],
            [other.c[name] for name in key.target_columns],
            name=key.name or self._name(table, key.columns, "fkey"),
            ondelete=key.on_delete,
            onupdate=key.on_update,
        )

    def _other(self, metadata: sa.MetaData, key: ForeignKey) -> sa.Table:
        name = sa.quoted_name(key.target_table, True)
        columns = [sa.Column(sa.quoted_name(column, True), sa.Integer) for column in key.target_columns]
        return sa.Table(name, metadata, *columns, extend_existing=True)

    def _index(self, built: sa.Table, index: Index) -> sa.Index:
        parts: list[Any] = []
        for part in index.parts:
            column: Any = sa.text(_escaped(f"({part.text})")) if part.is_expression else built.c[part.text]
            if part.collation:
                column = sa.collate(column, part.collation)
            parts.append(sa.desc(column) if part.descending else column)
        options: dict[str, Any] = {}
        if index.condition is not None:
            options["where"] = _literal(index.condition)
        if index.method is not None:
            options["using"] = index.method
        own = {f"{self.dialect.name}_{option}": value for option, value in options.items()}
        return sa.Index(sa.quoted_name(index.name, True), *parts, unique=index.unique, _table=built, **own)

    def _name(self, table: Table, columns: Sequence[str], suffix: str) -> str:
        """Name what has no name, so that it can be dropped again; never longer than the engine keeps."""
        name = "_".join([table.name, *columns, suffix])
        if self.identifier_bytes is not None and len(name.encode()) > self.identifier_bytes:
            mark = hashlib.sha256(name.encode()).hexdigest()[:8]
            room = self.identifier_bytes - len(mark) - len(suffix) - 2
            name = f"{name.encode()[:room].decode(errors='ignore')}_{mark}_{suffix}"
        return name

    def _ddl(self, element: Any) -> str:
        return str(element.compile(dialect=self.dialect)).strip()


def bare_table(table: Table) -> Table:
    """Return a table less everything that is an expression, and less its keys."""
    columns = tuple(
        replace(column, default=None, generated=None, automatic=False) for column in table.columns
    )
    return Table(name=table.name, columns=columns)


def _with(table: Table, name: str, **changes: Any) -> tuple[Column, ...]:
    return tuple(replace(column, **changes) if column.name == name else column for column in table.columns)


def _key(built: sa.Table, columns: Sequence[str], name: str | None) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*[built.c[column] for column in columns], name=name)


def written_key(key: ForeignKey) -> str:
    """Name a foreign key by what it says."""
    return f"({', '.join(key.columns)}) -> {key.target_table}({', '.join(key.target_columns)})"


def _is_wrapped(sql: str) -> bool:
    """Tell whether the first parenthesis of an expression is closed by its last character."""
    bare = _QUOTED.sub("x", sql)
    depths = list(accumulate((character == "(") - (character == ")") for character in bare))
    return bare.startswith("(") and 0 not in depths[:-1]


def _literal(sql: str) -> Any:
    return sa.text(_escaped(sql))


def _escaped(sql: str) -> str:
    # A colon would be a parameter to SQLAlchemy.
    return sql.replace(":", "\\:")
