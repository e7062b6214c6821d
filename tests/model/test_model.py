"""The store against a plain model, over random interleavings."""

import random
import time

from hypothesis import HealthCheck, settings
from hypothesis import seed as hypothesis_seed
from hypothesis.stateful import run_state_machine_as_test

from machine import StoreMachine

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]


def test_the_store_behaves_like_the_model(soak_seconds: int) -> None:
    if not soak_seconds:
        short = settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=QUIET,
        )
        run_state_machine_as_test(StoreMachine, settings=short)
        return
    until = time.monotonic() + soak_seconds
    long = settings(
        max_examples=100, stateful_step_count=80, deadline=None, database=None, suppress_health_check=QUIET
    )
    while time.monotonic() < until:
        hypothesis_seed(random.getrandbits(64))(StoreMachine)
        run_state_machine_as_test(StoreMachine, settings=long)
