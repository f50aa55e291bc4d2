"""A plan as a file that a person can read, change and give back: what was chosen, and what it was made for.

The file holds choices, and is no recording: everything is looked at again when it is used. A schema other
than the one it was made for is refused, and so is a word in it that means nothing.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migration.choice import WHOLE_SCHEMA, Options, parse_type, type_name
from migration.errors import UsageError
from migration.model import Kind
from migration.plan import TARGET_ROWS, Plan, Severity

VERSION = 1
# Thousands of tables, each with a comment, take less.
BYTES_MAX = 16 * 1024 * 1024
_LISTS = ("tables", "exclude_tables", "accept")
_SECTIONS = ("map", "types")
_TOP = {"version", "source", "target", "choose", "schema", *_SECTIONS}


@dataclass(frozen=True)
class SavedPlan:
    """What a plan file says."""

    tables: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    accept: tuple[str, ...] = ()
    mapping: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    made_for: Mapping[str, str] = field(default_factory=dict)

    def under(self, options: Options) -> Options:
        """Return options that hold what the file says wherever they say nothing themselves."""
        made_for = dict(self.made_for)
        if options.tables or options.excluded:
            # Other tables go than those whose schema the file knows as a whole.
            made_for.pop(WHOLE_SCHEMA, None)
        return dataclasses.replace(
            options,
            tables=options.tables or self.tables,
            excluded=options.excluded or self.excluded,
            mapping={**self.mapping, **options.mapping},
            types={**self.types, **options.types},
            accept=(*self.accept, *options.accept),
            made_for=made_for,
        )


def write_plan_file(
    path: Path, plan: Plan, options: Options, made_for: Mapping[str, str], places: tuple[str, str]
) -> None:
    """Write a plan to a new file that only its owner can read.

    Parameters
    ----------
    made_for
        Fingerprints of the source's schema: :func:`migration.choice.schema_fingerprints`.
    places
        Source and target, without secrets.
    """
    text = "\n".join(_lines(plan, options, made_for, places)) + "\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(
            "The plan file is there already",
            where=str(path),
            next_step="Remove it, or name another with --save-plan",
        ) from None
    except OSError as error:
        raise UsageError(
            f"The plan file cannot be written: {error.strerror}",
            where=str(path),
            next_step="Name another file",
        ) from error


def read_plan_file(path: Path) -> SavedPlan:
    """Read a plan file.

    Raises
    ------
    UsageError
        When it cannot be read or holds what no plan file holds; the sentence names the line.
    """
    try:
        if not path.is_file() and path.exists():
            # A pipe or a device might never end.
            raise _odd(path, "is no plain file")
        with path.open("rb") as file:
            content = file.read(BYTES_MAX + 1)
        if len(content) > BYTES_MAX:
            raise _odd(path, f"is larger than {BYTES_MAX:,} bytes, which no plan is")
        text = content.decode("utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise _odd(path, f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _odd(path, f"is no TOML: {error}") from error
    if data.get("version") != VERSION:
        raise _odd(path, f"has version {data.get('version')!r}, and this program reads {VERSION}")
    _refuse_unknown(path, text, data)
    choose, schema = data.get("choose", {}), data.get("schema", {})
    for name, value in data.get("types", {}).items():
        parse_type(value, name)
    return SavedPlan(
        tables=tuple(choose.get("tables", ())),
        excluded=tuple(choose.get("exclude_tables", ())),
        accept=tuple(choose.get("accept", ())),
        mapping=data.get("map", {}),
        types=data.get("types", {}),
        made_for={**schema.get("tables", {}), WHOLE_SCHEMA: schema["fingerprint"]} if schema else {},
    )


# --- reading ----------------------------------------------------------------------------------------


def _refuse_unknown(path: Path, text: str, data: Mapping[str, Any]) -> None:
    """Refuse every key that no plan file has, and every value of another kind than its key takes."""
    known = {"choose": set(_LISTS), "schema": {"fingerprint", "tables"}}
    for section in (name for name in data if name in (*known, *_SECTIONS)):
        if not isinstance(data[section], dict):
            raise _odd(path, f"{_line_of(section, text)}: {section} is no section")
    places = [("", name) for name in data if name not in _TOP]
    places += [
        (section, name)
        for section, names in known.items()
        for name in data.get(section, {})
        if name not in names
    ]
    if places:
        section, name = places[0]
        raise _odd(path, f"{_line_of(name, text)}: there is no {section + '.' if section else ''}{name}")
    for name, value in data.get("choose", {}).items():
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise _odd(path, f"{_line_of(name, text)}: {name} is no list of texts")
    schema = data.get("schema", {})
    names = [
        *data.get("map", {}).items(),
        *data.get("types", {}).items(),
        ("fingerprint", schema.get("fingerprint", "")),
    ]
    if not isinstance(schema.get("tables", {}), dict) or (schema and "fingerprint" not in schema):
        raise _odd(path, f"{_line_of('schema', text)}: schema holds no fingerprint and tables")
    for name, value in (*names, *schema.get("tables", {}).items()):
        if not isinstance(value, str):
            raise _odd(path, f"{_line_of(name, text)}: {name} is no text")


def _line_of(name: str, text: str) -> str:
    """Say on which line a key is; one that is spelled in another way than usual is only named."""
    spelled = rf"""["']?{re.escape(name)}["']?"""
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(rf"\s*(\[\s*)?([\w.]+\.)?{spelled}\s*[=\].]", line):
            return f"line {number}"
    return f"key {name}"


def _odd(path: Path, what: str) -> UsageError:
    return UsageError(
        f"The plan file {what}",
        where=str(path),
        done="Nothing was touched",
        next_step="Mend it, or make it anew with --dry-run --save-plan",
    )


# --- writing ----------------------------------------------------------------------------------------


def _lines(
    plan: Plan, options: Options, made_for: Mapping[str, str], places: tuple[str, str]
) -> Iterator[str]:
    source, target = places
    yield "# A plan of 'migration migrate': what goes, under which names, as which types, what may be lost."
    yield "# Give it back with --plan. Options on the command line win over what stands here."
    yield f"version = {VERSION}"
    yield "# Where it was made. Only the schema has to be the same where it is used."
    yield f"source = {_text(source)}"
    yield f"target = {_text(target)}"
    yield ""
    yield "[choose]"
    yield "# Names, or patterns such as audit_*. Where no tables are named, all of them go."
    yield f"tables = {_list(options.tables)}"
    yield f"exclude_tables = {_list(options.excluded)}"
    yield from _left_out(plan)
    yield "# Hazards that may happen. Take the # away from those that are to be accepted."
    yield "accept = ["
    yield from (f"    {_text(name)}," for name in dict.fromkeys(options.accept))
    yield from _acceptable(plan, options)
    yield "]"
    yield ""
    yield '# Names that differ: "table" = "other", or "table.column" = "table.other".'
    yield "[map]"
    yield from (f"{_text(name)} = {_text(other)}" for name, other in options.mapping.items())
    yield ""
    yield "# Types of columns in new tables, as they are without a choice. To choose, take the # away."
    yield "[types]"
    yield from (f"{_text(name)} = {_text(word)}" for name, word in options.types.items())
    for table in plan.new_tables:
        for column in table.columns:
            name = f"{table.source.name}.{column.source.name}"
            if name not in options.types and column.kind is not Kind.ANY:
                yield _comment(f"{_text(name)} = {_text(type_name(column.target))}")
    yield ""
    yield "# The schema that this was made for; another one is refused."
    yield "[schema]"
    yield f"fingerprint = {_text(made_for[WHOLE_SCHEMA])}"
    yield "[schema.tables]"
    yield from (f"{_text(name)} = {_text(found)}" for name, found in made_for.items() if name != WHOLE_SCHEMA)


def _left_out(plan: Plan) -> Iterator[str]:
    yield from (_comment(f"{name}: {reason}") for name, reason in plan.left_out.items())


def _acceptable(plan: Plan, options: Options) -> Iterator[str]:
    """Write each hazard that would be asked for, ready to be accepted."""
    for hazard in plan.refused(options.accept):
        place = ".".join(part for part in (hazard.table, hazard.column) if part)
        yield f"    {_comment(f'{place}: {hazard.sentence}')}"
        if hazard.severity is Severity.BLOCKING:
            yield f"    {_comment(f'{hazard.name} cannot be accepted')}"
            continue
        names = [f"{hazard.name}:{place}" if place else hazard.name]
        if hazard.name == TARGET_ROWS:
            names = [f"{TARGET_ROWS}:{hazard.table}={side}" for side in ("source", "target")]
        yield from (f"    {_comment(_text(name))}," for name in names)


def _comment(text: str) -> str:
    """Write a comment of one line; what a comment may not hold is written as an escape."""
    return "# " + "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def _text(text: str) -> str:
    """Write a text as TOML does, which is as JSON does but for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(words: Iterable[str]) -> str:
    return f"[{', '.join(_text(word) for word in words)}]"
