"""Where to tune: the smallest of a few shapes of windows that holds where an edit acts."""

import numpy as np
from jaxtyping import Float

from diffcam_jax.ops.window import Window

# Shapes of windows in cells of 64, by area: eyes, a mouth, chin and mouth, a face, a head,
# everything. Each is compiled once.
SHAPES = ((20, 44), (28, 32), (36, 40), (48, 48), (60, 52), (64, 64))
# Share of where an edit acts that a window may leave out on each side, and cells that it adds
# there.
TRIMMED, MARGIN = 0.03, 2


def fit_window(wanted: Float[np.ndarray, "v v"], cells: int) -> Window | None:
    """The smallest of `SHAPES` that holds nearly all places where an edit acts; None without any.

    Args:
        wanted: above 0.5 where it acts.
        cells: of the generator.
    """
    acts, grain = wanted > 0.5, len(wanted) / cells
    if not acts.any():
        return None
    low, high = [], []
    for axis in (1, 0):
        share = np.cumsum(acts.sum(axis)) / acts.sum()
        first = np.searchsorted(share, TRIMMED) / grain - MARGIN
        last = (np.searchsorted(share, 1 - TRIMMED) + 1) / grain + MARGIN
        low.append(max(int(np.floor(first)), 0))
        high.append(min(int(np.ceil(last)), cells))
    return covering(np.array(low), np.array(high), cells)


def covering(low: np.ndarray, high: np.ndarray, cells: int) -> Window:
    """The smallest window around a rectangle [low, high) of cells, centred where it can be."""
    shapes = [(min(h, cells), min(w, cells)) for h, w in SHAPES]
    shape = np.array(next(s for s in shapes if (high - low <= s).all()))
    top, left = np.clip((low + high - shape) // 2, 0, cells - shape).tolist()
    return Window(top, left, *shape.tolist())


def smaller(window: Window, cells: int) -> Window | None:
    """The next smaller shape around the same centre; None below the smallest."""
    shapes = [(min(h, cells), min(w, cells)) for h, w in SHAPES]
    below = [s for s in shapes if s[0] * s[1] < window.height * window.width]
    if not below:
        return None
    shape = np.array(below[-1])
    centre = np.array([window.top, window.left]) + np.array([window.height, window.width]) // 2
    top, left = np.clip(centre - shape // 2, 0, cells - shape).tolist()
    return Window(top, left, *shape.tolist())


def holds(outer: Window, inner: Window) -> bool:
    """Whether a window lies within another."""
    return (
        outer.top <= inner.top
        and outer.left <= inner.left
        and inner.top + inner.height <= outer.top + outer.height
        and inner.left + inner.width <= outer.left + outer.width
    )
