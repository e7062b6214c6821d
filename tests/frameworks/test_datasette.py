"""Datasette and sqlite-utils with databases of a store."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import mvsqlite_py
from mvsqlite_py import dbapi
from serving import Serve

pytest.importorskip("datasette")
sqlite_utils = pytest.importorskip("sqlite_utils")

BY_SQL = "/{}.json?_shape=arrayfirst&sql=select+title+from+note+order+by+id"


def configured(directory: Path, store: mvsqlite_py.Store, databases: object) -> list[str]:
    """The command that serves databases of the store."""
    config = {"plugins": {"mvsqlite": {"store": store.url, "databases": databases}}}
    (directory / "metadata.json").write_text(json.dumps(config))
    return ["datasette", "serve", "--uds", "{socket}", "--metadata", str(directory / "metadata.json")]


def test_it_serves_what_is_written_and_a_bad_delete_is_undone_meanwhile(
    notes: mvsqlite_py.Database, serve: Serve, tmp_path: Path, mvrevert: Callable[..., str]
) -> None:
    databases = ["notes.db", {"name": "notes.db", "at": "now", "route": "then"}]
    with (
        serve(*configured(tmp_path, notes.store, databases), ready="/-/versions.json") as client,
        closing(dbapi.connect("notes.db", notes.store)) as writer,
    ):

        def titles(database: str = "notes") -> list[str]:
            answer = client.get(BY_SQL.format(database))
            assert answer.status_code == 200, answer.text
            return list(answer.json())

        everything = ["one", "two", "three", "four"]
        assert titles() == everything
        assert {d["name"] for d in client.get("/-/databases.json").json()} >= {"notes", "then"}
        for n in range(5, 25):
            with writer:
                writer.execute("INSERT INTO note(title) VALUES (?)", (str(n),))
            everything.append(str(n))
            assert titles() == everything
        assert "four" in client.get("/notes/note").text
        with writer:
            writer.execute("DELETE FROM note WHERE id > 2")
        assert titles() == everything[:2]
        mvrevert("undo", "notes.db", notes.newest.version, "--yes")
        assert titles() == everything
        assert titles("then") == everything[:4]


def test_all_databases_and_their_pages(notes: mvsqlite_py.Database, serve: Serve, tmp_path: Path) -> None:
    notes.store.branch("notes.db", "other.db")
    with serve(*configured(tmp_path, notes.store, "*"), ready="/-/versions.json") as client:
        listed = {d["name"]: d for d in client.get("/-/databases.json").json()}
        assert listed["notes"]["size"] == listed["other"]["size"] > 0
        for page in (
            "/",
            "/notes",
            "/other/note",
            "/notes/note/1",
            "/notes/note.csv",
            "/notes/note?_facet=title",
        ):
            assert client.get(page).status_code == 200, page
        refused = client.get("/notes.json?sql=select+*+from+nothing")
        assert refused.status_code == 400


def test_writes_through_datasette(notes: mvsqlite_py.Database) -> None:
    """As its plugins do them."""
    import asyncio

    from datasette.app import Datasette

    config = {"plugins": {"mvsqlite": {"store": notes.store.url, "databases": ["notes.db"]}}}

    async def work() -> None:
        datasette = Datasette(memory=True, metadata=config)
        await datasette.invoke_startup()
        database = datasette.get_database("notes")
        await database.execute_write("INSERT INTO note(title) VALUES (?)", ["five"])
        with pytest.raises(dbapi.OperationalError, match="readonly"):
            await database.execute("DELETE FROM note", log_sql_errors=False)
        assert (await database.execute("SELECT count(*) FROM note")).single_value() == 5
        assert database.mtime_ns > 1.7e18
        database.close()

    asyncio.run(work())
    assert notes.newest.statements == "INSERT INTO note(title) VALUES (?)"


def test_sqlite_utils_on_a_connection(notes: mvsqlite_py.Database, mvrevert: Callable[..., str]) -> None:
    with closing(dbapi.connect("notes.db", notes.store)) as connection:
        db = sqlite_utils.Database(connection)
        db["tag"].insert_all(({"id": n, "name": f"tag {n}"} for n in range(100)), pk="id")
        db["tag"].upsert({"id": 3, "name": "three"}, pk="id")
        db["tag"].enable_fts(["name"], create_triggers=True)
        assert [row["id"] for row in db["tag"].search("three")] == [3]
        db["tag"].transform(rename={"name": "label"})
        assert [column.name for column in db["tag"].columns] == ["id", "label"]
        with db.conn:
            db["note"].delete_where()
        assert db["note"].count == 0
        mvrevert("undo", "notes.db", notes.newest.version, "--yes")
        assert db["note"].count == 4
    assert notes.verify().problems == []


def test_the_plugin_is_found_by_its_entry_point() -> None:
    from importlib.metadata import entry_points

    found = {point.value for point in entry_points(group="datasette")}
    assert "mvsqlite_py.datasette" in found
