"""``python -m mvsqlite_stack.demo_app [--port N] notes.db``: serves on loopback until it is told to stop."""

import argparse

import uvicorn

from mvsqlite_stack.demo_app.app import create


def main() -> None:
    parser = argparse.ArgumentParser(prog="notes", description="A small notes application.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("database", help="the path of its SQLite file, made if it is not there")
    given = parser.parse_args()
    uvicorn.run(
        create(given.database),
        host="127.0.0.1",
        port=given.port,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=3,
    )


if __name__ == "__main__":
    main()
