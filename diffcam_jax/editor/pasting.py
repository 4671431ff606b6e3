"""What every edit of a photograph has in common: the mask that came with it, and the way back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from diffcam_jax.editor.results import FaceEdit
from diffcam_jax.errors import UserError
from diffcam_jax.faces import align
from diffcam_jax.faces.panel import grey
from diffcam_jax.files.domain import Domain


def check_mask(user_mask: np.ndarray | None, pixels: np.ndarray) -> None:
    """Whether a mask by hand fits its photograph.

    Raises:
        UserError: its size is another.
    """
    if user_mask is not None and user_mask.shape != pixels.shape[:2]:
        raise UserError(
            f"the mask has {user_mask.shape[::-1]} pixels, the photograph "
            f"{pixels.shape[1::-1]}; give equal sizes"
        )


def crop_mask(
    user_mask: Float[np.ndarray, "_ _"], quad: align.Quad, side: int, domain: Domain
) -> Float[np.ndarray, "{side} {side}"]:
    """A mask of a photograph at a square of it, and nothing in the padding of the domain."""
    return align.crop(grey(user_mask), quad, side, domain.beyond)[..., 0] * domain.inside(side)


def paste_faces(
    pixels: np.ndarray, faces: Sequence[FaceEdit], beyond: align.Beyond
) -> tuple[np.ndarray, dict[str, Any]]:
    """Puts edited faces into their photograph.

    Args:
        pixels: the photograph [h, w, 3], uint8 or uint16.
        faces: in the order in which they are pasted.
        beyond: see `align.paste`.

    Returns:
        The edited photograph, and for the report its size and how much of it is untouched.
    """
    image, touched = pixels, np.zeros(pixels.shape[:2], bool)
    for face in faces:
        image = align.paste(image, face.source, face.paste_mask, face.quad, beyond)
        touched |= align.photo_mask(face.paste_mask, face.quad, *pixels.shape[:2]) > 0
    return image, {
        "size": [pixels.shape[1], pixels.shape[0]],
        "untouched_share": round(float(1 - touched.mean()), 6),
        "untouched_exact": bool((image == pixels).all(-1)[~touched].all()),
    }
