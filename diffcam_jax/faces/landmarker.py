"""Opening MediaPipe's landmarkers, for faces and hands alike."""

import contextlib
import functools
import importlib.util
import os
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator
from typing import Any, TextIO

import numpy as np

from diffcam_jax.errors import UserError
from diffcam_jax.pretrained import store

# One thread at a time may exchange the process's stderr.
_quiet = threading.Lock()


class Landmarker:
    """Base class of MediaPipe's landmarkers; one instance serves many pictures.

    Args:
        kind: "face" or "hand"; the model is the part "KIND_landmarker" of the store.
        **options: further settings of MediaPipe's options class.

    Raises:
        UserError: the model is neither cached nor can it be fetched, or the file is no model.
    """

    def __init__(self, kind: str, **options: Any) -> None:
        path = store.fetch(f"{kind}_landmarker")
        _leave_out_pyplot()
        from mediapipe.tasks.python import vision
        from mediapipe.tasks.python.core.base_options import BaseOptions

        name = f"{kind.capitalize()}Landmarker"
        self._one_at_a_time = threading.Lock()
        base = BaseOptions(model_asset_path=str(path))
        settings = getattr(vision, f"{name}Options")(base_options=base, **options)
        with quiet_native_stderr():
            try:
                self._landmarker = getattr(vision, name).create_from_options(settings)
            except (RuntimeError, ValueError) as error:
                raise UserError(
                    f"{path}: not a {kind} landmarker model ({error}); delete it and run again"
                ) from error
            self._close = weakref.finalize(self, _free, self._landmarker)
            # The native code writes its remaining messages at the first picture.
            self.run(np.zeros((256, 256, 3), np.uint8))

    def __enter__(self) -> "Landmarker":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the model; closing twice is harmless."""
        self._close()

    def run(self, pixels: np.ndarray) -> Any:
        """MediaPipe's result for one RGB picture, uint8 [h, w, 3]."""
        import mediapipe as mp

        data = np.ascontiguousarray(pixels)
        with self._one_at_a_time:
            return self._landmarker.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=data))


def _free(landmarker: Any) -> None:
    """Closes a landmarker without the traceback that its destructor prints at interpreter exit."""
    try:
        landmarker.close()
    except RuntimeError:
        # Its worker thread has ended with the interpreter; the process frees the memory.
        landmarker._handle = None


@contextlib.contextmanager
def quiet_native_stderr() -> Iterator[None]:
    """Hides what C++ libraries write to stderr while they start."""
    with _quiet:
        shown = sys.stderr
        try:
            shown.flush()
            saved = os.dup(2)
        except (AttributeError, OSError):  # no stderr at all, as under pythonw
            yield
            return
        in_background = threading.current_thread() is not threading.main_thread()
        replaced = in_background and _is_two(shown)
        if replaced:
            sys.stderr = _beside()
        with tempfile.TemporaryFile() as sink:
            os.dup2(sink.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(saved, 2)
                if replaced and sys.stderr is _beside():  # nobody has exchanged it meanwhile
                    sys.stderr = shown
                os.close(saved)


@functools.cache
def _beside() -> TextIO:
    """Another way to the process's stderr, on which the main thread's lines are seen meanwhile.

    It stays open: that thread may be about to write to it when the other one is done.
    """
    return os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")


def _is_two(stream: Any) -> bool:
    """Whether a stream writes to the process's own stderr."""
    try:
        return stream.fileno() == 2
    except OSError:  # it was redirected within Python
        return False


def _leave_out_pyplot() -> None:
    """Lets MediaPipe import matplotlib's plots, which it draws with, only once it draws."""
    name = "matplotlib.pyplot"
    if name in sys.modules or (spec := importlib.util.find_spec(name)) is None:
        return
    spec.loader = importlib.util.LazyLoader(spec.loader)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
