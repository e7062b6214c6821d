"""A Datasette plugin: serves databases of a store. Datasette finds it by itself where both are installed.

In Datasette's configuration, under ``plugins``:

    "mvsqlite": {"store": "lmdb:/srv/store", "databases": ["notes.db", {"name": "notes.db", "at": "-1d"}]}

Each entry is a name, or a name with what ``mvsqlite_py.dbapi.connect`` takes and, as ``route``, what
Datasette is to call it. An age is that before the start of Datasette. ``"databases": "*"`` serves every
database there is at the start.
"""

from typing import Any

from datasette import hookimpl
from datasette.database import Database

from mvsqlite_py import dbapi, open_store

__all__ = ["StoredDatabase", "startup"]


class StoredDatabase(Database):
    """A database of a store, for ``datasette.add_database``.

    name: the database's; options: of ``mvsqlite_py.dbapi.connect``.
    """

    def __init__(self, datasette: Any, name: str, **options: Any) -> None:
        super().__init__(datasette, path=name, is_mutable=True)
        self.options = options

    def connect(self, write: bool = False) -> Any:
        """A new connection; if it is not to write, it cannot."""
        connection = dbapi.connect(self.path, check_same_thread=False, create=False, **self.options)
        if not write:
            connection.execute("PRAGMA query_only=1")
        self._all_file_connections.append(connection)
        return connection

    @property
    def size(self) -> int:
        """Bytes of the database as a SQLite file."""
        return int(self._ask("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size") or 0)

    @property
    def mtime_ns(self) -> int:
        """When the version that is read was committed."""
        return int(self._ask("SELECT (julianday(mv_time()) - 2440587.5) * 86400e9") or 0)

    def _ask(self, question: str) -> Any:
        connection = dbapi.connect(self.path, create=False, **self.options)
        try:
            return connection.execute(question).fetchone()[0]
        finally:
            connection.close()


@hookimpl
def startup(datasette: Any) -> None:
    """Adds what the configuration names."""
    config = datasette.plugin_config("mvsqlite") or {}
    store, wanted = config.get("store"), config.get("databases", [])
    if wanted == "*":
        with open_store(store) as opened:
            wanted = [entry.name for entry in opened.list()]
    for entry in wanted:
        options = {"name": entry} if isinstance(entry, str) else dict(entry)
        name, route = options.pop("name"), options.pop("route", None)
        options.setdefault("store", store)
        if "at" in options:  # every connection of every thread is to read the same
            with open_store(options["store"]) as opened:
                options["version"] = opened.database(name).find(at=options.pop("at"))
        datasette.add_database(StoredDatabase(datasette, name, **options), name=route)
