"""Crops of faces in the poses that recognition networks were trained with, and colour.

Pictures are uint8 RGB [h, w, 3]; points are x, y.
"""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image


def resized(image: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "side side 3"]:
    """Scales a picture to a square: area mean when shrinking, bilinear when enlarging."""
    if image.shape[:2] == (side, side):
        return image
    method = Image.Resampling.BOX if side < image.shape[0] else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(image).resize((side, side), method))


def similarity_transform(
    source: Float[np.ndarray, "k 2"], target: Float[np.ndarray, "k 2"]
) -> Float[np.ndarray, "2 3"]:
    """The rotation, uniform scale and shift that map `source` closest to `target` (least squares).

    Reference:
        Umeyama, Least-squares estimation of transformation parameters between two point patterns
        (1991), eqs. 40-42.
    """
    from skimage.transform import SimilarityTransform

    return SimilarityTransform.from_estimate(source, target).params[:2]


def chip(
    image: UInt8[np.ndarray, "h w 3"],
    points: Float[np.ndarray, "k 2"],
    template: Float[np.ndarray, "k 2"],
    side: int,
) -> UInt8[np.ndarray, "side side 3"]:
    """The square around a face in which `points` lie at the positions of `template`.

    Args:
        image: square picture.
        points: x, y relative to the picture's side.
        template: x, y in pixels of the chip.
        side: of the chip, in pixels.

    Returns:
        The chip; black outside the picture. The picture is first reduced by area means, against
        aliasing.
    """
    h = image.shape[0]
    matrix = similarity_transform(np.asarray(points, np.float64) * h, template)
    shrink = max(1, int(1 / np.hypot(matrix[0, 0], matrix[1, 0])))
    reduced = Image.fromarray(image).reduce(shrink)
    full = np.vstack([matrix @ np.diag([shrink, shrink, 1]), [0, 0, 1]])
    inverse = np.linalg.inv(full)[:2].ravel()
    warped = reduced.transform(
        (side, side), Image.Transform.AFFINE, tuple(inverse), Image.Resampling.BILINEAR
    )
    return np.asarray(warped)


def lab(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """Converts sRGB to CIE L*a*b* (D65): L in [0, 100].

    Written out, because scikit-image's rgb2lab uses rounded matrices (up to 0.005 off, which would
    shift published scores) and takes 0.2 s to import.
    """
    c = np.arange(256, dtype=np.float32) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).astype(np.float32)[
        image
    ]
    to_xyz = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    white = [[0.95047], [1.0], [1.08883]]
    t = linear @ (np.array(to_xyz) / white).T.astype(np.float32)
    f = np.where(
        t > (6 / 29) ** 3, np.cbrt(t), t / np.float32(3 * (6 / 29) ** 2) + np.float32(4 / 29)
    )
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
