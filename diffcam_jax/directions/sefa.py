"""SeFa: semantic directions without supervision (Shen and Zhou, arXiv 2007.06600)."""

import flax.linen as nn
import numpy as np
from jaxtyping import Float

from diffcam_jax.directions import check_layers, styles
from diffcam_jax.errors import UserError


def modulation_kernels(model: nn.Module, params: dict, layers: tuple[int, int]) -> list[np.ndarray]:
    """Modulation weights of a generator that are driven by a range of W+ rows.

    Args:
        model: MobileStyleGAN, StyleGAN2 (whose to-RGB layers do not count) or StyleGAN v1.
        params: its parameter tree.
        layers: half-open range of W+ rows.

    Returns:
        Kernels [k, channels], in the order of the rows.

    Raises:
        UserError: the range lies outside the generator, or the generator is of another kind.
    """
    check_layers(layers, model.num_styles)
    by_row = list(styles.kernels(model, params))
    kernels = [kernel for row in by_row[slice(*layers)] for kernel in row]
    if not kernels:
        raise UserError(
            f"layer {layers[0]} drives colours only; choose a range with a convolution in it"
        )
    return kernels


def sefa_directions(kernels: list[np.ndarray], count: int) -> Float[np.ndarray, "n k"]:
    """Unit directions in W that change the modulations most: top eigenvectors of A A^T.

    Args:
        kernels: modulation weights [k, channels]; A is their concatenation, with columns scaled to
            unit length.
        count: number of directions, at most k.

    Returns:
        [count, k], by descending eigenvalue; the largest entry of each is positive, which fixes the
        sign.

    Raises:
        UserError: more directions are requested than a row has numbers.

    Reference:
        Shen and Zhou, Closed-Form Factorization of Latent Semantics in GANs (2007.06600), section
        3.2.
    """
    a = np.concatenate(kernels, axis=1)
    if not 1 <= count <= len(a):
        raise UserError(f"{count} directions requested; choose from 1 to {len(a)}")
    a = a / np.linalg.norm(a, axis=0, keepdims=True)
    vectors = np.linalg.eigh(a @ a.T)[1][:, ::-1][:, :count].T
    signs = np.sign(np.take_along_axis(vectors, np.abs(vectors).argmax(1, keepdims=True), 1))
    return (vectors * signs).astype(np.float32)
