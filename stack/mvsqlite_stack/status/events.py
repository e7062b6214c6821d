"""Live events for browsers (server-sent events): a bounded number of listeners, none of whom holds us up."""

import asyncio
import json
import secrets
from collections import deque
from typing import Any

from starlette.types import Receive, Scope, Send

RETRY_MS = 5000
"""After which a browser that lost us comes again."""
HEARTBEAT_SECONDS = 15.0
"""Silence after which a comment is sent, for whatever stands between and ends silent connections."""
SEND_SECONDS = 20.0
"""In which a listener takes an event, or is dropped."""
WAITING_MAX = 16
"""Events that wait for one listener; with more it is dropped, and comes again."""
REPLAYED_MAX = 64
SHARE = 8
"""One address gets no more than a part of all places, so that nobody can take them all."""

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Listener:
    """One connection."""

    def __init__(self, first: list[bytes], address: str) -> None:
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING_MAX)
        self.first, self.address = first, address

    def end(self) -> None:
        """What waits is given up."""
        while not self.queue.empty():
            self.queue.get_nowait()
        self.queue.put_nowait(None)


class Hub:
    """Sends to all."""

    def __init__(self, listeners_max: int) -> None:
        self._most = listeners_max
        self._listeners: set[Listener] = set()
        self._life = secrets.token_hex(4)
        """Distinguishes the ids of this process from those of another."""
        self._number = 0
        self._recent: deque[tuple[str, bytes]] = deque(maxlen=REPLAYED_MAX)
        self._closed = False
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._listeners)

    @property
    def newest(self) -> str:
        """The id of the newest event that is kept."""
        return f"{self._life}-{self._number}"

    def send(self, event: str, data: Any, *, keep: bool = True) -> None:
        """keep: with an id, and told later to whoever missed it."""
        lines = [f"event: {event}", f"data: {json.dumps(data, separators=(',', ':'))}"]
        if keep:
            self._number += 1
            lines.insert(0, f"id: {self.newest}")
        text = ("\n".join(lines) + "\n\n").encode()
        if keep:
            self._recent.append((self.newest, text))
        for listener in list(self._listeners):
            try:
                listener.queue.put_nowait(text)
            except asyncio.QueueFull:
                self.dropped += 1
                self.leave(listener)
                listener.end()

    def join(self, last: str | None, address: str = "") -> Listener | None:
        """last: the id of the last event that the listener knows; address: whose it is. None if there are
        too many."""
        same = sum(one.address == address for one in self._listeners)
        if self._closed or len(self._listeners) >= self._most or same >= max(1, self._most // SHARE):
            return None
        ids = [id for id, _ in self._recent]
        missed = list(self._recent)[ids.index(last) + 1 :] if last in ids else list(self._recent)[-1:]
        listener = Listener([f"retry: {RETRY_MS}\n\n".encode(), *(text for _, text in missed)], address)
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        self._listeners.discard(listener)

    def close(self) -> None:
        """Ends all connections, and takes no more."""
        self._closed = True
        for listener in list(self._listeners):
            self.leave(listener)
            listener.end()


class Stream:
    """The answer to one listener, as an ASGI application."""

    def __init__(self, hub: Hub, listener: Listener, headers: list[tuple[bytes, bytes]]) -> None:
        self._hub, self._listener, self._headers = hub, listener, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        gone = asyncio.create_task(_until_gone(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, *self._headers]})
            await self._pump(send, gone)
        except (TimeoutError, OSError):
            self._hub.dropped += 1
        finally:
            self._hub.leave(self._listener)
            gone.cancel()

    async def _pump(self, send: Send, gone: "asyncio.Task[None]") -> None:
        for text in self._listener.first:
            await _send(send, text)
        while True:
            waiting = asyncio.create_task(self._listener.queue.get())
            done, _ = await asyncio.wait(
                {waiting, gone}, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if waiting not in done:
                waiting.cancel()
            if gone in done:
                return
            said = waiting.result() if waiting in done else b":\n\n"
            await _send(send, said or b"", more=said is not None)
            if said is None:
                return


async def _send(send: Send, body: bytes, *, more: bool = True) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
