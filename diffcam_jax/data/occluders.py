"""Objects in front of a face with their masks: shapes for training, others for evaluation.

The objects for evaluation, hands, caps and microphones, are never shown in training. Pictures are
uint8 RGB [s, s, 3], masks uint8 [s, s] with 255 where the object is; one picture at a time, in
NumPy and OpenCV. All draws come from the given random generator. Lengths are shares of the side.
"""

import functools
import math

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from diffcam_jax.errors import UserError

Picture = UInt8[np.ndarray, "s s 3"]
Mask = UInt8[np.ndarray, "s s"]
# Kinds for evaluation alone: other outlines, and surfaces that are photographs of other things.
HELD_OUT = ("hand", "cap", "microphone")
# Colour pictures that come with scikit-image and show no faces.
_TEXTURES = (
    "brick.png",
    "chelsea.png",
    "coffee.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "rocket.jpg",
)


def paste(picture: Picture, surface: Float32[np.ndarray, "s s 3"], mask: Mask) -> Picture:
    """Pastes a surface into a picture where the mask is.

    Args:
        picture: uint8.
        surface: in [0, 255].
        mask: with hard edges, which are smoothed here: photographs have no hard steps.
    """
    alpha = cv2.GaussianBlur(mask, (3, 3), 0)[..., None].astype(np.float32) / 255
    return np.rint(picture * (1 - alpha) + surface * alpha).astype(np.uint8)


def outline(side: int, largest: float, rng: np.random.Generator) -> Mask:
    """Draws the mask of an object: an ellipse, a polygon, a bar, or a brim from above.

    Args:
        side: of the picture.
        largest: width of the largest object.
        rng: of all draws.
    """
    mask = np.zeros((side, side), np.uint8)
    kind, size = rng.integers(4), rng.uniform(0.08, largest) * side
    centre, angle = rng.uniform(0, side, 2), rng.uniform(0, 2 * math.pi)
    if kind == 0:
        axes = (int(size / 2) + 1, int(size * rng.uniform(0.15, 0.5)) + 1)
        cv2.ellipse(mask, tuple(map(int, centre)), axes, math.degrees(angle), 0, 360, 255, -1)
    elif kind == 1:
        corners = np.sort(rng.uniform(0, 2 * math.pi, rng.integers(3, 8)))
        radii = rng.uniform(0.4, 1, len(corners)) * size / 2
        points = centre + np.stack([np.cos(corners), np.sin(corners)], 1) * radii[:, None]
        cv2.fillPoly(mask, [points.astype(np.int32)], 255)
    elif kind == 2:
        end = centre + np.array([math.cos(angle), math.sin(angle)]) * side
        width = _thick(size * rng.uniform(0.1, 0.4))
        cv2.line(mask, tuple(map(int, centre)), tuple(map(int, end)), 255, width)
        cv2.circle(mask, tuple(map(int, centre)), int(width * rng.uniform(0.5, 1.2)), 255, -1)
    else:
        height, sag = rng.uniform(0.05, 0.3, 2) * side
        x = np.arange(side)
        mask[np.arange(side)[:, None] < height - sag * (2 * x / side - 1) ** 2] = 255
    return mask


def compound(side: int, largest: float, rng: np.random.Generator) -> Mask:
    """Draws the mask of an object of several parts: a round body with up to six limbs.

    Args:
        side: of the picture.
        largest: width of the largest object.
        rng: of all draws.
    """
    mask = np.zeros((side, side), np.uint8)
    size, centre, angle = (
        rng.uniform(0.08, largest) * side,
        rng.uniform(0, side, 2),
        rng.uniform(0, 2 * math.pi),
    )
    axes = tuple(_thick(share * size) for share in rng.uniform(0.15, 0.5, 2))
    cv2.ellipse(mask, tuple(map(int, centre)), axes, math.degrees(angle), 0, 360, 255, -1)
    spread = rng.uniform(0.1, 1.5)
    for _ in range(rng.integers(0, 7)):
        turned = angle + rng.normal(0, spread)
        start = centre + rng.normal(0, 0.15, 2) * size
        end = start + size * rng.uniform(0.3, 1.2) * np.array([math.cos(turned), math.sin(turned)])
        cv2.line(
            mask,
            tuple(map(int, start)),
            tuple(map(int, end)),
            255,
            _thick(size * rng.uniform(0.05, 0.3)),
        )
    return mask


