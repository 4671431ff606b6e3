"""How steady an edited clip is: the person, the edit over time, and what should not change.

Frames are uint8 [h, w, 3] RGB; differences are on the scale of 0 to 255.

Source: Tzaban et al., Stitch it in Time (2201.08361), section 5.2, for TL-ID and TG-ID; Lai et al.,
Learning Blind Video Temporal Consistency (1808.00449), section 4, for the warping error.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

Frame = UInt8[np.ndarray, "h w 3"]

RIM = 1 / 80  # of a frame's height
# Pixels by which a flow and its way back may miss each other, beyond which a place is hidden.
_HIDDEN = 1.5


class Steadiness(NamedTuple):
    """Of a clip, means over its frames; lower is steadier.

    Attributes:
        warping: mean squared difference, in [0, 1] units times 1e3, of a frame from the one before
            it moved along the original's flow, where nothing is hidden.
        warping_original: the same of the original clip: noise, light, and what the flow misses.
        flicker_inside: mean absolute change of the edit (result less original) from frame to frame
            along the flow, where either frame was edited.
        flicker_rim: the same in the outermost places that were edited, where the edit meets the
            original.
        flicker_outside: largest absolute difference of result and original anywhere else; 0 where
            what is not edited is untouched.
    """

    warping: float
    warping_original: float
    flicker_inside: float
    flicker_rim: float
    flicker_outside: float


def consistency(
    original: Float[np.ndarray, "n k"], edited: Float[np.ndarray, "n k"]
) -> tuple[float, float]:
    """TL-ID and TG-ID: how alike an edited person stays over time, relative to the original.

    Args:
        original: unit embeddings of the person in each frame; NaN where there is none.
        edited: those of the result.

    Returns:
        Mean cosine of neighbouring frames, and of all pairs, each divided by that of the original;
        1 is as consistent as the original.
    """
    local = [np.nanmean((x[1:] * x[:-1]).sum(1)) for x in (edited, original)]
    upper = np.triu_indices(len(original), 1)
    every = [np.nanmean((x @ x.T)[upper]) for x in (edited, original)]
    return float(local[0] / local[1]), float(every[0] / every[1])


def flow(before: Frame, after: Frame) -> tuple[Float[np.ndarray, "h w 2"], Bool[np.ndarray, "h w"]]:
    """Where each place of a frame was in the one before, and whether it was visible there.

    Args:
        before: a frame.
        after: the next one.

    Returns:
        Offsets x, y in pixels, and where forward and backward flow agree.
    """
    import cv2

    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, after)]
    back, forth = finder.calc(grey[1], grey[0], None), finder.calc(grey[0], grey[1], None)
    missed = np.linalg.norm(back + moved(forth, back), axis=-1)
    return back, missed < _HIDDEN


def moved(
    picture: Float[np.ndarray, "h w c"] | Frame, offsets: Float[np.ndarray, "h w 2"]
) -> np.ndarray:
    """A picture of the frame before at the places of the next one, see `flow`."""
    import cv2

    height, width = offsets.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    places = x + offsets[..., 0], y + offsets[..., 1]
    found = cv2.remap(
        np.asarray(picture, np.float32), *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return found.reshape(height, width, -1)


def steadiness(
    frames: Iterable[tuple[Frame, Frame, Bool[np.ndarray, "h w"]]],
) -> Steadiness:
    """Compares each frame of a result with the one before it.

    Args:
        frames: original, result, and where the result may differ, in order; at least two.
    """
    errors, changes, rims, outside, last = [], [], [], 0.0, None
    for original, result, touched in frames:
        difference = result.astype(np.float32) - original.astype(np.float32)
        if not touched.all():
            outside = max(outside, float(np.abs(difference[~touched]).max()))
        if last is not None:
            back, seen = flow(last[0], original)
            pair = []
            for now, before in ((result, last[1]), (original, last[0])):
                error = (now.astype(np.float32) - moved(before, back)) / 255
                pair.append(1e3 * float(np.square(error[seen]).mean()) if seen.any() else np.nan)
            errors.append(pair)
            either = seen & (
                touched | (moved(last[3].astype(np.float32)[..., None], back) > 0)[..., 0]
            )
            change = np.abs(difference - moved(last[2], back)).mean(-1)
            for found, places in ((changes, either), (rims, seen & rim(touched))):
                if places.any():
                    found.append(float(change[places].mean()))
        last = original, result, difference, touched
    warping, warping_original = np.nanmean(errors, axis=0)
    inside, border = (float(np.mean(found)) if found else 0.0 for found in (changes, rims))
    return Steadiness(float(warping), float(warping_original), inside, border, outside)


def rim(touched: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The outermost places of an area, as wide as `RIM` says."""
    import cv2

    side = 2 * max(round(RIM * len(touched)), 1) + 1
    inner = cv2.erode(touched.astype(np.uint8), np.ones((side, side), np.uint8), borderValue=1)
    return touched & (inner == 0)
