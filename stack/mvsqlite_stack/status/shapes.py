"""The picture for programs: JSON, Prometheus, Atom.

``/status.json`` is an object, whose keys stay while ``format`` does; others may be added. Times are ISO 8601
in UTC, durations seconds.

- ``format``: 1. ``title``, ``at``, ``words``; ``state``: unknown, up, slow or down.
- ``maintenance``: whether announced work is under way.
- ``history``: whether the history could be read; if not, days and incidents are those kept in memory.
- ``parts``: a list of ``id``, ``title``, ``group`` (services or data), ``state`` (also: absent), ``reason``,
  ``words``, ``maintenance``, ``since``, ``checked``, ``seconds`` (of the newest answer, or null), ``value``
  (days left of certificates, age of the newest backup and drill, lag of the replica; else null),
  ``uptime_90_days`` (0 to 1, or null if nothing was measured) and ``days``: for each day in which anything
  was measured ``day`` and the seconds ``up``, ``slow``, ``down``, ``maintenance``. What is in none of them
  was not measured.
- ``incidents``: a list, newest first, of ``id``, ``sort`` (outage, notice or maintenance), ``title``,
  ``parts``, ``begins``, ``ends`` (or null) and ``notes``: ``at`` and ``text``.
"""

import math
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from mvsqlite_stack.status.board import PartNow, Picture
from mvsqlite_stack.status.incidents import Incident
from mvsqlite_stack.status.parts import Reason, State
from mvsqlite_stack.status.settings import Settings
from mvsqlite_stack.status.tally import last_days

FORMAT = 1


def moment(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def as_json(picture: Picture, title: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "title": title,
        "at": moment(picture.at),
        "state": picture.state,
        "words": picture.words(),
        "maintenance": picture.maintenance,
        "history": picture.history,
        "parts": [_part(one, picture.at) for one in picture.parts],
        "incidents": [_incident(one) for one in picture.incidents],
    }


def _part(one: PartNow, now: int) -> dict[str, Any]:
    days = [
        {"day": day(at), "up": t.up, "slow": t.slow, "down": t.down, "maintenance": t.maintenance}
        for at, t in zip(last_days(now), one.days, strict=True)
        if t.measured
    ]
    return {
        "id": one.part.id,
        "title": one.part.title,
        "group": one.part.group,
        "state": one.state,
        # A stranger is not told which door is open.
        "reason": Reason.ERROR if one.outcome.reason is Reason.OPEN else one.outcome.reason,
        "words": one.words,
        "maintenance": one.maintenance,
        "since": moment(one.since),
        "checked": moment(one.checked),
        "seconds": _rounded(one.outcome.seconds, 3),
        "value": _rounded(one.outcome.value, 1),
        "uptime_90_days": _rounded(one.uptime, 6),
        "days": days,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, digits)


def _incident(one: Incident) -> dict[str, Any]:
    return {
        "id": one.id,
        "sort": one.sort,
        "title": one.title,
        "parts": list(one.parts),
        "begins": moment(one.begins),
        "ends": moment(one.ends),
        "notes": [{"at": moment(note.at), "text": note.text} for note in one.notes],
    }


# ---- Prometheus ------------------------------------------------------------------------

METRICS = {
    "part_up": "Whether a part works (slow counts as working).",
    "part_state": "1 for the state that a part is in, 0 for the others.",
    "part_maintenance": "Whether announced work on a part is under way.",
    "part_uptime_ratio": "Share of the time measured in 90 days in which a part worked.",
    "part_check_seconds": "How long the newest answer of a part took.",
    "part_checked_timestamp_seconds": "When a part was checked.",
    "certificate_days_left": "Until the first certificate ends.",
    "backup_age_seconds": "Age of the newest backup.",
    "restore_drill_age_seconds": "Age of the newest restore drill.",
    "replica_lag_seconds": "How far the replica is behind.",
    "history_readable": "Whether the history could be read.",
    "incidents_open": "Incidents that are not over.",
    "event_listeners": "Connections for live events.",
}
VALUES = {
    "certificates": "certificate_days_left",
    "backup": "backup_age_seconds",
    "restore-drill": "restore_drill_age_seconds",
    "replica": "replica_lag_seconds",
}
_KNOWN = (State.UP, State.SLOW, State.DOWN)


def as_metrics(picture: Picture, listeners: int) -> str:
    """In the text format of Prometheus, version 0.0.4."""
    found: dict[str, list[tuple[str, float]]] = {name: [] for name in METRICS}
    for one in picture.parts:
        _part_metrics(one, found)
    found["history_readable"].append(("", picture.history))
    found["incidents_open"].append(("", sum(one.is_on(picture.at) for one in picture.incidents)))
    found["event_listeners"].append(("", listeners))
    lines = []
    for name, samples in found.items():
        if samples:
            lines += [f"# HELP mvstack_{name} {METRICS[name]}", f"# TYPE mvstack_{name} gauge"]
            lines += [f"mvstack_{name}{labels} {float(value):.10g}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _part_metrics(one: PartNow, found: dict[str, list[tuple[str, float]]]) -> None:
    id, outcome = one.part.id, one.outcome
    label = f'{{part="{id}"}}'
    if one.state in _KNOWN:
        found["part_up"].append((label, one.state is not State.DOWN))
    found["part_state"] += [(f'{{part="{id}",state="{state}"}}', one.state is state) for state in State]
    found["part_maintenance"].append((label, one.maintenance))
    if one.uptime is not None:
        found["part_uptime_ratio"].append((label, one.uptime))
    if outcome.seconds is not None:
        found["part_check_seconds"].append((label, outcome.seconds))
    if one.checked is not None:
        found["part_checked_timestamp_seconds"].append((label, one.checked))
    if outcome.value is not None and id in VALUES:
        found[VALUES[id]].append(("", outcome.value))


# ---- Atom ------------------------------------------------------------------------------

FEED_MAX = 50


def as_feed(picture: Picture, settings: Settings) -> str:
    """Incidents, newest first."""
    told = picture.incidents[:FEED_MAX]
    entries = [_entry(one, settings, picture.at) for one in told]
    updated = max([0, *(_updated(one, picture.at) for one in told)])
    title = escape(f"{settings.title}: status")
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n'
        f"<title>{title}</title>\n<id>{escape(settings.origin)}/</id>\n"
        f"<link href={quoteattr(settings.origin + '/')}/>\n"
        f'<link rel="self" href={quoteattr(settings.origin + "/incidents.atom")}/>\n'
        f"<updated>{moment(updated)}</updated>\n<author><name>{escape(settings.title)}</name></author>\n"
        + "".join(entries)
        + "</feed>\n"
    )


def _updated(one: Incident, now: int) -> int:
    """When something about it was last news; an announced end is none yet."""
    return min(now, max([one.begins, one.ends or 0, *(note.at for note in one.notes)]))


def _entry(one: Incident, settings: Settings, now: int) -> str:
    lines = [f"{moment(note.at)} {note.text}" for note in one.notes]
    lines.append(f"From {moment(one.begins)} to {moment(one.ends) or 'now'}")
    content = escape("\n".join(lines))
    return (
        f"<entry><title>{escape(one.title)}</title><id>{escape(settings.origin)}/#{escape(one.id)}</id>"
        f"<link href={quoteattr(f'{settings.origin}/#{one.id}')}/>"
        f"<updated>{moment(_updated(one, now))}</updated>"
        f"<published>{moment(one.begins)}</published><content>{content}</content></entry>\n"
    )
