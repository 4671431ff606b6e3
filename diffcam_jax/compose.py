"""From masks to pictures: refine, combine and blend (2207.08134, Eq. 5 and 7, section 3.6).

Pictures [b,h,w,3] in [-1,1], masks [b,h,w] in [0,1]; everything is pure and can be jitted. A blend takes the original
where the mask is exactly zero, bit for bit, and every operation here keeps zeros exact: a dilated and feathered mask
is zero beyond `support(config)` pixels from the mask it came from.
"""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.ops.image import resize


@dataclasses.dataclass(frozen=True)
class MaskConfig:
    """Knobs between the class activation mask and the blend; hashable, so it can be a static argument of jit.

    The defaults of `low`, `high`, `dilation` and `feather` change nothing, which is what the official code does.

    Attributes:
        low: mask values up to this become 0 ...
        high: ... those from this on 1, linear in between.
        dilation: radius in pixels by which the mask grows (maximum over a square).
        feather: radius in pixels of the border's softening.
        resize: "nearest" (official) or "bilinear" (paper), from the classifier's size to the picture's.
    """

    low: float = 0.0
    high: float = 1.0
    dilation: int = 0
    feather: int = 0
    resize: str = "nearest"

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1:
            raise ValueError(f"mask low {self.low} and high {self.high}: 0 <= low < high <= 1 is required")
        if self.resize not in ("nearest", "bilinear"):
            raise ValueError(f"mask resize {self.resize!r}: allowed are nearest and bilinear")
        if self.dilation < 0 or self.feather < 0:
            raise ValueError(f"mask dilation {self.dilation} and feather {self.feather} must not be negative")


def support(config: MaskConfig) -> int:
    """How many pixels a refined mask can reach beyond the mask it came from."""
    return config.dilation + config.feather


def blend(
    original: Float[Array, "b h w 3"], edited: Float[Array, "b h w 3"], mask: Float[Array, "b h w"]
) -> Float[Array, "b h w 3"]:
    """Eq. 5: edited * M + original * (1 - M).

    Zeros and ones of the mask copy the respective picture, whatever rounding or non-finite value the other one has.
    """
    m = mask[..., None]
    mixed = edited * m + original * (1 - m)
    return jnp.where(m == 0, original, jnp.where(m == 1, edited, mixed))


def keep_original(
    original: Float[Array, "b h w 3"],
    inverted: Float[Array, "b h w 3"],
    edited: Float[Array, "b h w 3"],
    tolerance: float,
) -> Float[Array, "b h w 3"]:
    """Gives the edited picture back what the inversion lost, wherever the edit itself hardly acts.

    T + k (I - I'), with k = exp(-(|T - I'| / tolerance)^2), the mean over channels smoothed over 1/64 of the side. Where the
    edit draws something new (k near 0: teeth, a frame of glasses) this is T, as in Eq. 5; where it does not, the mask's
    inside stays the person of the photograph. Our addition: neither the paper nor its release has it.

    Args:
        original, inverted, edited: I, I' and T in [-1, 1].
        tolerance: change in [0, 2] that counts as none; 0 returns T.
    """
    if tolerance == 0:
        return edited
    return edited + unchanged(inverted, edited, tolerance)[..., None] * (original - inverted)


