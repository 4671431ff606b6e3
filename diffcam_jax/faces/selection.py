"""Which faces of a photograph are meant, and the squares around them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8, UInt16

from diffcam_jax.errors import UserError
from diffcam_jax.faces import align
from diffcam_jax.faces.landmarks import MAX_FACES, DetectedFace
from diffcam_jax.faces.shared import face_landmarker
from diffcam_jax.files.domain import FACES, Domain


def find_quads(
    pixels: UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"],
    which: int | str = "largest",
    aligned: bool = False,
    points: Float[np.ndarray, "n 2"] | None = None,
    domain: Domain = FACES,
) -> list[Float[np.ndarray, "4 2"]]:
    """The squares around the requested faces of a photograph, as `align.crop` takes them.

    Args:
        pixels: [h, w, 3] RGB, upright.
        which: see `select_faces`.
        aligned: whether the whole photograph already is a crop like FFHQ's.
        points: landmarks of one face, instead of detection.
        domain: what kind of pictures they are; the others choose among faces only.

    Raises:
        UserError: there is no such face, or the photograph is not square though aligned.
    """
    if not domain.of_faces:
        return [still_quad(domain, *pixels.shape[:2])]
    if aligned:
        return [align.frame_quad(*pixels.shape[:2])]
    if points is not None:
        return [align.ffhq_quad(points)]
    wanted = 1 if which == "largest" else MAX_FACES if which == "all" else int(which)
    faces = select_faces(face_landmarker().detect(pixels, wanted), which)
    return [align.ffhq_quad(face.points) for face in faces]


def still_quad(domain: Domain, height: int, width: int) -> Float[np.ndarray, "4 2"]:
    """What is cut out of every picture of height x width in a domain without faces."""
    if domain.crop == "whole":
        return align.whole_quad(height, width, domain.padding)
    return align.centre_quad(height, width)


def select_faces(faces: Sequence[DetectedFace], which: int | str) -> list[DetectedFace]:
    """Chooses the faces to edit.

    Args:
        faces: result of `FaceLandmarker.detect`, largest first.
        which: "largest", "all", or the rank of one face, 1 being the largest.

    Returns:
        At least one face.

    Raises:
        UserError: there is no face, or none of that rank.
        ValueError: `which` is something else.
    """
    if not faces:
        raise UserError(
            "no face was found; turn the picture upright, use a larger one or one that shows "
            "more of the face, or give its landmarks with --landmarks FILE"
        )
    if which == "all":
        return list(faces)
    rank = 1 if which == "largest" else which
    if not isinstance(rank, int):
        raise ValueError(f"{which!r} is neither 'largest', 'all' nor a number")
    if not 1 <= rank <= len(faces):
        raise UserError(
            f"face {rank} was requested and {len(faces)} found; give a number from 1 to "
            f"{len(faces)}"
        )
    return [faces[rank - 1]]
