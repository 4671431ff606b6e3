"""The edit of a track's frames: each by its own code and mask, and by what its neighbours say.

Frame by frame, a face goes through three steps, each of which sees a few frames before and after:

view     the face is cut out along the track's smooth path, and its code is read
draw     the code is averaged over neighbours, I' and T are drawn by the tuned generator, and
         Diff-CAM, regions and seam decide what is taken (`editing.window_edit`)
paste    the mask is averaged over neighbours, kept off what must not change in this very frame,
         and the edit goes into the frame (Eq. 5 of 2207.08134)

Averages are taken in the coordinates of the crop, which move with the head.
"""

import dataclasses
import operator
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Float, UInt8

from diffcam_jax.command.kept_jit import kept_jit
from diffcam_jax.editing.config import EditConfig
from diffcam_jax.editing.window_edit import draw_window, limit
from diffcam_jax.editor.editor import Editor
from diffcam_jax.editor.face_session import FaceSession
from diffcam_jax.faces import align
from diffcam_jax.video.clip import Frame
from diffcam_jax.video.curves import Curve
from diffcam_jax.video.neighbours import averaged
from diffcam_jax.video.pivot import Pivot
from diffcam_jax.video.samples import rooms

# Frames on either side over which codes and masks are averaged, with falling weights.
CODES, MASKS = 2, 2
_limit = kept_jit(limit, static_argnames="size")


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """A face of one frame.

    Attributes:
        number: of the frame.
        aligned: cut out along the track.
        codes: the encoder's.
        quad: where it was cut.
        weight: how far the edit counts here, in [0, 1].
        room: share of each attribute's request for which this face has room, where landmarks
            alone tell; elsewhere 1.
    """

    number: int
    aligned: UInt8[np.ndarray, "s s 3"]
    codes: Float[np.ndarray, "n k"]
    quad: Float[np.ndarray, "4 2"]
    weight: float
    room: Float[np.ndarray, " r"]


@dataclasses.dataclass(frozen=True, eq=False)
class Drawn:
    """The edit of one frame, before its mask knows of its neighbours.

    Attributes:
        view: the face.
        source: what is blended in, [s, s, 3] in [0, 1].
        mask: [s, s] in [0, 1].
        bound: [s, s], 0 where nothing may change in this frame.
    """

    view: View
    source: Float[np.ndarray, "s s 3"]
    mask: Float[np.ndarray, "s s"]
    bound: Float[np.ndarray, "s s"]

    @property
    def number(self) -> int:
        """Of the frame."""
        return self.view.number


class TrackEditor:
    """Edits the frames of one track.

    Args:
        editor: whose networks and directions are used.
        curves: strength of each attribute over time.
        config: choices, with a window.
        pivot: of the track.
        raw: strengths are lengths of the directions' arrays.
    """

    def __init__(
        self,
        editor: Editor,
        curves: Mapping[str, Curve],
        config: EditConfig,
        pivot: Pivot,
        raw: bool = False,
    ) -> None:
        self._editor, self._curves, self._config, self._pivot = editor, curves, config, pivot
        self._raw = raw
        self._undo = np.array([curve.peak < 0 for curve in curves.values()])
        self._generator = pivot.generator(editor.networks.generator)

    def view(self, frame: Frame, quad: Float[np.ndarray, "4 2"], weight: float) -> View:
        """Cuts the face out of a frame and reads its code."""
        aligned = self._editor.crop(frame.pixels, quad)
        codes = self._editor.invert(aligned, cache=False)
        peaks = [curve.peak for curve in self._curves.values()]
        free = rooms(self._editor.faces, aligned, list(self._curves), peaks, self._raw)
        return View(frame.number, aligned, codes, quad, weight, free)

    def draw(self, view: View, around: Sequence[View], time: float) -> Drawn | None:
        """The edit of a frame; None where nothing changes.

        Args:
            view: the face.
            around: the same face in the frames around, `view` included.
            time: of the frame, in seconds.
        """
        pivot = self._pivot
        place = operator.attrgetter("number")
        free = averaged(around, place, operator.attrgetter("room"), view.number, CODES)
        factors = [
            factor * curve.share(time) * view.weight * float(share)
            for factor, curve, share in zip(pivot.factors, self._curves.values(), free, strict=True)
        ]
        if pivot.window is None or not any(factors):
            return None
        codes = averaged(around, place, operator.attrgetter("codes"), view.number, CODES)
        session = FaceSession(
            self._editor.faces,
            view.aligned,
            codes,
            view.quad,
            list(self._curves),
            self._config,
            None,
        )
        session.condition = pivot.condition
        may, window = session.allowed(), pivot.window.placed()
        first = draw_window(self._generator, codes[None], window)
        may = session.without_missed(may, first, window)
        given = self._generator, window, self._undo, first, may, factors
        result, _ = jax.device_get(session.blended(*given))
        bound = np.asarray(_limit(may.max(0)[None], size=view.aligned.shape[:2]))[0]
        return Drawn(view, result.source[0] / 2 + np.float32(0.5), result.mask[0], bound)


def paste(
    pixels: np.ndarray, drawn: Drawn, around: Sequence[Drawn], beyond: align.Beyond = "mirrored"
) -> tuple[np.ndarray, np.ndarray]:
    """Puts the edit of a face into its frame.

    Args:
        pixels: of the frame, uint8 or uint16.
        drawn: the edit.
        around: those of the frames around, `drawn` included.
        beyond: see `align.paste`.

    Returns:
        The edited frame, and where it may differ, boolean [h, w].
    """
    mask = averaged(
        around, operator.attrgetter("number"), operator.attrgetter("mask"), drawn.number, MASKS
    )
    mask = np.minimum(mask, 1) * drawn.bound
    quad = drawn.view.quad
    touched = align.photo_mask(mask, quad, *pixels.shape[:2]) > 0
    return align.paste(pixels, drawn.source, mask, quad, beyond), touched
