"""Rearranging blocks of 2x2 pixels into channels and back, on NHWC maps.

The four pixels of a block are contiguous runs of channels: upper left, upper right, lower left,
lower right. torch's pixel_shuffle interleaves them instead, channel by channel.
"""

from jaxtyping import Array, Float


def pixel_shuffle(x: Float[Array, "b h w c4"]) -> Float[Array, "b h2 w2 c"]:
    """Turns four runs of channels into the pixels of 2x2 blocks: doubles both sides."""
    b, h, w, c = x.shape
    blocks = x.reshape(b, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(b, 2 * h, 2 * w, c // 4)


def pixel_unshuffle(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c4"]:
    """The inverse of `pixel_shuffle`: halves both sides, which must be even."""
    b, h, w, c = x.shape
    blocks = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(b, h // 2, w // 2, 4 * c)
