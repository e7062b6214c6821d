"""A plain model of a store, and a machine that plays with both side by side."""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

import mvsqlite_py
from mvsqlite_py import dbapi

State = dict[int, bytes]
NAMES = ["a.db", "b.db", "c d?.db"]
KEYS = st.integers(1, 40)
VALUES = st.binary(max_size=900)
PICK = st.integers(0, 5)
BUSY = (apsw.BusyError, sqlite3.OperationalError)


@dataclass
class ModelDatabase:
    """What a database should hold: every version's state, oldest first."""

    versions: list[tuple[str, State]] = field(default_factory=list)
    writer: "Session | None" = None

    @property
    def newest(self) -> State:
        return self.versions[-1][1] if self.versions else {}

    @property
    def newest_version(self) -> str:
        return self.versions[-1][0] if self.versions else "0" * 20


@dataclass(eq=False)
class Session:
    """A connection, and what it should see."""

    connection: Any
    model: ModelDatabase
    open: bool = True
    transaction: bool = False
    base: str = ""
    sees: State = field(default_factory=dict)
    saved: State | None = None

    def run(self, sql: str, *values: Any) -> list[Any]:
        return self.connection.execute(sql, values).fetchall()

    def rows(self) -> State:
        return dict(self.run("SELECT k, v FROM kv"))


