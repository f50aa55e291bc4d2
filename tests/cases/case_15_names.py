"""Names are kept exactly; those that the target would cut, or take for one another, are refused."""

from tests.cases import Case, Then, carried, refused

LONG = "a_name_that_is_longer_than_the_sixty_three_bytes_one_engine_keeps"

CASES = [
    Case(
        15,
        "reserved, mixed, quoted, dotted, spaced and emoji names",
        {
            "*": '''CREATE TABLE "select" ("order" INTEGER PRIMARY KEY, "Mixed Case" INTEGER,
                "say ""what""" INTEGER,
            "it's" INTEGER, "a.b" INTEGER, "50%" INTEGER, "a:b" INTEGER, "back`tick" INTEGER, "[x]" INTEGER);
            INSERT INTO "select" VALUES (1, 2, 3, 4, 5, 6, 7, 8, 9);
            CREATE TABLE "Order Details" ("é" INTEGER PRIMARY KEY, "a b" INTEGER
                REFERENCES "select" ("order"));
            INSERT INTO "Order Details" VALUES (1, 1), (2, NULL);
            CREATE INDEX "an index" ON "Order Details" ("a b")''',
            "mariadb": '''CREATE TABLE "select" ("order" INTEGER PRIMARY KEY, "Mixed Case" INTEGER,
            "say ""what""" INTEGER,
            "it's" INTEGER, "a.b" INTEGER, "50%" INTEGER, "a:b" INTEGER, "back`tick" INTEGER, "[x]" INTEGER);
            INSERT INTO "select" VALUES (1, 2, 3, 4, 5, 6, 7, 8, 9);
            CREATE TABLE "Order Details" ("é" INTEGER PRIMARY KEY, "a b" INTEGER,
            FOREIGN KEY ("a b") REFERENCES "select" ("order"));
            INSERT INTO "Order Details" VALUES (1, 1), (2, NULL);
            CREATE INDEX "an index" ON "Order Details" ("a b")''',
        },
        {"* > *": carried()},
    ),
    Case(
        15,
        "emoji names",
        {
            "sqlite": """CREATE TABLE "👍" ("🏳️" INTEGER PRIMARY KEY); INSERT INTO "👍" VALUES (1)""",
            "postgresql": """CREATE TABLE "👍" ("🏳️" INTEGER PRIMARY KEY); INSERT INTO "👍" VALUES (1)""",
        },
        {"* > mariadb": refused("name-not-held", says=["👍"]), "* > *": carried()},
    ),
    Case(
        15,
        "names that differ only in case",
        {
            "postgresql": """CREATE TABLE t (n INTEGER PRIMARY KEY, a INTEGER,
                "A" INTEGER); INSERT INTO t VALUES (1, 2, 3);
            CREATE TABLE "T" (n INTEGER PRIMARY KEY); INSERT INTO "T" VALUES (1)"""
        },
        {"* > postgresql": carried(), "* > *": refused("name-taken-twice", says=["t"])},
    ),
    Case(
        15,
        "names of sixty-five bytes that begin alike",
        {
            "sqlite": f"""CREATE TABLE "{LONG}" ("{LONG}1" INTEGER PRIMARY KEY, "{LONG}2" INTEGER);
            INSERT INTO "{LONG}" VALUES (1, 2)"""
        },
        {"* > sqlite": carried(), "* > *": refused("name-too-long", says=[LONG])},
    ),
    Case(
        15,
        "index names that are unique only within their table",
        {
            "mariadb": """CREATE TABLE t (n INTEGER PRIMARY KEY, a INTEGER UNIQUE, b INTEGER, INDEX by_b (b));
                CREATE TABLE u (n INTEGER PRIMARY KEY, a INTEGER UNIQUE, b INTEGER, INDEX by_b (b));
                INSERT INTO t VALUES (1, 2, 3); INSERT INTO u VALUES (1, 2, 3)"""
        },
        {"* > mariadb": carried(), "* > *": carried(says=["name-not-kept"])},
        then=[Then("SELECT count(*) FROM u", [(1,)], "INSERT INTO u VALUES (2, 2, 3)", refuses=True)],
    ),
    Case(
        15,
        "a long name that is mapped to a shorter one",
        {
            "sqlite": f"""CREATE TABLE "{LONG}" (n INTEGER PRIMARY KEY, "{LONG}" INTEGER);
            INSERT INTO "{LONG}" VALUES (1, 2)"""
        },
        {"* > *": carried()},
        mapping={LONG: "short", f"{LONG}.{LONG}": "short.brief"},
    ),
]
