"""Triggers and ON UPDATE that would rewrite rows as they are loaded are held back, and there afterwards."""

from tests.cases import BINARY, Case, Then, carried

ROWS = "INSERT INTO t VALUES (1, 'a', '2001-01-01 00:00:00'), (2, 'b', '2002-02-02 00:00:00')"
LATER = [
    Then("SELECT count(*) FROM t WHERE touched < '2003-01-01'", [(2,)]),
    Then("SELECT count(*) FROM t WHERE n = 1 AND touched > '2020-01-01'", [(1,)],
         "UPDATE t SET a = 'c' WHERE n = 1"),
    Then("SELECT count(*) FROM t WHERE n = 3 AND a = 'c!'", [(1,)],
         "INSERT INTO t VALUES (3, 'c', '2001-01-01 00:00:00')", on="* > postgresql"),
]  # fmt: skip

CASES = [
    Case(
        28,
        "triggers of the target, and ON UPDATE",
        {
            "sqlite": f"CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT, touched TIMESTAMP); {ROWS}",
            "postgresql": f"CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT, touched TIMESTAMP); {ROWS}",
            "mariadb": f"{BINARY} CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT, touched DATETIME); {ROWS}",
        },
        {"* > *": carried()},
        there={
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT, touched TIMESTAMP);
                CREATE TRIGGER inserted AFTER INSERT ON t BEGIN
                    UPDATE t SET touched = CURRENT_TIMESTAMP WHERE n = new.n; END;
                CREATE TRIGGER updated AFTER UPDATE ON t BEGIN
                    UPDATE t SET touched = CURRENT_TIMESTAMP WHERE n = new.n; END""",
            "postgresql": """CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT, touched TIMESTAMP);
                CREATE FUNCTION touching() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN new.touched = CURRENT_TIMESTAMP; RETURN new; END $$;
                CREATE FUNCTION shouting() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN new.a = new.a || '!'; RETURN new; END $$;
                CREATE TRIGGER updated BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touching();
                CREATE TRIGGER inserted BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION shouting()""",
            "mariadb": f"""{BINARY} CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT,
                touched DATETIME DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP);
                CREATE TRIGGER inserted BEFORE INSERT ON t FOR EACH ROW SET new.a = concat(new.a, '!')""",
        },
        then=LATER,
    ),
]
