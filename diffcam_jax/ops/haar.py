"""Two-dimensional Haar wavelets on NHWC arrays, with orthonormal scaling s = 1/2.

The four bands lie side by side on the channel axis, in the order ll, lh, hl, hh (low-low first);
each band holds all channels of the picture. MobileStyleGAN (arXiv 2104.04767) doubles the
resolution of a feature map by an inverse Haar transform instead of a transposed convolution.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def inverse_haar(bands: Float[Array, "b h w c4"]) -> Float[Array, "b h2 w2 c"]:
    """Inverse Haar transform: doubles height and width, quarters the channels.

    Args:
        bands: [b, h, w, 4 c], bands ll, lh, hl, hh in contiguous channel blocks.

    Returns:
        [b, 2 h, 2 w, c], where every 2x2 block is a signed half-sum of the four bands.
    """
    b, h, w, channels = bands.shape
    ll, lh, hl, hh = jnp.split(0.5 * bands, 4, axis=-1)
    low, high = ll + lh, hl + hh  # even rows add lh, odd rows subtract it
    low_odd, high_odd = ll - lh, hl - hh
    even = jnp.stack([low + high, low - high], axis=3)
    odd = jnp.stack([low_odd + high_odd, low_odd - high_odd], axis=3)
    return jnp.stack([even, odd], axis=2).reshape(b, 2 * h, 2 * w, channels // 4)


def forward_haar(picture: Float[Array, "b h2 w2 c"]) -> Float[Array, "b h w c4"]:
    """Haar transform: the exact inverse of `inverse_haar`.

    Args:
        picture: [b, 2 h, 2 w, c].

    Returns:
        [b, h, w, 4 c], bands ll, lh, hl, hh in contiguous channel blocks.
    """
    a, b = picture[:, 0::2, 0::2], picture[:, 0::2, 1::2]
    c, d = picture[:, 1::2, 0::2], picture[:, 1::2, 1::2]
    bands = [a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d]
    return 0.5 * jnp.concatenate(bands, axis=-1)
