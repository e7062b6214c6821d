"""The store against a plain model, over random interleavings."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import seed as hypothesis_seed
from hypothesis.stateful import run_state_machine_as_test

from machine import StoreMachine
from travel import TravelMachine

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.fixture(params=[StoreMachine, TravelMachine])
def machine(request: pytest.FixtureRequest, url_in: Callable[[Path], str]) -> type[StoreMachine]:
    """A machine, with stores of the engine under test."""
    return type(request.param.__name__, (request.param,), {"url_in": staticmethod(url_in)})


def test_the_store_behaves_like_the_model(
    machine: type[StoreMachine], soak_seconds: int, stride: int
) -> None:
    if not soak_seconds:
        short = settings(
            max_examples=60 // stride,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=QUIET,
        )
        run_state_machine_as_test(machine, settings=short)
        return
    until = time.monotonic() + soak_seconds
    long = settings(
        max_examples=100, stateful_step_count=80, deadline=None, database=None, suppress_health_check=QUIET
    )
    while time.monotonic() < until:
        hypothesis_seed(random.getrandbits(64))(machine)
        run_state_machine_as_test(machine, settings=long)
