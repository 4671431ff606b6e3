"""The pictures that a protocol measures on, by source.

Read when they are needed, because a thousand of them fill a memory.

    photographs      the 11 stored FFHQ photographs; never shown, they have licences of their own
    public_domain    Grace Hopper and Eileen Collins, cut out as in FFHQ
    generated        faces of the generator by seed, with their codes
    folder           config.folder: square pictures, or the largest centred square of others
    prepared         config.prepared: the test pictures of `python -m diffcam_jax.data prepare`
    toy              coloured shapes, without any file

Pictures are uint8 RGB [s, s, 3] at the side that is asked for.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from diffcam_jax.data.drawn import Prior, draw_code
from diffcam_jax.data.pictures import read_square, resize_square
from diffcam_jax.data.toy import ToyPictures
from diffcam_jax.errors import UserError
from diffcam_jax.faces.align import crop, ffhq_quad
from diffcam_jax.faces.landmarks import FaceLandmarker
from diffcam_jax.faces.photo import read_photo, to_8_bits
from diffcam_jax.faces.selection import select_faces
from diffcam_jax.ops.image import from_unit
from diffcam_jax.pretrained import store

SOURCES = ("photographs", "public_domain", "generated", "folder", "prepared", "toy")


class Item(NamedTuple):
    """One picture that can be had.

    Attributes:
        name: unique in its run.
        read: gives the pixels; raises UserError when they cannot be had.
        code: W+ code [rows, k] that it was drawn from; None for others.
        shown: whether reports may show it.
    """

    name: str
    read: Callable[[], UInt8[np.ndarray, "s s 3"]]
    code: Callable[[], Float[np.ndarray, "rows k"]] | None = None
    shown: bool = True


def items(source: str, size: int, limit: int, config, prior: Callable[[], Prior]) -> list[Item]:
    """The pictures of a source.

    Args:
        source: one of `SOURCES`.
        size: side of the pictures.
        limit: at most so many, the first ones; 0 is no limit, and for generated and toy pictures
            not allowed.
        config: of the run: seed, folder, prepared.
        prior: what generated pictures are drawn from; called only for these.

    Raises:
        UserError: no such source, or it holds nothing.
    """
    if source in ("generated", "toy") and limit < 1:
        raise UserError(
            f"{source} pictures have no end; give their number, as in sources={source}:100"
        )
    if source == "generated":
        return _generated(prior(), size, limit)
    if source == "toy":
        toys = ToyPictures(limit, size, config.seed)
        return [Item(f"toy_{i:04d}", lambda i=i: toys[i]["image"]) for i in range(limit)]
    makers = {
        "photographs": _photographs,
        "public_domain": _public_domain,
        "folder": _folder,
        "prepared": _prepared,
    }
    if source not in makers:
        raise UserError(f"no pictures are called {source!r}; choose from {', '.join(SOURCES)}")
    found = makers[source](size, config)
    return found[:limit] if limit else found


def parse_source(text: str) -> tuple[str, int]:
    """A source and its number: "generated:500" -> ("generated", 500), without one 0.

    Raises:
        UserError: the number is none.
    """
    source, _, count = text.partition(":")
    if count and not count.isdigit():
        raise UserError(
            f"{text!r}: what follows the colon is how many pictures to take; give a whole number"
        )
    return source, int(count or 0)


def _generated(prior: Prior, size: int, count: int) -> list[Item]:
    """Sample i depends on the seed, the truncation and i alone."""
    draw = jax.jit(
        lambda code: prior.model.apply(prior.variables, code[None], method="synthesis", size=size)[
            0
        ]
    )
    code_of = jax.jit(lambda number: draw_code(prior, jnp.uint32(1), number))

    def code(number: int) -> np.ndarray:
        return np.asarray(code_of(jnp.uint32(number)))

    return [
        Item(f"generated_{i:04d}", lambda i=i: from_unit(draw(code(i))), lambda i=i: code(i))
        for i in range(count)
    ]


def _photographs(size: int, config) -> list[Item]:
    paths = sorted(store.fetch("ffhq_photos").glob("*.png"))
    return [Item(f"ffhq_{p.stem}", lambda p=p: read_square(p, size)[0], shown=False) for p in paths]


def _public_domain(size: int, config) -> list[Item]:
    return [
        Item("hopper", lambda: _face(_hopper(), size)),
        Item("astronaut", lambda: _face(_astronaut(), size)),
    ]


def _hopper() -> np.ndarray:
    import matplotlib.cbook

    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        return read_photo(file.name).pixels


def _astronaut() -> np.ndarray:
    import skimage.data

    return skimage.data.astronaut()


def _face(pixels: np.ndarray, size: int) -> np.ndarray:
    with FaceLandmarker() as landmarker:
        (face,) = select_faces(landmarker.detect(pixels), "largest")
    return np.rint(crop(pixels, ffhq_quad(face.points), size) * 255).astype(np.uint8)


def _folder(size: int, config) -> list[Item]:
    from diffcam_jax.data.layouts import list_names, pictures_folder

    if not config.folder:
        raise UserError("which pictures? name their folder: --config.folder=DIR")
    folder = pictures_folder(config.folder)
    return [
        Item(name, lambda name=name: read_square(folder / name, size)[0])
        for name in list_names(folder)
    ]


def _prepared(size: int, config) -> list[Item]:
    from diffcam_jax.data.builders import open_prepared

    if not config.prepared:
        raise UserError(
            "which data set? name a prepared one: --config.prepared=NAME, or its folder"
        )
    is_folder = Path(config.prepared).is_dir()
    where = (config.prepared, "") if is_folder else (store.cache_dir() / "data", config.prepared)
    dataset = open_prepared(*where)
    held_out = dataset.splits.get("test") or dataset.splits.get("train", [])

    def read(index: int) -> np.ndarray:
        return resize_square(to_8_bits(held_out[index]["image"]), size)

    return [Item(f"prepared_{i:05d}", lambda i=i: read(i)) for i in range(len(held_out))]
