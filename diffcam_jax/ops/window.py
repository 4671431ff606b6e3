"""Windows of a generator's picture: rectangles of a static size whose position may be traced.

A generator that draws a window computes its small maps in full, up to the one at which windows
begin; samples of that map are called cells. Of every larger map it computes the window and a
border, which absorbs the errors that zero padding causes at a cut. At the edge of the map the
border is shifted inwards: zero padding then occurs only where the whole map has it, and the window
is exact there too.
"""

from collections.abc import Iterator
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Side of the map at which windows begin, in a generator that has one so large.
CELLS = 64


@flax.struct.dataclass
class Window:
    """A rectangle of samples of a square map.

    Attributes:
        top: first row, an int or an int32 scalar, which may be traced.
        left: first column, likewise. A window that lies partly beyond the map is moved inside by
            `grown`, and so by the generators.
        height: number of rows, static.
        width: number of columns, static.
    """

    # `Any`, because JAX also puts shapes and placeholders into leaves.
    top: Any
    left: Any
    height: int = flax.struct.field(pytree_node=False)
    width: int = flax.struct.field(pytree_node=False)

    @property
    def numbers(self) -> list[int]:
        """Top, left, height and width of a window whose place is not traced."""
        return [int(x) for x in (self.top, self.left, self.height, self.width)]

    def placed(self) -> "Window":
        """The same, its place an argument of programs that are compiled, its shape a part."""
        return self.replace(top=np.int32(self.top), left=np.int32(self.left))


def scaled(window: Window, factor: int) -> Window:
    """The same rectangle on a map that is `factor` times as large."""
    sides = {"height": window.height * factor, "width": window.width * factor}
    return Window(window.top * factor, window.left * factor, **sides)


def grown(window: Window, border: int, cells: int) -> Window:
    """Adds a border on all sides of a window and moves the result inside its map.

    Args:
        window: on a map of `cells` x `cells` samples.
        border: samples on every side. Those that would lie beyond the map are added on the opposite
            side instead.
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
    """A window in the coordinates of an outer window of the same map that contains it."""
    top, left = window.top - outer.top, window.left - outer.left
    return Window(top, left, window.height, window.width)


def narrowing(
    window: Window, cells: int, side: int, border: int
) -> Iterator[tuple[Window, Window]]:
    """The part of each map that a generator computes to draw a window.

    Every map is cut anew: the border that is left of the previous one is larger than necessary.

    Args:
        window: in cells; checked as by `grown`.
        cells: side of the first map, which is available in full.
        side: side of the last map; each map is twice as large as the previous one.
        border: samples around the window that every map but the last needs.

    Yields:
        For each map the window to cut out of the available part, and the position of that cut in
        the next map, after doubling.
    """
    held = Window(0, 0, cells, cells)
    for doublings in range((side // cells).bit_length()):
        factor = 2**doublings
        here = factor * cells
        wanted = grown(scaled(window, factor), border if here < side else 0, here)
        inner, held = within(wanted, held), scaled(wanted, 2)
        yield inner, held


def cut(x: Float[Array, "b h w c"], window: Window, factor: int = 1) -> Float[Array, "b h2 w2 c"]:
    """Cuts a window out of a map or picture.

    Args:
        x: any range.
        window: lies within x.
        factor: side of x over the side of the map that the window refers to.

    Returns:
        [b, factor height, factor width, c].
    """
    window = scaled(window, factor)
    x = jax.lax.dynamic_slice_in_dim(x, window.top, window.height, 1)
    return jax.lax.dynamic_slice_in_dim(x, window.left, window.width, 2)
