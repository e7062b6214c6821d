"""What commits record of their statements: never a bound value that nobody asked for."""

import json
from contextlib import closing
from dataclasses import replace
from typing import Any

import apsw
import pytest
from click.testing import CliRunner

import mvsqlite_py
from mvsqlite_py._cli.mvsqlite import mvsqlite
from mvsqlite_py._retention import STATEMENTS

SECRET = "a secret"
INSERT = "INSERT INTO t VALUES (?)"


@pytest.fixture
def database(store: mvsqlite_py.Store) -> mvsqlite_py.Database:
    with closing(mvsqlite_py.connect("quiet.db", store)) as connection:
        connection.execute("CREATE TABLE t(x)")
    return store.database("quiet.db")


def connect(database: mvsqlite_py.Database, parameter: str | None = None) -> apsw.Connection:
    mvsqlite_py.connect(database.name, database.store).close()  # loads the extension
    address = mvsqlite_py.uri(database.name, store=database.store)
    if parameter is not None:
        address += f"&statements={parameter}"
    return apsw.Connection(address, flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI)


def record(database: mvsqlite_py.Database, mode: str) -> None:
    database.set_policy(replace(database.policy(), statements=mode))


def recorded(database: mvsqlite_py.Database) -> str | None:
    newest = database.newest
    assert newest
    return newest.statements


@pytest.mark.parametrize("setting", [*STATEMENTS])
@pytest.mark.parametrize("environment", [None, "on", *STATEMENTS])
@pytest.mark.parametrize("parameter", [None, *STATEMENTS])
def test_of_what_was_said_the_least_is_recorded(
    database: mvsqlite_py.Database,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    environment: str | None,
    parameter: str | None,
) -> None:
    if setting != "text":
        record(database, setting)
    if environment:
        monkeypatch.setenv("MVSQLITE_STATEMENTS", environment)
    with closing(connect(database, parameter)) as connection:
        connection.execute(INSERT, (SECRET,))
    said = {
        setting if setting != "text" else None,
        environment and environment.replace("on", "text"),
        parameter,
    }
    if "off" in said:
        assert recorded(database) is None
    elif "values" in said and "text" not in said:
        assert recorded(database) == f"INSERT INTO t VALUES ('{SECRET}')"
    else:
        assert recorded(database) == INSERT


def test_values_of_another_database_of_the_connection_stay_out(
    database: mvsqlite_py.Database, store: mvsqlite_py.Store
) -> None:
    """One commit of two databases, of which one records values."""
    loud = store.create("loud.db")
    record(loud, "values")
    with closing(connect(database)) as connection:
        connection.execute("ATTACH ? AS loud", (mvsqlite_py.uri("loud.db", store=store),))
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE loud.u(y)")
        connection.execute(INSERT, (SECRET,))
        connection.execute("COMMIT")
    assert recorded(database) == f"CREATE TABLE loud.u(y);\n{INSERT}"
    assert recorded(loud) == f"CREATE TABLE loud.u(y);\nINSERT INTO t VALUES ('{SECRET}')"


def test_values_are_bounded_and_repetitions_told(database: mvsqlite_py.Database) -> None:
    record(database, "values")
    with closing(connect(database)) as connection:
        connection.execute(INSERT, (b"\xff" * 5_000_000,))
        assert recorded(database) == INSERT
        connection.execute(INSERT, ("é" * 3000,))
        text = recorded(database)
        assert text is not None
        assert text.startswith("INSERT INTO t VALUES ('éé")
        assert 900 < len(text.encode()) <= 1000
        connection.execute("BEGIN")
        for value in (1, 1, 2):
            connection.execute(INSERT, (value,))
        connection.execute("COMMIT")
    assert recorded(database) == "INSERT INTO t VALUES (1) /* 2 times */;\nINSERT INTO t VALUES (2)"


def test_a_word_that_is_not_known_is_refused(
    database: mvsqlite_py.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slip in writing off must not record what was to be kept out."""
    with pytest.raises(apsw.MisuseError):
        connect(database, "of")
    monkeypatch.setenv("MVSQLITE_STATEMENTS", "of")
    with pytest.raises(mvsqlite_py.MisuseError, match="of is not known: write text, values or off"):
        mvsqlite_py.connect(database.name, database.store)
    assert recorded(database) == "CREATE TABLE t(x)"


def test_the_setting_is_told_and_changed_by_command(database: mvsqlite_py.Database, store_url: str) -> None:
    def run(*words: str) -> Any:
        result = CliRunner(env={"MVSQLITE_STORE": store_url}).invoke(mvsqlite, ["settings", *words])
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "text: commits record their text, without bound values" in run(database.name)
    assert json.loads(run(database.name, "--statements", "off", "--json")) == {
        "name": database.name,
        "statements": "off",
    }
    assert database.policy().statements == "off"
