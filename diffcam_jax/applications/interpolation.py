"""Codes between codes, linear in W+.

Codes float32 [n, k]. Source: Zhu et al., In-Domain GAN Inversion (2004.00049), section 4.3.
"""

import numpy as np
from jaxtyping import Float

from diffcam_jax.errors import UserError

STEPS = 5


def check(steps: int = STEPS, frames: int = 1) -> None:
    """Whether there can be so many steps between two codes, and frames from one to the next.

    Raises:
        UserError: there cannot.
    """
    if steps < 0:
        raise UserError(f"--steps {steps}: give how many pictures to put between two, 0 or more")
    if frames < 1:
        raise UserError(f"--frames {frames}: give at least 1")


def between(
    first: Float[np.ndarray, "*rows k"], last: Float[np.ndarray, "*rows k"], steps: int = STEPS
) -> Float[np.ndarray, "m *rows k"]:
    """Two codes with `steps` others evenly between them; the ends are exactly the codes given.

    Args:
        first: a code of any shape.
        last: another of the same generator and shape.
        steps: between the ends, from 0.

    Raises:
        UserError: a negative number of steps.
    """
    check(steps)
    shares = (np.arange(1, steps + 1, dtype=np.float32) / np.float32(steps + 1)).reshape(
        -1, *[1] * first.ndim
    )
    return np.concatenate([first[None], first + shares * (last - first), last[None]])


def grid(corners: Float[np.ndarray, "4 n k"], steps: int = STEPS) -> Float[np.ndarray, "m m n k"]:
    """Bilinear between four corners: top left, top right, bottom left, bottom right.

    Args:
        corners: in this order.
        steps: between two corners.
    """
    top, bottom = between(corners[0], corners[1], steps), between(corners[2], corners[3], steps)
    return between(top, bottom, steps)


def loop(corners: Float[np.ndarray, "c n k"], frames: int) -> Float[np.ndarray, "f n k"]:
    """A closed way from corner to corner and back to the first, for a loop without a jump.

    Args:
        corners: two or more codes.
        frames: from each corner to the next, the first included and the last not.

    Raises:
        UserError: fewer than one frame.
    """
    check(frames=frames)
    following = np.roll(corners, -1, axis=0)
    return np.concatenate([between(a, b, frames - 1)[:-1] for a, b in zip(corners, following)])
