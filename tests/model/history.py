"""Explains what concurrent transactions saw by one serial order: that of the versions."""

from typing import Any

import mvsqlite_py

Record = dict[str, Any]
State = dict[int, str]


def check_history(store: mvsqlite_py.Store, records: list[Record]) -> list[str]:
    """Sentences about what no serial order explains; the records are those of peer_worker's history."""
    database = store.database("registers.db")
    versions = sorted(database.versions(), key=lambda version: version.version)
    by_message = {v.message: v.version for v in versions if v.message}
    writers = {r["made"]: r for r in records if "made" in r}
    problems = [f"{r['id']} has version {r['made']}, the log says {by_message.get(r['id'])}"
                for r in writers.values() if by_message.get(r["id"]) != r["made"]]  # fmt: skip
    problems += [f"{m} was committed and not acknowledged" for m, v in by_message.items() if v not in writers]
    states = replay([v.version for v in versions], writers)
    problems += unexplained_reads(records, states)
    problems += backwards(records)
    problems += database.verify().problems
    connection = database.connect()
    newest = dict(connection.execute("SELECT k, v FROM r"))
    connection.close()
    expected = states[versions[-1].version]
    if any(expected.get(key, "0") != value for key, value in newest.items()):
        problems.append(f"the end is {newest}, the replay {expected}")
    return problems


def replay(order: list[str], writers: dict[str, Record]) -> dict[str, State]:
    """What was written to the registers until each version; all begin as "0"."""
    state: State = {}
    states = {}
    for version in order:
        writes = writers[version]["writes"] if version in writers else {}
        state = {**state, **{int(key): value for key, value in writes.items()}}
        states[version] = state
    return states


def unexplained_reads(records: list[Record], states: dict[str, State]) -> list[str]:
    problems = []
    order = sorted(states)
    for record in records:
        before = order[order.index(record["made"]) - 1] if "made" in record else record["seen"]
        state = dict(states[before])
        for kind, key, value in record["operations"]:
            if kind == "write":
                state[key] = value
            elif state.get(key, "0") != value:
                problems.append(
                    f"{record['id']} read {value} from {key}; at {before} it was {state.get(key)}"
                )
    return problems


def backwards(records: list[Record]) -> list[str]:
    """Transactions that began after another's acknowledgement and did not see it."""
    problems = []
    events = [(r["ended"], 0, r["made"], r["id"]) for r in records if "made" in r]
    events += [(r["began"], 1, r.get("made") or r["seen"], r["id"]) for r in records]
    newest = ""
    for _, begins, version, name in sorted(events):
        if begins and version < newest:
            problems.append(f"{name} saw {version} after {newest} was acknowledged")
        elif not begins:
            newest = max(newest, version)
    return problems
