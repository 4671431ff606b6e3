"""Work on many things at a time: results in order, few at a time, errors where they belong."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcam_jax.command.side_by_side import cores, side_by_side


def halved(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 5))
def test_results_and_errors_come_in_the_order_of_the_items(numbers, threads):
    outcomes = []
    for number, result in side_by_side(halved, numbers, threads):
        try:
            outcomes.append((number, result()))
        except ValueError as error:
            outcomes.append((number, str(error)))
    assert outcomes == [(n, f"{n} is odd" if n % 2 else n // 2) for n in numbers]


@pytest.mark.parametrize("threads", [1, 3])
def test_few_are_begun_before_the_caller_has_taken_the_first(threads):
    begun = []
    results = side_by_side(begun.append, range(100), threads)
    next(results)
    time.sleep(0.05)
    assert len(begun) == (0 if threads == 1 else threads + 1)
    results.close()
    time.sleep(0.05)
    assert len(begun) <= threads + 1


def test_as_many_work_at_the_same_time_as_there_are_threads():
    meeting = threading.Barrier(3, timeout=60)
    assert len([result() for _, result in side_by_side(lambda _: meeting.wait(), range(6), 3)]) == 6


def test_this_machine_has_a_core():
    assert 1 <= cores() <= 4
