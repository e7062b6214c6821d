"""A WSGI application on the standard library's sqlite3, made for gunicorn --preload.

The master opens the database when it loads the application; each worker opens it again for itself.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

PATH = os.environ["NOTES_DATABASE"]

loaded = sqlite3.connect(PATH)
loaded.execute("CREATE TABLE IF NOT EXISTS note(id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT)")
loaded.commit()


def application(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    with closing(sqlite3.connect(PATH, timeout=30)) as connection, connection:
        if environment["REQUEST_METHOD"] == "POST":
            connection.execute("INSERT INTO note(text) VALUES (?)", (environment["PATH_INFO"],))
        elif environment["REQUEST_METHOD"] == "DELETE":
            connection.execute("DELETE FROM note")
        notes = [text for (text,) in connection.execute("SELECT text FROM note ORDER BY text")]
    start("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"notes": notes, "worker": os.getpid()}).encode()]
