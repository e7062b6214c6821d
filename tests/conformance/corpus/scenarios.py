"""What applications do that SQL alone does not say: several connections, APIs of the drivers."""

import random
from collections.abc import Callable
from typing import Any

from sides import Session, Side

ROWS = """INSERT INTO t(a, b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})
          SELECT i, 'row ' || i FROM n"""


def filled(side: Side, name: str = "main.db", rows: int = 500) -> Session:
    session = side.open(name)
    session("CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
    session(ROWS.format(rows))
    return session


# ---- blobs ---------------------------------------------------------------------


def blobs_of_50_megabytes(side: Side) -> None:
    session = side.open()
    generator = random.Random(50)
    session("CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
    large = generator.randbytes(50_000_000)
    session("INSERT INTO t VALUES (1, ?)", large)
    session("SELECT a, length(b), b FROM t")
    session("UPDATE t SET b = ?", large[:25_000_000] + b"changed" + large[25_000_000:])
    session("SELECT length(b), substr(b, 25000000, 9) FROM t")
    session("BEGIN")
    session("DELETE FROM t")
    session("INSERT INTO t VALUES (2, zeroblob(50000000))")
    session("SELECT length(b) FROM t")
    session("ROLLBACK")
    session("SELECT a, length(b), b FROM t")
    session("DELETE FROM t")
    session("PRAGMA freelist_count")
    session("VACUUM")
    session("PRAGMA page_count")


def open_blob(session: Session, row: int, writable: bool) -> Any:
    if session.side.driver == "apsw":
        return session.raw.blob_open("main", "t", "b", row, writable)
    return session.raw.blobopen("t", "b", row, readonly=not writable)


def incremental_blobs(side: Side) -> None:
    session = side.open()
    session("CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB, c TEXT)")
    session("INSERT INTO t VALUES (1, zeroblob(3000000), 'x'), (2, NULL, 'y')")
    blob = open_blob(session, 1, True)
    for offset in (0, 4090, 1_500_000, 2_999_990):
        blob.seek(offset)
        side.note(f"write at {offset}", lambda: blob.write(b"0123456789"))
    blob.seek(2_999_995)
    side.note("write beyond the end", lambda: blob.write(b"0123456789"))
    blob.seek(4085)
    side.note("read", lambda: blob.read(20))
    session("UPDATE t SET c = 'z' WHERE a = 1")
    blob.close()
    blob = open_blob(session, 1, False)
    side.note("write to a read-only blob", lambda: blob.write(b"x"))
    session("UPDATE t SET c = 'expires the blob' WHERE a = 1")
    side.note("read an expired blob", lambda: blob.read(5))
    side.note("close", blob.close)
    side.note("no blob", lambda: open_blob(session, 2, True))
    side.note("no row", lambda: open_blob(session, 99, True))
    session("SELECT * FROM t")


# ---- connections -----------------------------------------------------------------


def read_only(side: Side) -> None:
    side.note("missing", lambda: side.open("missing.db", mode="ro"))
    side.note("missing", lambda: side.open("missing.db", mode="rw"))
    filled(side)
    reader = side.open(label="reader", mode="ro")
    reader("SELECT count(*) FROM t")
    reader("INSERT INTO t VALUES (1000, 'x')")
    reader("CREATE TABLE u(a)")
    reader("CREATE TEMP TABLE u(a)")
    reader("INSERT INTO u SELECT a FROM t")
    reader("PRAGMA user_version = 9")
    reader("BEGIN IMMEDIATE")
    reader("ROLLBACK")
    reader("VACUUM")
    reader("PRAGMA query_only")
    side.sessions[0]("INSERT INTO t VALUES (1000, 'x')")
    reader("SELECT count(*) FROM t")


def empty_databases(side: Side) -> None:
    session = side.open()
    session("SELECT * FROM sqlite_schema")
    session("PRAGMA page_count")
    session("PRAGMA user_version")
    session("PRAGMA integrity_check")
    session("BEGIN")
    session("COMMIT")
    session("BEGIN EXCLUSIVE")
    session("ROLLBACK")
    session("VACUUM")
    session("SELECT * FROM t")
    session.close()
    side.sessions.clear()
    again = side.open(mode="rw")
    again("PRAGMA page_count")
    again("PRAGMA page_size = 1024")
    again("CREATE TABLE t(a)")
    again("DROP TABLE t")
    again("VACUUM")
    again("PRAGMA page_count")
    again("PRAGMA page_size")


def two_connections(side: Side) -> None:
    """Isolation and locks as a rollback-journal application meets them, without waiting."""
    one = filled(side)
    two = side.open(label="two")
    two("PRAGMA data_version")
    one("BEGIN IMMEDIATE")
    two("BEGIN IMMEDIATE")
    two("INSERT INTO t VALUES (9000, 'locked out')")
    one("INSERT INTO t VALUES (1000, 'uncommitted')")
    two("SELECT count(*) FROM t")
    one("COMMIT")
    two("SELECT count(*) FROM t")
    two("PRAGMA data_version")
    two("BEGIN EXCLUSIVE")
    one("INSERT INTO t VALUES (1001, 'locked out')")
    one("BEGIN IMMEDIATE")
    two("DELETE FROM t WHERE a < 100")
    two("COMMIT")
    one("SELECT min(a), count(*) FROM t")
    one("CREATE TABLE u(x)")
    two("INSERT INTO u VALUES (1)")
    two("ALTER TABLE u ADD COLUMN y DEFAULT 5")
    one("SELECT * FROM u")
    two("DROP TABLE u")
    one("SELECT * FROM u")
    two("PRAGMA user_version = 12")
    one("PRAGMA user_version")
    two("VACUUM")
    one("SELECT min(a), count(*) FROM t")


def exclusive_sessions(side: Side) -> None:
    one = filled(side)
    one("PRAGMA locking_mode = EXCLUSIVE")
    for n in range(5):
        one(f"INSERT INTO t VALUES ({1000 + n}, 'exclusive')")
    two = side.open(label="two")
    two("INSERT INTO t VALUES (2000, 'locked out')")
    one("SELECT count(*) FROM t")
    one("BEGIN")
    one("DELETE FROM t")
    one("ROLLBACK")
    one("SELECT count(*) FROM t")
    one("VACUUM")
    one("PRAGMA locking_mode = NORMAL")
    one("SELECT count(*) FROM t")
    two("INSERT INTO t VALUES (2000, 'now')")
    one("SELECT max(a) FROM t")


def interrupted(side: Side) -> None:
    session = filled(side)
    endless = """INSERT INTO t(b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
                 SELECT 'row' || i FROM n"""
    set_handler = getattr(session.raw, "set_progress_handler")  # noqa: B009
    calls = [0]

    def stop() -> bool:
        calls[0] += 1
        return calls[0] > 50

    set_handler(stop, 1000)
    session(endless)
    set_handler(None, 1000)
    session("SELECT count(*) FROM t")
    session("BEGIN")
    session("INSERT INTO t(b) VALUES ('before')")
    calls[0] = 0
    set_handler(stop, 1000)
    session(endless)
    set_handler(None, 1000)
    session("COMMIT")
    session("SELECT count(*), max(b) FROM t")
    session("PRAGMA integrity_check")


def out_of_range(side: Side) -> None:
    session = side.open()
    session("CREATE TABLE t(a)")
    for value in (
        2**63 - 1,
        -(2**63),
        1.5,
        float("inf"),
        -0.0,
        float("nan"),
        "",
        "nul\0inside",
        b"",
        b"\0",
        None,
    ):
        session("INSERT INTO t VALUES (?) RETURNING a, typeof(a), quote(a)", value)
    session("SELECT a, typeof(a) FROM t")
    session("SELECT " + "+".join(["1"] * 1500))
    session("SELECT ?40000")
    session("SELECT ?0")
    session("CREATE TABLE wide(" + ", ".join(f"c{i}" for i in range(2001)) + ")")
    session("INSERT INTO t VALUES (" + "x" * 100 + ")")
    session("SELECT zeroblob(1000000001)")
    session("SELECT replace(hex(zeroblob(600000000)), '0', 'ab')")


# ---- copies -----------------------------------------------------------------------


def back_up(side: Side, source: Session, target: Session, pages: int = 7) -> None:
    def work() -> str:
        if side.driver == "apsw":
            with target.raw.backup("main", source.raw, "main") as backup:
                while not backup.done:
                    backup.step(pages)
        else:
            source.raw.backup(target.raw, pages=pages)
        return "copied"

    side.note(f"backup of {source.label} to {target.label}", work)


def beside(side: Side, label: str, name: str) -> Session:
    """An ordinary file, on either side."""
    return side.open(label=label, address=side.file(name))


def backups(side: Side) -> None:
    source = filled(side, rows=3000)
    file = beside(side, "file", "copy.db")
    back_up(side, source, file)
    file("SELECT count(*), max(b) FROM t")
    file("PRAGMA integrity_check")
    file("PRAGMA journal_mode = WAL")
    file("DELETE FROM t WHERE a % 2")
    file("INSERT INTO t VALUES (99999, 'from the WAL')")
    back = side.open("back.db")
    back_up(side, file, back)
    back("SELECT count(*), max(a) FROM t")
    back("PRAGMA integrity_check")
    back("INSERT INTO t(b) VALUES ('writable')")
    other = side.open("other.db")
    other("PRAGMA page_size = 1024")
    other("CREATE TABLE replaced(a)")
    back_up(side, source, other, -1)
    other("SELECT count(*) FROM t")
    other("SELECT * FROM replaced")
    other("PRAGMA page_size")
    memory = side.open(label="memory", address="file::memory:")
    back_up(side, other, memory)
    memory("SELECT count(*) FROM t")
    memory("UPDATE t SET b = 'memory'")
    back_up(side, memory, other)
    other("SELECT DISTINCT b FROM t")
    other("PRAGMA integrity_check")


def backup_of_a_database_in_use(side: Side) -> None:
    source = filled(side, rows=3000)
    writer = side.open(label="writer")
    target = beside(side, "target", "copy.db")
    if side.driver == "apsw":
        with target.raw.backup("main", source.raw, "main") as backup:
            backup.step(3)
            writer("UPDATE t SET b = 'changed under way' WHERE a = 1")
            writer("DELETE FROM t WHERE a > 2900")
            while not backup.done:
                backup.step(5)
    else:
        changed: list[bool] = []

        def progress(*_: int) -> None:
            if not changed:
                changed.append(True)
                writer("UPDATE t SET b = 'changed under way' WHERE a = 1")
                writer("DELETE FROM t WHERE a > 2900")

        source.raw.backup(target.raw, pages=5, progress=progress)
    target("SELECT count(*), (SELECT b FROM t WHERE a = 1) FROM t")
    target("PRAGMA integrity_check")


def serialized(side: Side) -> None:
    source = filled(side)
    data = source.raw.serialize("main") if side.driver == "apsw" else source.raw.serialize()
    memory = side.open(label="memory", address="file::memory:")
    if side.driver == "apsw":
        memory.raw.deserialize("main", data)
    else:
        memory.raw.deserialize(data)
    memory("SELECT count(*), max(a) FROM t")
    memory("PRAGMA integrity_check")


# ---- stock main, our database attached -------------------------------------------------


def attached_to_a_stock_main(side: Side) -> None:
    session = beside(side, "stock main", "main.db")
    session("CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
    session("ATTACH '{db:ours.db}' AS ours")
    session("ATTACH '{db:more.db}' AS more")
    session("CREATE TABLE ours.t(a INTEGER PRIMARY KEY, b)")
    session("CREATE TABLE more.t(a INTEGER PRIMARY KEY, b)")
    session("BEGIN")
    session("INSERT INTO t VALUES (1, 'main')")
    session("INSERT INTO ours.t VALUES (1, 'ours')")
    session("INSERT INTO more.t VALUES (1, 'more')")
    session("COMMIT")
    session("BEGIN")
    session("DELETE FROM t")
    session("DELETE FROM ours.t")
    session("DELETE FROM more.t")
    session("ROLLBACK")
    session("SELECT * FROM main.t JOIN ours.t USING (a) JOIN more.t USING (a)")
    session("PRAGMA locking_mode = EXCLUSIVE")
    session("INSERT INTO ours.t VALUES (2, 'exclusive')")
    session("INSERT INTO ours.t VALUES (3, 'exclusive')")
    other = side.open("ours.db")
    other("INSERT INTO t VALUES (4, 'locked out')")
    session("PRAGMA locking_mode = NORMAL")
    session("SELECT count(*) FROM ours.t")
    other("INSERT INTO t VALUES (4, 'now')")
    session("SELECT count(*) FROM ours.t")
    for mode in ("MEMORY", "OFF", "DELETE"):
        session(f"PRAGMA journal_mode = {mode}")
        session("BEGIN")
        session("UPDATE t SET b = b || '!'")
        session("UPDATE ours.t SET b = b || '!'")
        session("UPDATE more.t SET b = b || '!'")
        session("COMMIT")
        session("SELECT b FROM ours.t UNION ALL SELECT b FROM more.t UNION ALL SELECT b FROM main.t")
    session("VACUUM ours")
    session("VACUUM ours INTO '{file:into.db}'")
    session("DETACH ours")
    session("PRAGMA integrity_check")


# ---- the drivers' own ways ----------------------------------------------------------------


def the_drivers_transactions(side: Side) -> None:
    """sqlite3's implicit transactions and context managers, apsw's nested ones."""
    session = filled(side)
    raw = session.raw
    if side.driver == "sqlite3":
        raw.isolation_level = "DEFERRED"

    def fails() -> None:
        with raw:
            raw.execute("INSERT INTO t(b) VALUES ('rolled back')")
            raw.execute("INSERT INTO t(a, b) VALUES (1, 'twice')")

    side.note("with, failing", fails)
    with raw:
        raw.execute("INSERT INTO t(b) VALUES ('kept')")
        raw.executemany("INSERT INTO t(b) VALUES (?)", [("many",)] * 100)
    session("SELECT count(*), max(b) FROM t WHERE a > 500")
    if side.driver == "sqlite3":
        raw.commit()
        raw.isolation_level = None
        raw.executescript(
            "BEGIN; DELETE FROM t WHERE a < 10; COMMIT; CREATE TABLE s(x); INSERT INTO s VALUES (1);"
        )
        side.note("dump", lambda: list(raw.iterdump()))
    session("SELECT min(a) FROM t")
    changes = raw.total_changes() if side.driver == "apsw" else raw.total_changes
    side.note("total changes", lambda: changes)


def functions_and_cursors(side: Side) -> None:
    session = filled(side)
    if side.driver == "apsw":
        session.raw.create_scalar_function("twice", lambda x: x * 2, 1, deterministic=True)
        session.raw.create_collation("reverse", lambda a, b: (a < b) - (a > b))
    else:
        session.raw.create_function("twice", 1, lambda x: x * 2, deterministic=True)
        session.raw.create_collation("reverse", lambda a, b: (a < b) - (a > b))
    session("CREATE INDEX t_even ON t(a) WHERE a % 2 = 0")
    session("SELECT a FROM t WHERE twice(a) = 84")
    session("SELECT b FROM t ORDER BY b COLLATE reverse LIMIT 3")
    reading = session.raw.execute("SELECT a FROM t ORDER BY a")
    first = [next(reading)[0] for _ in range(3)]
    session("DELETE FROM t WHERE a > 400")
    side.note("the rest of a cursor under which rows went", lambda: first + [row[0] for row in reading])
    session("SELECT count(*) FROM t")


def many_rows_with_a_small_cache(side: Side) -> None:
    session = side.open()
    session("PRAGMA cache_size = 10")
    session("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c BLOB)")
    session("CREATE INDEX t_b ON t(b)")
    generator = random.Random(7)
    session("BEGIN")
    session.raw.executemany(
        "INSERT INTO t(b, c) VALUES (?, ?)",
        ((f"{generator.random():.12f}", generator.randbytes(generator.randrange(900))) for _ in range(6000)),
    )
    session("SELECT count(*), sum(length(c)) FROM t")
    session("COMMIT")
    session("UPDATE t SET c = zeroblob(length(c)) WHERE a % 4 = 0")
    session("BEGIN")
    session("DELETE FROM t WHERE a % 3 = 0")
    session("ROLLBACK")
    session("SELECT count(*), sum(length(c)), min(b), max(b) FROM t")
    session("PRAGMA integrity_check")


SCENARIOS: list[Callable[[Side], None]] = [
    blobs_of_50_megabytes, incremental_blobs, read_only, empty_databases, two_connections,
    exclusive_sessions, interrupted, out_of_range, backups, backup_of_a_database_in_use, serialized,
    attached_to_a_stock_main, the_drivers_transactions, functions_and_cursors,
    many_rows_with_a_small_cache,
]  # fmt: skip
