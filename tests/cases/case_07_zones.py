"""A server whose zone is not UTC, or whose dates are written another way: no moment moves."""

import datetime as dt

from tests.cases import Case, Then, carried

# The gap of 2024-03-31 and the overlap of 2024-10-27 in Berlin, and the one of New York.
TEXTS = [
    "2024-03-31 00:59:59+00:00", "2024-03-31 01:00:00+00:00", "2024-10-27 00:30:00+00:00",
    "2024-10-27 01:30:00+00:00", "2024-03-10 07:00:00+00:00", "1970-01-01 00:00:00+00:00",
]  # fmt: skip
NAIVE = ["2024-03-31 02:30:00", "2024-10-27 02:30:00", "2024-03-10 02:30:00"]
MOMENTS = [dt.datetime.fromisoformat(text) for text in TEXTS]
SETTINGS = """DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET timezone = ''America/New_York''', current_database());
    EXECUTE format('ALTER DATABASE %I SET datestyle = ''SQL, DMY''', current_database());
    EXECUTE format('ALTER DATABASE %I SET intervalstyle = ''sql_standard''', current_database());
END $$;
"""


def built(instant: str, local: str) -> str:
    rows = ", ".join(f"({at}, '{text}')" for at, text in enumerate(TEXTS))
    others = ", ".join(f"({at}, '{text}')" for at, text in enumerate(NAIVE))
    return f"""CREATE TABLE t (n INTEGER PRIMARY KEY, a {instant}); INSERT INTO t VALUES {rows};
        CREATE TABLE u (n INTEGER PRIMARY KEY, a {local}); INSERT INTO u VALUES {others}"""


BUILD = {
    "sqlite": built("TIMESTAMPTZ", "TIMESTAMP"),
    "postgresql": SETTINGS + built("timestamptz", "timestamp"),
    "mariadb": "SET GLOBAL time_zone = '-05:00';"
    + built("timestamp(6) NULL", "datetime(6)")
    .replace("+00:00", "")
    .replace("1970-01-01 00:00:00", "1970-01-01 00:00:01"),
}
AFTERWARDS = {"mariadb": "SET GLOBAL time_zone = 'SYSTEM'"}

CASES = [
    Case(
        7,
        "moments in the gap and the overlap of a zone that the server has",
        BUILD,
        {"* > *": carried()},
        then=[
            Then(
                "SELECT a FROM t ORDER BY n LIMIT 5",
                [(moment,) for moment in MOMENTS[:5]],
                on="* > postgresql",
            ),
            Then(
                "SELECT a FROM u ORDER BY n",
                [(dt.datetime.fromisoformat(text),) for text in NAIVE],
                on="* > postgresql",
            ),
            Then(
                "SELECT a FROM u ORDER BY n",
                [(dt.datetime.fromisoformat(text),) for text in NAIVE],
                on="* > mariadb",
            ),
        ],
        afterwards=AFTERWARDS,
        alone=True,
    ),
    Case(
        7,
        "moments into tables of a server with another zone",
        {"sqlite": BUILD["sqlite"], "postgresql": BUILD["postgresql"]},
        {"* > *": carried()},
        there={
            "sqlite": "CREATE TABLE t (n INTEGER PRIMARY KEY, a TIMESTAMP);"
            " CREATE TABLE u (n INTEGER PRIMARY KEY, a TIMESTAMP)",
            "postgresql": SETTINGS + "CREATE TABLE t (n INTEGER PRIMARY KEY, a timestamptz);"
            " CREATE TABLE u (n INTEGER PRIMARY KEY, a timestamp)",
            "mariadb": "SET GLOBAL time_zone = '-05:00'; CREATE TABLE t (n INTEGER PRIMARY KEY,"
            " a datetime(6) COMMENT 'UTC'); CREATE TABLE u (n INTEGER PRIMARY KEY, a datetime(6))",
        },
        then=[
            Then(
                "SELECT a FROM t ORDER BY n LIMIT 5",
                [(moment,) for moment in MOMENTS[:5]],
                on="* > postgresql",
            )
        ],
        afterwards=AFTERWARDS,
        alone=True,
    ),
]
