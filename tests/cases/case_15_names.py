"""Names are kept exactly; those that the target would cut, or take for one another, are refused."""

from tests.cases import Case, Then, carried, refused

LONG = "a_name_that_is_longer_than_the_sixty_three_bytes_one_engine_keeps"

# Names that would break out of their quotes, be taken for parameters, or be acted upon by who prints them.
BREAK_OUT = 'a"b`c; DROP TABLE kept; --'
LOOKS_LIKE = "%s %(x)s %% :name $1 {} ?"
CONTROLS = "\\ /* */ \n \t \x1b[31m [red] \u202e \\"
HOSTILE = (BREAK_OUT, LOOKS_LIKE, CONTROLS)


def quoted(name: str) -> str:
    """Quote a name as every engine here reads it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text as every engine here reads it."""
    return "'" + text.replace("'", "''") + "'"


def hostile() -> str:
    """Return a script in which everything that has a name or a text has a hostile one."""
    one, two, three = (quoted(name) for name in HOSTILE)
    words = [literal(word) for word in HOSTILE]
    checked = f"CONSTRAINT {quoted(LOOKS_LIKE + '2')} CHECK ({two} <> {words[2]} OR {two} IS NULL)"
    columns = f"{one} INTEGER PRIMARY KEY, {two} VARCHAR(200) DEFAULT {words[1]}, {three} VARCHAR(200)"
    referring = f"CONSTRAINT {quoted(CONTROLS + '3')} FOREIGN KEY ({one}) REFERENCES {one} ({one})"
    statements = [
        "CREATE TABLE kept (id INTEGER PRIMARY KEY)",
        "INSERT INTO kept VALUES (1)",
        f"CREATE TABLE {one} ({columns}, {checked})",
        *(
            f"INSERT INTO {one} ({one}, {three}) VALUES ({number}, {word})"
            for number, word in enumerate(words)
        ),
        f"CREATE TABLE {two} ({three} INTEGER PRIMARY KEY, {one} INTEGER, {referring})",
        f"INSERT INTO {two} VALUES (1, 1)",
        f"CREATE UNIQUE INDEX {three} ON {one} ({three})",
        f"CREATE VIEW {quoted(CONTROLS + 'v')} AS SELECT {one}, {two} FROM {one} WHERE {three} = {words[0]}",
    ]
    return ";\n".join(statements)


CASES = [
    Case(
        15,
        "names and texts made to break out of their quotes",
        {"*": hostile()},
        {"* > *": carried()},
    ),
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
