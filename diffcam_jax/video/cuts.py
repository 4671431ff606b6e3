"""Where one scene ends and another begins."""

from collections import deque

import numpy as np
from jaxtyping import UInt8, UInt16

# Side at which frames are compared; mean difference in [0, 1] from which on two neighbours may be
# of different scenes; how far it has to exceed the usual difference of the last frames.
_SIDE, _LEAST, _TIMES, _MEMORY = 48, 0.08, 4.0, 12
# Difference of a place that changed, and the share of such places: who enters is no cut.
_CHANGED, _EVERYWHERE = 0.03, 0.6


class Cuts:
    """Tells for each frame, in order, whether a scene begins with it.

    A cut changes the picture everywhere at once, by much more than the frames before it changed;
    a pan or a light that is switched on slowly does not.
    """

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._usual: deque[float] = deque(maxlen=_MEMORY)

    def begins(self, pixels: UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]) -> bool:
        """Whether a scene begins with this frame; the first frame begins one.

        Args:
            pixels: the next frame, RGB.
        """
        import cv2

        small = cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        small = small.astype(np.float32) / np.iinfo(pixels.dtype).max
        before, self._last = self._last, small
        if before is None:
            return True
        difference = np.abs(small - before)
        change = float(difference.mean())
        usual = float(np.median(self._usual)) if self._usual else 0.0
        everywhere = float((difference.mean(-1) > _CHANGED).mean()) > _EVERYWHERE
        if everywhere and change > max(_LEAST, _TIMES * usual):
            self._usual.clear()
            return True
        self._usual.append(change)
        return False
