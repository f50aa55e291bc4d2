"""Rows that refer to rows: to themselves, in circles, by two columns, and to nothing. All of them arrive."""

from tests.cases import Case, Then, asked, carried, refused

CASES = [
    Case(
        16,
        "references to itself and in circles of two and three",
        {
            "sqlite": """
                CREATE TABLE people (id INTEGER PRIMARY KEY, boss INTEGER REFERENCES people (id),
                    team INTEGER REFERENCES teams (id));
                CREATE TABLE teams (id INTEGER PRIMARY KEY, leader INTEGER REFERENCES people (id));
                CREATE TABLE a (id INTEGER PRIMARY KEY, b INTEGER REFERENCES b (id));
                CREATE TABLE b (id INTEGER PRIMARY KEY, c INTEGER REFERENCES c (id));
                CREATE TABLE c (id INTEGER PRIMARY KEY, a INTEGER REFERENCES a (id));
                INSERT INTO people VALUES (1, 2, 10), (2, 1, 20), (3, 3, NULL);
                INSERT INTO teams VALUES (10, 2), (20, 1);
                INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1); INSERT INTO c VALUES (1, 1)""",
            "*": """
                CREATE TABLE people (id INTEGER PRIMARY KEY, boss INTEGER, team INTEGER);
                CREATE TABLE teams (id INTEGER PRIMARY KEY, leader INTEGER);
                CREATE TABLE a (id INTEGER PRIMARY KEY, b INTEGER);
                CREATE TABLE b (id INTEGER PRIMARY KEY, c INTEGER);
                CREATE TABLE c (id INTEGER PRIMARY KEY, a INTEGER);
                INSERT INTO people VALUES (1, 2, 10), (2, 1, 20), (3, 3, NULL);
                INSERT INTO teams VALUES (10, 2), (20, 1);
                INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1); INSERT INTO c VALUES (1, 1);
                ALTER TABLE people ADD CONSTRAINT k1 FOREIGN KEY (boss) REFERENCES people (id);
                ALTER TABLE people ADD CONSTRAINT k2 FOREIGN KEY (team) REFERENCES teams (id);
                ALTER TABLE teams ADD CONSTRAINT k3 FOREIGN KEY (leader) REFERENCES people (id);
                ALTER TABLE a ADD CONSTRAINT k4 FOREIGN KEY (b) REFERENCES b (id);
                ALTER TABLE b ADD CONSTRAINT k5 FOREIGN KEY (c) REFERENCES c (id);
                ALTER TABLE c ADD CONSTRAINT k6 FOREIGN KEY (a) REFERENCES a (id)""",
        },
        {"* > *": carried()},
        then=[
            Then(
                "SELECT count(*) FROM c",
                [(1,)],
                "INSERT INTO c VALUES (2, 77)",
                refuses=True,
                on=f"* > {engine}",
            )
            for engine in ("postgresql", "mariadb")
        ],
    ),
    Case(
        16,
        "a key of two columns",
        {
            "*": """CREATE TABLE parents (x INTEGER NOT NULL, y VARCHAR(9) NOT NULL, PRIMARY KEY (x, y));
                CREATE TABLE children (id INTEGER PRIMARY KEY, x INTEGER, y VARCHAR(9),
                    FOREIGN KEY (x, y) REFERENCES parents (x, y) ON DELETE CASCADE);
                INSERT INTO parents VALUES (1, 'a'), (1, 'A');
                INSERT INTO children VALUES (1, 1, 'a'), (2, 1, 'A'), (3, 1, NULL), (4, NULL, NULL)""",
        },
        {"* > *": carried()},
        then=[
            Then(
                "SELECT count(*) FROM children",
                [(3,)],
                "DELETE FROM parents WHERE y = 'a'",
                on=f"* > {engine}",
            )
            for engine in ("postgresql", "mariadb")
        ],
    ),
    Case(
        16,
        "orphans",
        {
            "sqlite": """CREATE TABLE parents (id INTEGER PRIMARY KEY);
                CREATE TABLE children (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parents (id));
                INSERT INTO parents VALUES (1); INSERT INTO children VALUES (1, 1), (2, 77), (3, NULL), (4,
                78)""",
            "mariadb": """SET foreign_key_checks = 0; CREATE TABLE parents (id INTEGER PRIMARY KEY);
                CREATE TABLE children (id INTEGER PRIMARY KEY, parent INTEGER,
                    FOREIGN KEY (parent) REFERENCES parents (id));
                INSERT INTO parents VALUES (1); INSERT INTO children VALUES (1, 1), (2, 77), (3, NULL), (4,
                78)""",
        },
        {"* > *": asked("foreign-key-not-carried", says=["children. 2", "77", "78"])},
    ),
    Case(
        16,
        "orphans into a table that has the foreign key",
        {
            "sqlite": """CREATE TABLE parents (id INTEGER PRIMARY KEY);
                CREATE TABLE children (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parents (id));
                INSERT INTO parents VALUES (1); INSERT INTO children VALUES (1, 1), (2, 77)""",
        },
        {"* > *": refused("rows-without-parent", says=["77"])},
        there={
            "*": """CREATE TABLE parents (id INTEGER PRIMARY KEY);
                CREATE TABLE children (id INTEGER PRIMARY KEY, parent INTEGER,
                    FOREIGN KEY (parent) REFERENCES parents (id))""",
        },
    ),
]
