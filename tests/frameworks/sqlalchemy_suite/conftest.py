"""SQLAlchemy's suite for dialects, against the built-in dialect or ours.

Run by itself, see test_sqlalchemy_suite.py beside this directory.
"""

import os

import pytest
from sqlalchemy import event
from sqlalchemy.dialects.sqlite import provision as _  # noqa: F401
from sqlalchemy.testing import provision

import mvsqlite_py

pytest.register_assert_rewrite("sqlalchemy.testing.assertions")

from sqlalchemy.testing.plugin.pytestplugin import *  # noqa: E402, F403

OURS = "mvsqlite"
SCHEMA = "test_schema.db"

# What SQLAlchemy does around tests on SQLite it finds by the URL's name.
for hook in (
    provision.upsert,
    provision.temp_table_keyword_args,
    provision.post_configure_testing_engine,
    provision.stop_test_class_outside_fixtures,
):
    hook.for_db(OURS)(hook.fns["sqlite"])


@provision.generate_driver_url.for_db(OURS)
def same_url(url, _driver, _query):
    return url


@provision.post_configure_engine.for_db(OURS)
def attach_schema(url, engine, follower_ident):  # noqa: ARG001
    assert os.environ["MVSQLITE_STORE"] in ("", url.query["store"])

    @event.listens_for(engine, "connect")
    def attach(connection, _record):
        connection.execute(f"ATTACH DATABASE '{SCHEMA}' AS test_schema")

    @event.listens_for(engine, "engine_disposed")
    def drop(_engine):
        with mvsqlite_py.open_store(url.query["store"]) as store:
            for entry in store.list():
                store.delete(entry.name)
