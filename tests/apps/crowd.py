"""A program of many processes on the standard library's sqlite3: ``crowd.py PATH fork|spawn``.

It reads commands from its standard input and answers each with a line: ``write`` lets four
processes write at once, ``delete`` deletes every row, ``count`` counts them.
"""

import multiprocessing
import sqlite3
import sys

WRITERS = 4
ROWS = 20


def write(path: str, writer: int) -> int:
    connection = sqlite3.connect(path, timeout=60)
    for row in range(ROWS):
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO row(writer, number) VALUES (?, ?)", (writer, row))
    connection.close()
    return ROWS


def main(path: str, method: str) -> None:
    context = multiprocessing.get_context(method)
    connection = sqlite3.connect(path, timeout=60)
    connection.execute("CREATE TABLE IF NOT EXISTS row(writer, number, UNIQUE(writer, number))")
    connection.commit()
    for line in sys.stdin:
        if line == "write\n":
            with context.Pool(WRITERS) as pool:
                print(sum(pool.starmap(write, [(path, writer) for writer in range(WRITERS)])), flush=True)
        elif line == "delete\n":
            with connection:
                print(connection.execute("DELETE FROM row").rowcount, flush=True)
        else:
            print(connection.execute("SELECT count(*) FROM row").fetchone()[0], flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
