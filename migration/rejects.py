"""The file of rows that were set aside: written while rows are copied, read by the proof, and loaded again.

JSON Lines. The first line says what the file is, whose rows it holds, and what each column was and would
have become; every other line is one row, whole, in the source's own values. JSON has no bytes, no NaN and no
times, so these are written as ``{"hex": ...}``, ``{"text-hex": ...}`` for a text that is no UTF-8,
``{"real": "NaN"}`` and ``{"time": ...}``; whole numbers have no point, and doubles always have one.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from migration.errors import RejectsUnusable
from migration.look import own_kind
from migration.model import Kind, ScanColumn
from migration.plan import Plan, TablePlan
from migration.traits import Traits
from migration.values_as_json import from_json, to_json

VERSION = 1
# Rows read at once: each is some hundred bytes, or one large value.
ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class RejectedColumn:
    """A column of the source: how its values are kept in the file, and where they would have gone."""

    name: str
    own: Kind
    kind: Kind
    fraction_digits: int | None
    target: str | None


@dataclass(frozen=True)
class RejectedTable:
    """A table whose rows the file may hold."""

    name: str
    target: str
    key: tuple[str, ...]
    columns: tuple[RejectedColumn, ...]


@dataclass(frozen=True)
class Reason:
    """Why a row cannot go: a hazard's name, and the column it is about."""

    column: str
    hazard: str


def scanned_columns(table: TablePlan) -> list[ScanColumn]:
    """Return what is read of a table whose rows may be set aside: what is written, then all the rest."""
    planned = [ScanColumn(column.source, column.kind, column.fraction_digits) for column in table.written]
    names = {column.column.name for column in planned}
    return planned + [
        ScanColumn(column, column.kind) for column in table.source.columns if column.name not in names
    ]


