"""One check of one part: what a visitor would meet, or what the host itself can tell.

From outside means by HTTPS with the public host name, its certificate checked, at the address that the
settings name. A private app is well if the gateway asks whoever comes for a session, and the app itself
answers behind it.
"""

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from mvsqlite_py import _doctor
from mvsqlite_stack.status.parts import Outcome, Reason
from mvsqlite_stack.status.settings import App, Settings

T = TypeVar("T")
Check = Callable[[], Awaitable[Outcome]]

CERTIFICATE_EXPIRED = 10
"""X509_V_ERR_CERT_HAS_EXPIRED"""
REPORT_BYTES_MAX = 65536
ASKS_FOR_SESSION = frozenset({401, 403})
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class StillRunningError(Exception):
    """The same work of before has not ended."""


class Aside:
    """Work that may block, in a thread that nobody has to wait for, one at a time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._busy = False

    @property
    def busy(self) -> bool:
        return self._busy

    async def run(self, work: Callable[[], T]) -> T:
        """Raises StillRunningError if an earlier one hangs."""
        if self._busy:
            raise StillRunningError
        loop, future = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
        self._busy = True

        def finish(result: Any, error: BaseException | None) -> None:
            self._busy = False
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        def body() -> None:
            result, failure = None, None
            try:
                result = work()
            except BaseException as error:
                failure = error
            if not loop.is_closed():
                loop.call_soon_threadsafe(finish, result, failure)

        threading.Thread(target=body, name=self._name, daemon=True).start()
        found: T = await future
        return found


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was seen of a host's certificate."""

    reason: Reason
    expires: float | None = None
    """Unix time."""


class Outside:
    """Asks as a visitor does."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.certificates: dict[str, Certificate] = {}
        """By host, of the newest check."""
        cafile = str(settings.ca) if settings.ca else None
        self._client = httpx.AsyncClient(
            verify=ssl.create_default_context(cafile=cafile),
            limits=httpx.Limits(max_keepalive_connections=0),
            timeout=settings.timeout,
            headers={"User-Agent": "mvstack-status", "Accept": "*/*", "Connection": "close"},
            trust_env=False,
        )

    async def get(self, host: str, path: str) -> tuple[int, str, float]:
        """Status, place to which it redirects, and seconds. Raises what httpx raises."""
        settings = self._settings
        authority = host if settings.port == 443 else f"{host}:{settings.port}"
        url = f"https://{settings.connect or authority}{path}"
        begin = time.perf_counter()
        try:
            async with self._client.stream(
                "GET", url, headers={"Host": authority}, extensions={"sni_hostname": host}
            ) as answer:
                seconds = time.perf_counter() - begin
                self._note(host, answer)
                return answer.status_code, answer.headers.get("location", ""), seconds
        except httpx.TransportError as error:
            reason = reason_of(error)
            if reason in (Reason.CERTIFICATE, Reason.EXPIRED):
                self.certificates[host] = Certificate(reason)
            raise

    def _note(self, host: str, answer: httpx.Response) -> None:
        connection = answer.extensions["network_stream"].get_extra_info("ssl_object")
        found = connection.getpeercert() if connection else None
        if found:
            self.certificates[host] = Certificate(Reason.GOOD, ssl.cert_time_to_seconds(found["notAfter"]))

    async def local(self, app: App) -> int:
        """The status of an app's own answer, behind the gateway."""
        headers = {"Host": app.host, "X-Forwarded-Proto": "https", "X-Forwarded-Host": app.host}
        async with self._client.stream("GET", f"http://{app.local}{app.health}", headers=headers) as answer:
            return answer.status_code

    async def close(self) -> None:
        await self._client.aclose()


