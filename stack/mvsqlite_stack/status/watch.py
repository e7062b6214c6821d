"""Runs the checks: again and again, all at once, each for itself."""

import asyncio
import errno
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import apsw

import mvsqlite_py
from mvsqlite_stack.status import checks
from mvsqlite_stack.status.board import Board
from mvsqlite_stack.status.checks import Aside, Check, Outside
from mvsqlite_stack.status.history import GoneError, History
from mvsqlite_stack.status.parts import Outcome, Part, Reason
from mvsqlite_stack.status.settings import Settings
from mvsqlite_stack.status.tally import DAY, HOUR

log = logging.getLogger("mvsqlite_stack.status")

RESTART_SECONDS = 5.0
"""After an error of ours in the loop."""
HISTORY_PATIENCE = 20.0
"""Seconds after which a writing that has not come back counts as failed, for the page."""


def parts_of(settings: Settings) -> list[Part]:
    """In the order of the page."""
    return [
        Part("gateway", "Gateway"),
        Part("sign-in", "Sign-in"),
        *(Part(f"app-{name}", app.title) for name, app in settings.apps.items()),
        Part("store", "Data store", "data"),
        Part("backup", "Newest backup", "data"),
        Part("restore-drill", "Restore drill", "data"),
        Part("replica", "Replica", "data"),
        Part("certificates", "Certificates", "data"),
    ]


class Watch:
    """Everything that happens by itself. ``now``: Unix time, passed in by tests."""

    def __init__(self, settings: Settings, now: Callable[[], float] = time.time) -> None:
        self.settings, self._now = settings, now
        self.board = Board(parts_of(settings), settings.failures, settings.interval)
        self.history = History(settings.store, settings.database)
        self.outside = Outside(settings)
        self.on_round: Callable[[], None] = lambda: None
        self.beat = time.monotonic()
        """When the loop was last seen alive."""
        self._asides: dict[str, Aside] = {}
        self._store_reason = Reason.UNKNOWN
        self._exchange: asyncio.Task[None] | None = None
        self._checks = self._all_checks()

    @property
    def now(self) -> int:
        return int(self._now())

    # ---- what is checked ---------------------------------------------------------------

    def _all_checks(self) -> dict[str, Check]:
        settings, outside = self.settings, self.outside
        found: dict[str, Check] = {
            "gateway": checks.well(outside, settings.host, settings.slow),
            "sign-in": checks.well(outside, settings.sign_in_host, settings.slow),
            "store": self._store,
        }
        for name, app in settings.apps.items():
            found[f"app-{name}"] = (
                checks.page(outside, app.host, app.health, settings.slow)
                if app.public
                else checks.private(outside, app, settings.sign_in_host, settings.slow)
            )
        ages = {"backup": settings.backup_hours_max * HOUR, "restore-drill": settings.drill_days_max * DAY}
        for name in ("backup", "restore-drill", "replica"):
            lag = None if name in ages else float(settings.lag_seconds_max)
            path = settings.reports / f"{name}.json"
            read = partial(checks.report, path, ages.get(name), lag, self._now)
            found[name] = partial(self._aside(name).run, read)
        return found

    def _aside(self, name: str) -> Aside:
        return self._asides.setdefault(name, Aside(f"status {name}"))

    async def _store(self) -> Outcome:
        """An embedded store is well if the history could be written to it; a cluster is asked too."""
        written = Outcome(self._store_reason)
        if not self.settings.cluster or written.reason not in (Reason.GOOD, Reason.UNKNOWN):
            return written
        return await self._aside("store").run(checks.cluster(self.settings.cluster))

    # ---- rounds ------------------------------------------------------------------------

    async def round(self) -> None:
        """Checks every part once; returns when all have answered or had their time."""
        await asyncio.gather(*(self._bounded(part, check) for part, check in self._checks.items()))
        hosts = [self.settings.host, self.settings.sign_in_host]
        hosts += [app.host for app in self.settings.apps.values()]
        days_min = self.settings.certificate_days_min
        await self._bounded("certificates", checks.certificates(self.outside, hosts, days_min, self._now))
        self.on_round()

    async def _bounded(self, part: str, check: Check) -> None:
        try:
            async with asyncio.timeout(self.settings.timeout):
                outcome = await check()
        except Exception as error:
            log.debug("%s: %r", part, error)
            outcome = Outcome(checks.reason_of(error))
        self.board.take(part, outcome, self.now)

    async def run(self) -> None:
        """Until it is cancelled; an error of ours in one round does not end the watch."""
        await self.exchange(patience=min(HISTORY_PATIENCE, self.settings.timeout))
        wrote = time.monotonic()
        while True:
            self.beat = begin = time.monotonic()
            pause = float(self.settings.interval)
            try:
                await self.round()
            except Exception:
                log.exception("a round of checks failed")
                pause = min(pause, RESTART_SECONDS)
            if time.monotonic() - wrote >= self.settings.write_every and self._exchange is None:
                wrote = time.monotonic()
                self._exchange = asyncio.create_task(self.exchange())
                self._exchange.add_done_callback(self._exchanged)
            await asyncio.sleep(max(0.0, pause - (time.monotonic() - begin)))

    def _exchanged(self, task: "asyncio.Task[None]") -> None:
        self._exchange = None
        with suppress(asyncio.CancelledError):
            if error := task.exception():
                log.error("the history could not be exchanged", exc_info=error)

    @property
    def alive(self) -> bool:
        return time.monotonic() - self.beat < 3 * self.settings.interval + self.settings.timeout

    # ---- the history -------------------------------------------------------------------

    async def exchange(self, patience: float = HISTORY_PATIENCE) -> None:
        """Writes what is new and reads what is shown; without the store, all stays in memory."""
        aside, now = self._aside("history"), self.now
        if aside.busy:
            self._lost(Reason.TIMEOUT)
            return
        batches = self.board.batches(now)
        try:
            async with asyncio.timeout(patience):
                read = await aside.run(partial(self.history.exchange, batches, now))
        except (apsw.Error, mvsqlite_py.Error, OSError, GoneError) as error:
            log.warning("history: %s", error)
            self._lost(store_reason(error))
        else:
            self._store_reason = Reason.GOOD
            self.board.written(read, now)

    def _lost(self, reason: Reason) -> None:
        self._store_reason = reason
        self.board.unwritten()

    async def close(self) -> None:
        """Writes what is left, for a moment."""
        if self._exchange is not None:
            self._exchange.cancel()
        await self.exchange(patience=min(5.0, self.settings.timeout))
        await self.outside.close()
        if not self._aside("history").busy:
            self.history.close()


def store_reason(error: BaseException) -> Reason:
    """What strangers are told about a store that cannot be used."""
    if isinstance(error, apsw.FullError) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return Reason.FULL
    if isinstance(error, TimeoutError | apsw.BusyError | apsw.LockedError):
        return Reason.TIMEOUT
    return Reason.ERROR if isinstance(error, apsw.CorruptError | apsw.IOError) else Reason.UNREACHABLE
