"""Carries SQL expressions and queries from one engine's dialect to another's, or says that it cannot.

sqlglot parses and writes; what it leaves to its user is added here: that ``1`` means true beside a
boolean column, that one engine's LIKE ignores case and another's does not, and the functions that
have no name in common. A translation is only ever a proposal: the target itself is asked, in a
transaction that is rolled back, before anything relies on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from migration.model import Kind

# Functions and operators that exist in no other dialect, so that passing them through would only move
# the failure; those that are rewritten below are not among them.
_UNTRANSLATABLE = (exp.Glob, exp.Command, exp.TimeToStr, exp.Rand)
# What the other dialect would cast to means the same there, and to nothing else.
_PLAIN_CASTS = ("TEXT", "VARCHAR", "CHAR", "INT", "BIGINT", "SMALLINT", "DOUBLE", "FLOAT", "DECIMAL", "BOOLEAN")


class Untranslatable(Exception):
    """This piece of SQL has no counterpart that is known to mean the same."""


def translate_expression(sql: str, source: str, target: str, kinds: Mapping[str, Kind]) -> str:
    """Return an expression (a default, a condition, a generated value) in the target's dialect.

    Parameters
    ----------
    source, target
        sqlglot's names of the dialects. Equal ones return ``sql`` untouched.
    kinds
        What the columns it may name will hold in the target.

    Raises
    ------
    Untranslatable
        With the reason, when no meaning-preserving translation is known.
    """
    if source == target:
        return sql
    return _translate(sql, source, target, lambda name: kinds.get(name), quoted_text=True)


def translate_query(sql: str, source: str, target: str, kinds: Mapping[str, Kind]) -> str:
    """Return a whole query (of a view); ``kinds`` by column name, for names that mean one kind everywhere."""
    if source == target:
        return sql
    return _translate(sql, source, target, lambda name: kinds.get(name), quoted_text=False)


def is_current_time(sql: str | None) -> bool:
    """Tell whether a default is the time at which the row is written, in UTC."""
    text = (sql or "").strip().strip("()").lower().replace(" ", "")
    return text in ("current_timestamp", "datetime('now')", "now()", "current_timestamp()")


def _translate(
    sql: str, source: str, target: str, kind_of: Callable[[str], Kind | None], *, quoted_text: bool
) -> str:
    try:
        tree = sqlglot.parse_one(sql, read=source)
    except SqlglotError as error:
        raise Untranslatable(f"it could not be parsed: {str(error).splitlines()[0]}") from error
    for found in tree.find_all(*_UNTRANSLATABLE):
        raise Untranslatable(f"{found.key.upper()} has no counterpart")
    # A wrapper, because the root itself may be rewritten.
    tree = exp.Tuple(expressions=[tree])
    tree = tree.transform(lambda node: _rewrite(node, source, target, kind_of, quoted_text))
    for literal in tree.find_all(exp.Literal):
        # Cast to a time, 'now' would be the moment at which the schema is made, for ever.
        if literal.name.lower() == "now" and isinstance(literal.parent, exp.Func):
            raise Untranslatable(f"{literal.parent.sql(dialect=source)} has no counterpart")
    written: str = tree.expressions[0].sql(dialect=target, identify=True)
    return written


def _rewrite(
    node: exp.Expression, source: str, target: str, kind_of: Callable[[str], Kind | None], quoted_text: bool
) -> exp.Expression:
    if isinstance(node, exp.Column) and quoted_text and source == "sqlite" and _is_misquoted_text(node, kind_of):
        return exp.Literal.string(node.name)
    if isinstance(node, exp.Like) and source == "sqlite" and target == "postgres":
        return exp.ILike(**node.args)
    if isinstance(node, exp.HexString) and target == "postgres":
        return exp.cast(exp.Literal.string(f"\\x{node.this}"), "bytea")
    if isinstance(node, exp.Cast) and source == "postgres":
        return _plain_cast(node)
    if isinstance(node, (exp.EQ, exp.NEQ)):
        return _compare_booleans(node, kind_of)
    if isinstance(node, exp.In) and _is_boolean(node.this, kind_of):
        node.set("expressions", [_as_boolean(entry) for entry in node.expressions])
        return node
    name = node.name.upper() if isinstance(node, exp.Anonymous) else node.sql_name() if isinstance(node, exp.Func) else ""
    rewrite = _FUNCTIONS.get((source, target, name))
    return rewrite(node) if rewrite is not None else node


def _is_misquoted_text(node: exp.Column, kind_of: Callable[[str], Kind | None]) -> bool:
    """SQLite takes a double-quoted name that is no column for text."""
    identifier = node.this
    return isinstance(identifier, exp.Identifier) and bool(identifier.quoted) and kind_of(node.name) is None


def _is_boolean(node: exp.Expression, kind_of: Callable[[str], Kind | None]) -> bool:
    return isinstance(node, exp.Column) and kind_of(node.name) is Kind.BOOLEAN


def _compare_booleans(node: exp.Binary, kind_of: Callable[[str], Kind | None]) -> exp.Expression:
    for side, other in (("this", "expression"), ("expression", "this")):
        if _is_boolean(node.args[side], kind_of):
            node.set(other, _as_boolean(node.args[other]))
    return node


def _as_boolean(node: exp.Expression) -> exp.Expression:
    if isinstance(node, exp.Literal) and node.this in ("0", "1"):
        return exp.Boolean(this=node.this == "1")
    return node


def _plain_cast(node: exp.Cast) -> exp.Expression:
    """Keep casts that other dialects know, and drop those that only name what a text literal is."""
    if isinstance(node.this, exp.Literal) and node.this.is_string:
        return node.this
    if node.to.this.value not in _PLAIN_CASTS:
        raise Untranslatable(f"{node.sql(dialect='postgres')} has no counterpart")
    return node


# --- functions --------------------------------------------------------------------------------------


def _json_valid(node: exp.Expression) -> exp.Expression:
    # The cast raises where the text is no JSON: the row is refused either way.
    (argument,) = node.expressions
    return exp.paren(exp.Is(this=exp.cast(argument, "json"), expression=exp.Not(this=exp.Null())))


def _utc_time(node: exp.Expression) -> exp.Expression:
    arguments = [node.this, *node.expressions] if isinstance(node.this, exp.Expression) else node.expressions
    if [argument.name.lower() for argument in arguments if isinstance(argument, exp.Literal)] == ["now"]:
        return exp.AtTimeZone(this=exp.CurrentTimestamp(), zone=exp.Literal.string("UTC"))
    if len(arguments) == 1:
        return exp.cast(arguments[0], "timestamp")
    raise Untranslatable(f"{node.sql()} has no counterpart")


def _length_in_bytes(node: exp.Expression) -> exp.Expression:
    return exp.Anonymous(this="octet_length", expressions=node.expressions)


_FUNCTIONS: dict[tuple[str, str, str], Callable[[exp.Expression], exp.Expression]] = {
    ("sqlite", "postgres", "JSON_VALID"): _json_valid,
    ("sqlite", "postgres", "DATETIME"): _utc_time,
    ("sqlite", "postgres", "OCTET_LENGTH"): _length_in_bytes,
}
