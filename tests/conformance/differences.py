"""Where our VFS answers otherwise than stock SQLite on a file, on purpose, and why.

Nothing else may differ. A test holds that each of these does occur.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    sql: str | None
    """A pattern for the statement whose answer differs; None: the corpus does not do this."""
    reason: str
    example: tuple[str, ...]
    """Statements, the last of which answers otherwise on the two sides."""
    only_columns: bool = False
    """The rows are equal, only the name of a column is another."""


DIFFERENCES = [
    Difference(
        r"PRAGMA (\w+\.)?journal_mode$",
        "there is no journal that could have a mode: the setting is answered and remembered for the "
        "connection, but WAL is not written to the database, so a new connection says 'delete'",
        ("PRAGMA journal_mode = WAL", "--@ reopen", "PRAGMA journal_mode"),
    ),
    Difference(
        r"PRAGMA (\w+\.)?journal_mode = (truncate|persist|memory|wal|off|nonsense)$",
        "a pragma that a VFS answers has the answer for its column's name: SQLite leaves no choice",
        ("PRAGMA journal_mode = MEMORY",),
        only_columns=True,
    ),
    Difference(
        None,
        "a database that says it is in WAL mode is not: VACUUM can change its page size",
        (
            "PRAGMA journal_mode = DELETE",
            "CREATE TABLE t(a)",
            "PRAGMA journal_mode = WAL",
            "PRAGMA page_size = 1024",
            "VACUUM",
            "PRAGMA page_size",
        ),
    ),
    Difference(
        r"PRAGMA (\w+\.)?synchronous$",
        "OFF would silence the super-journal that makes commits over several databases atomic, so it "
        "is only remembered; a VFS can answer a pragma with text, not with a number",
        ("PRAGMA synchronous = OFF", "PRAGMA synchronous"),
    ),
    Difference(
        None,
        "a session that keeps others out may let them in again at once; in WAL mode, stock keeps them out "
        "until that mode is left",
        (
            "PRAGMA locking_mode = EXCLUSIVE",
            "PRAGMA journal_mode = WAL",
            "CREATE TABLE t(a)",
            "PRAGMA locking_mode = NORMAL",
        ),
    ),
    Difference(
        r"PRAGMA (\w+\.)?wal_checkpoint",
        "there is no log: nothing is ever to be moved",
        ("PRAGMA journal_mode = WAL", "CREATE TABLE t(a)", "PRAGMA wal_checkpoint"),
    ),
    Difference(
        None,
        "a database has a name in its store, not a path",
        ("PRAGMA database_list",),
    ),
    Difference(
        None,
        "readers do not block a writer, as in WAL mode, whatever the journal mode",
        (
            "CREATE TABLE t(a)",
            "--@ use reader",
            "BEGIN",
            "SELECT * FROM t",
            "--@ use main",
            "INSERT INTO t VALUES (1)",
        ),
    ),
    Difference(
        None,
        "a writer does not block readers, not even one that holds an EXCLUSIVE lock",
        ("CREATE TABLE t(a)", "BEGIN EXCLUSIVE", "--@ use reader", "SELECT * FROM t"),
    ),
    Difference(
        None,
        "the SQL functions mv_version, mv_time, mv_message and mv_error are there",
        ("SELECT count(*) FROM pragma_function_list WHERE name LIKE 'mv%'",),
    ),
]


def difference_of(asked: str) -> Difference | None:
    """The listed difference for an entry ("LABEL: SQL"), if there is one."""
    sql = asked.split(": ", 1)[-1]
    return next((d for d in DIFFERENCES if d.sql and re.match(d.sql, sql, re.IGNORECASE)), None)