def surface(picture: Picture, rng: np.random.Generator) -> Float32[np.ndarray, "s s 3"]:
    """Draws a surface: a colour, a gradient, stripes, coarse texture, or the picture itself, moved.

    Args:
        picture: that the object is in front of.
        rng: of all draws.

    Returns:
        In [0, 255].
    """
    side, kind = len(picture), rng.integers(5)
    if kind == 0:  # skin and hair out of place, like a hand in front
        matrix = cv2.getRotationMatrix2D(
            (side / 2, side / 2), rng.uniform(-180, 180), rng.uniform(0.7, 1.5)
        )
        matrix[:, 2] += rng.uniform(-0.4, 0.4, 2) * side
        return cv2.warpAffine(
            picture, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101
        ).astype(np.float32)
    first, second = rng.uniform(0, 255, (2, 3))
    if kind == 1:
        share = np.zeros((side, side))
    elif kind == 4:
        coarse = rng.random((rng.integers(2, 12),) * 2, np.float32)
        share = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_LINEAR)
    else:
        angle = rng.uniform(0, math.pi)
        y, x = np.mgrid[:side, :side] / side
        along = x * math.cos(angle) + y * math.sin(angle)
        share = (
            along.clip(0, 1)
            if kind == 2
            else 0.5 + 0.5 * np.sign(np.sin(along * rng.uniform(10, 80)))
        )
    return (first + (second - first) * share[..., None]).astype(np.float32)


def shaded(
    surface: Float32[np.ndarray, "s s 3"], mask: Mask, rng: np.random.Generator
) -> Float32[np.ndarray, "s s 3"]:
    """Shades a surface as of a round object: darker towards its edge and one side of the picture.

    Args:
        surface: in [0, 255].
        mask: where the object is.
        rng: of all draws.
    """
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    rounded = np.sqrt(depth / max(float(depth.max()), 1.0))
    angle, side = rng.uniform(0, 2 * math.pi), len(mask)
    y, x = np.mgrid[:side, :side] / side - 0.5
    light = 1 + rng.uniform(0, 0.6) * (x * math.cos(angle) + y * math.sin(angle))
    shade = (1 - rng.uniform(0.1, 0.6) * (1 - rounded)) * light
    return np.clip(surface * shade[..., None], 0, 255).astype(np.float32)


def skin(picture: Picture, rng: np.random.Generator) -> Float32[np.ndarray, "s s 3"]:
    """Draws a surface in the colour of the face, a little lighter or darker, uneven as skin is.

    Args:
        picture: an aligned face.
        rng: of all draws.

    Returns:
        In [0, 255].
    """
    side = len(picture)
    cheek = picture[int(0.55 * side) : int(0.65 * side), int(0.35 * side) : int(0.65 * side)].mean(
        (0, 1)
    )
    grain = cv2.GaussianBlur(
        rng.standard_normal((side, side)).astype(np.float32), (0, 0), 0.01 * side
    )
    tone = cheek * rng.uniform(0.8, 1.15) * (1 + rng.uniform(-0.05, 0.05, 3))
    return (tone + 300 * grain[..., None]).clip(0, 255).astype(np.float32)


def grained(
    surface: Float32[np.ndarray, "s s 3"], rng: np.random.Generator
) -> Float32[np.ndarray, "s s 3"]:
    """Adds fine structure to a surface: noise of one to eight pixels, elongated as hairs are.

    Args:
        surface: in [0, 255].
        rng: of all draws.
    """
    side = len(surface)
    noise = rng.standard_normal((side, side)).astype(np.float32)
    length = int(rng.integers(1, 9))
    kernel = np.zeros((9, 9), np.float32)
    angle = rng.uniform(0, math.pi)
    way = np.array([math.cos(angle), math.sin(angle)]) * length / 2
    cv2.line(
        kernel,
        tuple(np.rint(4 - way).astype(int).tolist()),
        tuple(np.rint(4 + way).astype(int).tolist()),
        1.0,
        1,
    )
    drawn = cv2.filter2D(noise, -1, kernel / np.sqrt((kernel**2).sum()))
    return np.clip(surface + rng.uniform(5, 60) * drawn[..., None], 0, 255)


def held_out(picture: Picture, kind: str, rng: np.random.Generator) -> tuple[Picture, Mask]:
    """Puts an object in front of a face that training never shows.

    Args:
        picture: an aligned face.
        kind: one of `HELD_OUT`.
        rng: of all draws.

    Returns:
        The picture, and where the object is.

    Raises:
        UserError: no such kind.
    """
    if kind not in _MAKERS:
        raise UserError(f"no object is called {kind!r}; choose from {', '.join(HELD_OUT)}")
    mask = np.zeros(picture.shape[:2], np.uint8)
    found = _MAKERS[kind](picture, mask, rng)
    return paste(picture, shaded(found, mask, rng), mask), mask


