"""Test databases: databases of the store, or plain SQLite in memory, as for Django's own backend."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from django.db.backends.sqlite3 import creation

from mvsqlite_py import DatabaseNotFoundError, Policy, Store, _retention, open_store


class DatabaseCreation(creation.DatabaseCreation):
    """Where Django's own works on files, this works on the store."""

    def _create_test_db(self, verbosity: int, autoclobber: bool, keepdb: bool = False) -> str:
        name = str(self._get_test_db_name())
        if keepdb or self.is_in_memory_db(name):
            return name
        if verbosity >= 1:
            self.log(f"Destroying old test database for alias {self._shown(verbosity, name)}...")
        with self._store() as store:
            if name in {entry.name for entry in store.list()}:
                question = f"Type 'yes' to delete the test database '{name}', or 'no' to cancel: "
                if not autoclobber and input(question) != "yes":
                    self.log("Tests cancelled.")
                    sys.exit(1)
                store.delete(name)
        return name

    def _clone_test_db(self, suffix: Any, verbosity: int, keepdb: bool = False) -> None:
        source = str(self.connection.settings_dict["NAME"])
        if self.is_in_memory_db(source):
            super()._clone_test_db(suffix, verbosity, keepdb)
            return
        target = str(self.get_test_db_clone_settings(suffix)["NAME"])
        with self._store() as store:
            if target in {entry.name for entry in store.list()}:
                if keepdb:
                    return
                if verbosity >= 1:
                    self.log(f"Destroying old test database for alias {self._shown(verbosity, target)}...")
                store.delete(target)
            store.branch(source, target)

    def _destroy_test_db(self, test_database_name: str, verbosity: int) -> None:  # noqa: ARG002
        """For good, as soon as a store lets go of anything: the next run takes what this one left."""
        name = str(test_database_name)
        if self.is_in_memory_db(name):
            return
        with self._store() as store, contextlib.suppress(DatabaseNotFoundError):
            store.database(name).set_policy(Policy(deleted=0, least=0))
            store.delete(name)
            left = [entry for entry in store.list(deleted=True) if entry.name == name]
            _retention.gc_deleted(store, left, dry_run=False)

    def setup_worker_connection(self, _worker_id: Any) -> None:
        if self.is_in_memory_db(self.connection.settings_dict["NAME"]):
            super().setup_worker_connection(_worker_id)
            return
        self.connection.settings_dict.update(self.get_test_db_clone_settings(_worker_id))
        self.connection.close()

    def _shown(self, verbosity: int, name: str) -> str:
        return str(self._get_database_display_str(verbosity, name))

    @contextlib.contextmanager
    def _store(self) -> Iterator[Store]:
        store = self.connection.settings_dict["OPTIONS"].get("store")
        if isinstance(store, Store):
            yield store
        else:
            with open_store(store) as opened:
                yield opened
