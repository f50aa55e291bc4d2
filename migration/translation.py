"""Carries SQL expressions and queries from one engine's dialect to another's, or says that it cannot.

sqlglot parses and writes; what it leaves to its user is added here: that ``1`` means true beside a
boolean column, that one engine's LIKE ignores case and another's does not, and the functions that
have no name in common. A translation is only ever a proposal: the target itself is asked, in a
transaction that is rolled back, before anything relies on it. What the target would take and read
otherwise is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from migration.model import Kind
from migration.traits import Traits

# Functions and operators that exist in no other dialect, or that mean something else there: GREATEST of one
# engine passes over NULL, and that of another does not.
_UNTRANSLATABLE = (
    exp.BitString,
    exp.ByteString,
    exp.Collate,
    exp.Command,
    exp.Glob,
    exp.Greatest,
    exp.Interval,
    exp.Least,
    exp.Rand,
    exp.RegexpLike,
    exp.TimeToStr,
)
_TEXT_TYPES = ("TEXT", "VARCHAR", "CHAR")
_WHOLE_TYPES = ("INT", "BIGINT", "SMALLINT")
_FLOAT_TYPES = ("DOUBLE", "FLOAT")
_NUMBER_TYPES = (*_FLOAT_TYPES, "DECIMAL")
# Casts of a column to these mean the same in every dialect, and to nothing else.
_PLAIN_CASTS = (*_TEXT_TYPES, *_WHOLE_TYPES, *_FLOAT_TYPES)
_TIME_TYPES = ("DATE", "TIME", "TIMETZ", "TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMPNTZ", "DATETIME", "INTERVAL")
_BYTES_TYPES = ("VARBINARY", "BINARY", "BLOB")
# Kinds that every engine writes alike when it makes a text of them.
_KINDS_WITH_ONE_SPELLING = (Kind.TEXT, Kind.INTEGER, None)


_CURRENT_TIME = (
    r"(current_timestamp|utc_timestamp\(\)|now\(\))(\(\d?\))?|(now|utc_timestamp)\(\d\)|datetime\('now'\)"
)


class Untranslatable(Exception):
    """This piece of SQL has no counterpart that is known to mean the same."""


def translate_expression(sql: str, source: Traits, target: Traits, kinds: Mapping[str, Kind]) -> str:
    """Return an expression (a default, a condition, a generated value) in the target's dialect.

    Parameters
    ----------
    source, target
        Whose dialects they are. Equal ones return ``sql`` untouched.
    kinds
        What the columns it may name will hold in the target.

    Raises
    ------
    Untranslatable
        With the reason, when no meaning-preserving translation is known.
    """
    if source.dialect == target.dialect:
        return sql
    # In a query of its own, because some functions are the names of statements, too.
    query = _parse(f"SELECT {sql}", source)
    clauses = [name for name, clause in query.args.items() if clause]
    expression, *others = query.expressions
    if clauses != ["expressions"] or others or isinstance(expression, exp.Alias):
        raise Untranslatable("it is not one expression")
    rewriter = _Rewriter(source, target, kinds, double_quoted_text=source.double_quoted_text)
    return _translate(expression, rewriter)


def translate_query(sql: str, source: Traits, target: Traits, kinds: Mapping[str, Kind]) -> str:
    """Return a whole query (of a view); ``kinds`` by column name, for names that mean one kind everywhere."""
    if source.dialect == target.dialect:
        return sql
    # Which names are columns is not known here, so a double-quoted one is taken for a name.
    return _translate(_parse(sql, source), _Rewriter(source, target, kinds, double_quoted_text=False))


def is_current_time(sql: str | None) -> bool:
    """Tell whether a default is the time at which the row is written, in UTC."""
    text = (sql or "").lower().replace(" ", "")
    while text.startswith("(") and text.endswith(")"):
        text = text[1:-1]
    return re.fullmatch(_CURRENT_TIME, text) is not None


def _parse(sql: str, source: Traits) -> exp.Expr:
    try:
        return sqlglot.parse_one(sql, read=source.dialect)
    except SqlglotError as error:
        raise Untranslatable(f"it could not be parsed: {str(error).splitlines()[0]}") from error


def _translate(tree: exp.Expr, rewriter: _Rewriter) -> str:
    for found in tree.find_all(*_UNTRANSLATABLE):
        raise Untranslatable(f"{found.key.upper()} has no counterpart")
    tree = rewriter.rewritten(tree.copy())
    if tree.find(exp.Array):
        raise Untranslatable("ARRAY has no counterpart")
    for literal in tree.find_all(exp.Literal):
        # Cast to a time, 'now' would be the moment at which the schema is made, for ever.
        if literal.name.lower() == "now" and isinstance(literal.parent, exp.Func):
            raise Untranslatable(f"{literal.parent.sql(dialect=rewriter.source.dialect)} has no counterpart")
    return tree.sql(dialect=rewriter.target.dialect, identify=True)


@dataclass(frozen=True)
class _Rewriter:
    """Rewrites a tree node by node, where the same spelling would mean something else."""

    source: Traits
    target: Traits
    kinds: Mapping[str, Kind]
    double_quoted_text: bool

    def rewritten(self, node: exp.Expr) -> exp.Expr:
        """Return what a tree becomes, from its leaves up, so that what is rewritten holds what was."""
        for child in list(node.iter_expressions()):
            new = self.rewritten(child)
            if new is not child:
                child.replace(new)
        return self._rewrite(node)

    def _rewrite(self, node: exp.Expr) -> exp.Expr:
        rewrites: tuple[tuple[tuple[type[exp.Expr], ...], Callable[[Any], exp.Expr]], ...] = (
            ((exp.Column,), self._column),
            ((exp.Like,), self._like),
            ((exp.HexString,), self._bytes),
            ((exp.Cast,), self._cast),
            ((exp.EQ, exp.NEQ, exp.NullSafeEQ, exp.NullSafeNEQ), self._comparison),
            ((exp.In,), self._list),
            ((exp.Substring,), _substring),
            ((exp.Div,), self._division),
            ((exp.Length,), _length),
            # Names the character set of a literal, which is that of all of them.
            ((exp.Introducer,), lambda literal: literal.expression),
            ((exp.CurrentTimestamp,), self._now),
            ((exp.Anonymous,), lambda function: _function(function, self.target)),
        )
        for types, rewrite in rewrites:
            if isinstance(node, types):
                return rewrite(node)
        return node

    def _bytes(self, node: exp.HexString) -> exp.Expr:
        if self.target.bytes_type is None:
            return node
        return exp.cast(exp.Literal.string(f"\\x{node.this}"), self.target.bytes_type)

    def _list(self, node: exp.In) -> exp.Expr:
        if self._is_boolean(node.this):
            node.set("expressions", [_as_boolean(entry) for entry in node.expressions])
        return node

    def _now(self, node: exp.CurrentTimestamp) -> exp.Expr:
        return node if self.target.instants_have_zones else exp.var(self.target.utc_now)

    def _column(self, node: exp.Column) -> exp.Expr:
        """Some engines take a double-quoted name that is no column for text."""
        is_quoted = isinstance(node.this, exp.Identifier) and bool(node.this.quoted)
        is_text = self.double_quoted_text and is_quoted and node.name not in self.kinds
        return exp.Literal.string(node.name) if is_text else node

    def _like(self, node: exp.Like) -> exp.Expr:
        pattern = node.expression
        if isinstance(pattern, exp.Literal) and "\\" in pattern.name:
            raise Untranslatable("a backslash in LIKE means one thing here and another in the target")
        if self.source.like_ignores_case == self.target.like_ignores_case:
            return node
        if self.source.like_ignores_case:
            return exp.ILike(**node.args)
        if isinstance(pattern, exp.Literal) and pattern.name.lower() == pattern.name.upper():
            return node
        raise Untranslatable("LIKE tells upper from lower case here, and not in the target")

    def _division(self, node: exp.Div) -> exp.Expr:
        """Keep a division that gives the same here and there; some divide integers whole, and some do not."""
        if self.source.divides_whole == self.target.divides_whole or Kind.FLOAT in map(
            self._kind_of, (node.left, node.right)
        ):
            # As it stands: what is done about zero and about integers is for the engine to do.
            return exp.Div(this=node.left, expression=node.right, typed=True, safe=True)
        if self.source.divides_whole and {self._kind_of(node.left), self._kind_of(node.right)} == {
            Kind.INTEGER
        }:
            return exp.IntDiv(this=node.left, expression=node.right)
        raise Untranslatable(f"{node.sql(dialect=self.source.dialect)} divides otherwise in the target")

    def _kind_of(self, node: exp.Expr) -> Kind | None:
        """Return what a column or a number is, as far as that can be told."""
        node = node.unnest()
        if isinstance(node, exp.Column):
            return self.kinds.get(node.name)
        if isinstance(node, exp.Literal) and not node.is_string:
            return Kind.INTEGER if node.name.isdigit() else Kind.DECIMAL
        if isinstance(node, (exp.Add, exp.Sub, exp.Mul, exp.Div)):
            kinds = {self._kind_of(node.left), self._kind_of(node.right)}
            return Kind.FLOAT if Kind.FLOAT in kinds else kinds.pop() if len(kinds) == 1 else None
        return None

    def _is_boolean(self, node: exp.Expr) -> bool:
        if isinstance(node, exp.Column):
            return self.kinds.get(node.name) is Kind.BOOLEAN
        return isinstance(node.unnest(), exp.Predicate)

    def _comparison(self, node: exp.Binary) -> exp.Expr:
        for side, other in (("this", "expression"), ("expression", "this")):
            if self._is_boolean(node.args[side]):
                node.set(other, _as_boolean(node.args[other]))
        return _any_of(node) if isinstance(node.expression, exp.Any) else node

    def _cast(self, node: exp.Cast) -> exp.Expr:
        """Keep casts that other dialects know, and drop those that only name what a literal is."""
        to, value = getattr(node.to.this, "value", ""), node.this.unnest()
        refusal = Untranslatable(f"{node.sql(dialect=self.source.dialect)} has no counterpart")
        if isinstance(value, exp.Array):
            # Only ever part of a list, whose members have been told what they are.
            return value
        if isinstance(value, exp.Literal):
            literal = _typed_literal(value, to)
            is_reckoned_with = to in _TIME_TYPES and isinstance(node.parent, (exp.Add, exp.Sub))
            if literal is None or is_reckoned_with:
                raise refusal
            return literal
        kind = self.kinds.get(value.name) if isinstance(value, exp.Column) else None
        # A length would cut, a scale would round, and whole numbers are cut to here and rounded to there.
        is_plain = to in _PLAIN_CASTS and not node.to.expressions
        cuts = to in _WHOLE_TYPES and kind is not Kind.INTEGER
        respells = to in _TEXT_TYPES and kind not in _KINDS_WITH_ONE_SPELLING
        if not is_plain or cuts or respells:
            raise refusal
        return node


def _typed_literal(value: exp.Literal, to: str) -> exp.Expr | None:
    """Return a literal as what a cast says it is; ``None`` where only the source knows how it is read."""
    text = value.name
    if to in (*_WHOLE_TYPES, *_NUMBER_TYPES):
        return _number(text, whole=to in _WHOLE_TYPES)
    if not value.is_string or to == "BOOLEAN":
        return None
    if to in _BYTES_TYPES:
        return exp.HexString(this=text[2:]) if text.startswith("\\x") else None
    if to in _TIME_TYPES and not text[:1].isdigit():
        # 'now', 'today', 'infinity': words that are read when the schema is made.
        return None
    return value


def _number(text: str, *, whole: bool) -> exp.Expr | None:
    digits = text.removeprefix("-")
    if not (digits if whole else digits.replace(".", "", 1)).isdecimal():
        return None
    if not whole and "." not in digits:
        # Divided by another, 5.0 is not what 5 is.
        digits += ".0"
    number = exp.Literal.number(digits)
    return exp.Neg(this=number) if text.startswith("-") else number


def _as_boolean(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Literal) and node.this in ("0", "1"):
        return exp.Boolean(this=node.this == "1")
    return node


def _any_of(node: exp.Binary) -> exp.Expr:
    """Write ``x = ANY (ARRAY[...])`` as the list that it was before an engine stored it."""
    array = node.expression.this.unnest()
    if not isinstance(node, exp.EQ) or not isinstance(array, exp.Array):
        raise Untranslatable("ANY has no counterpart")
    return exp.In(this=node.this, expressions=array.expressions)


# --- functions --------------------------------------------------------------------------------------


def _substring(node: exp.Substring) -> exp.Expr:
    """Keep a substring from a known place: from the end, or before the start, engines count otherwise."""
    start = node.args.get("start")
    if isinstance(start, exp.Literal) and start.name.isdigit() and int(start.name) > 0:
        return node
    raise Untranslatable("SUBSTR from a place that is no number from 1 on has no counterpart")


def _length(node: exp.Length) -> exp.Expr:
    """Tell a length in bytes from one in characters."""
    return exp.Anonymous(this="octet_length", expressions=[node.this]) if node.args.get("binary") else node


def _function(node: exp.Anonymous, target: Traits) -> exp.Expr:
    """Rewrite a function whose meaning sqlglot does not know, or refuse it."""
    rewrite = _FUNCTIONS.get(node.name.upper())
    if rewrite is None:
        raise Untranslatable(f"{node.name.upper()} has no counterpart that is known")
    return rewrite(node, target)


def _json_valid(node: exp.Anonymous, target: Traits) -> exp.Expr:
    (argument,) = node.expressions
    if target.json_valid is not None:
        return exp.Anonymous(this=target.json_valid, expressions=[argument])
    # The cast raises where the text is no JSON: the row is refused either way.
    return exp.paren(exp.Is(this=exp.cast(argument, "json"), expression=exp.Not(this=exp.Null())))


def _utc_time(node: exp.Anonymous, target: Traits) -> exp.Expr:
    arguments = node.expressions
    if [argument.name.lower() for argument in arguments if isinstance(argument, exp.Literal)] == ["now"]:
        return exp.var(target.utc_now)
    if len(arguments) == 1:
        return exp.cast(arguments[0], "timestamp")
    raise Untranslatable(f"{node.sql()} has no counterpart")


def _length_in_bytes(node: exp.Anonymous, _: Traits) -> exp.Expr:
    return exp.Anonymous(this="octet_length", expressions=node.expressions)


_FUNCTIONS: dict[str, Callable[[exp.Anonymous, Traits], exp.Expr]] = {
    "JSON_VALID": _json_valid,
    "DATETIME": _utc_time,
    "OCTET_LENGTH": _length_in_bytes,
}
