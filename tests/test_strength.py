"""The search for a step's factor, on scores whose rise is a formula."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diffcam_jax.directions import Direction, load_directions
from diffcam_jax.directions.strength import GROWTH, NEAR, SLIGHT, TRIES, reach, room

NOTHING = np.zeros((1, 4), np.float32)


def direction(move=1.0, ceiling=math.inf, low=-2.0, high=2.0, name="old") -> Direction:
    return Direction(
        name, NOTHING, (low, high), (0, 1), "", "", "", "", score="age", move=move, ceiling=ceiling
    )


class Scores:
    """A score as a function of the factor, which says what it was asked."""

    def __init__(self, function):
        self.function, self.asked = function, []

    def __call__(self, factor: float) -> float:
        self.asked.append(factor)
        return float(self.function(factor))


def search(function, asked=1.0, before=None, **kwargs):
    """The result, after what must hold of every search."""
    scores, along = Scores(function), direction(**kwargs)
    found = reach(along, asked, float(function(0.0)) if before is None else before, scores)
    assert len(scores.asked) <= TRIES and scores.asked == [factor for factor, _ in found.tries]
    assert len(set(scores.asked)) == len(scores.asked)  # nothing is rendered twice
    low, high = along.range
    high *= {"beard": 1.5}.get(along.name, 1)
    for factor in (*scores.asked, found.factor):
        assert (0 <= factor <= high) if asked > 0 else (max(low, asked) <= factor <= 0)
    return found


def test_a_usual_face_takes_the_code_as_it_is_after_one_rendering():
    found = search(lambda f: 20 + 10 * f, move=10.0)
    assert found.tries == ((1.0, 1.0),) and found.factor == 1 and found.note == ""
    assert (found.before, found.after, found.reached, found.decided_by) == (20, 30, 1, "age")


@pytest.mark.parametrize("slope", [0.55, 0.7, 1.5, 2.0, 3.0])
def test_a_line_is_followed_to_its_known_factor(slope):
    found = search(lambda f: 0.3 + 2 * slope * f, move=2.0)
    assert found.decided_by == "age" and found.note == ""
    assert found.reached == pytest.approx(1, abs=NEAR)
    assert len(found.tries) <= 4
    assert found.reached == pytest.approx(slope * found.factor)
    assert found.after == pytest.approx(0.3 + 2 * slope * found.factor)


def test_a_saturating_score_is_followed_to_its_known_factor():
    # 1 - exp(-2 f) rises by 0.6 at f = log(2.5) / 2.
    found = search(lambda f: 1 - math.exp(-2 * f), asked=1.0, move=0.6)
    assert found.decided_by == "age" and found.note == ""
    assert found.factor == pytest.approx(math.log(2.5) / 2, abs=0.07)


@pytest.mark.parametrize("slope", [0.0, 0.1, 0.2])
def test_a_face_that_hardly_follows_gets_the_end_of_the_range_and_a_note(slope):
    found = search(lambda f: slope * f, high=1.4)
    assert [factor for factor, _ in found.tries] == [1.0, 1.4]
    assert found.note == "the face hardly follows" and found.decided_by == "age"
    # What gains no more than `SLIGHT` is not worth the larger factor.
    assert found.factor == (1.4 if 0.4 * slope > SLIGHT else 1.0)
    assert found.reached == pytest.approx(found.factor * slope)


def test_the_end_of_the_range_is_the_end():
    found = search(lambda f: 0.8 * f, asked=2.0)
    assert found.tries == ((2.0, 1.6),) and found.factor == 2 and found.note == ""


@pytest.mark.parametrize("slope", [0.2, 0.6, 0.95])
def test_a_negative_strength_is_never_enlarged(slope):
    found = search(lambda f: 5 + slope * f, asked=-1.0)
    assert found.tries == ((-1.0, pytest.approx(-slope)),) and found.factor == -1
    assert (found.note == "the face hardly follows") == (slope < 0.3)


def test_a_negative_strength_that_goes_too_far_is_cut():
    found = search(lambda f: 5 + 3 * f, asked=-1.0)
    assert found.factor == pytest.approx(-1 / 3, abs=1 / 16)
    assert found.reached == pytest.approx(3 * found.factor) and found.decided_by == "age"


def test_the_ceiling_is_the_goal_where_it_comes_first():
    # Half a move of room: the goal is 0.5, which the line 2 f reaches at 0.25.
    found = search(lambda f: 0.4 + 2 * f, ceiling=0.9)
    assert found.decided_by == "age" and found.factor == pytest.approx(0.25, abs=0.07)
    # It is none to what takes away.
    found = search(lambda f: 0.4 + f, asked=-1.0, ceiling=0.3)
    assert found.factor == -1 and found.decided_by == "age"


@pytest.mark.parametrize("ceiling", [0.3, 0.4, 0.6])
def test_without_room_nothing_changes_and_nothing_is_rendered(ceiling):
    found = search(lambda f: pytest.fail("rendered") if f else 0.4, ceiling=ceiling)
    assert found.factor == 0 and found.reached == 0 and "no room" in found.note
    assert found.tries == () and found.before == found.after == 0.4


def test_who_wears_glasses_gets_no_others_and_may_lose_them():
    glasses = load_directions()["eyeglasses"]
    assert room(glasses, 1.0, 0.004) == 1.0
    assert room(glasses, 1.0, 0.06) == 0.0 and glasses.ceiling > 0.06 + glasses.move / 4
    assert room(glasses, -1.0, 0.06) == 1.0
    smile = load_directions()["smiling"]
    assert 0 < room(smile, 1.0, smile.ceiling - 0.5 * smile.move) < 1


def test_zero_is_nothing_and_renders_nothing():
    found = search(lambda f: f, asked=0.0, before=7.0)
    assert (
        found.factor == 0 and found.before == 7 and found.tries == () and found.decided_by == "code"
    )


def test_a_face_without_a_score_gets_the_strength_that_was_asked_for():
    found = search(lambda f: f, before=math.nan)
    assert found.factor == 1 and found.decided_by == "code" and found.tries == ()
    assert found.note == "no score of age for this face"
    found = search(lambda f: math.nan, before=0.0)
    assert found.factor == 1 and found.decided_by == "code" and found.tries
    assert found.note == "no score of age for any result" and math.isnan(found.reached)


def test_a_result_without_a_score_is_never_chosen():
    found = search(lambda f: math.nan if f > 1.4 else 0.5 * f)
    assert (
        1 <= found.factor <= 1.4
        and found.reached == pytest.approx(0.5 * found.factor)
        and found.decided_by == "age"
    )
    found = search(lambda f: math.nan if f == 1 else 0.5 * f)
    assert 0 < found.factor < 1 and found.reached == pytest.approx(0.5 * found.factor)
    found = search(lambda f: math.nan if f == -0.5 else 3 * f, asked=-1.0)
    assert math.isfinite(found.reached) and found.reached == pytest.approx(3 * found.factor)


def test_a_score_that_falls_while_the_factor_grows_leaves_its_peak():
    # 0.5 up to 1, and less beyond: the nearest result is the first.
    found = search(lambda f: 0.5 if f <= 1 else 0.1, before=0.0)
    assert found.factor == 1 and found.decided_by == "age" and found.reached == found.after == 0.5
    # A face that breaks at the second step still takes the first, however little it has moved.
    found = search(lambda f: 0.2 if f <= 1 else -1.0, before=0.0)
    assert found.factor == 1 and found.note == "the face hardly follows"


@pytest.mark.parametrize("seed", range(20))
def test_of_any_scores_none_is_much_nearer_than_the_chosen_one(seed):
    values = iter(np.random.default_rng(seed).normal(0, 2, TRIES))
    found = search(lambda f: next(values), before=0.0)
    distances = {factor: abs(rise - 1) for factor, rise in found.tries}
    assert distances[found.factor] <= min(distances.values()) + SLIGHT
    as_good = [
        factor for factor, far in distances.items() if far <= min(distances.values()) + SLIGHT
    ]
    assert found.factor == min(as_good)


def test_a_step_function_takes_little_more_than_the_least_factor_that_reaches_the_goal():
    # Glasses are there or not: from 1.4 on. The end of the range would reach the goal as well.
    found = search(lambda f: 1.0 if f >= 1.4 else 0.0)
    assert found.reached == 1 and 1.4 <= found.factor <= GROWTH[1]


def test_a_score_at_its_end_takes_the_least_factor():
    found = search(lambda f: min(f, 0.7))
    assert found.tries[-1][0] == 2 and found.factor == 1 and found.reached == pytest.approx(0.7)
    # What is farther from the goal may still come: a score that rests half-way, a late beard.
    found = search(lambda f: 0.5 * min(f, 1) if f < 1.9 else 0.9)
    assert found.reached == 0.9
    found = search(lambda f: 1.0 if f > 1.9 else 0.1 * f)
    assert found.reached == 1


def test_a_beard_may_go_beyond_its_range_where_the_face_hardly_follows():
    found = search(lambda f: max(0.0, f - 2), name="beard")
    assert found.factor == pytest.approx(3.0) and found.reached == pytest.approx(1, abs=NEAR)
    assert search(lambda f: 0.95 * f, name="beard").factor == 1
    # Not for a little more of it.
    found = search(lambda f: 0.2 * f, name="beard")
    assert found.tries[-1][0] == pytest.approx(3.0) and found.factor == 2


@st.composite
def rises(draw):
    """A piecewise linear function that rises everywhere, 0 at 0, and its largest slope."""
    slopes = draw(st.lists(st.floats(0.01, 4), min_size=1, max_size=8))
    knots = np.linspace(-2, 2, len(slopes) + 1)
    values = np.concatenate([[0.0], np.cumsum(np.array(slopes) * np.diff(knots))])
    values -= np.interp(0.0, knots, values)
    return (lambda f: float(np.interp(f, knots, values))), max(slopes)


@settings(max_examples=200, deadline=None, database=None)
@given(rises(), st.floats(-2, 2), st.floats(0.1, 20), st.floats(-5, 5))
def test_of_every_rising_score_the_search_ends_at_the_goal_or_has_a_reason(
    function, asked, move, before
):
    assume(abs(asked) > 0.05)
    rise, _ = function
    found = search(lambda f: before + move * rise(f), asked, before, move=move)
    assert found.decided_by == "age"
    distances = {factor: abs(r - asked) for factor, r in found.tries}
    assert distances[found.factor] <= min(distances.values()) + SLIGHT + 1e-9
    assert found.reached == pytest.approx(rise(found.factor), abs=1e-6)
    assert found.after == pytest.approx(before + move * found.reached, abs=1e-6)
    if min(distances.values()) < NEAR or len(found.tries) == TRIES:
        return
    assert max(abs(factor) for factor, _ in found.tries) == (2.0 if asked > 0 else abs(asked))
