"""The servers that tests start: they do not outlive the tests, however those end."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster import Cluster
from crew import Hand, pause


def alive(pid: int) -> bool:
    """Whether the process still works; a zombie that nobody has waited for does not."""
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("how", ["told", "killed"])
def test_servers_end_with_their_test(how: str, fdb_cluster: Cluster, hire: Callable[..., Hand]) -> None:
    assert fdb_cluster.available()  # there are servers here at all
    hand = hire("keep_servers")
    directory, pids = hand.hear()
    assert all(alive(pid) for pid in pids)
    assert Path(directory).exists()
    if how == "told":
        hand.tell("end")
        assert hand.hear() is None
    else:
        hand.kill()
    until = time.monotonic() + 20
    while (any(map(alive, pids)) or Path(directory).exists()) and time.monotonic() < until:
        pause(0.05)
    assert not any(map(alive, pids))
    assert not Path(directory).exists()


def test_a_server_is_killed_stopped_and_comes_back(three: Cluster) -> None:
    """What the other tests rely on: one server may fail, and then the cluster is whole again."""
    before = three.processes[0]
    assert before
    three.kill(0)
    assert not alive(before.pid)
    three.wait_available()
    assert not three.whole(), "a server is missing"
    three.restart(0)
    three.wait_whole()
    three.stop(1)
    stopped = three.processes[1]
    assert stopped
    assert Path(f"/proc/{stopped.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    three.heal()
    assert three.whole()
