"""Checks against gateways and apps that do everything they should not: over real TLS, on loopback."""

import asyncio
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import status_kit as kit
from mvsqlite_stack.status import checks
from mvsqlite_stack.status import watch as watch_module
from mvsqlite_stack.status.checks import Aside, StillRunningError
from mvsqlite_stack.status.parts import Outcome, Reason
from mvsqlite_stack.status.settings import Settings
from mvsqlite_stack.status.watch import Watch
from status_kit import LOGIN, NOTES, START, STATUS, WIKI, Clock, Gateway

TO_SIGN_IN = (302, f"https://{LOGIN}:8443/?to=x")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checks")


@pytest.fixture(scope="module")
def pem(directory: Path) -> Path:
    return kit.certificate(directory, "good")


@pytest.fixture(scope="module")
def servers(pem: Path) -> Iterator[tuple[Gateway, Gateway]]:
    with kit.serving(pem) as gateway, kit.serving() as app:
        yield gateway, app


@pytest.fixture
def gateway(servers: tuple[Gateway, Gateway]) -> Gateway:
    """As it should be: the private app asks for a session."""
    one, app = servers
    one.says = {NOTES: TO_SIGN_IN}
    app.says = {}
    one.released.clear()
    one.asked.clear()
    app.asked.clear()
    return one


@pytest.fixture
def app(servers: tuple[Gateway, Gateway]) -> Gateway:
    return servers[1]


@pytest.fixture
def settings(directory: Path, gateway: Gateway, app: Gateway, pem: Path) -> Settings:
    return kit.settings_for(directory, gateway.address, app.address, ca=pem, timeout=20, failures=1)


def rounds(settings: Settings, count: int = 1) -> dict[str, Outcome]:
    """How the newest check of each part ended."""

    async def run() -> dict[str, Outcome]:
        watch = Watch(settings)
        for _ in range(count):
            await watch.round()
        found = {one.part.id: one.outcome for one in watch.board.picture(watch.now).parts}
        await watch.outside.close()
        return found

    return asyncio.run(run())


def reasons(settings: Settings) -> dict[str, Reason]:
    return {part: one.reason for part, one in rounds(settings).items()}


def test_all_is_well(settings: Settings, gateway: Gateway, app: Gateway) -> None:
    found = rounds(settings)
    services = ("gateway", "sign-in", "app-notes", "app-wiki", "certificates")
    assert {found[part].reason for part in services} == {Reason.GOOD}
    assert 39 < (found["certificates"].value or 0) < 40
    assert {(host, path) for host, path, _ in gateway.asked} == {
        (STATUS, "/healthz"),
        (LOGIN, "/healthz"),
        (NOTES, "/"),
        (WIKI, "/"),
    }
    assert [(host, path) for host, path, _ in app.asked] == [(NOTES, "/up")]


def test_a_visitor_without_a_session_is_what_asks(settings: Settings, gateway: Gateway) -> None:
    rounds(settings)
    sent = next(headers for host, _, headers in gateway.asked if host == NOTES)
    assert not {"Cookie", "Authorization"} & sent.keys()
    assert sent["Host"] == f"{NOTES}:{settings.port}"


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (500, Reason.ERROR),
        (502, Reason.ERROR),
        (404, Reason.ERROR),
        ("hang", Reason.TIMEOUT),
        ("reset", Reason.UNREACHABLE),
        (200, Reason.OPEN),
        (204, Reason.OPEN),
        ((302, "/login"), Reason.OPEN),
        ((302, f"https://{LOGIN}.example.net/"), Reason.OPEN),
        (401, Reason.GOOD),
        (403, Reason.GOOD),
        (TO_SIGN_IN, Reason.GOOD),
    ],
)
def test_a_private_app_seen_from_outside(
    settings: Settings, gateway: Gateway, says: Any, reason: Reason
) -> None:
    gateway.says[NOTES] = says
    if says == "hang":
        settings = settings.model_copy(update={"timeout": 0.3})
    found = reasons(settings)
    assert found["app-notes"] is reason
    if says != "hang":
        assert (found["app-wiki"], found["sign-in"]) == (Reason.GOOD, Reason.GOOD)


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (500, Reason.ERROR),
        (404, Reason.ERROR),
        ("reset", Reason.UNREACHABLE),
        (401, Reason.GOOD),
        ((302, "/setup"), Reason.GOOD),
    ],
)
def test_a_private_app_behind_the_gateway(
    settings: Settings, app: Gateway, says: Any, reason: Reason
) -> None:
    app.says[NOTES] = says
    assert reasons(settings)["app-notes"] is reason


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (200, Reason.GOOD),
        ((302, "/home"), Reason.GOOD),
        (401, Reason.GOOD),
        (404, Reason.ERROR),
        (503, Reason.ERROR),
    ],
)
def test_a_public_app(settings: Settings, gateway: Gateway, says: Any, reason: Reason) -> None:
    gateway.says[WIKI] = says
    assert reasons(settings)["app-wiki"] is reason


def test_a_slow_answer(settings: Settings) -> None:
    found = reasons(settings.model_copy(update={"slow": 1e-9}))
    assert {found[part] for part in ("gateway", "app-notes", "app-wiki")} == {Reason.SLOW}


def test_nobody_listens(settings: Settings) -> None:
    found = reasons(settings.model_copy(update={"connect": f"127.0.0.1:{kit.free_port()}"}))
    assert {found[part] for part in ("gateway", "sign-in", "app-notes")} == {Reason.UNREACHABLE}
    assert found["certificates"] is Reason.UNKNOWN


