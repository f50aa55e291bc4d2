"""Rules about the code itself, kept by a test because a rule that nobody checks is a wish.

Every rule has a canary: a snippet that breaks it, to prove that the alarm rings, and one that must stay
silent. A place that may break a rule stands in ``ALLOWED`` with the reason; an entry that is no longer needed
is an alarm too.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

FILE_LINES_MAX = 400
"""A file that wants more usually holds two nouns."""

FUNCTION_LINES_MAX = 60
"""More does not fit on a screen, and usually holds two thoughts."""

ENGINE_NAMES = ("postgres", "sqlite", "mysql", "mariadb")
"""What only `migration/backends/` may say in code. Adding an engine adds its name here."""

SIBLINGS = {"mysql", "mariadb"}
"""Two servers, one backend: their files may know each other."""

VAGUE_NAMES = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers"}
"""Names that say nothing about what is inside, and so attract everything."""

UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")

ALLOWED: dict[tuple[str, str], str] = {}
"""(rule, path) -> why this file may break this rule."""


@dataclass(frozen=True)
class Source:
    """A file of the project: its path from the root, its text and its syntax tree."""

    path: PurePosixPath
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)


@dataclass(frozen=True)
class Alarm:
    """A broken rule and the line it is broken at."""

    line: int
    what: str


@dataclass(frozen=True)
class Rule:
    """A rule: its check, the files it holds for, and a snippet on either side of it."""

    name: str
    check: Callable[[Source], Iterator[Alarm]]
    holds_for: Callable[[PurePosixPath], bool]
    breaks_it: tuple[str, ...] = field(repr=False)
    keeps_it: tuple[str, ...] = field(repr=False)
    path: str = "migration/example.py"


def in_product(path: PurePosixPath) -> bool:
    return path.parts[0] == "migration"


def in_product_above_backends(path: PurePosixPath) -> bool:
    return in_product(path) and path.parts[1] != "backends"


def in_backends(path: PurePosixPath) -> bool:
    return in_product(path) and path.parts[1] == "backends"


def everywhere(path: PurePosixPath) -> bool:
    return True


def bare_strings(tree: ast.AST) -> set[ast.AST]:
    """Return the strings that stand alone as statements: docstrings of modules, functions, constants."""
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def words_of(node: ast.AST) -> Iterator[str]:
    """Yield the identifiers and the string that a node itself holds."""
    for name, value in ast.iter_fields(node):
        if isinstance(value, str) and name != "type_comment":
            yield value
        elif isinstance(value, bytes):
            yield value.decode("latin-1")
        elif isinstance(value, list):
            yield from (word for word in value if isinstance(word, str))


def no_engine_names(source: Source) -> Iterator[Alarm]:
    """Yield where code, comments and docstrings apart, names an engine."""
    tree = source.tree
    prose = bare_strings(tree)
    line = 0
    for node in ast.walk(tree):
        line = getattr(node, "lineno", line)
        if node in prose:
            continue
        for word in words_of(node):
            if any(name in word.lower() for name in ENGINE_NAMES):
                yield Alarm(line, f"names an engine: {word!r}")


def no_engine_in_the_path(source: Source) -> Iterator[Alarm]:
    if any(name in part.lower() for part in source.path.parts for name in ENGINE_NAMES):
        yield Alarm(1, "the path names an engine")


def no_other_engine(source: Source) -> Iterator[Alarm]:
    """Yield where a file of one engine imports a file of another.

    The import-linter contract names the main module of each engine; this finds their other files too.
    """
    own = {name for name in ENGINE_NAMES if name in source.path.stem}
    if own & SIBLINGS:
        own |= SIBLINGS
    for node in ast.walk(source.tree):
        for module in _imported_backends(node):
            if foreign := {name for name in ENGINE_NAMES if name in module} - own:
                yield Alarm(
                    getattr(node, "lineno", 1), f"imports {module}, which is about {', '.join(foreign)}"
                )


def _imported_backends(node: ast.AST) -> Iterator[str]:
    """Yield the full names of the modules below `migration.backends` that a statement imports."""
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        package = "migration.backends" if node.level else ""
        module = ".".join(filter(None, [package, node.module]))
        names = [f"{module}.{alias.name}" for alias in node.names]
    yield from (name for name in names if name.startswith("migration.backends."))


def no_vague_modules(source: Source) -> Iterator[Alarm]:
    """Yield the parts of a file's path that say nothing."""
    for part in (*source.path.parts[:-1], source.path.stem):
        if VAGUE_NAMES.intersection(part.lower().split("_")):
            yield Alarm(1, f"{part!r} says nothing about what is inside")


