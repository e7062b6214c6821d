"""The machine with branches, promotions, undo, tags and gc: what they leave is compared like all else."""

import time
from dataclasses import dataclass
from typing import Literal
from unittest import mock

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

import mvsqlite_py
from machine import KEYS, NAMES, VALUES, ModelDatabase, State, StoreMachine
from mvsqlite_py import _retention

BACK = st.integers(0, 12)
BRANCHES = ["x.db", "y.db", "z.db"]
ALL_NAMES = NAMES + BRANCHES
TAGS = ["t", "u", "v"]
DAY = 86400


@dataclass
class ModelBranch(ModelDatabase):
    """A database that knows where it comes from."""

    parent: ModelDatabase | None = None
    base: str = ""

    @property
    def own(self) -> list[str]:
        """The versions that are not the parent's."""
        return [version for version, _ in self.versions if version > self.base]


def root(model: ModelDatabase) -> ModelDatabase:
    """The database at the beginning of the line."""
    while isinstance(model, ModelBranch) and model.parent:
        model = model.parent
    return model


def taken_back(before: State, after: State, now: State, theirs: bool) -> tuple[State, set[int]]:
    """The state when the step from before to after is undone, and the keys left alone."""
    result, left = dict(now), set()
    for key in before.keys() | after.keys():
        was, did, there = before.get(key), after.get(key), now.get(key)
        if was in (did, there):
            continue
        if there != did and not theirs:
            left.add(key)
        elif was is None:
            result.pop(key, None)
        else:
            result[key] = was
    return result, left


