"""Times written in many ways in one column: each is counted, and what could mean two is asked about."""

import datetime as dt

from tests.cases import Case, Then, asked, carried

# 2024-03-31 01:30:00.25 UTC, in every form that is found in files.
MOMENT = dt.datetime(2024, 3, 31, 1, 30, 0, 250_000, tzinfo=dt.UTC)
NAIVE = MOMENT.replace(tzinfo=None)
SECONDS = 1711848600

CASES = [
    Case(
        6,
        "epochs in seconds, milliseconds, microseconds and nanoseconds",
        {
            "sqlite": f"""CREATE TABLE t (n INTEGER PRIMARY KEY, s TIMESTAMP, f TIMESTAMP, ms TIMESTAMP,
                us TIMESTAMP, ns TIMESTAMP);
                INSERT INTO t VALUES (1, {SECONDS}, {SECONDS}.25, {SECONDS}250, {SECONDS}250000,
                {SECONDS}250000000)""",
        },
        {"* > sqlite": carried(), "* > *": carried(says=["epoch milliseconds", "epoch nanoseconds"])},
        then=[
            Then("SELECT f, ms, us, ns FROM t", [(MOMENT,) * 4], on="* > postgresql"),
            Then("SELECT f, ms, us, ns FROM t", [(NAIVE,) * 4], on="* > mariadb"),
        ],
    ),
    Case(
        6,
        "epochs of several sizes in one column",
        {
            "sqlite": f"""CREATE TABLE t (n INTEGER PRIMARY KEY, a TIMESTAMP);
                INSERT INTO t VALUES (1, {SECONDS}), (2, {SECONDS}250), (3, {SECONDS}250000)""",
        },
        {"* > sqlite": carried(), "* > *": asked("time-ambiguous", says=["epoch milliseconds"])},
    ),
    Case(
        6,
        "text with T, Z and offset in one column",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a TIMESTAMP);
                INSERT INTO t VALUES (1, '2024-03-31T01:30:00.25Z'), (2, '2024-03-31 03:30:00.25+02:00'),
                (3, '2024-03-30T20:30:00.25-0500')""",
        },
        {"* > sqlite": carried(), "* > *": carried(says=["time-forms t.a 3"])},
        then=[
            Then("SELECT a FROM t ORDER BY n", [(MOMENT,)] * 3, on="* > postgresql"),
            Then("SELECT a FROM t ORDER BY n", [(NAIVE,)] * 3, on="* > mariadb"),
        ],
    ),
    Case(
        6,
        "text with and without a zone in one column",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a TIMESTAMP);
                INSERT INTO t VALUES (1, '2024-03-31T01:30:00.25Z'), (2, '2024-03-31 01:30:00.25')""",
        },
        {"* > sqlite": carried(), "* > *": asked("time-ambiguous", says=["time-ambiguous t.a 1"])},
    ),
    Case(
        6,
        "text without a zone where the database itself writes UTC",
        {
            "sqlite": f"""CREATE TABLE t (n INTEGER PRIMARY KEY, a TIMESTAMP DEFAULT CURRENT_TIMESTAMP);
                INSERT INTO t VALUES (1, '2024-03-31T01:30:00.25Z'), (2, '2024-03-31 01:30:00.25'), (3,
                {SECONDS}.25)""",
        },
        {"* > sqlite": carried(), "* > *": carried(says=["time-forms t.a 3"])},
        then=[
            Then("SELECT a FROM t ORDER BY n", [(MOMENT,)] * 3, on="* > postgresql"),
            Then("SELECT a FROM t ORDER BY n", [(NAIVE,)] * 3, on="* > mariadb"),
        ],
    ),
    Case(
        6,
        "dates alone and times of day in one column",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a DATETIME, b DATE);
                INSERT INTO t VALUES (1, '2024-03-31', '2024-03-31'), (2, '2024-03-31 01:30:00',
                '2024-02-29')""",
        },
        {"* > *": carried()},
    ),
    Case(
        6,
        "Julian days, which stay the numbers that they are",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a DATETIME);
                INSERT INTO t VALUES (1, 2460400.5625), (2, 2460400.5)""",
        },
        {"* > *": carried()},
    ),
]