def _hand(picture: Picture, mask: Mask, rng: np.random.Generator) -> np.ndarray:
    """A hand with its fingers up, in front of cheek, chin or mouth, in the colour of the face."""
    side = len(mask)
    palm = np.array([rng.uniform(0.2, 0.8), rng.uniform(0.75, 0.95)]) * side
    width, turn = rng.uniform(0.09, 0.13) * side, rng.uniform(-0.5, 0.5)
    cv2.ellipse(
        mask,
        tuple(map(int, palm)),
        (int(width), int(1.3 * width)),
        math.degrees(turn),
        0,
        360,
        255,
        -1,
    )
    for finger in range(5):
        angle = turn - math.pi / 2 + (finger - 2) * rng.uniform(0.2, 0.28)
        way = np.array([math.cos(angle), math.sin(angle)])
        start, end = palm + width * 0.6 * way, palm + width * rng.uniform(1.9, 2.8) * way
        cv2.line(
            mask,
            tuple(map(int, start)),
            tuple(map(int, end)),
            255,
            _thick(width * rng.uniform(0.3, 0.42)),
        )
    return skin(picture, rng)


def _cap(picture: Picture, mask: Mask, rng: np.random.Generator) -> np.ndarray:
    """A cap over the hair, with a brim."""
    side = len(mask)
    centre = (int(rng.uniform(0.45, 0.55) * side), int(rng.uniform(0.22, 0.3) * side))
    width, height = rng.uniform(0.3, 0.4) * side, rng.uniform(0.22, 0.3) * side
    cv2.ellipse(mask, centre, (int(width), int(height)), rng.uniform(-8, 8), 180, 360, 255, -1)
    cv2.ellipse(
        mask,
        centre,
        (int(1.1 * width), int(rng.uniform(0.04, 0.08) * side)),
        rng.uniform(-8, 8),
        0,
        360,
        255,
        -1,
    )
    return _texture(side, rng)


def _microphone(picture: Picture, mask: Mask, rng: np.random.Generator) -> np.ndarray:
    """A microphone in front of the mouth or below it, whose handle leaves the picture."""
    side = len(mask)
    head = np.array([rng.uniform(0.35, 0.65), rng.uniform(0.68, 0.85)]) * side
    end = np.array([head[0] + rng.uniform(-0.35, 0.35) * side, 1.1 * side])
    radius = rng.uniform(0.06, 0.11) * side
    cv2.line(
        mask,
        tuple(map(int, head)),
        tuple(map(int, end)),
        255,
        _thick(radius * rng.uniform(0.9, 1.3)),
    )
    cv2.ellipse(mask, tuple(map(int, head)), (int(radius), int(1.25 * radius)), 0, 0, 360, 255, -1)
    y, x = np.mgrid[:side, :side]
    grid = np.sin(x * rng.uniform(0.6, 1.2)) * np.sin(y * rng.uniform(0.6, 1.2))
    return (
        (rng.uniform(20, 160) + rng.uniform(-8, 8, 3) + 30 * grid[..., None])
        .clip(0, 255)
        .astype(np.float32)
    )


def _thick(width: float) -> int:
    """A width that OpenCV can draw."""
    return max(int(width), 1)


def _texture(side: int, rng: np.random.Generator) -> np.ndarray:
    """A piece of a photograph, rotated, as large as the picture."""
    found = _photograph(_TEXTURES[rng.integers(len(_TEXTURES))])
    edge = min(found.shape[:2])
    piece = int(rng.uniform(0.3, 0.9) * edge)
    top, left = (rng.integers(0, length - piece + 1) for length in found.shape[:2])
    crop = np.rot90(found[top : top + piece, left : left + piece], rng.integers(4))
    return cv2.resize(
        np.ascontiguousarray(crop), (side, side), interpolation=cv2.INTER_AREA
    ).astype(np.float32)


@functools.cache
def _photograph(name: str) -> np.ndarray:
    import skimage.color
    import skimage.io
    from skimage.data import data_dir

    pixels = skimage.io.imread(f"{data_dir}/{name}")
    return skimage.color.gray2rgb(pixels)[..., :3] if pixels.ndim == 2 else pixels[..., :3]


_MAKERS = {"hand": _hand, "cap": _cap, "microphone": _microphone}
