"""Django over a store: ``"ENGINE": "mvsqlite_py.django"``; wants ``pip install 'mvsqlite-py[django]'``.

``NAME`` is the database's name (``:memory:`` and ``file:`` URIs are as for Django's own backend), ``OPTIONS``
what ``mvsqlite_py.dbapi.connect`` takes (``store``, ``concurrency``, ``timeout``, ...) and what Django's
backend for SQLite takes. Everything else is that backend's. A test database that is not in memory is a
database of the store; clones for parallel tests are branches of it.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from django.db import connections

from mvsqlite_py import Database, Store, _binding, _past, open_store
from mvsqlite_py._database import Moment

__all__ = ["at", "database"]


@contextlib.contextmanager
def at(
    moment: Moment | None = None, /, *, version: str | None = None, using: str = "default"
) -> Iterator[Any]:
    """``with at("-1h"):`` the queries of this thread read that moment, and cannot write.

    using: the alias in ``DATABASES``. moment, version: as for :func:`mvsqlite_py.at`. Query sets are lazy:
    one that is evaluated after the block reads the present. Raises MisuseError inside ``atomic``, and for
    a database that is in no store.
    """
    wrapper: Any = connections[using]
    if wrapper.in_atomic_block:
        raise _binding.failure("MV_MISUSE", f"look back outside of atomic(): {using!r} is in a transaction")
    wrapper.ensure_connection()
    connection, before = wrapper.connection, getattr(wrapper, "pinned", None)
    outer = _past.pin(connection, moment, version)
    wrapper.pinned = _past.pinned_to(connection)
    try:
        yield wrapper
    finally:
        wrapper.pinned = before
        _past.unpin(connection, outer)
        if wrapper.connection is not None and wrapper.connection is not connection:
            _past.unpin(wrapper.connection, outer)  # it was closed meanwhile, and opened again


def database(using: str = "default") -> Database:
    """The database behind an alias of ``DATABASES``: its versions, differences, and undo."""
    settings = connections[using].settings_dict
    store = settings["OPTIONS"].get("store")
    return (store if isinstance(store, Store) else open_store(store)).database(str(settings["NAME"]))
