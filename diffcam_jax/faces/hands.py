"""Hands in front of a face, which face parsing mistakes for skin, from MediaPipe's hand landmarker.

Pictures are uint8 RGB [s, s, 3]; masks are boolean.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw

from diffcam_jax.faces.chips import resized
from diffcam_jax.faces.landmarker import Landmarker

MOST_HANDS = 4
# At 0.3 the hands in front of faces of the benchmark are found, and none on faces without hands.
CONFIDENCE = 0.3
INPUT = 512  # pixels; the networks see at most 224 of a hand
# Rows of the 21 landmarks.
WRIST, INDEX_KNUCKLE, MIDDLE_KNUCKLE, LITTLE_KNUCKLE = 0, 5, 9, 17
# Half the width of a finger, and the length of forearm beyond the wrist, relative to the palm.
FINGER, FOREARM = 0.3, 0.6


class HandLandmarker(Landmarker):
    """Finds hands; one instance serves many pictures (50 ms each).

    Raises:
        UserError: the model is neither cached nor can it be fetched, or the file is no model.
    """

    def __init__(self) -> None:
        super().__init__(
            "hand",
            num_hands=MOST_HANDS,
            min_hand_detection_confidence=CONFIDENCE,
            min_hand_presence_confidence=CONFIDENCE,
        )

    def detect(self, image: UInt8[np.ndarray, "s s 3"]) -> list[Float[np.ndarray, "21 2"]]:
        """The landmarks of every hand, x, y relative to the side; a hand may be found twice.

        The picture and its mirror image are both examined: each finds hands that the other misses.
        """
        small = resized(image, min(INPUT, len(image)))
        mirrored = [np.array([1, 0]) + np.array([-1, 1]) * h for h in self._look(small[:, ::-1])]
        return self._look(small) + [hand.astype(np.float32) for hand in mirrored]

    def _look(self, image: np.ndarray) -> list[np.ndarray]:
        hands = self.run(image).hand_landmarks
        return [np.array([[p.x, p.y] for p in hand], np.float32) for hand in hands]


def hand_mask(hands: list[Float[np.ndarray, "21 2"]], side: int) -> Bool[np.ndarray, "s s"]:
    """The hands as a mask: the hull of each, with the fingers' width and a piece of forearm.

    Args:
        hands: landmarks relative to the side.
        side: of the mask.
    """
    import cv2

    mask = np.zeros((side, side), np.uint8)
    for hand in hands:
        along = hand[MIDDLE_KNUCKLE] - hand[WRIST]
        across = hand[LITTLE_KNUCKLE] - hand[INDEX_KNUCKLE]
        palm = max(float(np.hypot(*across)), 0.6 * float(np.hypot(*along)))
        points = np.vstack([hand, hand[WRIST] - FOREARM * along]) * side
        hull = cv2.convexHull(points.astype(np.float32))[:, 0]
        drawn = Image.new("L", (side, side))
        ImageDraw.Draw(drawn).polygon([(float(x), float(y)) for x, y in hull], fill=1)
        radius = max(1, round(FINGER * palm * side))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
        mask |= cv2.dilate(np.asarray(drawn, np.uint8), disc)
    return mask.astype(bool)
