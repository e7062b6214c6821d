"""Fork: children use connections of their own, what they inherited says why it does not work."""

from collections.abc import Callable

from crew import Hand

CHILDREN, TIMES = 4, 5


def test_a_server_that_loads_the_application_before_it_forks(url: str, hire: Callable[..., Hand]) -> None:
    """The parent has a store and a connection open and in use; grandchildren are refused alike."""
    answer = hire("preload", url, CHILDREN, TIMES).hear()
    assert answer == {"ended": [0] * CHILDREN, "value": 2 + CHILDREN * (TIMES + 1)}


def test_a_pool_of_forked_processes(url: str, hire: Callable[..., Hand]) -> None:
    answer = hire("pool", url, CHILDREN, TIMES).hear()
    assert answer == {"done": [TIMES] * (2 * CHILDREN), "value": 2 + 2 * CHILDREN * TIMES}
