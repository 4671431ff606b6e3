"""From masks to pictures: refine, combine and blend (2207.08134, Eq. 5 and 7, section 3.6).

Pictures [b,h,w,3] in [-1,1], masks [b,h,w] in [0,1]; everything is pure and can be jitted. A blend
takes the original where the mask is exactly zero, bit for bit, and every operation here keeps zeros
exact: a dilated and feathered mask is zero beyond `support(config)` pixels from the mask it came
from.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from diffcam_jax.ops.image import resize


@dataclasses.dataclass(frozen=True)
class MaskConfig:
    """Knobs between the class activation mask and the blend.

    Hashable, so it can be a static argument of jit.

    The defaults of `low`, `high`, `dilation` and `feather` change nothing, which is what the
    official code does.

    Attributes:
        low: mask values up to this become 0 ...
        high: ... those from this on 1, linear in between.
        dilation: radius in pixels by which the mask grows (maximum over a square).
        feather: radius in pixels of the border's softening.
        resize: "nearest" (official) or "bilinear" (paper), from the classifier's size to the
            picture's.
    """

    low: float = 0.0
    high: float = 1.0
    dilation: int = 0
    feather: int = 0
    resize: str = "nearest"

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1:
            raise ValueError(
                f"mask low {self.low} and high {self.high}: 0 <= low < high <= 1 is required"
            )
        if self.resize not in ("nearest", "bilinear"):
            raise ValueError(f"mask resize {self.resize!r}: allowed are nearest and bilinear")
        if self.dilation < 0 or self.feather < 0:
            raise ValueError(
                f"mask dilation {self.dilation} and feather {self.feather} must not be negative"
            )


def support(config: MaskConfig) -> int:
    """How many pixels a refined mask can reach beyond the mask it came from."""
    return config.dilation + config.feather


def blend(
    original: Float[Array, "b h w 3"], edited: Float[Array, "b h w 3"], mask: Float[Array, "b h w"]
) -> Float[Array, "b h w 3"]:
    """Eq. 5: edited * M + original * (1 - M).

    Zeros and ones of the mask copy the respective picture, whatever rounding or non-finite value
    the other one has.
    """
    m = mask[..., None]
    mixed = edited * m + original * (1 - m)
    return jnp.where(m == 0, original, jnp.where(m == 1, edited, mixed))


def training_mask(mask: Float[Array, "b h w"]) -> Float[Array, "b h w"]:
    """Eq. 7: values above 0.5 fold to 1 - M.

    So the training picture keeps the original at the mask's core.
    """
    return jnp.where(mask > 0.5, 1 - mask, mask)


def combine(masks: Float[Array, "r b h w"]) -> Float[Array, "b h w"]:
    """The mask of r successive edits (section 3.6).

    The elementwise maximum of the masks of the pairs (T_{i-1}, T_i).
    """
    return jnp.max(masks, axis=0)


def with_user_mask(
    mask: Float[Array, "b h w"], user: Float[Array, "b h w"], mode: str
) -> Float[Array, "b h w"]:
    """Lets a hand-made mask have its say.

    Args:
        mask: the computed one.
        user: made by hand.
        mode: "union" adds it to the computed one, "intersection" confines the computed one to it.

    Raises:
        ValueError: another mode.
    """
    if mode not in ("union", "intersection"):
        raise ValueError(f"user mask mode {mode!r}: allowed are union and intersection")
    return jnp.maximum(mask, user) if mode == "union" else jnp.minimum(mask, user)


def resize_mask(
    mask: Float[Array, "b h w"], size: tuple[int, int], method: str = "nearest"
) -> Float[Array, "b h2 w2"]:
    """Resizes to (height, width)."""
    return resize(mask, size, method)


def refine(mask: Float[Array, "b h w"], config: MaskConfig) -> Float[Array, "b h w"]:
    """Contrast, dilation and feather, in this order, at the mask's own resolution."""
    if (config.low, config.high) != (0.0, 1.0):
        mask = jnp.clip((mask - config.low) / (config.high - config.low), 0.0, 1.0)
    return feather(dilate(mask, config.dilation), config.feather)


def dilate(mask: Float[Array, "b h w"], radius: int) -> Float[Array, "b h w"]:
    """Maximum over the square of 2 * radius + 1 pixels around each pixel."""
    for axis in (1, 2):
        mask = _window(mask, radius, axis, jnp.maximum)
    return mask


def without_holes(mask: Bool[Array, "b h w"]) -> Bool[Array, "b h w"]:
    """Fills what a mask encloses: from where no way of free neighbours leads to the edge."""
    border, free = ((0, 0), (1, 1), (1, 1)), ~mask
    edge = jnp.pad(jnp.zeros_like(mask[:, 1:-1, 1:-1]), border, constant_values=True)

    def spread(state: tuple[Array, Array]) -> tuple[Array, Array]:
        padded = jnp.pad(state[0], border)
        rows, columns = padded[:, :, 1:-1], padded[:, 1:-1]
        near = rows[:, :-2] | rows[:, 2:] | columns[:, :, :-2] | columns[:, :, 2:]
        reached = state[0] | (near & free)
        return reached, (reached != state[0]).any()

    outside, _ = jax.lax.while_loop(lambda state: state[1], spread, (free & edge, jnp.array(True)))
    return ~outside


def feather(mask: Float[Array, "b h w"], radius: int) -> Float[Array, "b h w"]:
    """Smooths with a tent of `radius`, separable: two box means in a row along each axis.

    Beyond `radius` pixels from the mask's support the result is exactly 0: only zeros were added
    up.
    """
    first, second = radius // 2, radius - radius // 2
    for axis in (1, 2):
        for r in (first, second):
            mask = _window(mask, r, axis, jnp.add) * (1 / (2 * r + 1))
    return jnp.minimum(mask, 1.0)


def _window(
    x: Float[Array, "b h w"], radius: int, axis: int, reduce: Callable[[Array, Array], Array]
) -> Float[Array, "b h w"]:
    """Reduces 2 * radius + 1 neighbours along an axis, the border pixel repeated.

    It takes about log2(radius) passes. Each pass doubles the window by combining the array with
    itself shifted: any width is a chain of doublings and of single steps, read off its binary
    digits.
    """
    width, length = 2 * radius + 1, x.shape[axis]
    pad = [(0, 0)] * x.ndim
    pad[axis] = (radius, radius)
    x = jnp.pad(x, pad, mode="edge")
    one, covered = x, 1

    def shifted(a: Array, start: int, size: int) -> Array:
        index = [slice(None)] * a.ndim
        index[axis] = slice(start, start + size)
        return a[tuple(index)]

    for digit in bin(width)[3:]:
        size = length + 2 * radius + 1 - 2 * covered
        x, covered = reduce(shifted(x, 0, size), shifted(x, covered, size)), 2 * covered
        if digit == "1":
            size -= 1
            x, covered = reduce(shifted(x, 0, size), shifted(one, covered, size)), covered + 1
    return x
