"""Random schemas and random work on them, the same for the same seed."""

import random
from collections.abc import Iterator

WORDS = ["", "alpha", "beta", "Gamma", "delta ", "É", "it's", "%", "0", "12", "-3.5", "null"]
PAGE_SIZES = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]
CONFLICTS = ["", " OR REPLACE", " OR IGNORE", " OR FAIL", " OR ABORT", " OR ROLLBACK"]


class Generator:
    """Writes statements; it need not know whether they succeed, for both sides get the same."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.tables: dict[str, list[str]] = {}
        self.made = 0
        self.depth = 0
        self.open = False

    def name(self, kind: str) -> str:
        self.made += 1
        return f"{kind}{self.made}"

    def start(self) -> Iterator[str]:
        """What a new database begins with."""
        r = self.random
        yield f"PRAGMA page_size = {r.choice(PAGE_SIZES)}"
        yield f"PRAGMA auto_vacuum = {r.choice(['NONE', 'FULL', 'INCREMENTAL'])}"
        yield f"PRAGMA cache_size = {r.choice([2, 10, 100, -2000])}"
        yield f"PRAGMA foreign_keys = {r.randrange(2)}"
        for _ in range(r.randint(1, 3)):
            yield self.create_table()

    # ---- values -----------------------------------------------------------------

    def value(self) -> str:
        r = self.random
        kinds = [
            lambda: str(r.randint(-5, 40)),
            lambda: str(r.randint(-(2**63), 2**63 - 1)),
            lambda: repr(r.uniform(-1e6, 1e6)),
            lambda: "'" + r.choice(WORDS).replace("'", "''") * r.randint(1, 40) + "'",
            lambda: f"zeroblob({r.randint(0, 9000)})",
            lambda: f"x'{r.randbytes(r.randint(0, 60)).hex()}'",
            lambda: "NULL",
        ]
        return r.choice(kinds)()

    def condition(self, columns: list[str]) -> str:
        r = self.random
        column = r.choice([*columns, "rowid"])
        forms = [
            f"{column} {r.choice(['<', '>', '=', '<>', 'IS', '>='])} {self.value()}",
            f"rowid % {r.randint(1, 9)} = {r.randint(0, 3)}",
            f"{column} BETWEEN {r.randint(0, 20)} AND {r.randint(0, 60)}",
            f"length({column}) > {r.randint(0, 50)}",
            f"typeof({column}) = '{r.choice(['integer', 'text', 'blob', 'real', 'null'])}'",
        ]
        return r.choice(forms)

    # ---- statements -----------------------------------------------------------------

    def create_table(self) -> str:
        r = self.random
        name = self.name("t")
        columns = [f"c{i}" for i in range(r.randint(1, 5))]
        types = ["INTEGER", "TEXT", "REAL", "BLOB", "NUMERIC", ""]
        extras = ["", "", "UNIQUE", "NOT NULL DEFAULT 7", "COLLATE NOCASE", "CHECK (length(%s) < 30000)"]
        parts = [f"{c} {r.choice(types)} {r.choice(extras).replace('%s', c)}" for c in columns]
        if self.tables and r.random() < 0.2:
            parts.append(f"p REFERENCES {r.choice(list(self.tables))}")
        if r.random() < 0.4:
            parts.insert(0, f"id INTEGER PRIMARY KEY{r.choice(['', ' AUTOINCREMENT'])}")
        self.tables[name] = columns
        return f"CREATE TABLE {name}({', '.join(parts)})"

    def insert(self, table: str, columns: list[str]) -> str:
        r = self.random
        head = f"INSERT{r.choice(CONFLICTS)} INTO {table}({', '.join(columns)})"
        if r.random() < 0.3:
            values = ", ".join(f"i * {r.randint(1, 9)} || '{r.choice('abc')}'" for _ in columns)
            counter = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})"
            return f"{head} {counter.format(r.randint(1, 400))} SELECT {values} FROM n"
        rows = [", ".join(self.value() for _ in columns) for _ in range(r.randint(1, 5))]
        tail = r.choice(["", "", " ON CONFLICT DO NOTHING", f" RETURNING {columns[0]}"])
        return f"{head} VALUES {', '.join(f'({row})' for row in rows)}{tail}"

    def change(self) -> str:
        r = self.random
        table = r.choice(list(self.tables))
        columns = self.tables[table]
        where = self.condition(columns)
        column = r.choice(columns)
        forms = [
            lambda: self.insert(table, columns),
            lambda: self.insert(table, columns),
            lambda: f"UPDATE{r.choice(CONFLICTS)} {table} SET {column} = {self.value()} WHERE {where}",
            lambda: f"UPDATE {table} SET {column} = {column} WHERE {where}",
            lambda: f"DELETE FROM {table} WHERE {where}",
            lambda: f"SELECT count(*), min({column}), max(length({column})) FROM {table} WHERE {where}",
        ]
        return r.choice(forms)()

    def schema_change(self) -> str:
        r = self.random
        table = r.choice(list(self.tables))
        columns = self.tables[table]
        column = r.choice(columns)
        unique = r.choice(["", "UNIQUE "])
        forms = [
            lambda: f"CREATE {unique}INDEX {self.name('i')} ON {table}({column}, length({columns[0]}))",
            lambda: f"CREATE INDEX {self.name('i')} ON {table}({column}) WHERE {self.condition([column])}",
            lambda: f"CREATE VIEW {self.name('v')} AS SELECT {column} FROM {table}",
            lambda: f"DROP INDEX i{r.randint(1, self.made + 1)}",
            lambda: self.add_column(table),
            lambda: self.drop_table(table) if len(self.tables) > 1 else self.create_table(),
            self.create_table,
            lambda: (
                f"CREATE TRIGGER {self.name('g')} AFTER DELETE ON {table} BEGIN "
                f"UPDATE {table} SET {column} = {self.value()} WHERE rowid = old.rowid + 1; END"
            ),
            lambda: f"ANALYZE {table}",
            lambda: "PRAGMA incremental_vacuum(3)",
        ]
        return r.choice(forms)()

    def add_column(self, table: str) -> str:
        column = self.name("a")
        self.tables[table].append(column)
        return f"ALTER TABLE {table} ADD COLUMN {column} DEFAULT {self.random.randint(0, 9)}"

    def drop_table(self, table: str) -> str:
        del self.tables[table]
        return f"DROP TABLE {table}"

    def step(self) -> str:
        """One statement of the work; transactions and savepoints open and end among them."""
        r = self.random
        chance = r.random()
        if chance < 0.25 and (control := self.transaction(chance)):
            return control
        if chance > 0.93:
            return self.schema_change()
        if chance > 0.915:
            return r.choice(["VACUUM", f"PRAGMA page_size = {r.choice(PAGE_SIZES)}"])
        return self.change()

    def transaction(self, chance: float) -> str:
        r = self.random
        if not self.open:
            self.open, self.depth = True, 0
            return f"BEGIN {r.choice(['', 'IMMEDIATE', 'EXCLUSIVE'])}"
        if chance < 0.08:
            self.open = False
            return str(r.choice(["COMMIT", "COMMIT", "ROLLBACK"]))
        if not self.depth or chance < 0.14:
            self.depth += 1
            return f"SAVEPOINT s{self.depth}"
        chosen = r.randint(1, self.depth)
        release = r.random() < 0.4
        self.depth = chosen - 1 if release else chosen
        return f"RELEASE s{chosen}" if release else f"ROLLBACK TO s{chosen}"
