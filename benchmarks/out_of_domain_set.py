"""Faces that wear or hold what a generator cannot draw, with the mask of every such object.

    python -m benchmarks.out_of_domain_set --out FOLDER    # all pictures and contact.png

Base faces are the 11 FFHQ photographs of the store, Grace Hopper and the astronaut of scikit-image.
Real objects of some of them (see `out_of_domain_objects`) are laid onto the others, so that their
masks are known; a second group has drawn objects of `data.occluders`. All of it is deterministic.
"""

import argparse
import dataclasses
import functools
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from benchmarks.out_of_domain_objects import MARGIN, OBJECTS, SIDE, alpha, lay, placement
from benchmarks.photographs import photographs
from diffcam_jax.data.occluders import held_out
from diffcam_jax.faces.align import crop
from diffcam_jax.faces.chips import resized
from diffcam_jax.faces.evidence import find_face, parse
from diffcam_jax.faces.landmarks import FaceLandmarker
from diffcam_jax.faces.selection import find_quads
from diffcam_jax.nn.conventions import CLASSES

# Rows of the 478 landmarks whose means are left eye, right eye and mouth, as in `align.ffhq_quad`.
_ANCHORS = ((33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380), (61, 291))
# Where no shadow falls: too far behind the object.
_BEHIND = [CLASSES.index(name) for name in ("background", "cloth")]
# What is drawn before whom: something else than the face wears or holds already.
_DRAWN = {
    "ffhq00000": "hand",
    "ffhq00001": "cap",
    "ffhq00002": "microphone",
    "ffhq00003": "cap",
    "ffhq00004": "hand",
    "ffhq00005": "cap",
    "ffhq00006": "microphone",
    "ffhq00007": "hand",
    "ffhq00008": "cap",
    "ffhq00009": "microphone",
    "ffhq00010": "hand",
    "hopper": "microphone",
    "astronaut": "cap",
}
_PUBLIC_DOMAIN = ("hopper", "astronaut")


@dataclasses.dataclass(frozen=True, eq=False)
class Composite:
    """A picture of the set.

    Attributes:
        pixels: uint8 [1024, 1024, 3], aligned as FFHQ.
        mask: bool [1024, 1024], where the object is (more than half of the pixel); nowhere in the
            group "photograph".
        group: "photograph", "real" (objects cut out of photographs) or "drawn".
        public_domain: whether everything in it is, so that it may be shown.
    """

    pixels: np.ndarray
    mask: np.ndarray
    group: str
    public_domain: bool


@dataclasses.dataclass(frozen=True, eq=False)
class _Face:
    """A photograph's face.

    Attributes:
        pixels: uint8 [1024, 1024, 3], aligned.
        canvas: uint8 [1280, 1280, 3], the same with `MARGIN` around it.
        anchors: [3, 2] float64, left eye, right eye and mouth, x and y in pixels.
        shadowed: bool [1024, 1024], where an object's shadow may fall.
    """

    pixels: np.ndarray
    canvas: np.ndarray
    anchors: np.ndarray
    shadowed: np.ndarray


@functools.cache
def _faces() -> dict[str, _Face]:
    faces = {}
    with FaceLandmarker() as landmarker:
        for name, (photo, aligned) in photographs().items():
            quad = find_quads(photo, aligned=aligned)[0]
            pixels = _cut(photo, quad, SIDE)
            if aligned:
                canvas = np.pad(pixels, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), "edge")
            else:  # the photograph goes on beyond the crop
                centre = quad.mean(axis=0)
                wider = centre + (quad - centre) * (1 + 2 * MARGIN / SIDE)
                canvas = _cut(photo, wider, SIDE + 2 * MARGIN)
            points = find_face(landmarker, pixels)[0].astype(np.float64) * SIDE
            anchors = np.stack([points[list(rows)].mean(axis=0) for rows in _ANCHORS])
            labels = parse(pixels[None], batch_size=1)[0][0]
            near = enlarged(~np.isin(labels, _BEHIND))
            faces[f"ffhq{name}" if aligned else name] = _Face(pixels, canvas, anchors, near)
    return faces


def _cut(photo: np.ndarray, quad: Float[np.ndarray, "4 2"], size: int) -> np.ndarray:
    return np.round(crop(photo, quad, size) * 255).astype(np.uint8)


def enlarged(mask: Bool[np.ndarray, "s s"]) -> Bool[np.ndarray, "1024 1024"]:
    """A mask at the side of the pictures, by nearest neighbours."""
    return np.kron(mask, np.ones((SIDE // len(mask),) * 2, bool))


def bases() -> dict[str, Composite]:
    """Name ("ffhq00000", "hopper", "astronaut") -> the photograph as it is."""
    nowhere, found = np.zeros((SIDE, SIDE), bool), {}
    for name, face in _faces().items():
        found[name] = Composite(face.pixels, nowhere, "photograph", name in _PUBLIC_DOMAIN)
    return found


def composites() -> dict[str, Composite]:
    """Name ("cap_astronaut", "drawn_hand_ffhq00000": thing, face) -> the face behind the thing."""
    faces, found = _faces(), {}
    for kind, item in OBJECTS.items():
        opacity = alpha(item)
        for name, face in faces.items():
            if name in item.without:
                continue
            matrix = placement(item, name, face.anchors)
            canvas = faces[item.source].canvas
            pixels, mask = lay(face.pixels, canvas, opacity, matrix, face.shadowed)
            shown = {name, item.source} <= set(_PUBLIC_DOMAIN)
            found[f"{kind}_{name}"] = Composite(pixels, mask, "real", shown)
    for number, (name, kind) in enumerate(_DRAWN.items()):
        pixels, mask = held_out(faces[name].pixels, kind, np.random.default_rng(number))
        shown = name in _PUBLIC_DOMAIN  # what is drawn on these two is, too: the cap is NASA's
        found[f"drawn_{kind}_{name}"] = Composite(pixels, mask > 127, "drawn", shown)
    return found


def contact_sheet(pictures: dict[str, Composite], tile: int = 256, columns: int = 9) -> Image.Image:
    """All pictures, `columns` beside each other, each `tile` pixels wide."""
    tiles = [resized(picture.pixels, tile) for picture in pictures.values()]
    tiles += [np.full((tile, tile, 3), 255, np.uint8)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    return Image.fromarray(np.vstack(rows))


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    pictures = bases() | composites()
    for name, picture in pictures.items():
        Image.fromarray(picture.pixels).save(out / f"{name}.png")
        Image.fromarray(picture.mask).save(out / f"{name}.mask.png")
    contact_sheet(pictures).save(out / "contact.png")
    print(f"{len(pictures)} pictures in {out}")


if __name__ == "__main__":
    main()
