"""The machine with branches, promotions and undo: what they make is compared like everything else."""

from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

import mvsqlite_py
from machine import KEYS, NAMES, VALUES, ModelDatabase, State, StoreMachine

BACK = st.integers(0, 12)
BRANCHES = ["x.db", "y.db", "z.db"]
ALL_NAMES = NAMES + BRANCHES


@dataclass
class ModelBranch(ModelDatabase):
    """A database that knows where it comes from."""

    parent: ModelDatabase | None = None


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
    """Histories that fork and are changed afterwards."""

    @rule(name=st.sampled_from(ALL_NAMES), new=st.sampled_from(BRANCHES), back=BACK)
    def branch(self, name: str, new: str, back: int) -> None:
        if name not in self.live or new in self.live:
            return
        parent = self.live[name]
        index = max(0, len(parent.versions) - 1 - back)
        self.store.branch(name, new, version=parent.versions[index][0] if back else None)
        kept = parent.versions[: index + 1] if back else list(parent.versions)
        self.live[new] = ModelBranch(kept, parent=parent)

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
            self.live[kept] = ModelBranch(before, parent=model)

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
        versions = self.live[name].versions
        if versions[-1][1] != before:
            self.undo(name, 0, "leave")
        assert self.live[name].newest == before