def reason_of(error: BaseException) -> Reason:
    """Why there was no answer."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return Reason.EXPIRED if seen.verify_code == CERTIFICATE_EXPIRED else Reason.CERTIFICATE
        if isinstance(seen, TimeoutError | httpx.TimeoutException | StillRunningError):
            return Reason.TIMEOUT
        seen = seen.__cause__ or seen.__context__
    return Reason.UNREACHABLE if isinstance(error, httpx.TransportError | OSError) else Reason.ERROR


def page(outside: Outside, host: str, path: str, slow: float) -> Check:
    """Whether a public page is there."""

    async def check() -> Outcome:
        status, _, seconds = await outside.get(host, path)
        return _timed(status < 400 or status in ASKS_FOR_SESSION, seconds, slow)

    return check


def well(outside: Outside, host: str, slow: float) -> Check:
    """Whether a service of ours says that it is well."""

    async def check() -> Outcome:
        status, _, seconds = await outside.get(host, "/healthz")
        return _timed(status == 200, seconds, slow)

    return check


def private(outside: Outside, app: App, sign_in_host: str, slow: float) -> Check:
    """Whether an app is closed to strangers and well behind the gateway."""

    async def check() -> Outcome:
        status, location, seconds = await outside.get(app.host, app.outside)
        to_sign_in = status in REDIRECTS and urlsplit(location).hostname == sign_in_host
        if status < 400 and not to_sign_in:
            return Outcome(Reason.OPEN, seconds)
        if status not in ASKS_FOR_SESSION and not to_sign_in:
            return Outcome(Reason.ERROR, seconds)
        begin = time.perf_counter()
        behind = await outside.local(app)
        seconds = max(seconds, time.perf_counter() - begin)
        return _timed(behind < 400 or behind in ASKS_FOR_SESSION, seconds, slow)

    return check


def _timed(good: bool, seconds: float, slow: float) -> Outcome:
    if not good:
        return Outcome(Reason.ERROR, seconds)
    return Outcome(Reason.SLOW if seconds > slow else Reason.GOOD, seconds)


def certificates(outside: Outside, hosts: list[str], days_min: int, now: Callable[[], float]) -> Check:
    """The certificate that ends first, of those seen by the other checks."""

    async def check() -> Outcome:
        seen = [outside.certificates[host] for host in hosts if host in outside.certificates]
        bad = next((one for one in seen if one.reason is not Reason.GOOD), None)
        if bad:
            return Outcome(bad.reason)
        ends = [one.expires for one in seen if one.expires is not None]
        if not ends:
            return Outcome(Reason.UNKNOWN)
        days = (min(ends) - now()) / 86400
        return Outcome(Reason.SOON if days < days_min else Reason.GOOD, value=days)

    return check


def cluster(url: str) -> Callable[[], Outcome]:
    """What ``mvsqlite doctor`` finds about a store. It may take long."""

    def look() -> Outcome:
        begin = time.perf_counter()
        levels = {one.level for one in _doctor.examine(url)}
        seconds = time.perf_counter() - begin
        reason = Reason.ERROR if "wrong" in levels else Reason.SLOW if "warning" in levels else Reason.GOOD
        return Outcome(reason, seconds)

    return look


def report(path: Path, age_max: float | None, lag_max: float | None, now: Callable[[], float]) -> Outcome:
    """What a backup, a drill or a replica wrote about itself; value: its age or its lag in seconds."""
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(REPORT_BYTES_MAX))
        at = datetime.fromisoformat(told["at"])
        good, behind = told["ok"] is True, told["seconds_behind"] if lag_max is not None else None
        age = now() - (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        behind = None if behind is None else float(behind)
    except FileNotFoundError:
        return Outcome(Reason.ABSENT)
    except (OSError, ValueError, KeyError, TypeError):
        return Outcome(Reason.ERROR)
    if lag_max is None:
        late = age_max is not None and not -300 < age <= age_max
        return Outcome(Reason.FAILED if not good else Reason.LATE if late else Reason.GOOD, value=age)
    if not good or behind is None:
        return Outcome(Reason.FAILED, value=behind)
    # A report that is not renewed says nothing about now.
    behind += max(0.0, age - lag_max)
    return Outcome(Reason.LAGS if behind > lag_max else Reason.GOOD, value=behind)