class TravelMachine(StoreMachine):
    """Histories that fork, are changed afterwards, and are forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.bases: list[str] = []
        """Where branches begin, those of deleted ones too."""
        self.tags: list[tuple[ModelDatabase, str, str]] = []
        """The family (its first database), the tag, the version."""

    @rule(name=st.sampled_from(ALL_NAMES), new=st.sampled_from(BRANCHES), back=BACK)
    def branch(self, name: str, new: str, back: int) -> None:
        if name not in self.live or new in self.live:
            return
        parent = self.live[name]
        index = max(0, len(parent.versions) - 1 - back)
        self.store.branch(name, new, version=parent.versions[index][0] if back else None)
        kept = parent.versions[: index + 1] if back else list(parent.versions)
        self._add_branch(new, kept, parent)

    def _add_branch(self, name: str, versions: list[tuple[str, State]], parent: ModelDatabase) -> None:
        self.live[name] = ModelBranch(versions, parent=parent, base=versions[-1][0])
        self.bases.append(versions[-1][0])

    @rule(name=st.sampled_from(BRANCHES), key=KEYS, value=VALUES)
    def write_branch(self, name: str, key: int, value: bytes) -> None:
        if name not in self.live or self.live[name].writer:
            return
        connection = mvsqlite_py.connect(name, self.store)
        connection.execute("REPLACE INTO kv VALUES (?, ?)", (key, value))
        version = connection.execute("SELECT mv_version()").fetchall()[0][0]
        connection.close()
        self._add(name, version, {**self.live[name].newest, key: value})

    def _add(self, name: str, version: str | None, state: State) -> None:
        model = self.live[name]
        if version and int(version, 16) and version != model.newest_version:
            model.versions.append((version, state))
        assert model.newest == state

    @rule(name=st.sampled_from(ALL_NAMES), branch=st.sampled_from(BRANCHES), keep=st.sampled_from(BRANCHES))
    def promote(self, name: str, branch: str, keep: str) -> None:
        if name not in self.live or branch not in self.live or self.live[name].writer:
            return
        model, source = self.live[name], self.live[branch]
        kept = keep if keep not in self.live else None
        if source is model or root(source) is not root(model):
            with pytest.raises(mvsqlite_py.MisuseError, match=r"the database itself|not branches of one"):
                self.store.database(name).promote(branch)
            return
        before = list(model.versions)
        made = self.store.database(name).promote(branch, keep=kept)
        self._add(name, made, dict(source.newest))
        if kept:
            self._add_branch(kept, before, model)

    @rule(name=st.sampled_from(ALL_NAMES), back=BACK, conflicts=st.sampled_from(["leave", "theirs"]))
    def undo(self, name: str, back: int, conflicts: Literal["leave", "theirs"]) -> None:
        if name not in self.live or self.live[name].writer:
            return
        versions = self.live[name].versions
        index = max(0, len(versions) - 1 - back)
        if index == 0:
            return
        (_, before), (version, after) = versions[index - 1], versions[index]
        wanted, left = taken_back(before, after, self.live[name].newest, conflicts == "theirs")
        database = self.store.database(name)
        if database.version(version).merged:
            with pytest.raises(mvsqlite_py.UndoError, match="forgotten"):
                database.undo(version)
            return
        told = database.undo(version, conflicts=conflicts, dry_run=True)
        report = database.undo(version, conflicts=conflicts)
        assert (told.tables, told.untouched) == (report.tables, report.untouched)
        assert {row.key["k"] for row in report.untouched} == left
        self._add(name, report.made, wanted)

    @rule(name=st.sampled_from(ALL_NAMES), back=BACK)
    def undo_and_undo(self, name: str, back: int) -> None:
        """Taking back what was taken back is the identity."""
        if name not in self.live or self.live[name].writer or len(self.live[name].versions) < 2:
            return
        before = dict(self.live[name].newest)
        self.undo(name, back, "theirs")
        if self.live[name].newest != before:
            self.undo(name, 0, "leave")
        assert self.live[name].newest == before

    # ---- keeping and forgetting ---------------------------------------------------------

    @rule(name=st.sampled_from(ALL_NAMES), tag=st.sampled_from(TAGS), back=BACK)
    def tag(self, name: str, tag: str, back: int) -> None:
        if name not in self.live:
            return
        model = self.live[name]
        version, _ = model.versions[max(0, len(model.versions) - 1 - back)]
        database = self.store.database(name)
        there = database.tags().get(tag)
        if there not in (None, version):
            database.untag(tag)
            self.tags = [one for one in self.tags if one != (root(model), tag, there)]
        if there != version and tag in database.tags():
            return  # the parent's tag of that name shows again
        database.tag(tag, version=version)
        self.tags.append((root(model), tag, version))
        assert database.tags()[tag] == version

    def _needed(self, model: ModelDatabase) -> set[str]:
        """The versions that nothing may take away."""
        needed = {model.newest_version, *self.bases}
        needed |= {version for family, _, version in self.tags if family is root(model)}
        sessions = [s for s in self._open() if root(s.model) is root(model) and s.transaction]
        return needed | {session.base for session in sessions}

    @rule(name=st.sampled_from(ALL_NAMES), all_of_them=st.booleans())
    def gc(self, name: str, all_of_them: bool) -> None:
        if name not in self.live:
            return
        model, database = self.live[name], self.store.database(name)
        own = model.own if isinstance(model, ModelBranch) else [version for version, _ in model.versions]
        database.set_policy(mvsqlite_py.Policy(keep_all=60 if all_of_them else None))
        tomorrow = int((time.time() + DAY) * 1000)
        with mock.patch.object(_retention, "clock_ms", return_value=tomorrow):
            told, done = database.gc(dry_run=True), database.gc()
        assert (told.removed, told.images, told.bytes) == (done.removed, done.images, done.bytes)
        left = {entry.version for entry in database.versions()}
        gone = set(own) - left
        assert done.removed == len(gone)
        assert not gone & self._needed(model)
        if not all_of_them:
            assert not gone
        elif not any(root(s.model) is root(model) for s in self._open()):
            assert set(own) - gone <= self._needed(model)
        self._forget(root(model), gone)

    def _forget(self, family: ModelDatabase, gone: set[str]) -> None:
        deleted = [model for models in self.deleted.values() for model in models]
        for model in [*self.live.values(), *deleted]:
            if root(model) is family:
                model.versions = [one for one in model.versions if one[0] not in gone]
