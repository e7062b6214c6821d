"""Whether a store holds what was acknowledged, and nothing by halves."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import apsw

import mvsqlite_py
from writer import NAMES, Writer

INCOMPLETE = """
SELECT id FROM txns t WHERE n <> (SELECT count(*) FROM rows r WHERE r.id = t.id)
    OR s <> (SELECT sum(x) FROM rows r WHERE r.id = t.id)
UNION ALL SELECT 'rows without a transaction: ' || id FROM rows WHERE id NOT IN (SELECT id FROM txns)
UNION ALL SELECT 'total of rows' FROM total
    WHERE n <> (SELECT count(*) FROM rows) OR s <> (SELECT ifnull(sum(x), 0) FROM rows)
"""


class Checker:
    """Checks a store after each round of kills; versions checked before are not opened again."""

    def __init__(self, url: str, acknowledged: Path, seen: dict[str, Any]) -> None:
        self.store = mvsqlite_py.open_store(url)
        self.url, self.directory = url, acknowledged
        self.seen = seen
        self.problems: list[str] = []

    def check(self, turn: int) -> None:
        self.write_at_once(turn)
        logs = {name: list(self.store.database(name).versions())[::-1] for name in NAMES}
        for name, log in logs.items():
            self.check_contents(name, log)
            database = self.store.database(name)
            self.problems += [f"{name}: {p}" for p in database.verify().problems]
            staged = database.stat().staged_bytes
            if staged:
                self.problems.append(f"{name}: {staged} bytes staged by the dead are left")
        self.check_messages(logs)

    def write_at_once(self, turn: int) -> None:
        """The next writer waits for nobody: a lock or a half done move is not in its way."""
        writer = Writer(self.url, self.directory / f"checker-{turn}", f"checker-{turn}", timeout=0)
        for name in NAMES:
            writer.commit([name], 1, 50)
        writer.commit(NAMES[:2], 1, 50)

    def check_messages(self, logs: dict[str, list[mvsqlite_py.Version]]) -> None:
        """Every acknowledged commit once, and every commit in all of its databases."""
        found = {n: {v.message: v.version for v in log if v.message} for n, log in logs.items()}
        for name, log in logs.items():
            repeated = [m for m, times in Counter(v.message for v in log if v.message).items() if times > 1]
            self.problems += [f"{name}: {message} was committed twice" for message in repeated]
        for message, version in [item for name in NAMES for item in found[name].items()]:
            names = message.split()[1:]
            if {found[name].get(message) for name in names} != {version}:
                self.problems.append(f"{message} is not in all of its databases as {version}")
        for identity, version in self.acknowledged():
            for name in identity.split()[1:]:
                if found[name].get(identity) != version:
                    self.problems.append(f"{name}: {identity} was acknowledged as {version} and is not there")

    def acknowledged(self) -> list[tuple[str, str]]:
        """Of all processes so far; a line that was cut short was not acknowledged."""
        lines = [line for f in self.directory.iterdir() for line in f.read_text().splitlines(keepends=True)]
        entries = [json.loads(line) for line in lines if line.endswith("\n")]
        self.seen["acknowledged"] = len(entries)
        return [(entry["id"], entry["version"]) for entry in entries]

    def check_contents(self, name: str, log: list[mvsqlite_py.Version]) -> None:
        """Each version holds exactly the transactions the log says, all of them whole."""
        expected: dict[str, frozenset[str]] = {}
        newest: frozenset[str] = frozenset()
        for version in log:
            if version.kind == "revert":
                newest = expected[str(version.target)]
            elif version.message:
                newest |= {version.message}
            expected[version.version] = newest
            if version.version > self.seen.get(name, ""):
                self.check_version(name, version.version, newest)
                self.seen["versions"] = self.seen.get("versions", 0) + 1
        self.seen[name] = log[-1].version

    def check_version(self, name: str, version: str, expected: frozenset[str]) -> None:
        connection = mvsqlite_py.connect(name, self.store, version=version)
        try:
            tables = connection.execute("SELECT count(*) FROM sqlite_schema WHERE type='table'").fetchall()
            if tables == [(3,)]:
                ids = {row[0] for row in connection.execute("SELECT id FROM txns")}
                bad = connection.execute(INCOMPLETE).fetchall()
                if ids != expected:
                    self.problems.append(f"{name} {version}: {ids ^ expected} too much or missing")
                self.problems += [f"{name} {version}: incomplete: {row[0]}" for row in bad]
            answer = connection.execute("PRAGMA integrity_check").fetchall()
            if answer != [("ok",)]:
                self.problems.append(f"{name} {version}: {answer}")
        except apsw.Error as error:
            self.problems.append(f"{name} {version}: {error!r}")
        finally:
            connection.close()


def check(url: str, acknowledged: Path, seen: Path, problems: Path, turn: int) -> None:
    """Run in a process of its own; the results are in the two files."""
    checker = Checker(url, acknowledged, json.loads(seen.read_text()) if seen.exists() else {})
    checker.check(turn)
    seen.write_text(json.dumps(checker.seen))
    problems.write_text("\n".join(checker.problems))
