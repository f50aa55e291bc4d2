"""What asyncmy and the servers say, as errors of :mod:`migration.errors`."""

from __future__ import annotations

import ssl

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from migration.backends import CONNECT_SECONDS
from migration.backends.mysql_connection import place
from migration.errors import MigrationError, Refused, SourceUnusable, TargetUnusable

# What happened and what to do next, by the server's number: before anything was done ...
OPENING_ERRORS = {
    1040: ("The server has no connection left: {said}", "Close other clients or raise max_connections"),
    1044: ("{user} may not use the database {database}: {said}", "Grant it, or use another user"),
    1045: ("Wrong password for {user}", "Check user and password in the URL"),
    1049: ("There is no database {database}", "Create it, or correct the name in the URL"),
    1129: ("The server has locked this host out: {said}", "Run FLUSH HOSTS there"),
    1130: ("{user} may not connect from here: {said}", "Check the user's host on the server"),
    1203: ("{user} has no connection left: {said}", "Close other clients or raise the user's limit"),
    1226: ("{user} has used up a limit: {said}", "Wait, or raise the user's limit"),
    1698: ("Wrong way to log in for {user}: {said}", "Give the user a password, or use its own socket"),
    2059: ("{user} logs in by a way that is not known here: {said}", "Give the user a password"),
}
# ... and at any time.
ERRORS = {
    1021: ("The server's disk is full: {said}", "Make room on it and try again"),
    1030: ("The server's storage fails: {said}", "See its log, and try again"),
    1114: ("The server has no room left for a table: {said}", "Make room on it and try again"),
    1037: ("The server is out of memory: {said}", "Give it more, and try again"),
    1041: ("The server is out of memory: {said}", "Give it more, and try again"),
    1142: ("{user} lacks a permission: {said}", "Grant it, or use a user who has it"),
    1143: ("{user} lacks a permission: {said}", "Grant it, or use a user who has it"),
    1153: ("A row is larger than the server takes: {said}", "Raise max_allowed_packet on the server"),
    1205: ("Another session holds a lock: {said}", "End that session and try again"),
    1213: ("Another session holds a lock: {said}", "End that session and try again"),
    1227: ("{user} lacks a permission: {said}", "Grant it, or use a user who has it"),
    1290: ("The server does not allow that: {said}", "Use a server that accepts writes"),
    1370: ("{user} lacks a permission: {said}", "Grant it, or use a user who has it"),
    1419: ("{user} may not make triggers: {said}", "Set log_bin_trust_function_creators, or use SUPER"),
    1665: ("The server logs statements and not rows: {said}", "Set binlog_format to ROW or MIXED"),
    1792: ("The connection only reads: {said}", "Use a target that accepts writes"),
    1836: ("The server is read-only: {said}", "Use a server that accepts writes"),
}
# The server went away, or ended the connection.
LOST = frozenset({1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1317, 1927, 2006, 2013, 2055, 4031})
UNREACHED = frozenset({2002, 2003, 2005})
# A value that a type, or a row that a rule, does not allow.
VALUES = frozenset(
    {167, 1048, 1062, 1264, 1265, 1292, 1364, 1366, 1406, 1411, 1441, 1451, 1452, 1467, 1526, 1586, 1690,
     1748, 3140, 3156, 3819, 4025, 4078}
)  # fmt: skip
# The system's own number of a full disk, which the server passes on in its words.
DISK_FULL_WORDS = ("No space left on device", "errno: 28", "Disk full")
LOST_WORDS = ("not connected", "cancelled during execution", "network operation failed", "already closed")

_UNTOUCHED = "Nothing was touched"


def translate(error: BaseException, url: URL, *, is_source: bool) -> MigrationError | None:
    """Turn a driver's error into one of ours, or ``None`` when it means nothing special."""
    explanation = _explain(_driver_error(error), url)
    if explanation is None:
        return None
    what, done, next_step = explanation
    failure: type[Refused] = SourceUnusable if is_source else TargetUnusable
    return failure(what, where=place(url), done=done, next_step=next_step)


def number_of(error: BaseException) -> int | None:
    """Return the server's number of an error, or ``None`` where it has none."""
    arguments = getattr(_driver_error(error), "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else None


def _driver_error(error: BaseException) -> BaseException:
    """Return the driver's own error from inside SQLAlchemy's wrappings."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _said(cause: BaseException) -> str:
    return str(cause.args[1]) if len(cause.args) > 1 else str(cause)


def _explain(cause: BaseException, url: URL) -> tuple[str, str, str] | None:
    """Return what happened, what was done about it and what to do next, for errors with a meaning."""
    number, said = number_of(cause), _said(cause)
    if isinstance(cause, ssl.SSLError) or "SSL" in said or "certificate" in said:
        return f"No secure connection: {said}", _UNTOUCHED, "Check the options beginning with ssl in the URL"
    if any(words in said for words in DISK_FULL_WORDS):
        return f"The server's disk is full: {said}", "", "Make room on it and try again"
    is_lost = number in LOST or isinstance(cause, (ConnectionResetError, BrokenPipeError))
    if is_lost or any(words in said.lower() for words in LOST_WORDS):
        return f"The connection was lost: {said}", "", "See whether the server still runs, and try again"
    # An error that names a file is about a file.
    if number in UNREACHED or (isinstance(cause, OSError) and cause.filename is None):
        said = said or f"no answer within {CONNECT_SECONDS:.0f} seconds"
        return f"No server can be reached: {said}", _UNTOUCHED, "Check host and port, and whether it runs"
    if number in VALUES:
        return f"The server refused a row: {said}", "", "Correct the row or the rule"
    what, next_step = (OPENING_ERRORS | ERRORS).get(number or 0, ("", ""))
    if not what:
        return None
    user, database = url.username or "The user", url.database or "of that name"
    done = _UNTOUCHED if number in OPENING_ERRORS else ""
    return what.format(user=user, database=database, said=said), done, next_step
