"""How long does a mix of everyday statements take?

In the manner of SQLite's speedtest1, of our own making: inserts into plain and indexed tables,
selects by index and by text, updates, deletes, joins, ordering, a schema change. The work is
done in transactions of one stage each; a last stage commits every statement.
"""

import random
from collections.abc import Callable
from pathlib import Path

import apsw

from benchmarks.common import Contender, Figure, Question, Settings, Stopwatch, compare, main
from benchmarks.rows import WORDS, rows

Stage = Callable[[apsw.Connection, int, random.Random], None]


def inserts(db: apsw.Connection, n: int, _: random.Random) -> None:
    db.execute("CREATE TABLE person(id INTEGER PRIMARY KEY, number INTEGER, name TEXT, text TEXT)")
    db.executemany("INSERT INTO person VALUES (?, ?, ?, ?)", rows(n))


def indexed_inserts(db: apsw.Connection, n: int, chance: random.Random) -> None:
    db.execute("CREATE TABLE sale(id INTEGER PRIMARY KEY, person INTEGER, amount REAL, kind TEXT, note TEXT)")
    db.execute("CREATE INDEX sale_person ON sale(person)")
    db.execute("CREATE INDEX sale_kind ON sale(kind, amount)")
    sales = (
        (
            i,
            chance.randint(1, n),
            chance.random() * 1000,
            chance.choice(WORDS),
            " ".join(chance.choices(WORDS, k=5)),
        )
        for i in range(1, n + 1)
    )
    db.executemany("INSERT INTO sale VALUES (?, ?, ?, ?, ?)", sales)


def create_indexes(db: apsw.Connection, _: int, __: random.Random) -> None:
    db.execute("CREATE INDEX person_number ON person(number)")
    db.execute("CREATE UNIQUE INDEX person_name ON person(name)")


def indexed_selects(db: apsw.Connection, n: int, chance: random.Random) -> None:
    for _ in range(n // 4):
        low = chance.randrange(1_000_000)
        db.execute(
            "SELECT count(*), avg(id) FROM person WHERE number BETWEEN ? AND ?", (low, low + 1000)
        ).fetchall()
        db.execute("SELECT * FROM sale WHERE person = ?", (chance.randint(1, n),)).fetchall()


def text_selects(db: apsw.Connection, _: int, chance: random.Random) -> None:
    for _ in range(10):
        word = chance.choice(WORDS)
        db.execute("SELECT count(*) FROM person WHERE text LIKE ?", (f"%{word} oak%",)).fetchall()
        db.execute("SELECT upper(substr(name, 1, 3)), count(*) FROM person GROUP BY 1").fetchall()


def ordering(db: apsw.Connection, _: int, __: random.Random) -> None:
    for column in ("text", "number", "name DESC"):
        db.execute(f"SELECT id FROM person ORDER BY {column} LIMIT 100 OFFSET 1000").fetchall()


def joins(db: apsw.Connection, _: int, chance: random.Random) -> None:
    for _ in range(20):
        db.execute(
            "SELECT person.name, sum(amount) FROM sale JOIN person ON person.id = sale.person"
            " WHERE kind = ? AND amount > ? GROUP BY person.id ORDER BY 2 DESC LIMIT 10",
            (chance.choice(WORDS), chance.random() * 900),
        ).fetchall()


def updates(db: apsw.Connection, n: int, chance: random.Random) -> None:
    for _ in range(n // 4):
        db.execute(
            "UPDATE sale SET amount = amount + 1, note = ? WHERE person = ?", ("new", chance.randint(1, n))
        )
    db.execute("UPDATE person SET number = number + 1")


def deletes(db: apsw.Connection, n: int, chance: random.Random) -> None:
    for _ in range(n // 8):
        db.execute("DELETE FROM sale WHERE person = ?", (chance.randint(1, n),))
    db.execute("DELETE FROM person WHERE number % 5 = 0")


def schema_change(db: apsw.Connection, _: int, __: random.Random) -> None:
    db.execute("ALTER TABLE person ADD COLUMN seen TEXT")
    db.execute(
        "CREATE TABLE summary AS SELECT kind, count(*) AS n, sum(amount) AS total FROM sale GROUP BY kind"
    )
    db.execute("DROP INDEX sale_kind")


def small_commits(db: apsw.Connection, n: int, chance: random.Random) -> None:
    for _ in range(n // 400):
        db.execute("UPDATE sale SET amount = 0 WHERE id = ?", (chance.randint(1, n),))
        db.execute("SELECT * FROM person WHERE id = ?", (chance.randint(1, n),)).fetchall()


TOGETHER: list[Stage] = [
    inserts,
    indexed_inserts,
    create_indexes,
    indexed_selects,
    text_selects,
    ordering,
    joins,
    updates,
    deletes,
    schema_change,
]


def name_of(stage: Stage) -> str:
    return stage.__name__.replace("_", " ")


QUESTIONS = [
    Question("mix", "the whole mix", "s", more_is_better=False),
    *(Question(f"mix.{stage.__name__}", name_of(stage), "s", False) for stage in [*TOGETHER, small_commits]),
]


def run_stages(connection: apsw.Connection, n: int) -> dict[str, float]:
    chance, seconds = random.Random(3), {}
    for stage in TOGETHER:
        with Stopwatch() as watch, connection:
            stage(connection, n, chance)
        seconds[f"mix.{stage.__name__}"] = watch.seconds
    with Stopwatch() as watch:
        small_commits(connection, n, chance)
    return {**seconds, "mix.small_commits": watch.seconds}


def run(settings: Settings) -> list[Figure]:
    n = settings.pick(60_000, 8_000, 400)

    def measure(contender: Contender, directory: Path) -> dict[str, float]:
        connection = contender.connect(directory)
        seconds = run_stages(connection, n)
        connection.close()
        return {"mix": sum(seconds.values()), **seconds}

    return compare(settings, QUESTIONS, measure)


if __name__ == "__main__":
    assert __doc__
    main(run, __doc__)
