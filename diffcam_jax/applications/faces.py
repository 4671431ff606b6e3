"""The generator that draws, and photographs as it sees them: aligned as FFHQ, uint8 [s, s, 3]."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from diffcam_jax.directions.scoring import draw_uint8
from diffcam_jax.directions.space import generator_hash
from diffcam_jax.editing.checkpoints import from_checkpoints
from diffcam_jax.editing.pipeline import Pipeline
from diffcam_jax.errors import UserError
from diffcam_jax.faces import align
from diffcam_jax.faces.photo import read_photo
from diffcam_jax.faces.selection import find_quads
from diffcam_jax.files.domain import FACES, Domain
from diffcam_jax.inversion.tuned_parts import Deltas, tuned_generator
from diffcam_jax.nn.latents import wplus_rows

# Pictures on sheets are shown small; the last layers of a large generator cost the most.
SHEET_SIDE = 512


class Studio:
    """A generator, perhaps with its encoder.

    Attributes:
        generator, encoder: the networks.
        hash: what codes know the generator by.
        size: side of its pictures; rows: of its W+ codes.
    """

    def __init__(self, networks: Pipeline) -> None:
        self.generator, self.encoder = jax.device_put((networks.generator, networks.encoder))
        self.hash = generator_hash(self.generator)
        self.size: int = self.generator.module.resolution
        self.rows = wplus_rows(self.generator.module)

    @classmethod
    def open(
        cls,
        generator: Path | None = None,
        encoder: Path | None = None,
        chosen: str | None = None,
    ) -> "Studio":
        """From folders; without one the embedded generator, and no encoder.

        Args:
            generator: folder.
            encoder: folder.
            chosen: class of a conditional generator, see `checkpoints.resolve`.

        Raises:
            UserError: a folder lacks its network, or the two do not fit together.
        """
        return cls(from_checkpoints(generator=generator, encoder=encoder, chosen=chosen))

    def draw(
        self,
        codes: Float[np.ndarray, "b n k"],
        size: int | None = None,
        progress: bool = False,
        tuned: Deltas | None = None,
    ) -> UInt8[np.ndarray, "b s s 3"]:
        """Pictures of codes, one at a time, so that their number costs no memory.

        Args:
            codes: W+ of this generator.
            size: side; None for the generator's own.
            progress: show a bar.
            tuned: what changes the generator for each code, path of a tensor -> [b, ...]; None for
                nothing.
        """
        size = min(size or self.size, self.size)
        bar = tqdm(
            codes,
            desc="drawing",
            unit="picture",
            disable=not progress or len(codes) < 2,
            leave=False,
        )
        pictures = []
        for index, code in enumerate(bar):
            own = {path: changes[index] for path, changes in (tuned or {}).items()}
            generator = tuned_generator(self.generator, own) if own else self.generator
            pictures.append(np.asarray(draw_uint8(*generator, jnp.asarray(code[None]), size)))
        return np.concatenate(pictures)

    def draw_grid(
        self, codes: Float[np.ndarray, "m n rows k"], size: int
    ) -> UInt8[np.ndarray, "m n s s 3"]:
        """Pictures of a grid of codes, with a bar; see `draw`."""
        pictures = self.draw(codes.reshape(-1, *codes.shape[2:]), size, progress=True)
        return pictures.reshape(*codes.shape[:2], *pictures.shape[1:])


class Choice(NamedTuple):
    """Which face of a photograph.

    Attributes:
        aligned: the picture already is an FFHQ crop.
        which: "largest", or its number counted from 1, largest first.
        points: its landmarks [n, 2] in pixels, 5, 68 or 478, in the place of detection.
        domain: what kind of pictures they are.
    """

    aligned: bool = False
    which: int | str = "largest"
    points: Float[np.ndarray, "n 2"] | None = None
    domain: Domain = FACES


def read_face(path: Path, size: int, choice: Choice = Choice()) -> UInt8[np.ndarray, "s s 3"]:
    """A face of a photograph.

    Args:
        path: the photograph.
        size: side of the result.
        choice: which face.

    Raises:
        UserError: the photograph cannot be read, shows no such face, or is not square though
            aligned.
    """
    pixels = read_photo(path).pixels
    try:
        (quad,) = find_quads(pixels, choice.which, choice.aligned, choice.points, choice.domain)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    face = align.crop(pixels, quad, size, choice.domain.beyond)
    return np.rint(face * 255).astype(np.uint8)


def read_faces(
    paths: Iterable[Path],
    size: int,
    choice: Choice = Choice(),
    failed: Callable[[Path, UserError], None] | None = None,
) -> dict[str, UInt8[np.ndarray, "s s 3"]]:
    """The faces of photographs by the photographs' names.

    Args:
        paths: the photographs.
        size: side of the results.
        choice: which face.
        failed: is told of a photograph that cannot be used, which is then left out; without it the
            first one raises.

    Raises:
        UserError: see `read_face`.
    """
    faces = {}
    for path in paths:
        try:
            faces[path.stem] = read_face(path, size, choice)
        except UserError as error:
            if failed is None:
                raise
            failed(path, error)
    return faces
