"""Where the windows of the product's edit lie: around what they have to hold.

Inside the picture.
"""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcam_jax.editing import windows
from diffcam_jax.editing.windows import SHAPES, covering, fit_window, holds, smaller
from diffcam_jax.ops.window import Window

CELLS = st.sampled_from([16, 32, 64])


def inside(window, cells):
    return 0 <= window.top <= cells - window.height and 0 <= window.left <= cells - window.width


def clipped(cells):
    return {(min(h, cells), min(w, cells)) for h, w in SHAPES}


@st.composite
def rectangles(draw):
    cells = draw(CELLS)
    sides = [
        sorted(draw(st.lists(st.integers(0, cells), min_size=2, max_size=2, unique=True)))
        for _ in range(2)
    ]
    return cells, np.array([side[0] for side in sides]), np.array([side[1] for side in sides])


@settings(max_examples=300, deadline=None, database=None)
@given(rectangles())
def test_a_window_holds_its_rectangle_and_stays_inside(rectangle):
    cells, low, high = rectangle
    window = covering(low, high, cells)
    assert inside(window, cells) and (window.height, window.width) in clipped(cells)
    assert holds(window, Window(*low.tolist(), *(high - low).tolist()))
    for height, width in SHAPES if cells == 64 else ():
        if height * width < window.height * window.width:  # a smaller one would not do
            assert high[0] - low[0] > height or high[1] - low[1] > width
    for (start, length), (first, last) in zip(
        [(window.top, window.height), (window.left, window.width)], zip(low, high)
    ):
        if 0 < start < cells - length:  # centred where it can be
            assert abs((first - start) - (start + length - last)) <= 1


@settings(max_examples=200, deadline=None, database=None)
@given(rectangles(), st.sampled_from([1, 2, 4]), st.integers(0, 2**32 - 1))
def test_a_fitted_window_holds_what_is_wanted(rectangle, grain, seed):
    cells, low, high = rectangle
    wanted = np.full((cells * grain,) * 2, 0.5, np.float32)
    part = wanted[low[0] * grain : high[0] * grain, low[1] * grain : high[1] * grain]
    part[:] = 0.6
    window = fit_window(wanted, cells)
    assert inside(window, cells)
    assert holds(window, Window(*low.tolist(), *(high - low).tolist()))
    # Of scattered places it may leave a few out on each side.
    part[np.random.default_rng(seed).random(part.shape) < 0.8] = 0.4
    part[0, 0] = 0.7
    window, acts = fit_window(wanted, cells), wanted > 0.5
    top, left = window.top * grain, window.left * grain
    bottom, right = top + window.height * grain, left + window.width * grain
    for beyond in (acts[:top], acts[bottom:], acts[:, :left], acts[:, right:]):
        assert beyond.sum() <= windows.TRIMMED * acts.sum() + 1e-6


def test_nothing_wanted_needs_no_window():
    assert fit_window(np.full((64, 64), 0.5, np.float32), 64) is None


@settings(max_examples=200, deadline=None, database=None)
@given(rectangles())
def test_smaller_windows_end_at_the_smallest(rectangle):
    cells, low, high = rectangle
    window, seen = covering(low, high, cells), []
    while window is not None:
        assert inside(window, cells) and (window.height, window.width) in clipped(cells)
        seen.append(window)
        window = smaller(window, cells)
    areas = [w.height * w.width for w in seen]
    assert areas == sorted(set(areas), reverse=True)
    assert areas[-1] == min(h * w for h, w in clipped(cells))


def test_the_next_smaller_window_has_the_same_centre(monkeypatch):
    monkeypatch.setattr(windows, "SHAPES", ((28, 32), (24, 56), (44, 48), (56, 56), (64, 64)))
    assert smaller(Window(8, 4, 56, 56), 64) == Window(14, 8, 44, 48)
    assert smaller(Window(14, 8, 44, 48), 64) == Window(24, 4, 24, 56)
    assert smaller(Window(24, 8, 24, 56), 64) == Window(22, 20, 28, 32)
    assert smaller(Window(0, 0, 28, 32), 64) is None


def test_holding():
    outer = Window(4, 6, 20, 30)
    assert (
        holds(outer, outer)
        and holds(outer, Window(5, 7, 3, 3))
        and holds(outer, Window(4, 35, 20, 1))
    )
    for other in (Window(3, 7, 3, 3), Window(5, 5, 3, 3), Window(22, 7, 3, 3), Window(5, 35, 3, 2)):
        assert not holds(outer, other) and not holds(other, outer)
