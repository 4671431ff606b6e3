"""Strengths over time, and streams in which frames see their neighbours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcam_jax.errors import UserError
from diffcam_jax.video.curves import Curve, parse
from diffcam_jax.video.neighbours import averaged, with_neighbours
from tests import small_editor

DIRECTIONS = small_editor.directions()


def test_a_number_is_a_constant_and_points_are_joined_by_lines():
    found = parse(["old=0.5", "smiling=0@0s,1@2s,-1@3"], DIRECTIONS)
    assert found["old"](0.0) == found["old"](99.0) == 0.5
    assert found["smiling"] == Curve((0.0, 2.0, 3.0), (0.0, 1.0, -1.0))
    assert [found["smiling"](t) for t in (-1.0, 1.0, 2.0, 2.5, 9.0)] == [0, 0.5, 1, 0, -1]


def test_shares_are_relative_to_the_farthest_value():
    curve = Curve((0.0, 1.0, 2.0), (0.5, -1.5, 0.0))
    assert curve.peak == -1.5
    assert [curve.peak * curve.share(t) for t in (0.0, 1.0, 1.5)] == [0.5, -1.5, -0.75]
    assert Curve((0.0,), (0.0,)).share(1.0) == 0


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([], "nothing to change"),
        (["smiling=much"], "write a number"),
        (["smiling=1,2"], "write a number"),
        (["smiling=1@0s,2@"], "write a number"),
        (["smiling=nan"], "write a number"),
        (["smiling=1@2s,0@1s"], "have to rise"),
        (["smiling=1@-1s,0@1s"], "have to rise"),
        (["smiling=1", "smiling=2"], "given twice"),
        (["smiling=0@0s,9@1s"], "smiling"),
        (["beautiful=1"], "beautiful"),
    ],
)
def test_what_is_no_curve_is_one_line(pairs, words):
    with pytest.raises(UserError, match=words):
        parse(pairs, DIRECTIONS)


@given(st.integers(0, 30), st.integers(0, 5))
def test_every_item_sees_those_around_it(count, radius):
    found = list(with_neighbours(range(count), radius))
    assert [item for item, _ in found] == list(range(count))
    for item, around in found:
        assert around == [i for i in range(count) if abs(i - item) <= radius]


def test_few_items_are_held():
    read = []
    stream = with_neighbours((read.append(i) or i for i in range(100)), 3)
    for item, _ in stream:
        assert read[-1] <= item + 3


def test_a_mean_of_neighbours_is_a_triangle_over_those_that_are_there():
    around = [(3, np.float32([1])), (4, np.float32([0])), (6, np.float32([5]))]
    value = averaged(around, lambda x: x[0], lambda x: x[1], 4, 2)
    np.testing.assert_allclose(value, [(2 * 1 + 3 * 0 + 1 * 5) / 6], rtol=1e-6)