class StoreMachine(RuleBasedStateMachine):
    """Connections, transactions, time travel, names; compared after every step."""

    url_in: Callable[[Path], str]
    """Makes the address of a new store, which may be in the directory; given by the test."""

    @initialize(stage=st.sampled_from([65536, 1 << 26]), full=st.sampled_from([1, 2, 32]))
    def start(self, stage: int, full: int) -> None:
        base = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.directory = tempfile.mkdtemp(prefix="mvsqlite-model-", dir=base)
        self.url = type(self).url_in(Path(self.directory))
        self.stage, self.full = stage, full
        self.store = mvsqlite_py.open_store(self.url)
        self.store.configure(stage_bytes=stage, full_every=full)
        self.live: dict[str, ModelDatabase] = {}
        self.deleted: dict[str, list[ModelDatabase]] = {}
        self.all_sessions: list[Session] = []
        for name in NAMES[:2]:
            self.create(name)
            self.connect(name, standard=False)
            self.connect(name, standard=True)

    def _open(self) -> list[Session]:
        return [session for session in self.all_sessions if session.open]

    def _pick(self, pick: int) -> Session:
        sessions = self._open()
        return sessions[pick % len(sessions)]

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        try:
            for session in self.all_sessions:
                self._close(session)
            for name, model in self.live.items():
                self._check_history(name, model)
        finally:
            self.store.close()
            shutil.rmtree(self.directory)

    def _check_history(self, name: str, model: ModelDatabase) -> None:
        database = self.store.database(name)
        assert [v.version for v in database.versions()] == [v for v, _ in reversed(model.versions)]
        assert database.verify().problems == []
        for version, state in model.versions[1:]:
            past = mvsqlite_py.connect(name, self.store, version=version)
            assert dict(past.execute("SELECT k, v FROM kv").fetchall()) == state
            assert past.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            past.close()

    # ---- databases ----------------------------------------------------------------

    def _idle(self, name: str) -> bool:
        return not any(s.open and s.model is self.live[name] for s in self.all_sessions)

    @rule(name=st.sampled_from(NAMES))
    def create(self, name: str) -> None:
        if name in self.live:
            return
        connection = mvsqlite_py.connect(name, self.store)
        connection.execute("CREATE TABLE kv(k INTEGER PRIMARY KEY, v)")
        connection.close()
        version = self.store.database(name).newest
        assert version
        self.live[name] = ModelDatabase([(version.version, {})])

    @rule(name=st.sampled_from(NAMES), new=st.sampled_from(NAMES))
    def rename(self, name: str, new: str) -> None:
        if name not in self.live:
            return
        if new in self.live:
            try:
                self.store.rename(name, new)
            except mvsqlite_py.DatabaseExistsError:
                return
            raise AssertionError("a name was given twice")
        self.store.rename(name, new)
        self.live[new] = self.live.pop(name)

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        if name in self.live and self._idle(name):
            self.store.delete(name)
            self.deleted.setdefault(name, []).append(self.live.pop(name))

    @rule(name=st.sampled_from(NAMES))
    def undelete(self, name: str) -> None:
        if self.deleted.get(name) and name not in self.live:
            self.store.undelete(name)
            self.live[name] = self.deleted[name].pop()

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = mvsqlite_py.open_store(self.url)
        self.store.configure(stage_bytes=self.stage, full_every=self.full)
        assert sorted(entry.name for entry in self.store.list()) == sorted(self.live)

    # ---- connections ----------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), standard=st.booleans())
    def connect(self, name: str, standard: bool) -> None:
        if name not in self.live:
            return
        if standard:
            connection: Any = dbapi.connect(name, self.store, timeout=0, isolation_level=None)
        else:
            connection = mvsqlite_py.connect(name, self.store, timeout=0)
        self.all_sessions.append(Session(connection, self.live[name]))

    @staticmethod
    def _close(session: Session) -> None:
        if session.open:
            session.connection.close()
            session.open = False
            if session.model.writer is session:
                session.model.writer = None

    @precondition(lambda self: len(self._open()) > 2)
    @rule(pick=PICK)
    def close(self, pick: int) -> None:
        self._close(self._pick(pick))

    @precondition(lambda self: self._open())
    @rule(pick=PICK, immediate=st.booleans())
    def begin(self, pick: int, immediate: bool) -> None:
        session = self._pick(pick)
        if session.transaction:
            return
        model = session.model
        if immediate and model.writer:
            self._refused(session, "BEGIN IMMEDIATE")
            return
        session.run("BEGIN IMMEDIATE" if immediate else "BEGIN")
        session.transaction, session.base, session.sees = True, model.newest_version, dict(model.newest)
        assert session.rows() == session.sees
        if immediate:
            model.writer = session

    @staticmethod
    def _refused(session: Session, sql: str, *values: Any) -> None:
        with pytest.raises(BUSY, match="locked"):
            session.run(sql, *values)

    @precondition(lambda self: self._open())
    @rule(pick=PICK, key=KEYS, value=st.none() | VALUES)
    def write(self, pick: int, key: int, value: bytes | None) -> None:
        session = self._pick(pick)
        model = session.model
        sql = "DELETE FROM kv WHERE k = ?" if value is None else "REPLACE INTO kv VALUES (?, ?)"
        values = (key,) if value is None else (key, value)
        stale = session.transaction and session.base != model.newest_version
        if model.writer not in (None, session) or (stale and model.writer is not session):
            self._refused(session, sql, *values)
            return
        session.run(sql, *values)
        sees = session.sees if session.transaction else dict(model.newest)
        sees.pop(key, None)
        if value is not None:
            sees[key] = value
        if session.transaction:
            model.writer = session
        else:
            self._made(session, sees)

    @staticmethod
    def _made(session: Session, state: State) -> None:
        """A commit: a version if any page changed, and never another state."""
        version = session.run("SELECT mv_version()")[0][0]
        if version != session.model.newest_version:
            assert version > session.model.newest_version
            session.model.versions.append((version, state))
        else:
            assert state == session.model.newest

    @precondition(lambda self: self._open())
    @rule(pick=PICK)
    def fill(self, pick: int) -> None:
        """A transaction large enough to spill SQLite's cache and to be staged."""
        session = self._pick(pick)
        if session.transaction or session.model.writer:
            return
        session.run("PRAGMA cache_size = 5")
        state = {k: bytes([k]) * 3000 for k in range(1, 61)}
        session.run("BEGIN IMMEDIATE")
        for item in state.items():
            session.run("REPLACE INTO kv VALUES (?, ?)", *item)
        session.run("COMMIT")
        self._made(session, state)

    @precondition(lambda self: self._open())
    @rule(pick=PICK)
    def read(self, pick: int) -> None:
        session = self._pick(pick)
        assert session.rows() == (session.sees if session.transaction else session.model.newest)

    @precondition(lambda self: self._open())
    @rule(pick=PICK, commit=st.booleans())
    def end(self, pick: int, commit: bool) -> None:
        session = self._pick(pick)
        if not session.transaction:
            return
        session.run("COMMIT" if commit else "ROLLBACK")
        writing = session.model.writer is session
        session.transaction, session.saved = False, None
        if writing:
            session.model.writer = None
        if writing and commit:
            self._made(session, session.sees)
        assert session.rows() == session.model.newest

    @precondition(lambda self: self._open())
    @rule(pick=PICK)
    def savepoint(self, pick: int) -> None:
        session = self._pick(pick)
        if session.transaction:
            if session.saved is None:
                session.run("SAVEPOINT s")
                session.saved = dict(session.sees)
            else:
                session.run("ROLLBACK TO s")
                session.run("RELEASE s")
                session.sees, session.saved = session.saved, None

    # ---- time ------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), back=st.integers(0, 30))
    def look_back(self, name: str, back: int) -> None:
        if name in self.live:
            versions = self.live[name].versions
            version, state = versions[max(0, len(versions) - 1 - back)]
            past = mvsqlite_py.connect(name, self.store, version=version)
            assert dict(past.execute("SELECT k, v FROM kv").fetchall()) == state
            past.close()

    @precondition(lambda self: self._open())
    @rule(pick=PICK, back=st.integers(1, 10))
    def pin(self, pick: int, back: int) -> None:
        session = self._pick(pick)
        if session.transaction:
            return
        versions = session.model.versions
        version, state = versions[max(0, len(versions) - 1 - back)]
        session.run(f"PRAGMA mv_version = '{version}'")
        assert session.rows() == state
        session.run("PRAGMA mv_at = 'now'")
        assert session.rows() == session.model.newest

    @precondition(lambda self: self.live)
    @rule(name=st.sampled_from(NAMES), back=st.integers(0, 10))
    def revert(self, name: str, back: int) -> None:
        if name not in self.live or self.live[name].writer:
            return
        model = self.live[name]
        target, state = model.versions[max(0, len(model.versions) - 1 - back)]
        made = self.store.database(name).revert(version=target)
        if int(made, 16):
            model.versions.append((made, dict(state)))
        assert state == model.newest

    @rule(name=st.sampled_from(NAMES), new=st.sampled_from(NAMES))
    def through_a_file(self, name: str, new: str) -> None:
        if name not in self.live or new in self.live:
            return
        path = Path(self.directory, "file.db")
        self.store.export(name, path)
        version = self.store.import_file(path, new).newest
        path.unlink()
        assert version
        self.live[new] = ModelDatabase([(version.version, dict(self.live[name].newest))])
