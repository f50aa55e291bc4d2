"""A table of a schema tool is known by its name and by all its columns, and by nothing less."""

from __future__ import annotations

import pytest

from migration.choice import LEFT_OUT, Choice
from migration.model import Column, Kind, Schema, Table
from migration.schema_tools import TOOL_TABLES, ToolTable, kept_by_tools, tool_table


def table(name: str, *columns: str) -> Table:
    return Table(name, tuple(Column(column, Kind.TEXT) for column in columns))


ALEMBIC = table("alembic_version", "version_num")
NOTES = table("notes", "id")


@pytest.mark.parametrize("known", TOOL_TABLES)
def test_each_is_known_in_capitals_too_and_not_with_a_column_more_or_less(known: ToolTable) -> None:
    columns = sorted(known.columns)
    assert tool_table(table(known.name, *columns)) is known
    assert tool_table(table(known.name.upper(), *map(str.upper, columns))) is known
    assert tool_table(table(f"{known.name}s", *columns)) is None
    assert tool_table(table(known.name, *columns, "mine")) is None
    assert tool_table(table(known.name, *columns[1:], "mine")) is None


def test_what_is_read_of_a_table_is_a_column_of_it() -> None:
    for known in TOOL_TABLES:
        assert known.columns >= {*known.revision, *([known.latest] if known.latest else [])}
        assert known.name == known.name.lower()


def test_no_two_entries_mean_the_same_table() -> None:
    assert len({(known.name, known.columns) for known in TOOL_TABLES}) == len(TOOL_TABLES)


def test_only_tables_of_tools_are_kept() -> None:
    assert kept_by_tools(Schema((ALEMBIC, NOTES))) == {"alembic_version": "kept by Alembic"}


def test_they_do_not_go_from_either_side() -> None:
    both, one = Schema((ALEMBIC, NOTES)), Schema((NOTES,))
    for source, target in ((both, both), (both, one), (one, both)):
        chosen = Choice().of(source, target)
        assert chosen.left_out == {"alembic_version": "kept by Alembic"}
        assert [pair.source.name for pair in chosen.pairs] == ["notes"]


def test_what_the_user_asked_for_is_what_happens() -> None:
    source = Schema((ALEMBIC, NOTES))
    excluded = Choice(excluded=("alembic_version",)).of(source, Schema())
    assert excluded.left_out == {"alembic_version": LEFT_OUT}
    assert Choice(tables=("notes", "alembic_version")).of(source, Schema()).left_out == {}
    mapped = Choice(mapping={"alembic_version.version_num": "alembic_version.other"})
    assert mapped.of(source, source).left_out == {}
