"""Resampling of pictures and masks under affine maps, and padding, on float32 arrays in NumPy."""

import numpy as np
from PIL import Image


def _oversampled(
    image: np.ndarray, matrix: np.ndarray, width: int, height: int, interpolation: int
) -> np.ndarray:
    """image[matrix @ position], sampled so densely that no pixel is skipped; edges are repeated."""
    import cv2

    density = max(1, int(np.ceil(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))) - 1e-6)))
    # OpenCV's coordinates start at the centre of the first pixel.
    centre = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    matrix = np.linalg.inv(centre) @ matrix @ np.diag([1 / density, 1 / density, 1]) @ centre
    flags, size = interpolation | cv2.WARP_INVERSE_MAP, (width * density, height * density)
    return cv2.warpAffine(image, matrix[:2], size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def warp(image: np.ndarray, matrix: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resamples a picture: bicubic where it is enlarged, Lanczos where it is reduced.

    Args:
        image: float32 [h, w] or [h, w, c].
        matrix: [3, 3] map from coordinates of the result to those of the picture, in pixels from
            the top left corner.
        width: of the result.
        height: of the result.
    """
    import cv2

    return lanczos(_oversampled(image, matrix, width, height, cv2.INTER_CUBIC), width, height)


def warp_mask(mask: np.ndarray, matrix: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resamples a mask by averages of its values, which never leave their range.

    Arguments as for `warp`.
    """
    import cv2

    dense = _oversampled(mask, matrix, width, height, cv2.INTER_LINEAR)
    return cv2.resize(dense, (width, height), interpolation=cv2.INTER_AREA)


def lanczos(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Reduces float32 [h, w] or [h, w, c] without aliasing."""
    if image.shape[:2] == (height, width):
        return image
    planes = image[..., None] if image.ndim == 2 else image
    reduced = [
        Image.fromarray(np.ascontiguousarray(planes[..., c])).resize(
            (width, height), Image.Resampling.LANCZOS
        )
        for c in range(planes.shape[-1])
    ]
    return np.stack([np.asarray(plane) for plane in reduced], axis=-1).reshape(
        height, width, *image.shape[2:]
    )


def soften(plane: np.ndarray) -> np.ndarray:
    """Smooths a plane [s, s] by a Gaussian whose width grows with its size."""
    import cv2

    return cv2.GaussianBlur(plane, (0, 0), max(1.0, len(plane) / 512))


def covered(
    matrix: np.ndarray, size: int, height: int, width: int, margin: float = 0.0
) -> np.ndarray:
    """Which centres of pixels [size, size] a map takes into a picture, `margin` off its border.

    Args:
        matrix: see `warp`.
        size: side of the result.
        height: of the picture.
        width: of the picture.
        margin: in pixels of the picture.
    """
    steps = np.arange(size) + 0.5
    places = np.stack(np.meshgrid(steps, steps), -1) @ matrix[:2, :2].T + matrix[:2, 2]
    return ((places >= margin) & (places <= np.array([width, height]) - margin)).all(-1)


def continued(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A picture [h, w, c] with its nearest values beyond the upright rectangle that is known."""
    rows, columns = (np.flatnonzero(known.any(axis))[[0, -1]] for axis in (1, 0))
    height, width = known.shape
    return image[np.clip(np.arange(height), *rows)[:, None], np.clip(np.arange(width), *columns)]


def pad(image: np.ndarray, margins: np.ndarray, blur: float) -> np.ndarray:
    """Continues a picture beyond its border: mirrored, increasingly blurred, finally its median.

    Args:
        image: float32 [h, w, 3].
        margins: pixels to add at the left, top, right and bottom.
        blur: standard deviation of the blur in pixels; it also reaches a third of a margin into the
            picture.
    """
    import cv2

    left, top, right, bottom = (int(m) for m in margins)
    image = np.pad(image, ((top, bottom), (left, right), (0, 0)), "reflect")
    height, width = image.shape[:2]
    x, y = np.arange(width, dtype=np.float32)[None, :], np.arange(height, dtype=np.float32)[:, None]
    outside = np.maximum(
        1 - np.minimum(x / left, (width - 1 - x) / right),
        1 - np.minimum(y / top, (height - 1 - y) / bottom),
    )[..., None]
    # Blur and median are smooth: they are computed on a reduced copy, which keeps large photographs
    # fast.
    factor = max(1, int(blur / 4))
    small = cv2.resize(
        image, (-(-width // factor), -(-height // factor)), interpolation=cv2.INTER_AREA
    )
    blurred = cv2.resize(cv2.GaussianBlur(small, (0, 0), blur / factor), (width, height))
    # In place, for these arrays are large: image += (blurred - image) * weight, twice.
    blurred -= image
    blurred *= np.clip(3 * outside + 1, 0, 1)
    image += blurred
    np.subtract(np.median(small, axis=(0, 1)), image, out=blurred)
    blurred *= np.clip(outside, 0, 1)
    image += blurred
    return image
