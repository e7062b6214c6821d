"""The database backend, where Django looks for it."""

from typing import Any

from django.db.backends.sqlite3 import base

from mvsqlite_py import _past, _sqlite3
from mvsqlite_py.django.client import DatabaseClient
from mvsqlite_py.django.creation import DatabaseCreation

__all__ = ["DatabaseWrapper"]


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's backend for SQLite; the database is in a store."""

    client_class = DatabaseClient
    creation_class = DatabaseCreation

    pinned: str | None = None
    """The version that connections of this alias read, while ``mvsqlite_py.django.at`` says so."""

    def get_connection_params(self) -> dict[str, Any]:
        options = super().get_connection_params()
        name = options.pop("database")
        if self.is_in_memory_db():
            options = {key: value for key, value in options.items() if key not in _sqlite3.OURS}
        address, options = _sqlite3.opening(name, (), options)
        return {"database": address, **options, "factory": _sqlite3.Connection}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        if self.pinned:
            _past.pin(connection, None, self.pinned)
        return connection