def unchanged(
    inverted: Float[Array, "b h w 3"], edited: Float[Array, "b h w 3"], tolerance: float
) -> Float[Array, "b h w"]:
    """How far the edit leaves each place as it is: k of `keep_original`, 1 where T = I'."""
    change = jnp.mean(jnp.abs(edited - inverted), axis=-1)
    change = feather(dilate(change, inverted.shape[1] // 256), inverted.shape[1] // 64)
    return jnp.exp(-((change / tolerance) ** 2))


def keep_edit(
    fused: Float[Array, "b h w 3"],
    deghosted: Float[Array, "b h w 3"],
    inverted: Float[Array, "b h w 3"],
    edited: Float[Array, "b h w 3"],
    mask: Float[Array, "b h w"],
    tolerance: float,
) -> Float[Array, "b h w 3"]:
    """Holds a deghosting network back where the edit draws something new and the mask is sure of it.

    D + M (1 - k) (F - D), with k of `keep_original`. Ghosts lie where M is neither 0 nor 1; at its core F is T, and a network that
    cannot know which teeth are right would draw the mean of all. Our addition: neither the paper nor its release has it.

    Args:
        fused, deghosted: F and what the network made of it.
        inverted, edited: I' and T.
        mask: M.
        tolerance: as of `keep_original`; 0 returns D.
    """
    if tolerance == 0:
        return deghosted
    sure = mask * (1 - unchanged(inverted, edited, tolerance))
    return deghosted + sure[..., None] * (fused - deghosted)


def domain_gate(
    original: Float[Array, "b h w 3"],
    inverted: Float[Array, "b h w 3"],
    edited: Float[Array, "b h w 3"],
    low: float,
    high: float,
    near: float = 0.0,
    far: float = 0.0,
) -> Float[Array, "b h w"]:
    """Where an edit can be trusted: 0 where the inversion misses the photograph, by more than the edit changes or by much; 1 elsewhere.

    With g = |T - I'| / (|T - I'| + |I - I'|), both smoothed, the gate rises from 0 at g = `low` to 1 at g = `high`. A hat or a thick
    frame that the generator could not draw has a large error and hardly any change: it stays the photograph's. An edit that would change
    the hat for hair, too, is kept off by the error alone: the gate falls from 1 at |I - I'| = `near` to 0 at `far`. Our addition,
    in the spirit of the invertibility mask of 2212.09262; low = high = 0 opens the first gate everywhere, far = 0 the second.

    Args:
        original, inverted, edited: I, I' and T in [-1, 1].
        low, high: 0 <= low <= high <= 1.
        near, far: 0 <= near <= far, mean absolute differences of pictures in [-1, 1].
    """
    radius = original.shape[1] // 12
    change, error = (feather(jnp.mean(jnp.abs(other - inverted), axis=-1), radius) for other in (edited, original))
    gate = jnp.ones(original.shape[:3])
    if high > 0:
        share = change / (change + error + 1e-6)
        gate = feather(jnp.clip((share - low) / max(high - low, 1e-6), 0.0, 1.0), radius)
    if far > 0:
        gate = jnp.minimum(gate, feather(jnp.clip((far - error) / max(far - near, 1e-6), 0.0, 1.0), radius))
    return gate


def training_mask(mask: Float[Array, "b h w"]) -> Float[Array, "b h w"]:
    """Eq. 7: values above 0.5 fold to 1 - M, so that the training picture keeps the original at the mask's core."""
    return jnp.where(mask > 0.5, 1 - mask, mask)


def combine(masks: Float[Array, "r b h w"]) -> Float[Array, "b h w"]:
    """The mask of r successive edits: elementwise maximum of the masks of the pairs (T_{i-1}, T_i) (section 3.6)."""
    return jnp.max(masks, axis=0)


def with_user_mask(mask: Float[Array, "b h w"], user: Float[Array, "b h w"], mode: str) -> Float[Array, "b h w"]:
    """Add a hand-made mask to the computed one ("union"), or confine the computed one to it ("intersection")."""
    if mode not in ("union", "intersection"):
        raise ValueError(f"user mask mode {mode!r}: allowed are union and intersection")
    return jnp.maximum(mask, user) if mode == "union" else jnp.minimum(mask, user)


def resize_mask(mask: Float[Array, "b h w"], size: tuple[int, int], method: str = "nearest") -> Float[Array, "b h2 w2"]:
    """Resize to (height, width)."""
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


def feather(mask: Float[Array, "b h w"], radius: int) -> Float[Array, "b h w"]:
    """Smooth with a tent of `radius`, separable: two box means in a row along each axis.

    Beyond `radius` pixels from the mask's support the result is exactly 0: only zeros were added up.
    """
    first, second = radius // 2, radius - radius // 2
    for axis in (1, 2):
        for r in (first, second):
            mask = _window(mask, r, axis, jnp.add) * (1 / (2 * r + 1))
    return jnp.minimum(mask, 1.0)


def _window(
    x: Float[Array, "b h w"], radius: int, axis: int, reduce: Callable[[Array, Array], Array]
) -> Float[Array, "b h w"]:
    """Reduce 2 * radius + 1 neighbours along an axis, the border pixel repeated, in about log2(radius) passes.

    Each pass doubles the window by combining the array with itself shifted: any width is a chain of doublings and
    of single steps, read off its binary digits.
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
