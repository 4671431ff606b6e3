"""Colours and sharpness that another program gave a whole picture.

Saving, converting and drawing a picture anew shifts its colours and softens it everywhere. Both are
estimated from the places that agree, by weights that leave out what was edited (Tukey's biweight).
Pictures are float32 [s, s, 3] in [0, 1], in register.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Float32

Picture = Float[np.ndarray, "s s 3"]

# Levels at which the curve of a channel bends, and how stiff it is.
_KNOTS, _STIFFNESS = 9, 0.02
# How far, in [0, 1], a place may be off and still count: from the first look to the last.
_TOLERANCES = (0.3, 0.2, 0.12, 0.08, 0.05, 0.04, 0.04)
_SIDE = 160  # at which colours are compared: averages, free of noise and of edges that moved
_LEAST_PLACES = 400
_CLIPPED = 2.5 / 255  # from the ends of the range
_MIDDLE = 768  # pixels of the side in which softness is measured
# Softness that is tried, as a standard deviation in pixels.
_SOFTNESS = np.concatenate([np.arange(0, 2, 0.25), np.arange(2, 6.1, 0.5)])


@dataclasses.dataclass(frozen=True, eq=False)
class Colours:
    """How a picture's colours become those of the photograph.

    Attributes:
        weights: of the levels' bends, then of red, green and blue, for each channel.
        gain, offset: what the picture's program did, roughly: picture = gain * photograph + offset
            for each channel, the offset in levels of 255.
    """

    weights: Float[np.ndarray, "12 3"]
    gain: Float[np.ndarray, " 3"]
    offset: Float[np.ndarray, " 3"]

    def __call__(self, picture: Picture) -> Float32[np.ndarray, "s s 3"]:
        """A picture in the photograph's colours, in [0, 1]."""
        mixed = picture.reshape(-1, 3) @ self.weights[_KNOTS:].astype(np.float32)
        mixed = mixed.reshape(picture.shape)
        levels = np.linspace(0, 1, _KNOTS)
        for c in range(3):
            mixed[..., c] += np.interp(picture[..., c], levels, self.weights[:_KNOTS, c])
        return np.clip(mixed, 0, 1).astype(np.float32)

    def restored(self, picture: Picture, photo: Picture) -> Float32[np.ndarray, "s s 3"]:
        """The same, with the photograph's own lights and shadows where the picture's are clipped.

        Args:
            picture: edited elsewhere.
            photo: the same part of the photograph.
        """
        found = self(picture)
        found = np.where(picture > 1 - _CLIPPED, np.maximum(found, photo), found)
        found = np.where(picture < _CLIPPED, np.minimum(found, photo), found)
        return found.astype(np.float32)


def match_colours(picture: Picture, photo: Picture, known: Bool[np.ndarray, "s s"]) -> Colours:
    """Finds the curve of every channel, and how channels mix, from what did not change.

    A curve is piecewise linear and stiff, so that levels which only the edit shows follow their
    neighbours.

    Args:
        picture: edited elsewhere.
        photo: the same part of the photograph.
        known: where both are known.
    """
    import cv2

    def small(x):
        return cv2.resize(x.astype(np.float32), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)

    sure = small(known) > 0.99
    one, two = small(picture), small(photo)
    # Next to an edge an error of half a pixel would count as a colour.
    steep = np.abs(cv2.GaussianBlur(two, (0, 0), 2) - two).max(-1)
    sure &= steep <= max(0.02, float(np.median(steep)))
    if sure.sum() < _LEAST_PLACES:
        sure = np.ones_like(sure)
    one, two = one[sure].astype(np.float64), two[sure].astype(np.float64)
    linear = [_fit(np.stack([one[:, c], np.ones(len(one))], 1), two[:, c]) for c in range(3)]
    within = np.ones(len(one), bool)
    for c, (gain, offset) in enumerate(linear):
        within &= np.abs(gain * one[:, c] + offset - two[:, c]) < 2 * _TOLERANCES[-1]
    if within.sum() < _LEAST_PLACES:
        within[:] = True
    penalty = _penalty(int(within.sum()))
    weights = np.zeros((_KNOTS + 3, 3))
    for c, (gain, offset) in enumerate(linear):
        weights[:_KNOTS, c] = gain * np.linspace(0, 1, _KNOTS) + offset
        design = _design(one[within], c)
        missing = two[within, c] - design @ weights[:, c]
        weights[:, c] += _fit(design, missing, penalty, _TOLERANCES[-2:] * 2)
    gain = np.array([1 / max(g, 1e-3) for g, _ in linear])
    offset = np.array([-255 * o / max(g, 1e-3) for g, o in linear])
    return Colours(weights, gain, offset)