class RejectFile:
    """A file that rows are added to; what was added is on the disk once :meth:`flush` returns."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        # No more than what a chunk holds: every chunk ends with a flush.
        self._waiting: list[bytes] = []

    @classmethod
    def create(cls, path: Path, plan: Plan, traits: Traits, whose: tuple[str, str, str]) -> RejectFile:
        """Make a new file, for its owner only; one that is there is not touched.

        Parameters
        ----------
        whose
            The run, the source and the target, without secrets.

        Raises
        ------
        RejectsUnusable
            When it is there, or cannot be made.
        """
        name = uuid.uuid4().hex
        run, source, target = whose
        header = {"migration_rejects": VERSION, "name": name, "run": run, "source": source, "target": target}
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except OSError as error:
            raise _unusable(path, _why(error), "Name another file with --reject-to") from error
        os.close(descriptor)
        made = cls(path, name)
        made._add_line({**header, "tables": [_described(table, traits) for table in plan.tables]})
        made.flush()
        return made

    @classmethod
    def reopen(cls, path: Path, name: str, again: Mapping[str, str | None]) -> RejectFile:
        """Go on with the file of an interrupted run, less the rows whose chunks were not committed.

        Parameters
        ----------
        name
            What the run calls its file: another run's is not touched.
        again
            Of each table that is not finished: the position after which it is copied again.
        """
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            _check_name(path, name)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(_committed_lines(path, again))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            return cls(path, name)
        except OSError as error:
            raise _unusable(path, _why(error), "Give the file that the migration was begun with") from error
        finally:
            # Where it could not be made it cannot be looked for either.
            with contextlib.suppress(OSError):
                temporary.unlink()

    def add(
        self, table: TablePlan, chunk: str | None, rows: pa.RecordBatch, reasons: Sequence[Sequence[Reason]]
    ) -> int:
        """Add rows and return how many bytes they took.

        Parameters
        ----------
        chunk
            The position after which the chunk begins that they would have been in.
        rows
            Of :func:`scanned_columns`, as they were read.
        """
        names = [column.column.name for column in scanned_columns(table)]
        size = 0
        for position, why in enumerate(reasons):
            row = {name: to_json(array, position) for name, array in zip(names, rows.columns, strict=True)}
            size += self._add_line(
                {
                    "table": table.source.name,
                    "chunk": chunk,
                    "key": {name: row[name] for name in table.key or table.source.key},
                    "reasons": [{"column": one.column, "reason": one.hazard} for one in why],
                    "row": row,
                }
            )
        return size

    def flush(self) -> None:
        """Bring to the disk what was added."""
        if not self._waiting:
            return
        try:
            # Never made anew: a file that was taken away meanwhile held rows that are nowhere else.
            with os.fdopen(os.open(self.path, os.O_WRONLY | os.O_APPEND), "wb") as file:
                file.writelines(self._waiting)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unusable(self.path, _why(error), "See that it can be written") from error
        self._waiting = []

    def _add_line(self, line: Mapping[str, Any]) -> int:
        raw = json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        self._waiting.append(raw)
        return len(raw)


class RejectedRows:
    """The rows of a file, read from it anew each time."""

    def __init__(self, path: Path) -> None:
        """Read the first line, and count the rows of each table."""
        self.path = path
        self.counts: dict[str, int] = {}
        header = _header(path)
        self.name = str(header["name"])
        self.tables = {table.name: table for table in map(_table, header["tables"])}
        for number, line in _rows(path):
            if line["table"] not in self.tables:
                raise _odd(path, number, f"the file knows no table {line['table']!r}")
            self.counts[line["table"]] = self.counts.get(line["table"], 0) + 1

    def batches(self, table: str) -> Iterator[tuple[list[dict[str, Any]], list[pa.Array]]]:
        """Yield the rows of a table in batches: the lines, and an array for each column of the file."""
        columns = self.tables[table].columns
        lines: list[dict[str, Any]] = []
        numbers: list[int] = []
        for number, line in _rows(self.path):
            if line["table"] == table:
                lines.append(line)
                numbers.append(number)
            if len(lines) == ROWS_AT_ONCE:
                yield lines, [self._array(column, lines, numbers) for column in columns]
                lines, numbers = [], []
        if lines:
            yield lines, [self._array(column, lines, numbers) for column in columns]

    def _array(
        self, column: RejectedColumn, lines: Sequence[Mapping[str, Any]], numbers: Sequence[int]
    ) -> pa.Array:
        values = []
        for number, line in zip(numbers, lines, strict=True):
            if column.name not in line["row"]:
                raise _odd(self.path, number, f"the row has no {column.name}")
            values.append(line["row"][column.name])
        try:
            return from_json(values, column.own)
        except ValueError:
            for number, value in zip(numbers, values, strict=True):
                try:
                    from_json([value], column.own)
                except ValueError as error:
                    raise _odd(self.path, number, f"{column.name}: {error}") from error
            raise


# --- the lines --------------------------------------------------------------------------------------


def _described(table: TablePlan, traits: Traits) -> dict[str, Any]:
    places = {column.source.name: column.target.name for column in table.written}
    return {
        "table": table.source.name,
        "target": table.target.name,
        "key": list(table.key),
        "columns": [
            {
                "name": wanted.column.name,
                "own": own_kind(wanted, traits).value,
                "kind": wanted.kind.value,
                "fraction_digits": wanted.fraction_digits,
                "target": places.get(wanted.column.name),
            }
            for wanted in scanned_columns(table)
        ],
    }


def _table(data: Mapping[str, Any]) -> RejectedTable:
    columns = tuple(
        RejectedColumn(
            str(column["name"]),
            Kind(column["own"]),
            Kind(column["kind"]),
            column["fraction_digits"],
            column["target"],
        )
        for column in data["columns"]
    )
    return RejectedTable(str(data["table"]), str(data["target"]), tuple(data["key"]), columns)


def _header(path: Path) -> dict[str, Any]:
    first = next(_lines(path), (1, None))[1]
    try:
        if isinstance(first, dict) and first.get("migration_rejects") == VERSION:
            for table in first["tables"]:
                _table(table)
            return first
    except (KeyError, TypeError, ValueError) as error:
        raise _odd(path, 1, f"it does not say what the file holds ({error})") from error
    raise _odd(path, 1, "this is no file of rejected rows")


def _check_name(path: Path, name: str) -> None:
    if _header(path)["name"] != name:
        raise _unusable(path, "is of another run", "Give the file that the migration was begun with")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in _lines(path):
        if number > 1:
            if not isinstance(line, dict) or not isinstance(line.get("row"), dict) or "table" not in line:
                raise _odd(path, number, "this is no row")
            yield number, line


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    if path.exists() and not path.is_file():
        # A pipe or a device might never end.
        raise _unusable(path, "is no plain file", "Give a file that --reject-to has written")
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if raw.strip():
                    yield number, json.loads(raw)
    except OSError as error:
        raise _unusable(path, _why(error), "Give a file that --reject-to has written") from error
    except ValueError as error:
        raise _unusable(path, f"holds a line that is no JSON ({error})", "Mend it") from error


def _committed_lines(path: Path, again: Mapping[str, str | None]) -> Iterator[bytes]:
    """Yield the lines that stay; the last one may be half a line, of a chunk that was not committed."""
    with path.open("rb") as file:
        for raw in file:
            if not raw.endswith(b"\n"):
                return
            line = json.loads(raw)
            table = line.get("table")
            if table not in again or line["chunk"] != again[table]:
                yield raw


def _why(error: OSError) -> str:
    return "is there already" if isinstance(error, FileExistsError) else str(error.strerror).lower()


def _odd(path: Path, number: int, what: str) -> RejectsUnusable:
    return _unusable(path, f"cannot be understood, line {number}: {what}", "Mend that line")


def _unusable(path: Path, what: str, next_step: str) -> RejectsUnusable:
    return RejectsUnusable(f"The file of rejected rows {what}", where=str(path), done="", next_step=next_step)
