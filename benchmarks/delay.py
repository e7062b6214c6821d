"""A longer wire: a TCP proxy that hands bytes on some milliseconds after they came, at full bandwidth.

``tc netem`` does this in the kernel, where the kernel has it and one is root; this does it anywhere.
Bytes on their way do not wait for each other, so only the delay grows and never the transfer: what
counts is how often a program waits for an answer. A new connection is not delayed itself. The delay
can be changed while connections are open.
"""

import asyncio
import contextlib
import functools
import multiprocessing
import selectors
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection as Pipe
from typing import Protocol

HOST = "127.0.0.1"
READY_SECONDS = 30.0
"""How long the proxy's process may take to start on a busy machine."""


class Delay(Protocol):
    """What both processes see of the delay: a number of milliseconds each way."""

    value: float


class _End(asyncio.Protocol):
    """One end of a proxied connection: what it receives leaves by its peer, when it is due.

    None in the queue is the end of the stream.
    """

    def __init__(self, delay: Delay) -> None:
        self.delay = delay
        self.loop = asyncio.get_running_loop()
        self.queue: deque[tuple[float, bytes | None]] = deque()
        self.peer: _End | None = None
        self.transport: asyncio.Transport | None = None
        self.lost = False
        self.ended = False  # the peer was told of the end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._put(data)

    def eof_received(self) -> bool:
        self._put(None)
        return True  # the other direction stays open

    def connection_lost(self, _: Exception | None) -> None:
        self.lost = True
        self._put(None)

    def pause_writing(self) -> None:
        if self.peer and self.peer.transport and not self.peer.transport.is_closing():
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer and self.peer.transport and not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def _put(self, data: bytes | None) -> None:
        """In order: bytes never overtake others, even if the delay has become shorter."""
        due = self.loop.time() + self.delay.value / 1000
        self.queue.append((due, data))
        if len(self.queue) == 1:
            self._flush()

    def _flush(self) -> None:
        now = self.loop.time()
        while self.queue and self.queue[0][0] <= now:
            data = self.queue.popleft()[1]
            if data is None:
                self._end()
            elif self.peer and self.peer.transport and not self.peer.transport.is_closing():
                self.peer.transport.write(data)
        if self.queue:
            self.loop.call_at(self.queue[0][0], self._flush)

    def _end(self) -> None:
        """Ends the peer's stream; closes the connection when both streams have ended, or one end is gone."""
        self.ended = True
        peer = self.peer
        if not peer or not peer.transport or peer.transport.is_closing():
            return
        if self.lost or peer.ended:
            peer.transport.close()
        else:
            peer.transport.write_eof()
        if peer.ended and self.transport:
            self.transport.close()


class _Accepted(_End):
    """The end that a client connected to: connects to the target before it reads."""

    def __init__(self, delay: Delay, target: int) -> None:
        super().__init__(delay)
        self.target = target

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport
        self.transport.pause_reading()
        self.task = self.loop.create_task(self._connect())

    async def _connect(self) -> None:
        assert self.transport
        other = _End(self.delay)
        self.peer, other.peer = other, self
        try:
            await self.loop.create_connection(lambda: other, HOST, self.target)
        except OSError:  # as if nothing listened here
            self.transport.abort()
            return
        if not self.transport.is_closing():
            self.transport.resume_reading()
        elif other.transport:
            other.transport.close()


async def _serve(pairs: Sequence[tuple[int, int]], delay: Delay, ready: Pipe) -> None:
    loop = asyncio.get_running_loop()
    for listen, target in pairs:
        await loop.create_server(functools.partial(_Accepted, delay, target), HOST, listen)
    ready.send(None)
    await loop.run_in_executor(None, ready.poll, None)  # until the parent closes its end, or is gone


def _main(pairs: Sequence[tuple[int, int]], delay: Delay, ready: Pipe) -> None:
    # epoll's timeouts are whole milliseconds, select's are microseconds
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    try:
        loop.run_until_complete(_serve(pairs, delay, ready))
    except OSError as error:
        ready.send(str(error))


@contextlib.contextmanager
def delayed(pairs: Sequence[tuple[int, int]]) -> Iterator[Delay]:
    """Runs a proxy for pairs of ports (listening, target) in a process of its own.

    Set ``value`` of what it yields to the milliseconds to add each way; 0 to begin with.
    """
    context = multiprocessing.get_context("spawn")
    delay = context.Value("d", 0.0, lock=False)
    mine, theirs = context.Pipe()
    process = context.Process(target=_main, args=(list(pairs), delay, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        if not mine.poll(READY_SECONDS):
            raise TimeoutError(f"the delaying proxy did not start within {READY_SECONDS:g} s")
        problem = mine.recv()
        if problem:
            raise OSError(f"the delaying proxy cannot start: {problem}")
        yield delay
    finally:
        mine.close()
        process.terminate()
        process.join()
