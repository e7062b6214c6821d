"""The cluster's benchmark: its longer wire, its figures, and that it runs where there is a server."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.table import Table

from benchmarks import cluster, cluster_kit, common, run_all
from benchmarks.cluster_kit import FLOOR, OFF, Book, Part
from benchmarks.common import OURS
from benchmarks.delay import delayed

HOST = "127.0.0.1"

# ---- the longer wire ---------------------------------------------------------------


def until_end(connection: socket.socket) -> bytes:
    received = bytearray()
    while data := connection.recv(1 << 16):
        received += data
    return bytes(received)


@contextlib.contextmanager
def echo() -> Iterator[int]:
    """A server that sends all it received back at the end of each connection; yields its port."""
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):  # the listener's end
                while True:
                    with listener.accept()[0] as connection:
                        connection.sendall(until_end(connection))

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_bytes_arrive_whole_in_order_and_never_early() -> None:
    data = bytes(range(256)) * 20_000
    port = cluster_kit.free_ports(1)[0]
    with echo() as target, delayed([(port, target)]) as delay:
        delay.value = 5.0
        with socket.create_connection((HOST, port)) as connection:
            begin = time.monotonic()
            sender = threading.Thread(target=connection.sendall, args=(data[: len(data) // 2],))
            sender.start()
            sender.join()
            delay.value = 2.0  # what is sent later must not overtake
            connection.sendall(data[len(data) // 2 :])
            connection.shutdown(socket.SHUT_WR)
            assert until_end(connection) == data
            assert time.monotonic() - begin >= 0.004  # twice the shorter delay: certain, however busy


def test_a_target_that_is_not_there_ends_the_connection() -> None:
    port, nobody = cluster_kit.free_ports(2)
    with (
        delayed([(port, nobody)]),
        socket.create_connection((HOST, port)) as connection,
        contextlib.suppress(ConnectionResetError),
    ):
        assert connection.recv(1) == b""


def test_a_port_in_use_is_an_error_that_says_so() -> None:
    with (
        socket.create_server((HOST, 0)) as taken,
        pytest.raises(OSError, match="the delaying proxy cannot start"),
        delayed([(taken.getsockname()[1], 1)]),
    ):
        pass


# ---- figures -------------------------------------------------------------------------


def test_a_summary_is_of_all_connections() -> None:
    parts = [Part(10.0, 12.0, [0.001] * 60), Part(11.0, 14.0, [0.002] * 39 + [0.5])]
    assert cluster_kit.summary(parts) == {"rate": 25.0, "p50": 1.0, "p99": 2.0}
    assert cluster_kit.percentile([3.0, 1.0, 2.0], 1.0) == 3.0
    assert cluster_kit.percentile([3.0], 0.01) == 3.0


def cells(made: Table) -> list[list[str]]:
    return [[str(cell) for cell in column.cells] for column in made.columns]


def test_figures_are_divided_by_the_floor_round_by_round() -> None:
    book = Book()
    for mine, floor in (10.0, 20.0), (30.0, 40.0), (90.0, 100.0):
        book.add("commits.own.1", "one", OURS, {"rate": mine, "p50": floor})
        book.add("commits.own.1", "one", FLOOR, {"rate": floor, "p50": mine})
    book.add("commits.own.2", "two", OURS, {"rate": 5.0})
    rate = book.figures["cluster.commits.own.1.rate"]
    assert cluster_kit.section_of(rate) == "commits"
    assert cluster_kit.divided(rate, FLOOR) == 0.75
    assert cluster_kit.divided(rate, OFF) is None
    assert cells(cluster_kit.table("?", list(book.figures.values()))) == [
        ["one", "two"],
        ["30", "5"],
        ["40", "-"],
        ["0.75", "-"],
        ["40", "-"],
        ["30", "-"],
        ["1.33", "-"],
    ]
    assert rate.as_json()["times_as_good_as"] == {"floor": 0.75}
    assert rate.as_json()["medians"] == {"mvsqlite": 30.0, "floor": 40.0}


# ---- the whole ------------------------------------------------------------------------


def test_without_a_server_it_says_so_and_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def nowhere(name: str) -> str:
        raise cluster_kit.Absent(f"no {name} here")

    monkeypatch.setattr(cluster, "program", nowhere)
    told = run_all.run_cluster(common.Settings(tmp_path, 1, "toy"))
    assert told == ([], {"cluster": "not measured: no fdbserver here"}, 0)
