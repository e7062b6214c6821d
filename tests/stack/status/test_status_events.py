"""Live events: ids, what was missed, and listeners who are too many or too slow. No server, no waiting."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mvsqlite_stack.status import events
from mvsqlite_stack.status.events import REPLAYED_MAX, WAITING_MAX, Hub, Listener, Stream

Sent = list[dict[str, Any]]
VISITORS = itertools.count()


def joined(hub: Hub, last: str | None = None) -> Listener:
    listener = hub.join(last, f"visitor {next(VISITORS)}")
    assert listener is not None
    return listener


def ids(listener: Listener) -> list[str]:
    lines = b"".join(listener.first).decode().splitlines()
    return [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]


def test_whoever_comes_gets_the_newest_and_whoever_comes_again_what_was_missed() -> None:
    hub = Hub(10)
    assert ids(joined(hub)) == []
    hub.send("status", {"n": 1})
    first = hub.newest
    assert ids(joined(hub)) == [first]
    hub.send("status", {"n": 2})
    hub.send("checked", {}, keep=False)
    hub.send("status", {"n": 3})
    assert len(ids(joined(hub, first))) == 2
    assert ids(joined(hub, hub.newest)) == []
    assert ids(joined(hub, "ffff-1")) == [hub.newest]
    for _ in range(REPLAYED_MAX):
        hub.send("status", {})
    assert ids(joined(hub, first)) == [hub.newest], "too long ago"


def test_two_lives_do_not_share_ids() -> None:
    one, other = Hub(1), Hub(1)
    one.send("status", {})
    other.send("status", {})
    assert one.newest != other.newest


def test_listeners_are_bounded() -> None:
    hub = Hub(2)
    first = joined(hub)
    joined(hub)
    assert hub.join(None, "other") is None
    hub.leave(first)
    joined(hub)
    hub.close()
    assert hub.join(None) is None


def test_one_address_does_not_get_all_places() -> None:
    hub = Hub(16)
    assert [hub.join(None, "198.51.100.1") is not None for _ in range(4)] == [True, True, False, False]
    assert hub.join(None, "198.51.100.2") is not None


def test_who_does_not_take_events_is_dropped_and_holds_no_one_up() -> None:
    hub = Hub(2)
    slow, quick = joined(hub), joined(hub)
    for _ in range(WAITING_MAX + 1):
        hub.send("status", {"x": "y" * 1000})
        quick.queue.get_nowait()
    assert (len(hub), hub.dropped) == (1, 1)
    assert slow.queue.get_nowait() is None
    assert slow.queue.empty(), "what waited for it is given up"


async def never() -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


def stream(hub: Hub, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> Any:
    return Stream(hub, joined(hub), [])({"type": "http"}, receive, send)


def test_a_stream_ends_when_the_listener_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> tuple[Sent, int]:
        hub, sent = Hub(2), []
        hub.send("status", {"n": 1})

        async def gone() -> dict[str, str]:
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await stream(hub, gone, send)
        return sent, len(hub)

    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.01)
    sent, left = asyncio.run(run())
    assert sent[0]["status"] == 200
    assert left == 0


def test_silence_is_broken_and_the_end_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.01)

    async def run() -> Sent:
        hub, sent = Hub(2), []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)
            if message.get("body") == b":\n\n":
                hub.close()

        await asyncio.wait_for(stream(hub, never, send), 10)
        return sent

    sent = asyncio.run(run())
    assert [one.get("body") for one in sent] == [None, b"retry: 5000\n\n", b":\n\n", b""]
    assert sent[-1]["more_body"] is False


def test_a_listener_that_blocks_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SEND_SECONDS", 0.01)

    async def run() -> tuple[int, int]:
        hub = Hub(2)

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()

        await asyncio.wait_for(stream(hub, never, send), 10)
        return len(hub), hub.dropped

    assert asyncio.run(run()) == (0, 1)
