"""Windows of a generator's picture: rectangles of a static size whose place may be traced.

A generator that draws a window keeps its small maps whole up to the one at which windows begin,
whose samples are called cells. Of every larger map it draws the window and a border, which absorbs
what zero padding spoils at a cut. At the edge of the map the border is shifted inwards: zero
padding stays where the whole map has it, and the window is exact there too.
"""

from collections.abc import Iterator
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Side of the map at which windows begin, in a generator that has one so large.
CELLS = 64


@flax.struct.dataclass
class Window:
    """A rectangle of samples of a square map.

    Attributes:
      top, left: its first row and column, ints or int32 scalars, which may be traced. What lies
        partly beyond the map is moved inside by `grown`, hence by the generators.
      height, width: its sides, static.
    """

    # No annotation of the two would be true: JAX also puts shapes and placeholders into leaves.
    top: Any
    left: Any
    height: int = flax.struct.field(pytree_node=False)
    width: int = flax.struct.field(pytree_node=False)


def scaled(window: Window, factor: int) -> Window:
    """The same rectangle on a map that is `factor` times as large."""
    sides = {"height": window.height * factor, "width": window.width * factor}
    return Window(window.top * factor, window.left * factor, **sides)


def grown(window: Window, border: int, cells: int) -> Window:
    """A window with a border on all sides, moved to where it does not leave its map.

    Args:
      window: on a map of `cells` x `cells` samples.
      border: samples on every side. Those that would lie beyond the map lie on the opposite side.
      cells: side of the map, and the largest side of the result.

    Raises:
      ValueError: the window is empty or larger than the map.
    """
    if not (1 <= window.height <= cells and 1 <= window.width <= cells):
        sides = f"{window.height} x {window.width}"
        raise ValueError(f"a window of {sides}: allowed are sides from 1 to {cells}")
    height, width = (min(side + 2 * border, cells) for side in (window.height, window.width))
    top, left = (
        jnp.clip(jnp.asarray(place, jnp.int32) - border, 0, cells - side)
        for place, side in ((window.top, height), (window.left, width))
    )
    return Window(top, left, height, width)


def within(window: Window, outer: Window) -> Window:
    """A window by its place in another one of the same map, which holds it."""
    top, left = window.top - outer.top, window.left - outer.left
    return Window(top, left, window.height, window.width)


def narrowing(
    window: Window, cells: int, side: int, border: int
) -> Iterator[tuple[Window, Window]]:
    """What a generator keeps of its maps to draw a window, from the map of cells to a larger one.

    Every map is cut anew: the border that is left of the one before is larger than it must be.

    Args:
      window: in cells; checked as by `grown`.
      cells: side of the first map, of which all is there.
      side: of the last map; each one is twice as large as the one before.
      border: samples around the window that every map but the last needs.

    Yields:
      For each map what to cut out of the part of it that is there, and where the cut lies in the
      next map once it is doubled.
    """
    held = Window(0, 0, cells, cells)
    for doublings in range((side // cells).bit_length()):
        factor = 2**doublings
        here = factor * cells
        wanted = grown(scaled(window, factor), border if here < side else 0, here)
        inner, held = within(wanted, held), scaled(wanted, 2)
        yield inner, held


def cut(x: Float[Array, "b h w c"], window: Window, factor: int = 1) -> Float[Array, "b h2 w2 c"]:
    """The window of a map or picture.

    Args:
      x: any range.
      window: lies within x.
      factor: how many times as large x is as the map of the window.

    Returns:
      [b, factor height, factor width, c].
    """
    window = scaled(window, factor)
    x = jax.lax.dynamic_slice_in_dim(x, window.top, window.height, 1)
    return jax.lax.dynamic_slice_in_dim(x, window.left, window.width, 2)
