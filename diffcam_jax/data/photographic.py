"""What distinguishes photographs from a generator's pictures, as augmentation: objects in front, light, lens, sensor, compression.

Pictures uint8 RGB [s, s, 3], one at a time, in NumPy and OpenCV: in a thread beside training this costs a few milliseconds a picture.
All draws come from the given generator, so that a sample depends on the seed and its number only. Lengths are shares of the side.

The picture keeps its code, so everything stays small that the code should tell: colours above all, as an encoder that learns to overlook them
gives every face the same complexion. Mirroring would change the code and is left out.
"""

import dataclasses
import math

import cv2
import numpy as np
from jaxtyping import UInt8

Picture = UInt8[np.ndarray, "s s 3"]


@dataclasses.dataclass(frozen=True)
class Photographic:
    """Probability and strength of each change; a probability of 0 switches one off.

    Attributes:
        align: probability of another alignment: up to `turn` degrees, `zoom` in size and `shift` in place.
        light: probability of another light: brightness, contrast and each channel's gain up to `colour`.
        objects: probability of one to three objects in front, each up to `largest` wide.
        blur: probability of a blur of up to `sigma` (share of the side).
        noise: probability of sensor noise of up to `grain` levels.
        compress: probability of JPEG at a quality from `quality` to 95.
    """

    align: float = 0.5
    turn: float = 3.0
    zoom: float = 0.04
    shift: float = 0.02
    light: float = 0.6
    colour: float = 0.1
    objects: float = 0.5
    largest: float = 0.45
    blur: float = 0.35
    sigma: float = 0.008
    noise: float = 0.4
    grain: float = 8.0
    compress: float = 0.4
    quality: int = 30

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """The picture as a photograph might have it."""
        # All chances first: what one change draws does not decide about the others.
        chances = rng.random(6) < (self.align, self.objects, self.light, self.blur, self.noise, self.compress)
        changes = (self._align, self._objects, self._light, self._blur, self._noise, self._compress)
        for happens, change in zip(chances, changes, strict=True):
            if happens:
                picture = change(picture, rng)
        return picture

    def _align(self, picture: Picture, rng: np.random.Generator) -> Picture:
        side = len(picture)
        matrix = cv2.getRotationMatrix2D(
            (side / 2, side / 2), rng.uniform(-self.turn, self.turn), 1 + rng.uniform(-self.zoom, self.zoom)
        )
        matrix[:, 2] += rng.uniform(-self.shift, self.shift, 2) * side
        return cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)

    def _objects(self, picture: Picture, rng: np.random.Generator) -> Picture:
        result = picture.copy()
        for _ in range(rng.integers(1, 4)):
            mask = _outline(len(picture), self.largest, rng)
            surface = _surface(picture, rng)
            # Antialiased edges: a hard step is no sign that a photograph would give.
            alpha = cv2.GaussianBlur(mask, (3, 3), 0)[..., None].astype(np.float32) / 255
            result = np.rint(result * (1 - alpha) + surface * alpha).astype(np.uint8)
        return result

    def _light(self, picture: Picture, rng: np.random.Generator) -> Picture:
        brightness, contrast = rng.uniform(-self.colour, self.colour, 2)
        gains = (1 + contrast) * (1 + rng.uniform(-self.colour, self.colour, 3) / 2)
        levels = (np.arange(256) - 127.5)[:, None] * gains + 127.5 * (1 + brightness)
        return cv2.LUT(picture, np.clip(np.rint(levels), 0, 255).astype(np.uint8)[None])

    def _blur(self, picture: Picture, rng: np.random.Generator) -> Picture:
        sigma, side = rng.uniform(0.1, 1) * self.sigma * len(picture), len(picture)
        if rng.random() < 0.5:
            return cv2.GaussianBlur(picture, (0, 0), max(sigma, 0.1))
        small = max(int(side / (1 + 1.5 * sigma)), 8)  # enlarged from few pixels
        reduced = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
        return cv2.resize(reduced, (side, side), interpolation=cv2.INTER_LINEAR)

    def _noise(self, picture: Picture, rng: np.random.Generator) -> Picture:
        noise = rng.standard_normal(picture.shape, np.float32) * np.float32(rng.uniform(0.1, 1) * self.grain)
        return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)

    def _compress(self, picture: Picture, rng: np.random.Generator) -> Picture:
        quality = int(rng.integers(self.quality, 96))
        coded = cv2.imencode(".jpg", picture[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
        return np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])


def _outline(side: int, largest: float, rng: np.random.Generator) -> UInt8[np.ndarray, "s s"]:
    """Where an object is: an ellipse, a polygon, a bar as of a microphone or a finger, or a brim from above."""
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
        width = max(int(size * rng.uniform(0.1, 0.4)), 1)
        cv2.line(mask, tuple(map(int, centre)), tuple(map(int, end)), 255, width)
        cv2.circle(mask, tuple(map(int, centre)), int(width * rng.uniform(0.5, 1.2)), 255, -1)
    else:
        height, sag = rng.uniform(0.05, 0.3, 2) * side
        x = np.arange(side)
        mask[np.arange(side)[:, None] < height - sag * (2 * x / side - 1) ** 2] = 255
    return mask


def _surface(picture: Picture, rng: np.random.Generator) -> np.ndarray:
    """What an object looks like, float32 [s, s, 3]: a colour, a gradient, stripes, coarse texture, or the picture itself from elsewhere."""
    side, kind = len(picture), rng.integers(5)
    if kind == 0:  # skin and hair out of place, like a hand in front
        matrix = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-180, 180), rng.uniform(0.7, 1.5))
        matrix[:, 2] += rng.uniform(-0.4, 0.4, 2) * side
        return cv2.warpAffine(picture, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101).astype(np.float32)
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
        share = along.clip(0, 1) if kind == 2 else 0.5 + 0.5 * np.sign(np.sin(along * rng.uniform(10, 80)))
    return (first + (second - first) * share[..., None]).astype(np.float32)
