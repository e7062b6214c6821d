"""``manage.py dbshell``."""

from typing import Any

from django.db.backends.sqlite3 import client

from mvsqlite_py import Store
from mvsqlite_py.django.creation import DatabaseCreation


class DatabaseClient(client.DatabaseClient):
    """Runs ``mvsqlite shell``."""

    executable_name = "mvsqlite"

    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: dict[str, Any], parameters: list[str]
    ) -> tuple[list[str], dict[str, str] | None]:
        name, store = settings_dict["NAME"], settings_dict["OPTIONS"].get("store")
        if DatabaseCreation.is_in_memory_db(name):
            return ["sqlite3", str(name), *parameters], None
        url = store.url if isinstance(store, Store) else store
        return [
            cls.executable_name,
            "shell",
            *(["--store", url] if url else []),
            str(name),
            *parameters,
        ], None
