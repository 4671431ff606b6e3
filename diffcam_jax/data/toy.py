"""Pictures of coloured shapes, made from (seed, number) alone: training data without any file.

Pictures are uint8 RGB [s, s, 3]: a large shape in front of a smooth background, with a smaller disc
in front of it. The label is the large shape.
"""

import numpy as np

SHAPES = ("disc", "square", "triangle")


class ToyPictures:
    """A random access list of records {"image": uint8 [s,s,3], "label": int32}.

    Args:
        count: pictures in all.
        size: their side in pixels, any.
        seed: of everything in them; record i depends on seed, i and size only.
    """

    def __init__(self, count: int, size: int, seed: int) -> None:
        self._count, self._size, self._seed = count, size, seed
        place = (np.arange(size, dtype=np.float32) + 0.5) / size
        self._y, self._x = place[:, None], place[None, :]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng((self._seed, index))
        label = int(rng.integers(len(SHAPES)))
        top, bottom, shape, spot = rng.uniform(0, 255, (4, 3)).astype(np.float32)
        picture = (
            top + (bottom - top) * np.broadcast_to(self._y, (self._size, self._size))[..., None]
        )
        picture = self._blend(
            picture, shape, label, rng.uniform(0.4, 0.6, 2), rng.uniform(0.2, 0.35)
        )
        picture = self._blend(picture, spot, 0, rng.uniform(0.35, 0.65, 2), rng.uniform(0.05, 0.12))
        return {"image": np.rint(picture).astype(np.uint8), "label": np.int32(label)}

    def _blend(
        self, picture: np.ndarray, colour: np.ndarray, kind: int, centre: np.ndarray, radius: float
    ):
        """Draws one shape with edges a pixel wide."""
        y, x = self._y - centre[0], self._x - centre[1]
        if kind == 0:
            outside = np.hypot(x, y)
        elif kind == 1:
            outside = np.maximum(abs(x), abs(y))
        else:  # the half planes of an equilateral triangle that points upwards
            outside = np.maximum(y, 0.866 * abs(x) - 0.5 * y) * 1.5
        cover = np.clip((radius - outside) * self._size + 0.5, 0, 1)[..., None]
        return picture + cover.astype(np.float32) * (colour - picture)
