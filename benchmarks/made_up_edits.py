"""Edits of a face in the manner of other programs, with known truth, for tests and measurements.

An edit changes one region of a photograph in a known way. A saving then does to the whole picture
what programs do: compress, rescale, crop, tint, soften and add noise. Photographs are uint8
[h, w, 3]; quads are those of `faces.align`; maps [3, 3] lead from positions in the photograph to
those in the saved picture, in pixels from the top left corner.
"""

import io
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from diffcam_jax.faces.views import frame, scale_of

Saved = tuple[np.ndarray, np.ndarray]


# ---------------------------------------------------------------- edits


def beard(photo: np.ndarray, quad: np.ndarray) -> np.ndarray:
    """Darkens chin and cheeks around the mouth, with a grain like stubble."""
    u, v = _places(photo, quad)
    shade = np.clip((1.15 - _ellipse(u, v, 0.5, 0.77, 0.17, 0.11)) / 0.4, 0, 1)
    shade *= _ellipse(u, v, 0.5, 0.74, 0.07, 0.03) > 1
    grain = np.random.default_rng(1).normal(0, 1, photo.shape[:2])
    grain = cv2.GaussianBlur(grain, (0, 0), max(1.0, _side(quad) / 400))
    kept = np.clip(0.55 + 0.1 * grain / grain.std(), 0, 1)
    return _rounded(photo * (1 - (shade * (1 - kept))[..., None]))


def nose(photo: np.ndarray, quad: np.ndarray) -> np.ndarray:
    """Paints a clown's red nose."""
    u, v = _places(photo, quad)
    paint = np.clip((1 - _ellipse(u, v, 0.5, 0.6, 0.07, 0.07)) / 0.15, 0, 1)[..., None]
    red = 0.5 * photo * np.array([0.9, 0.25, 0.25]) + np.array([95, 15, 15])
    return _rounded(photo * (1 - paint) + red * paint)


def mouth(photo: np.ndarray, quad: np.ndarray) -> np.ndarray:
    """Bends the mouth upwards, as a liquify brush does."""
    u, v = _places(photo, quad)
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]].astype(np.float32)
    reach = np.clip(1 - _ellipse(u, v, 0.5, 0.74, 0.2, 0.12), 0, 1)
    bend = 0.04 * _side(quad) * reach * (((u - 0.5) / 0.12) ** 2 - 0.5)
    return cv2.remap(
        photo, x, y + bend.astype(np.float32), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )


EDITS = {"beard": beard, "nose": nose, "mouth": mouth}


def changed(photo: np.ndarray, edited: np.ndarray) -> np.ndarray:
    """Where an edit changed what can be seen: by more than 8 levels in a channel."""
    difference = np.abs(edited.astype(np.float32) - photo).max(-1)
    return cv2.GaussianBlur(difference, (0, 0), 1) > 8


# ---------------------------------------------------------------- savings


def as_it_is(picture: np.ndarray, quad: np.ndarray) -> Saved:
    """Nothing is lost."""
    return picture, np.eye(3)


def compressed(picture: np.ndarray, quad: np.ndarray) -> Saved:
    """JPEG of quality 70."""
    return _jpeg(picture, 70), np.eye(3)


def smaller(picture: np.ndarray, quad: np.ndarray) -> Saved:
    """0.6 times the size, JPEG."""
    return _rescaled(picture, 0.6)


def larger(picture: np.ndarray, quad: np.ndarray) -> Saved:
    """1.5 times the size, JPEG."""
    return _rescaled(picture, 1.5)


def cropped(picture: np.ndarray, quad: np.ndarray) -> Saved:
    """Without 3 % on each side."""
    height, width = picture.shape[:2]
    x, y = round(0.03 * width), round(0.03 * height)
    return picture[y : height - y, x : width - x].copy(), similarity(1, 0, (-x, -y))


def tinted(picture: np.ndarray, quad: np.ndarray) -> Saved:
    """Gain 1.1, offset -8, gamma 0.95 and a cast."""
    return _tinted(picture), np.eye(3)


def regenerated(picture: np.ndarray, quad: np.ndarray) -> Saved:
    """Softened and noisy all over, as a diffusion model's decoder leaves it, JPEG."""
    rng = np.random.default_rng(3)
    noise = cv2.GaussianBlur(rng.normal(0, 1, picture.shape), (0, 0), 1.5) * 14
    return _jpeg(_rounded(cv2.GaussianBlur(picture, (0, 0), 0.9) + noise), 80), np.eye(3)


def everything(picture: np.ndarray, quad: np.ndarray) -> Saved:
    """Cropped, tinted, 0.8 times the size, softened, noisy, JPEG of quality 70."""
    part, shift = cropped(picture, quad)
    part, scale = _resized(_tinted(part), 0.8)
    noise = np.random.default_rng(3).normal(0, 2, part.shape)
    return _jpeg(_rounded(cv2.GaussianBlur(part, (0, 0), 0.6) + noise), 70), scale @ shift


def face_crop(picture: np.ndarray, quad: np.ndarray) -> Saved:
    """A crop like FFHQ's of 512 pixels, somewhat off, tinted, JPEG."""
    matrix = np.linalg.inv(frame(quad, 512, 0.97))
    return _jpeg(_tinted(warped(picture, matrix, 512, 512)), 85), matrix


SAVINGS: dict[str, Callable[[np.ndarray, np.ndarray], Saved]] = {
    "as it is": as_it_is,
    "JPEG 70": compressed,
    "x 0.6": smaller,
    "x 1.5": larger,
    "cropped 3 %": cropped,
    "tinted": tinted,
    "regenerated": regenerated,
    "everything": everything,
    "face crop": face_crop,
}


def similarity(scale: float, degrees: float, shift: tuple[float, float]) -> np.ndarray:
    """A map that scales, turns clockwise and then shifts."""
    c, s = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return np.array([[c, -s, shift[0]], [s, c, shift[1]], [0, 0, 1]])


def warped(picture: np.ndarray, matrix: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture as a map shows it, mirrored beyond its border."""
    centre = similarity(1, 0, (0.5, 0.5))
    # Where pixels become fewer, what lies between them is averaged first.
    scale = scale_of(matrix)
    soft = cv2.GaussianBlur(picture, (0, 0), 0.5 / scale) if scale < 1 else picture
    return cv2.warpAffine(
        soft,
        (np.linalg.inv(centre) @ matrix @ centre)[:2],
        (width, height),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT,
    )


def _rescaled(picture: np.ndarray, scale: float) -> Saved:
    result, matrix = _resized(picture, scale)
    return _jpeg(result, 85), matrix


def _resized(picture: np.ndarray, scale: float) -> Saved:
    old = np.array(picture.shape[1::-1])
    new = np.round(old * scale).astype(int)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(picture, new.tolist(), interpolation=how), np.diag([*(new / old), 1])


def _tinted(picture: np.ndarray) -> np.ndarray:
    light = (picture / np.float32(255)) ** 0.95
    return _rounded(light * np.array([1.1, 1.08, 1.05]) * 255 - 8)


def _jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _places(photo: np.ndarray, quad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position across and down the quad of every pixel, from 0 to 1."""
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]] + 0.5
    u, v, _ = np.linalg.inv(frame(quad, 1)) @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    return u.reshape(x.shape), v.reshape(x.shape)


def _ellipse(u, v, across: float, down: float, width: float, height: float) -> np.ndarray:
    return ((u - across) / width) ** 2 + ((v - down) / height) ** 2


def _side(quad: np.ndarray) -> float:
    return float(np.hypot(*(quad[3] - quad[0])))


def _rounded(picture: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
