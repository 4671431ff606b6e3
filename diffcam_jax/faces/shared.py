"""The landmarkers that a process uses for all of its photographs, opened when first needed."""

import contextlib
import threading

from diffcam_jax.faces.hands import HandLandmarker
from diffcam_jax.faces.landmarks import FaceLandmarker

_lock = threading.Lock()
_opened: dict[type, FaceLandmarker | HandLandmarker] = {}


def face_landmarker() -> FaceLandmarker:
    """Finds faces.

    Raises:
        UserError: see `FaceLandmarker`.
    """
    return _shared(FaceLandmarker)


def hand_landmarker() -> HandLandmarker:
    """Finds hands.

    Raises:
        UserError: see `HandLandmarker`.
    """
    return _shared(HandLandmarker)


def open_ahead() -> None:
    """Opens both in a thread, while the caller does something else.

    What fails there fails again, and is told, where a landmarker is asked for.
    """

    def open_both() -> None:
        # An import that another thread was interrupted in may fail in any way.
        with contextlib.suppress(Exception):
            face_landmarker()
            hand_landmarker()

    # Not a daemon: native code must not be cut off when the interpreter ends.
    threading.Thread(target=open_both).start()


def _shared(kind: type):
    with _lock:
        if kind not in _opened:
            _opened[kind] = kind()
    return _opened[kind]
