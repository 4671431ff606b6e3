"""Semantic diffusion: a part of a target picture in the surroundings of a context.

The part is pasted on the context and the stitched picture is encoded, so that the generator draws
it as one face. The code is then optimised so that its picture has the part: pixels and VGG16's
features count inside the mask alone, and the encoder's agreement does not count at all. What keeps
the surroundings is the start. Pictures uint8 [b, s, s, 3], masks float32 [s, s] in [0, 1]. Source:
Zhu et al., In-Domain GAN Inversion (2004.00049), section 4.5 and the released code.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from diffcam_jax.applications.reconstruction import Found, Limits, search
from diffcam_jax.errors import UserError
from diffcam_jax.inversion import Inverter

# Left, top, width and height of the part in an aligned face of 256 pixels: 110 x 110 around (125,
# 145), from the brows to the chin.
BOX, BOX_SIDE = (70, 90, 110, 110), 256


class Diffusion(NamedTuple):
    """The result.

    Attributes:
        stitched: [t, c, s, s, 3] the targets' parts pasted on the contexts.
        codes: [t, c, n, k].
        valid: [t, c] whether the loss was finite.
        start, found: the searches for the start (none with an encoder) and for the codes.
    """

    stitched: UInt8[np.ndarray, "t c s s 3"]
    codes: Float[np.ndarray, "t c n k"]
    valid: Bool[np.ndarray, "t c"]
    start: Found | None
    found: Found


def box_mask(box: tuple[int, int, int, int], size: int) -> Float[np.ndarray, "s s"]:
    """1 inside a box, 0 outside.

    Args:
        box: left, top, width, height in pixels of an aligned face of 256 pixels.
        size: side of the mask, to which the box is scaled.

    Raises:
        UserError: the box is empty or reaches outside the picture.
    """
    left, top, width, height = box
    if min(left, top) < 0 or min(width, height) < 1 or max(left + width, top + height) > BOX_SIDE:
        raise UserError(
            f"--box {left} {top} {width} {height} does not lie inside the picture; give left, "
            "top, width and height in pixels of an "
            f"aligned face of {BOX_SIDE} x {BOX_SIDE}"
        )
    edges = np.rint(np.array([left, top, left + width, top + height]) * size / BOX_SIDE).astype(int)
    mask = np.zeros((size, size), np.float32)
    mask[edges[1] : max(edges[3], edges[1] + 1), edges[0] : max(edges[2], edges[0] + 1)] = 1
    return mask


def stitch(
    targets: UInt8[np.ndarray, "t s s 3"],
    contexts: UInt8[np.ndarray, "c s s 3"],
    mask: Float[np.ndarray, "s s"],
) -> UInt8[np.ndarray, "t c s s 3"]:
    """Every target's part on every context.

    Where the mask is 0 or 1 the very pixels of the one or the other.
    """
    share = mask[..., None]
    blended = targets[:, None] * share + contexts[None].astype(np.float32) * (1 - share)
    return np.rint(blended).astype(np.uint8)


def diffuse(
    inverter: Inverter,
    targets: UInt8[np.ndarray, "t s s 3"],
    contexts: UInt8[np.ndarray, "c s s 3"],
    mask: Float[np.ndarray, "_ _"],
    limits: Limits = Limits(),
    progress: bool = False,
) -> Diffusion:
    """Every target's part in every context.

    Args:
        inverter: with an encoder, which gives the start; without one the stitched picture is
            inverted first.
        targets: aligned faces that give the part.
        contexts: aligned faces of the same size that give the surroundings.
        mask: where the targets' part is, of that size.
        limits: of each search.
        progress: show bars.

    Raises:
        UserError: a mask of another size or an empty one; see `inversion.invert`.
    """
    if mask.shape != targets.shape[1:3]:
        sizes = [" x ".join(map(str, shape[::-1])) for shape in (mask.shape, targets.shape[1:3])]
        raise UserError(
            f"the mask has {sizes[0]} pixels, the aligned faces have {sizes[1]}; give a mask of "
            "that size"
        )
    stitched = stitch(targets, contexts, mask)
    flat, shape = stitched.reshape(-1, *stitched.shape[2:]), stitched.shape[:2]
    # Image2StyleGAN begins at the mean code, encoder or not, and the mean code knows nothing of the
    # context.
    encoded = inverter.encoder is not None and inverter.method != "image2stylegan"
    start = None if encoded else search(inverter, flat, limits=limits, progress=progress)
    begin = None if start is None else start.codes
    found = search(inverter, flat, mask, begin, limits, progress=progress)
    codes = found.codes.reshape(*shape, *found.codes.shape[1:])
    return Diffusion(stitched, codes, found.valid.reshape(shape), start, found)
