"""Pictures as a looping animation: GIF and animated WebP, the same bytes for the same pictures."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from diffcam_jax.errors import UserError
from diffcam_jax.files.trees import write_atomically

# Of a frame in pixels: 256 colours and no prediction between frames make larger GIFs very large.
SIDE = 256
MILLISECONDS = 60
_OPTIONS = {".gif": {"optimize": True}, ".webp": {"quality": 80, "method": 4}}


def write_animation(path: Path, pictures: UInt8[np.ndarray, "f h w 3"]) -> None:
    """Writes a loop without end; it appears whole or not at all.

    Args:
        path: ends in .gif or .webp.
        pictures: one or more frames.

    Raises:
        UserError: another kind of file, or it cannot be written.
    """
    if path.suffix not in _OPTIONS:
        raise UserError(
            f"{path}: animations are written as {' or '.join(_OPTIONS)}; give such a name"
        )
    frames = [Image.fromarray(picture) for picture in pictures]
    buffer = io.BytesIO()
    kind, options = path.suffix[1:].upper(), _OPTIONS[path.suffix]
    frames[0].save(
        buffer,
        kind,
        save_all=True,
        append_images=frames[1:],
        duration=MILLISECONDS,
        loop=0,
        **options,
    )
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); free some space or choose another --out"
        ) from error
