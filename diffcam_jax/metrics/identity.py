"""Do two pictures show the same person? Cosine of face embeddings, in [-1, 1], higher is closer.

SFace (Zhong et al., arXiv 2205.12010) is a stored part and reads a crop aligned by five landmarks.
ArcFace (Deng et al., arXiv 1801.07698), which published tables use, comes from converted weights
and reads a fixed part of an FFHQ-aligned picture, as in the evaluations of the pSp family. Numbers
of the two are not comparable.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from diffcam_jax.errors import UserError
from diffcam_jax.faces.chips import chip
from diffcam_jax.faces.evidence import find_face
from diffcam_jax.faces.landmarks import FaceLandmarker
from diffcam_jax.faces.mesh import LEFT_EYE, MOUTH_LEFT, MOUTH_RIGHT, NOSE_TIP, RIGHT_EYE
from diffcam_jax.metrics.batches import Batched, Pictures, aligned
from diffcam_jax.nn.irse import identity_crop
from diffcam_jax.ops.image import to_unit
from diffcam_jax.pretrained import networks as pretrained

ARCFACE_LEAST = 256
# Positions in a 112-pixel SFace crop of (left eye, right eye, nose tip, left and right mouth
# corner), in pixels.
IDENTITY_SIDE = 112
IDENTITY_TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)


class Identity:
    """Similarity of persons.

    Args:
        arcface: folder that `python -m convert_weights arcface` wrote; None takes SFace.
        devices: None uses all devices of this process.
        batch: pictures per device at a time.

    Raises:
        UserError: the weights cannot be fetched, or the folder holds others.
    """

    def __init__(
        self,
        arcface: str | Path | None = None,
        devices: Sequence[jax.Device] | None = None,
        batch: int = 8,
    ) -> None:
        self.name = "SFace" if arcface is None else "ArcFace"
        module, variables = pretrained.load("sface" if arcface is None else arcface).network(
            "identity"
        )
        self._run = Batched(
            module.apply, variables, _pixels if arcface is None else _cropped, devices, batch
        )

    def __call__(self, a: Pictures, b: Pictures) -> Float[np.ndarray, " n"]:
        """Cosine of every pair; NaN where SFace finds no face in one of them.

        Args:
            a: FFHQ-aligned uint8 RGB pictures [n, s, s, 3], or an iterable of [s, s, 3]; for
                ArcFace at least 256 pixels.
            b: likewise, as many.

        Raises:
            UserError: the numbers of pictures differ, or something is not such a picture.
        """
        embedded = [self.embed(pictures) for pictures in (a, b)]
        if len(embedded[0]) != len(embedded[1]):
            raise UserError(
                f"{len(embedded[0])} pictures cannot be compared with {len(embedded[1])}; pairs "
                "need the same number of both"
            )
        return (embedded[0] * embedded[1]).sum(-1)

    def embed(self, pictures: Pictures) -> Float[np.ndarray, "n k"]:
        """Embeddings of unit length, NaN where SFace finds no face.

        Keep them where one set is compared with many.
        """
        if self.name == "ArcFace":
            return _unit(self._run(large_enough(picture) for picture in pictures))
        faces: list[bool] = []
        found = _unit(self._run(_crops(pictures, faces)))
        embeddings = np.full((len(faces), found.shape[1]), np.nan, np.float32)
        embeddings[faces] = found
        return embeddings


def large_enough(picture: np.ndarray) -> UInt8[np.ndarray, "s s 3"]:
    """The picture, if it is large enough for ArcFace.

    Raises:
        UserError: it is too small, or not an aligned picture.
    """
    if len(aligned(picture)) < ARCFACE_LEAST:
        raise UserError(
            f"a picture of {len(picture)} pixels: ArcFace needs at least {ARCFACE_LEAST}; give "
            "larger pictures or use SFace"
        )
    return picture


def _crops(pictures: Pictures, faces: list[bool]) -> Iterator[np.ndarray]:
    """The input crops of SFace, of the pictures that show a face.

    Whether a picture does is appended to `faces` on the way.
    """
    with FaceLandmarker() as landmarker:
        for picture in pictures:
            face = find_face(landmarker, aligned(picture))
            faces.append(face is not None)
            if face is not None:
                points = face[0]
                five = [points[list(LEFT_EYE)].mean(0), points[list(RIGHT_EYE)].mean(0)]
                five += [points[NOSE_TIP], points[MOUTH_LEFT], points[MOUTH_RIGHT]]
                yield chip(picture, np.stack(five), IDENTITY_TEMPLATE, IDENTITY_SIDE)


def _unit(embeddings: np.ndarray) -> Float[np.ndarray, "n k"]:
    if embeddings.ndim == 1:  # nothing was embedded
        return np.zeros((0, 1), np.float32)
    return embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)


def _pixels(images: UInt8[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    return images.astype(jnp.float32)


def _cropped(images: UInt8[Array, "b s s 3"]) -> Float[Array, "b 112 112 3"]:
    return identity_crop(to_unit(images))