def test_a_certificate_that_has_expired(settings: Settings, directory: Path) -> None:
    old = kit.certificate(directory, "old", ends=timedelta(days=-1))
    with kit.serving(old) as server:
        found = reasons(settings.model_copy(update={"connect": server.address, "ca": old}))
    assert {found[part] for part in ("gateway", "app-wiki", "certificates")} == {Reason.EXPIRED}


def test_a_certificate_of_nobody_known_or_for_another_name(settings: Settings, directory: Path) -> None:
    other = kit.certificate(directory, "other")
    with kit.serving(other) as server:
        found = reasons(settings.model_copy(update={"connect": server.address}))
    assert {found[part] for part in ("gateway", "certificates")} == {Reason.CERTIFICATE}
    found = reasons(settings.model_copy(update={"host": "status.elsewhere.example"}))
    assert (found["gateway"], found["sign-in"]) == (Reason.CERTIFICATE, Reason.GOOD)


def test_a_certificate_that_ends_soon(settings: Settings, directory: Path) -> None:
    soon = kit.certificate(directory, "soon", ends=timedelta(days=5))
    with kit.serving(soon) as server:
        found = rounds(settings.model_copy(update={"connect": server.address, "ca": soon}))
    assert found["certificates"].reason is Reason.SOON
    assert found["gateway"].reason is Reason.GOOD


def test_one_that_hangs_delays_no_other(settings: Settings, gateway: Gateway) -> None:
    """Each result is there as soon as its own check has ended."""
    gateway.says |= {NOTES: "hang", LOGIN: "hang"}
    slow = settings.model_copy(update={"timeout": 20.0})

    async def run() -> set[str]:
        watch = Watch(slow)
        under_way = asyncio.create_task(watch.round())
        done: set[str] = set()
        while not {"gateway", "app-wiki", "backup"} <= done:
            await asyncio.sleep(0.01)
            done = {one.part.id for one in watch.board.picture(START).parts if one.checked}
        gateway.unblock()
        await under_way
        await watch.outside.close()
        return done

    assert not asyncio.run(asyncio.wait_for(run(), 15)) & {"app-notes", "sign-in"}


def test_an_error_of_ours_ends_neither_the_watch_nor_the_next_round(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "RESTART_SECONDS", 0.01)

    async def run() -> int:
        watch, begun = Watch(settings), 0
        checked = asyncio.Event()

        def fail_once() -> None:
            nonlocal begun
            begun += 1
            if begun == 1:
                raise RuntimeError("an error of ours")
            checked.set()

        watch.on_round = fail_once
        task = asyncio.create_task(watch.run())
        await asyncio.wait_for(checked.wait(), 15)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await watch.close()
        return begun

    assert asyncio.run(run()) == 2


# ---- in threads ---------------------------------------------------------------------------


def test_work_that_hangs_is_not_begun_again() -> None:
    release = threading.Event()

    async def run() -> None:
        aside = Aside("test")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await aside.run(lambda: release.wait(20))
        assert aside.busy
        with pytest.raises(StillRunningError):
            await aside.run(lambda: 1)
        release.set()
        while aside.busy:
            await asyncio.sleep(0.01)
        assert await aside.run(lambda: 2) == 2
        with pytest.raises(ZeroDivisionError):
            await aside.run(lambda: 1 // 0)

    asyncio.run(run())


# ---- reports ------------------------------------------------------------------------------

DAY = 86400.0


def report(
    tmp_path: Path, told: object, age_max: float | None = DAY, lag_max: float | None = None
) -> Outcome:
    path = tmp_path / "report.json"
    path.write_text(told if isinstance(told, str) else json.dumps(told))
    return checks.report(path, age_max, lag_max, Clock(START))


def says(age: float, *, ok: bool = True, behind: float | None = None) -> dict[str, object]:
    at = datetime.fromtimestamp(START - age, UTC).isoformat()
    return {"at": at, "ok": ok, "seconds_behind": behind, "note": "secret words of the backup"}


def test_a_backup_is_as_new_as_it_says(tmp_path: Path) -> None:
    assert report(tmp_path, says(3600)) == Outcome(Reason.GOOD, value=3600)
    assert report(tmp_path, says(2 * DAY)) == Outcome(Reason.LATE, value=2 * DAY)
    assert report(tmp_path, says(3600, ok=False)) == Outcome(Reason.FAILED, value=3600)
    assert report(tmp_path, says(-3600)).reason is Reason.LATE


def test_a_replica_is_as_far_behind_as_it_says_and_no_nearer_than_its_report(tmp_path: Path) -> None:
    assert report(tmp_path, says(5, behind=2), None, 300) == Outcome(Reason.GOOD, value=2)
    assert report(tmp_path, says(5, behind=301), None, 300).reason is Reason.LAGS
    assert report(tmp_path, says(7200, behind=2), None, 300).reason is Reason.LAGS
    assert report(tmp_path, says(5), None, 300).reason is Reason.FAILED
    assert report(tmp_path, says(5, behind=2, ok=False), None, 300).reason is Reason.FAILED


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"at": 5, "ok": true, "seconds_behind": null}', '{"ok": true}']
)
def test_a_report_that_makes_no_sense(tmp_path: Path, text: str) -> None:
    assert report(tmp_path, text).reason is Reason.ERROR


def test_a_report_that_is_not_there(tmp_path: Path) -> None:
    assert checks.report(tmp_path / "nothing", DAY, None, Clock()).reason is Reason.ABSENT


def test_a_cluster_is_examined_as_the_doctor_does(tmp_path: Path) -> None:
    assert checks.cluster(f"lmdb:{tmp_path / 'nothing'}")().reason is not Reason.GOOD
    assert checks.cluster("fdb:/there/is/none.cluster")().reason is Reason.ERROR