def _design(flat: np.ndarray, channel: int) -> np.ndarray:
    """Hat functions of a channel's level, and the other channels [n, 12]."""
    x = flat[:, channel] * (_KNOTS - 1)
    low = np.clip(np.floor(x).astype(int), 0, _KNOTS - 2)
    hats = np.zeros((len(flat), _KNOTS + 3))
    rows = np.arange(len(flat))
    hats[rows, low] = 1 - (x - low)
    hats[rows, low + 1] = x - low
    hats[:, _KNOTS:] = flat
    hats[:, _KNOTS + channel] = 0  # the curve has it
    return hats


def _penalty(count: int) -> np.ndarray:
    """Of bends, and faintly of everything, so that what no place shows stays as it is."""
    bends = np.diff(np.eye(_KNOTS), 2, axis=0)
    full = np.zeros((_KNOTS + 3,) * 2)
    full[:_KNOTS, :_KNOTS] = _STIFFNESS * bends.T @ bends
    full += np.diag([1e-4] * _KNOTS + [1e-3] * 3)
    return count * full


def _fit(design, target, penalty=None, tolerances=_TOLERANCES) -> np.ndarray:
    """Least squares with Tukey's weights, ever stricter."""
    weight = np.ones(len(target))
    found = np.zeros(design.shape[1])
    found[0] = penalty is None  # a line begins as y = x
    for tolerance in tolerances:
        error = target - design @ found
        # The middle of what is off is the place to begin at: light changes move everything.
        error = error - np.median(error) if tolerance >= 0.2 else error
        weight = np.clip(1 - (error / tolerance) ** 2, 0, None) ** 2 + 1e-9
        normal = (design * weight[:, None]).T @ design
        normal += 1e-9 * len(target) * np.eye(len(normal)) if penalty is None else penalty
        found = np.linalg.solve(normal, (design * weight[:, None]).T @ target)
    return found


def softness(picture: Picture, photo: Picture, known: Bool[np.ndarray, "s s"]) -> float:
    """By how much a picture is softer than the photograph.

    Args:
        picture: edited elsewhere, in the photograph's colours.
        photo: the same part of the photograph.
        known: where both are known.

    Returns:
        The standard deviation in pixels of the Gaussian that makes the photograph as soft; 0 where
        the picture is as sharp.
    """
    # The middle of a large picture will do: that is where the face is.
    margin = max(0, (len(picture) - _MIDDLE) // 2)
    middle = slice(margin, len(picture) - margin)
    one, two = (x[middle, middle].mean(-1) for x in (picture, photo))
    known = known[middle, middle]
    errors = []
    weight = None
    for sigma in _SOFTNESS:
        error = (soft(two, sigma) - one)[known]
        if weight is None:
            spread = 4.685 * 1.4826 * float(np.median(np.abs(error))) + 2 / 255
            weight = np.clip(1 - (error / (2 * spread)) ** 2, 0, None) ** 2
        errors.append(float((weight * error**2).mean()))
    # Barely better is no reason to soften: the least that comes close to the best.
    close = np.flatnonzero(np.array(errors) <= 1.01 * min(errors) + 1e-9)
    return float(_SOFTNESS[close[0]])


def soft(picture: np.ndarray, sigma: float) -> np.ndarray:
    """A picture softened by a Gaussian of `sigma` pixels; itself at 0."""
    import cv2

    return picture if sigma <= 0 else cv2.GaussianBlur(picture, (0, 0), sigma)
