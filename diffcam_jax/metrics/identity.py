"""Whether two pictures show the same person: the cosine of embeddings of aligned faces, in [-1, 1],
higher is nearer.

SFace (Zhong et al., arXiv 2205.12010) is stored and looks at the crop that its five landmarks ask
for. ArcFace (Deng et al., arXiv 1801.07698), which published tables use, comes from converted
weights and looks at a fixed part of an FFHQ-aligned picture, as the evaluations of the pSp family
do. Numbers of the two are not comparable.
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
from diffcam_jax.faces.scorers import LEFT_EYE, MOUTH_LEFT, MOUTH_RIGHT, NOSE_TIP, RIGHT_EYE
from diffcam_jax.metrics.batches import Batched, Pictures, aligned
from diffcam_jax.nn.irse import identity_crop
from diffcam_jax.pretrained import networks as pretrained

ARCFACE_LEAST = 256
# Where a 112-pixel SFace crop puts (left eye, right eye, nose tip, left and right mouth corner), in
# pixels.
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
        devices: None takes all of this process.
        batch: pictures for one device at a time.

    Raises:
        UserError: the weights are not to be had, or the folder holds others.
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
            a, b: FFHQ-aligned uint8 RGB pictures [n, s, s, 3], or iterables of [s, s, 3]; for
                ArcFace 256 pixels at least.

        Raises:
            UserError: different numbers of pictures, or something that cannot be used.
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

        To be kept where one set is compared with many.
        """
        if self.name == "ArcFace":
            return _unit(self._run(large_enough(picture) for picture in pictures))
        faces: list[bool] = []
        found = _unit(self._run(_crops(pictures, faces)))
        embeddings = np.full((len(faces), found.shape[1]), np.nan, np.float32)
        embeddings[faces] = found
        return embeddings


def large_enough(picture: np.ndarray) -> UInt8[np.ndarray, "s s 3"]:
    """The picture, if ArcFace can look at it.

    Raises:
        UserError: it is too small, or not an aligned picture.
    """
    if len(aligned(picture)) < ARCFACE_LEAST:
        raise UserError(
            f"a picture of {len(picture)} pixels: ArcFace needs {ARCFACE_LEAST} at least; give "
            "larger pictures or take SFace"
        )
    return picture


def _crops(pictures: Pictures, faces: list[bool]) -> Iterator[np.ndarray]:
    """What SFace looks at, of the pictures that show a face.

    Which ones do is appended to `faces` on the way.
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
    return identity_crop(images.astype(jnp.float32) / 127.5 - 1)
