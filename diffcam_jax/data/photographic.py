"""Augmentation by what distinguishes photographs from a generator's pictures.

Objects in front, light, lens, sensor and compression. Pictures are uint8 RGB [s, s, 3], one at a
time, in NumPy and OpenCV: in a thread beside training this takes a few milliseconds a picture. All
draws come from the given random generator, so that a sample depends on the seed and its number
only. Lengths are shares of the side.

The picture keeps its code, so changes stay small in what the code describes: above all in colours,
as an encoder that learns to ignore them gives every face the same complexion. Mirroring would
change the code and is left out.
"""

import dataclasses

import cv2
import numpy as np

from diffcam_jax.data.occluders import (
    Mask,
    Picture,
    compound,
    grained,
    outline,
    paste,
    shaded,
    skin,
    surface,
)


@dataclasses.dataclass(frozen=True)
class Photographic:
    """Probability and strength of each change; a probability of 0 switches one off.

    Attributes:
        align: probability of another alignment: up to `turn` degrees, `zoom` in size and `shift` in
            place.
        light: probability of another light: brightness, contrast and each channel's gain up to
            `colour`.
        objects: probability of one to three objects in front, each up to `largest` wide.
        compound: probability that an object consists of several parts.
        skin, fine: probabilities that an object has the colour of the face, and that its surface
            has fine structure.
        round: probability that an object is shaded as something round is.
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
    compound: float = 0.0
    skin: float = 0.0
    fine: float = 0.0
    round: float = 0.0
    blur: float = 0.35
    sigma: float = 0.008
    noise: float = 0.4
    grain: float = 8.0
    compress: float = 0.4
    quality: int = 30

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Changes a picture as a photograph might show it."""
        return self.with_objects(picture, rng)[0]

    def with_objects(self, picture: Picture, rng: np.random.Generator) -> tuple[Picture, Mask]:
        """Changes a picture as a photograph might show it; the mask shows objects in front."""
        # All chances first: the draws of one change do not influence whether another happens.
        chances = rng.random(6) < (
            self.align,
            self.objects,
            self.light,
            self.blur,
            self.noise,
            self.compress,
        )
        aligned, occluded, *happens = chances
        if aligned:
            picture = self._align(picture, rng)
        mask = np.zeros(picture.shape[:2], np.uint8)
        if occluded:
            picture, mask = self._objects(picture, rng)
        for change, chosen in zip(
            (self._light, self._blur, self._noise, self._compress), happens, strict=True
        ):
            if chosen:
                picture = change(picture, rng)
        return picture, mask

    def _align(self, picture: Picture, rng: np.random.Generator) -> Picture:
        side = len(picture)
        matrix = cv2.getRotationMatrix2D(
            (side / 2, side / 2),
            rng.uniform(-self.turn, self.turn),
            1 + rng.uniform(-self.zoom, self.zoom),
        )
        matrix[:, 2] += rng.uniform(-self.shift, self.shift, 2) * side
        return cv2.warpAffine(
            picture, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )

    def _objects(self, picture: Picture, rng: np.random.Generator) -> tuple[Picture, Mask]:
        result, everything = picture, np.zeros(picture.shape[:2], np.uint8)
        for _ in range(rng.integers(1, 4)):
            shape = compound if self.compound and rng.random() < self.compound else outline
            mask = shape(len(picture), self.largest, rng)
            look = (
                skin(picture, rng)
                if self.skin and rng.random() < self.skin
                else surface(picture, rng)
            )
            if self.fine and rng.random() < self.fine:
                look = grained(look, rng)
            if self.round and rng.random() < self.round:
                look = shaded(look, mask, rng)
            result, everything = paste(result, look, mask), everything | mask
        return result, everything

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
        noise = rng.standard_normal(picture.shape, np.float32) * np.float32(
            rng.uniform(0.1, 1) * self.grain
        )
        return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)

    def _compress(self, picture: Picture, rng: np.random.Generator) -> Picture:
        quality = int(rng.integers(self.quality, 96))
        coded = cv2.imencode(".jpg", picture[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
        return np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])
