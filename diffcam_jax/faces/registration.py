"""Where a picture that was edited elsewhere lies in its photograph.

Another editor gives back the whole photograph, or a crop of the face, and may have scaled, shifted,
cropped or turned it a little. Matches of features give a similarity although a face was changed
(`faces.features`), and a robust Gauss-Newton search refines it to an affine map, below a pixel,
from the places that did not change. Programs that round the sides of a picture to multiples of 64
stretch it slightly, which a similarity could not follow.

Pictures are numpy [h, w, 3] RGB, uint8 or uint16. Maps (see `faces.views`) lead from positions in
the photograph to those in the other picture.

Reference:
    Baker and Matthews, Lucas-Kanade 20 years on: a unifying framework (IJCV 2004), section 3.
"""

import dataclasses

import numpy as np
from jaxtyping import Float32

from diffcam_jax.errors import UserError
from diffcam_jax.faces.align import Quad
from diffcam_jax.faces.features import similarity
from diffcam_jax.faces.photo import to_8_bits
from diffcam_jax.faces.views import Map, Pixels, corners_of, frame, scale_of, turn_of, view

_SEARCH = 640  # pixels; side at which the search ends
_AROUND = 1.25  # side of what is compared, in sides of the face's square
_MANY_MATCHES = 30  # more than unrelated pictures reach by chance
# Pixels of the face's square in the other picture, below which nothing could be taken from it.
LEAST_FACE = 64
MOST_SCALE, MOST_TURN, MOST_STRETCH = 8.0, 15.0, 0.05
# Share of the face that the other picture must show, and of the photograph from which on it is one.
_LEAST_FACE_SHARE, _WHOLE = 0.97, 0.7
# Share of places with texture that must agree with the photograph.
_LEAST_AGREEMENT = 0.3
_ANOTHER = (
    "the edited picture does not match the photograph; give an edit of this very photograph that "
    "leaves more of it alone"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Registration:
    """Where the other picture lies.

    Attributes:
        kind: "photograph", or "face crop" where it shows less than 70 % of the photograph.
        matrix: from the photograph to the other picture.
        matches: features that agreed on it before it was refined.
        agreement: share of the textured places around the face that are the photograph's, in
            [0, 1].
    """

    kind: str
    matrix: Map
    matches: int
    agreement: float

    @property
    def scale(self) -> float:
        """Pixels of the other picture for one of the photograph."""
        return scale_of(self.matrix)

    @property
    def turn(self) -> float:
        """By how many degrees the other picture is turned clockwise."""
        return turn_of(self.matrix)

    @property
    def shift(self) -> tuple[float, float]:
        """Position x, y in the photograph of the other picture's top left corner."""
        corner = np.linalg.inv(self.matrix)[:2, 2]
        return float(corner[0]), float(corner[1])


def register(photo: Pixels, other: Pixels, quad: Quad) -> Registration:
    """Finds where a picture that was edited elsewhere lies in its photograph.

    Args:
        photo: the photograph.
        other: the edited picture, of any size.
        quad: the face's square in the photograph; accuracy counts there.

    Raises:
        UserError: the pictures do not match, or the other one is mirrored, turned, too small, too
            large or stretched, or does not show the face.
    """
    plain, changed = to_8_bits(photo), to_8_bits(other)
    if min(other.shape[:2]) < LEAST_FACE:
        raise UserError(
            f"the edited picture has {other.shape[1]}x{other.shape[0]} pixels; give it with "
            f"{LEAST_FACE} or more on each side"
        )
    found = similarity(plain, changed, quad)
    if found is None or found[1] < _MANY_MATCHES:
        _check_mirrored(plain, changed, quad)
    if found is None:
        raise UserError(_ANOTHER)
    matrix, matches = found
    sizes = quad, photo.shape[1::-1], other.shape[1::-1]
    try:
        _check_shape(matrix, *sizes)
    except UserError as error:  # of a few matches by chance nothing can be said
        raise error if matches >= _MANY_MATCHES else UserError(_ANOTHER) from error
    matrix, agreement = _refined(plain, changed, matrix, quad)
    if agreement < _LEAST_AGREEMENT:
        _check_mirrored(plain, changed, quad)
        raise UserError(
            f"only {agreement:.0%} of what surrounds the face agrees with the photograph; give an "
            "edit of this very photograph that leaves more of it alone"
        )
    _check_shape(matrix, *sizes)
    whole = _share_inside(corners_of(*photo.shape[1::-1]), matrix, other.shape[1::-1])
    kind = "photograph" if whole >= _WHOLE else "face crop"
    return Registration(kind, matrix, matches, agreement)


# ---------------------------------------------------------------- refinement


def _refined(photo: np.ndarray, other: np.ndarray, matrix: Map, quad: Quad) -> tuple[Map, float]:
    """The affine map that fits best around the face, and the share of places that agree."""
    side = _AROUND * np.hypot(*(quad[3] - quad[0])) * min(1.0, 1.5 * scale_of(matrix))
    largest = int(np.clip(side, 96, _SEARCH))
    for size in (largest // 4, largest // 2, largest):
        if size < 48:
            continue
        to_photo = frame(quad, size, _AROUND)
        shown, known = view(photo, to_photo, size)
        reference = _texture(shown)
        for _ in range(12):
            drawn, covered = view(other, matrix @ to_photo, size)
            step = _step(reference, _texture(drawn), known & covered)
            matrix = matrix @ to_photo @ step @ np.linalg.inv(to_photo)
            if np.abs((step[:2] - np.eye(3)[:2]) @ [size, size, 1]).max() < 0.01:
                break
    drawn, covered = view(other, matrix @ to_photo, size)
    return matrix, _agreement(reference, _texture(drawn), known & covered)


def _texture(picture: np.ndarray) -> Float32[np.ndarray, "s s"]:
    """What is left of a picture [s, s, 3] without its light and its noise."""
    import cv2

    grey = picture.mean(-1)
    fine = cv2.GaussianBlur(grey, (0, 0), 1.2)
    return fine - cv2.GaussianBlur(grey, (0, 0), max(4.0, len(grey) / 40))


def _step(reference: np.ndarray, drawn: np.ndarray, known: np.ndarray) -> Map:
    """One robust Gauss-Newton step, in pixels: the affine map by which `drawn` is to be sampled.

    The contrast of the other picture is found together with it.
    """
    size = len(reference)
    unit = (np.arange(size) + 0.5) / size * 2 - 1
    u, v = np.broadcast_to(unit, (size, size)), np.broadcast_to(unit[:, None], (size, size))
    dy, dx = np.gradient(drawn)
    gain = _gain(reference[known], drawn[known])
    error = (reference - gain * drawn)[known]
    spread = 1.4826 * float(np.median(np.abs(error))) + 0.5 / 255
    weight = np.clip(1 - (error / (4.685 * spread)) ** 2, 0, None) ** 2  # Tukey's
    columns = [gain * a[known] for a in (dx * u, dx * v, dx, dy * u, dy * v, dy)] + [drawn[known]]
    design = np.stack(columns).astype(np.float64)
    normal = (design * weight) @ design.T
    normal += np.diag(np.full(7, 1e-6 * np.trace(normal) / 7 + 1e-12))
    a, b, x, c, d, y, _ = np.linalg.solve(normal, (design * weight) @ error)
    # In pixels: u is 2 x / size - 1.
    k = 2 / size
    return np.array([[1 + a * k, b * k, x - a - b], [c * k, 1 + d * k, y - c - d], [0, 0, 1]])


def _gain(reference: np.ndarray, drawn: np.ndarray) -> float:
    """How much weaker the other picture's contrast is; medians are not moved by what changed."""
    return float(np.median(np.abs(reference)) / max(np.median(np.abs(drawn)), 1e-6))


def _agreement(reference: np.ndarray, drawn: np.ndarray, known: np.ndarray) -> float:
    """Share of the textured places where both pictures correlate by more than 0.7."""
    import cv2

    def mean(x):
        return cv2.blur(x * known, (window, window))

    window = 2 * max(3, len(reference) // 40) + 1
    one, two = mean(reference**2), mean(drawn**2)
    textured = known & (one > (3 / 255) ** 2)
    close = mean(reference * drawn) > 0.7 * np.sqrt(np.maximum(one * two, 1e-12))
    return float(close[textured].mean()) if textured.any() else 0.0


# ---------------------------------------------------------------- checks


def _check_mirrored(photo: np.ndarray, other: np.ndarray, quad: Quad) -> None:
    """Tells that a picture which does not match does so from left to right."""
    found = similarity(photo, np.ascontiguousarray(other[:, ::-1]), quad)
    if found is not None and found[1] >= 2 * _MANY_MATCHES:
        raise UserError("the edited picture is mirrored; flip it back")


def _check_shape(matrix: Map, quad: Quad, photo: tuple[int, int], other: tuple[int, int]) -> None:
    """Whether a map is one that an edit can have; sizes are width and height."""
    to_photo = frame(quad, 1)
    turns = turn_of(matrix), turn_of(matrix @ to_photo)
    turn = min(turns, key=abs)
    if abs(turn) > MOST_TURN:
        raise UserError(
            f"the edited picture is turned by {turns[0]:.0f} degrees against the photograph; "
            "turn it back"
        )
    scale, side = scale_of(matrix), scale_of(matrix @ to_photo)
    if side < LEAST_FACE:
        raise UserError(
            f"the face's square is {side:.0f} pixels wide in the edited picture; give it with "
            f"{LEAST_FACE} or more"
        )
    if not 1 / MOST_SCALE <= scale <= MOST_SCALE:
        raise UserError(
            f"the edited picture is {scale:.2g} times as large as the photograph; give one that is "
            f"at most {MOST_SCALE:.0f} times smaller or larger"
        )
    large, small = np.linalg.svd(matrix[:2, :2])[1]
    if large / small - 1 > MOST_STRETCH:
        raise UserError(
            f"the edited picture is stretched by {large / small - 1:.0%}; give it with the "
            "photograph's proportions"
        )
    # The face itself, within the margins of its square and of the photograph.
    middle = quad.mean(0) + 0.7 * (quad - quad.mean(0))
    shown = _share_inside(middle, matrix, other, photo)
    if shown < _LEAST_FACE_SHARE:
        raise UserError(
            f"the edited picture shows {shown:.0%} of the face; give one that shows all of it, or "
            "choose another face with --face N"
        )


def _share_inside(
    quad: np.ndarray, matrix: Map, size: tuple[int, int], photo: tuple[int, int] | None = None
) -> float:
    """Share of a quad's places, those outside of the photograph apart, that a map takes inside."""
    steps = (np.arange(64) + 0.5) / 64
    across, down = np.meshgrid(steps, steps)
    places = (
        quad[0] + across[..., None] * (quad[3] - quad[0]) + down[..., None] * (quad[1] - quad[0])
    )
    there = places @ matrix[:2, :2].T + matrix[:2, 2]
    within = ((there >= 0) & (there <= size)).all(-1)
    if photo is not None:
        within = within[((places >= 0) & (places <= photo)).all(-1)]
    return float(within.mean()) if within.size else 0.0