def no_swallowed_errors(source: Source) -> Iterator[Alarm]:
    """Yield handlers for everything, and handlers of every error that do nothing with it."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                yield Alarm(node.lineno, "bare except")
            elif _catches_everything(node.type) and all(_does_nothing(statement) for statement in node.body):
                yield Alarm(node.lineno, "swallows every error")
        elif isinstance(node, ast.Call) and _name(node.func) == "suppress" and _suppresses_everything(node):
            yield Alarm(node.lineno, "suppresses every error")


def _catches_everything(caught: ast.expr) -> bool:
    several = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(_name(one) in {"Exception", "BaseException"} for one in several)


def _suppresses_everything(call: ast.Call) -> bool:
    return any(_catches_everything(argument) for argument in call.args)


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _does_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass | ast.Continue) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def short_files(source: Source) -> Iterator[Alarm]:
    lines = len(source.text.splitlines())
    if lines > FILE_LINES_MAX:
        yield Alarm(lines, f"{lines} lines, at most {FILE_LINES_MAX}: does it hold two nouns?")


def short_functions(source: Source) -> Iterator[Alarm]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield Alarm(node.lineno, f"{node.name} has {lines} lines, at most {FUNCTION_LINES_MAX}")


def nothing_unfinished(source: Source) -> Iterator[Alarm]:
    """Yield the notes to oneself that were left in comments and docstrings."""
    prose = [
        (token.start[0], token.string)
        for token in tokenize.generate_tokens(io.StringIO(source.text).readline)
        if token.type == tokenize.COMMENT
    ]
    strings = [node for node in bare_strings(source.tree) if isinstance(node, ast.Constant)]
    prose += [(node.lineno, str(node.value)) for node in strings]
    for line, words in prose:
        if found := UNFINISHED.search(words):
            yield Alarm(line, f"{found[0]}: finish it, or file it")


def lines(number: int) -> str:
    return "value = 1\n" * number


def function(number: int) -> str:
    return "def work():\n" + "    value = 1\n" * (number - 1)


RULES = (
    Rule(
        name="engine names stay in backends",
        check=no_engine_names,
        holds_for=in_product_above_backends,
        breaks_it=(
            "if url.scheme == 'PostgreSQL': pass",
            "import sqlite3",
            "from sqlalchemy.dialects import mysql",
            "from migration.backends.sqlite import scan",
            "import driver as sqlite",
            "def read_sqlite(): pass",
            "class MariadbReader: pass",
            "def read(sqlite): pass",
            "read(mysql=1)",
            "backend.sqlite_path",
            "text = f'on {name} of mysql'",
            "value = b'postgres'",
            "global mysql_port",
            "match value:\n    case {**mysql}: pass",
        ),
        keeps_it=(
            '"""Copies from SQLite."""',
            "def read():\n    '''Reads as MySQL does.'''",
            "LIMIT = 1\n'''What PostgreSQL allows.'''",
            "value = 1  # as PostgreSQL does",
            "dialect = backend.name",
        ),
    ),
    Rule(
        name="file names name no engine",
        check=no_engine_in_the_path,
        holds_for=in_product_above_backends,
        breaks_it=("",),
        keeps_it=(),
        path="migration/read_sqlite.py",
    ),
    Rule(
        name="an engine knows nothing of another",
        check=no_other_engine,
        holds_for=in_backends,
        breaks_it=(
            "from migration.backends.sqlite_schema import read",
            "import migration.backends.sqlite",
            "from migration.backends import sqlite_rows",
            "from . import sqlite",
            "from .sqlite import scan",
        ),
        keeps_it=("from migration.backends.postgresql_types import read", "import sqlite3", "import asyncpg"),
        path="migration/backends/postgresql_rows.py",
    ),
    Rule(
        name="module names say what is inside",
        check=no_vague_modules,
        holds_for=everywhere,
        breaks_it=("",),
        keeps_it=(),
        path="migration/copy_utils.py",
    ),
    Rule(
        name="folder names say what is inside",
        check=no_vague_modules,
        holds_for=everywhere,
        breaks_it=("",),
        keeps_it=(),
        path="bench/common/__init__.py",
    ),
    Rule(
        name="no error is swallowed",
        check=no_swallowed_errors,
        holds_for=everywhere,
        breaks_it=(
            "try: work()\nexcept: raise",
            "try: work()\nexcept Exception: pass",
            "try: work()\nexcept BaseException: ...",
            "try: work()\nexcept (OSError, Exception) as error:\n    'never mind'",
            "for one in many:\n    try: work()\n    except builtins.Exception: continue",
            "with contextlib.suppress(Exception): work()",
            "with suppress(OSError, BaseException): work()",
        ),
        keeps_it=(
            "try: work()\nexcept OSError: pass",
            "try: work()\nexcept Exception as error: raise Stopped from error",
            "with contextlib.suppress(FileNotFoundError): work()",
        ),
    ),
    Rule(
        name="files are short",
        check=short_files,
        holds_for=in_product,
        breaks_it=(lines(FILE_LINES_MAX + 1),),
        keeps_it=(lines(FILE_LINES_MAX),),
    ),
    Rule(
        name="functions are short",
        check=short_functions,
        holds_for=in_product,
        breaks_it=(function(FUNCTION_LINES_MAX + 1), "async " + function(FUNCTION_LINES_MAX + 1)),
        keeps_it=(function(FUNCTION_LINES_MAX),),
    ),
    Rule(
        name="nothing is left unfinished",
        check=nothing_unfinished,
        holds_for=everywhere,
        breaks_it=("value = 1  # TODO: two", "def work():\n    '''FIXME'''", '"""XXX"""'),
        keeps_it=("todo = 'TODO'", "# The methodology of todos"),
    ),
)


def snippets(side: str) -> list[Any]:
    """Return every rule with each of its snippets on one side."""
    return [
        pytest.param(rule, snippet, id=f"{rule.name}-{number}")
        for rule in RULES
        for number, snippet in enumerate(getattr(rule, side))
    ]


def project_files() -> list[Source]:
    """Read every Python file of the project."""
    files = [ROOT / "noxfile.py"]
    for folder in ("migration", "bench", "locustfiles", "tests"):
        files += sorted((ROOT / folder).rglob("*.py"))
    return [
        Source(PurePosixPath(file.relative_to(ROOT).as_posix()), file.read_text("utf-8")) for file in files
    ]


def alarms(rule: Rule, sources: list[Source]) -> Iterator[tuple[Source, Alarm]]:
    """Yield every place that breaks a rule, allowed or not."""
    for source in sources:
        if rule.holds_for(source.path):
            yield from ((source, alarm) for alarm in rule.check(source))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_project_keeps_the_rule(rule: Rule) -> None:
    broken = [
        f"{source.path}:{alarm.line}: {alarm.what}"
        for source, alarm in alarms(rule, project_files())
        if (rule.name, str(source.path)) not in ALLOWED
    ]
    assert not broken, "\n" + "\n".join(broken)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_exception_to_the_rule_is_still_needed(rule: Rule) -> None:
    needed = {str(source.path) for source, _ in alarms(rule, project_files())}
    allowed = {path for name, path in ALLOWED if name == rule.name}
    assert allowed <= needed, f"no longer needed in ALLOWED: {sorted(allowed - needed)}"


def test_every_exception_names_a_rule_and_a_reason() -> None:
    names = {rule.name for rule in RULES}
    for (name, path), reason in ALLOWED.items():
        assert name in names, f"{path}: there is no rule {name!r}"
        assert len(reason.split()) >= 4, f"{path}: {reason!r} is no reason"


@pytest.mark.parametrize(("rule", "snippet"), snippets("breaks_it"))
def test_canary_a_broken_rule_raises_the_alarm(rule: Rule, snippet: str) -> None:
    assert rule.holds_for(PurePosixPath(rule.path))
    assert list(rule.check(Source(PurePosixPath(rule.path), snippet)))


@pytest.mark.parametrize(("rule", "snippet"), snippets("keeps_it"))
def test_code_that_keeps_the_rule_raises_none(rule: Rule, snippet: str) -> None:
    assert not list(rule.check(Source(PurePosixPath(rule.path), snippet)))


def test_backends_may_name_their_engine() -> None:
    assert not in_product_above_backends(PurePosixPath("migration/backends/sqlite.py"))
    assert in_product_above_backends(PurePosixPath("migration/service.py"))


def test_the_rules_look_at_this_very_project() -> None:
    seen = {str(source.path) for source in project_files()}
    assert {"noxfile.py", "migration/errors.py", "tests/unit/test_tidy.py"} <= seen
