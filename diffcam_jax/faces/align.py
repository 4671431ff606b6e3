"""The FFHQ crop of a face and the way back into the photograph.

Photographs are numpy [h, w, 3] RGB, uint8 or uint16; crops are float32 [s, s, 3] in [0, 1]. Points
and quads are x, y in pixels counted from the top left corner of the photograph: pixel (column j,
row i) covers [j, j+1] x [i, i+1]. A quad is [4, 2]: the positions in the photograph of the crop's
top left, bottom left, bottom right and top right corner. The FFHQ recipe makes it a square, turned
and scaled, so crop and photograph differ by a similarity, an affine map.

Source: T. Karras, S. Laine, T. Aila, "A Style-Based Generator Architecture for GANs" (arXiv
1812.04948), appendix A.
"""

import numpy as np
from jaxtyping import Float, Float32, UInt8, UInt16

from diffcam_jax.errors import UserError
from diffcam_jax.faces.warping import continued, covered, lanczos, pad, soften, warp, warp_mask
from diffcam_jax.files.domain import Beyond

Pixels = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]
Quad = Float[np.ndarray, "4 2"]

# Rows of the eye contours and the mouth corners, left and right of the picture. MediaPipe's rows
# are the counterparts of dlib's: the corners of FFHQ's own photographs differ by 1.7 % of a side
# (median), scale and position have no bias.
_EYES_AND_MOUTH = {
    478: ((33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380), (61, 291)),
    68: (range(36, 42), range(42, 48), (48, 54)),
    5: ((0,), (1,), (3, 4)),
}
# Fraction of the crop's side over which a mask fades towards an edge inside the photograph.
_FEATHER = 1 / 32
# Difference in [0, 1] between edited and original crop beyond which the photograph's own detail is
# dropped.
_SAME = 0.06
_MIN_QUAD = 32  # pixels; below this side a face is a few pixels wide
# In sides of the photograph; beyond this the landmarks belong to another picture, and of a whole
# picture hardly a line would be seen.
_MAX_QUAD = 8
_STRIP_PIXELS = 4_000_000  # a large photograph is blended in strips of this size, to save memory


def ffhq_quad(points: Float[np.ndarray, "n 2"]) -> Quad:
    """The square that FFHQ cuts around a face.

    Args:
        points: landmarks of one face: 478 (MediaPipe), 68 (iBUG, as dlib gives them) or 5 (left
            eye, right eye, nose, left and right mouth corner; left and right of the picture).

    Returns:
        Corners [4, 2] float64: top left, bottom left, bottom right, top right.

    Raises:
        UserError: the eyes and the mouth coincide.
        ValueError: the number of points is another.

    Reference:
        x = e2e - rot90(e2m), |x| = max(2.0 |e2e|, 1.8 |e2m|), centre = eyes + 0.1 e2m (arXiv
        1812.04948, FFHQ).
    """
    if len(points) not in _EYES_AND_MOUTH:
        raise ValueError(f"{len(points)} landmarks; known are {sorted(_EYES_AND_MOUTH)}")
    rows = _EYES_AND_MOUTH[len(points)]
    left_eye, right_eye, mouth = (
        points[list(part)].astype(np.float64).mean(axis=0) for part in rows
    )
    eyes = (left_eye + right_eye) / 2
    eye_to_eye, eye_to_mouth = right_eye - left_eye, mouth - eyes
    x = eye_to_eye - np.array([-eye_to_mouth[1], eye_to_mouth[0]])
    length = np.hypot(*x)
    if not length > 0:
        raise UserError(
            "the landmarks of the eyes and the mouth coincide; give the landmarks of a face"
        )
    x *= max(2.0 * np.hypot(*eye_to_eye), 1.8 * np.hypot(*eye_to_mouth)) / length
    y = np.array([-x[1], x[0]])
    centre = eyes + 0.1 * eye_to_mouth
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def frame_quad(height: int, width: int) -> Quad:
    """The quad of a picture that already is an FFHQ crop: its own corners.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.

    Returns:
        Corners [4, 2] float64.

    Raises:
        UserError: the picture is not square.
    """
    if height != width:
        raise UserError(
            f"{width}x{height} pixels are not square, so this is not an aligned face; remove "
            "--aligned"
        )
    return np.array([[0, 0], [0, height], [width, height], [width, 0]], np.float64)


def centre_quad(height: int, width: int) -> Quad:
    """The quad of the largest centred square of a picture, the corners [4, 2] float64."""
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.array([left, top]) + frame_quad(side, side)


def whole_quad(height: int, width: int, padding: tuple[float, float, float, float]) -> Quad:
    """The smallest square whose unpadded part holds a whole picture, at its centre.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        padding: shares of the square at its top, bottom, left and right.

    Returns:
        Corners [4, 2] float64, some of them beyond the picture.
    """
    top, bottom, left, right = padding
    side = max(width / (1 - left - right), height / (1 - top - bottom))
    centre = np.array([1 + left - right, 1 + top - bottom]) / 2 * side
    return np.array([width, height]) / 2 - centre + side * frame_quad(1, 1)


def crop(
    pixels: Pixels, quad: Quad, size: int, beyond: Beyond = "mirrored"
) -> Float32[np.ndarray, "{size} {size} 3"]:
    """Cuts the quad out of a photograph.

    Values are interpolated (bicubic) and, where the quad is larger than the crop, filtered against
    aliasing (Lanczos).

    Args:
        pixels: the photograph [h, w, 3].
        quad: a square [4, 2], as `ffhq_quad`, `frame_quad` and `whole_quad` return it.
        size: side of the crop in pixels.
        beyond: what is shown beyond the photograph's border: itself, "mirrored", blurred and faded
            to its median colour, as in FFHQ; or "black", as in StyleGAN2's pictures of cars.

    Returns:
        [size, size, 3] float32 in [0, 1]. A quad that is the frame of a size x size picture gives
        exactly its pixels.

    Raises:
        UserError: the quad lies outside the photograph or is smaller than a face can be.

    Reference:
        arXiv 1812.04948, FFHQ: shrink, crop, pad and transform.
    """
    height, width = pixels.shape[:2]
    side = _side(quad)
    centre = quad.mean(axis=0)
    if beyond == "black":  # what is shown need not be in the middle
        fits = side <= _MAX_QUAD * min(height, width)
    else:
        inside = (centre > 0) & (centre < (width, height))
        fits = side <= _MAX_QUAD * max(height, width) and inside.all()
    if not (side >= _MIN_QUAD and fits):
        raise UserError(
            f"a face {side:.0f} pixels wide at ({centre[0]:.0f}, {centre[1]:.0f}) does not fit "
            f"the {width}x{height} photograph or is below {_MIN_QUAD} pixels; use a larger "
            "picture, or landmarks in pixels of this one"
        )
    border = max(round(side * 0.1), 3)
    low = np.maximum(np.floor(quad.min(axis=0)).astype(int) - border, 0)
    high = np.minimum(np.ceil(quad.max(axis=0)).astype(int) + border, (width, height))
    region = pixels[low[1] : high[1], low[0] : high[0]]
    original, quad = quad, quad - low

    shrink = int(side / size / 2)
    if shrink > 1:
        full = high - low
        reduced = np.maximum(np.round(full / shrink).astype(int), 1)
        region = np.stack(
            [lanczos(_unit(region[..., c]), *reduced.tolist()) for c in range(3)], axis=-1
        )
        quad, border = quad * reduced / full, max(border // shrink, 3)
    else:
        region = _unit(region)

    missing = (
        np.ceil(np.concatenate([-quad.min(axis=0), quad.max(axis=0) - region.shape[1::-1]])).astype(
            int
        )
        + border
    )
    missing = np.maximum(missing, 0)
    if beyond == "mirrored" and missing.max() > border:
        margins = np.maximum(missing, round(_side(quad) * 0.3))
        region, quad = pad(region, margins, _side(quad) * 0.02), quad + margins[:2]
    result = np.clip(warp(region, _crop_to_photo(quad, size), size, size), 0, 1)
    if beyond == "black":
        result[~covered(_crop_to_photo(original, size), size, height, width)] = 0
    return result


def paste(
    pixels: Pixels,
    edited: Float[np.ndarray, "s s 3"],
    mask: Float[np.ndarray, "s s"],
    quad: Quad,
    beyond: Beyond = "mirrored",
) -> Pixels:
    """Puts an edited crop back into its photograph, at the photograph's own resolution and depth.

    Eq. 5, M W(I') + (1 - M) I with the crop warped by W, would soften the skin inside the mask
    wherever the photograph is finer than its crop. Adding M W(I' - crop(I)) to I keeps that detail,
    but leaves fine ghosts of a mouth that has moved. So the detail D = I - W(crop(I)) is kept where
    the crop hardly changed and dropped where it did:

        I + M (W(I' - crop(I)) - (1 - k) D),  k = exp(-(d / 0.06)^2),  d = |I' - crop(I)|, smoothed.

    k = 0 is Eq. 5. A crop that was not edited gives back the photograph itself, bit for bit.

    Args:
        pixels: the photograph [h, w, 3] that the crop was cut from.
        edited: the edited crop [s, s, 3] in [0, 1].
        mask: [s, s] in [0, 1], the weight of the edit.
        quad: where the crop was cut.
        beyond: what the crop shows beyond the photograph's border.

    Returns:
        A new photograph of the same shape and dtype. Where `photo_mask` is 0 it is the original,
        bit for bit.

    Reference:
        Diff-CAM (arXiv 2207.08134), Eq. 5.
    """
    size = len(edited)
    aligned = crop(pixels, quad, size, beyond)
    change = np.asarray(edited, np.float32) - aligned
    if beyond == "black":
        shown = covered(_crop_to_photo(quad, size), size, *pixels.shape[:2])
        aligned, change = continued(aligned, shown), continued(change, shown)
    forget = 1 - np.exp(-((soften(np.abs(change).mean(axis=-1)) / _SAME) ** 2))

    result = pixels.copy()
    weight = photo_mask(mask, quad, *pixels.shape[:2])
    rows, columns = np.flatnonzero(weight.any(axis=1)), np.flatnonzero(weight.any(axis=0))
    if not rows.size:
        return result
    left, top, right, bottom = (
        int(columns[0]),
        int(rows[0]),
        int(columns[-1]) + 1,
        int(rows[-1]) + 1,
    )
    # Only an enlarged crop may be divided into strips: each pixel is then computed independently.
    step = max(1, _STRIP_PIXELS // (right - left)) if _side(quad) >= size else bottom - top
    for start in range(top, bottom, step):
        region = (slice(start, min(start + step, bottom)), slice(left, right))
        to_crop = _photo_to_crop(quad, size, left, start)
        original, here = _unit(pixels[region]), weight[region][..., None]
        extent = original.shape[1::-1]
        lost = np.clip(warp(forget, to_crop, *extent), 0, 1)[..., None]
        detail = original - warp(aligned, to_crop, *extent)
        blended = original + here * (warp(change, to_crop, *extent) - lost * detail)
        levels = np.rint(np.clip(blended, 0, 1) * np.iinfo(pixels.dtype).max).astype(pixels.dtype)
        result[region] = np.where(here > 0, levels, pixels[region])
    return result


def photo_mask(
    mask: Float[np.ndarray, "s s"], quad: Quad, height: int, width: int
) -> Float32[np.ndarray, "{height} {width}"]:
    """A crop's mask at the photograph's resolution: exactly 0 where `paste` keeps the original.

    Towards an edge of the crop that lies inside the photograph the mask fades out, so that no seam
    can show.

    Args:
        mask: [s, s] in [0, 1].
        quad: where the crop lies in the photograph.
        height: of the photograph, in pixels.
        width: of the photograph, in pixels.

    Returns:
        [height, width] float32 in [0, 1].
    """
    size = len(mask)
    faded = np.asarray(mask, np.float32) * _border_window(quad, size, height, width)
    result = np.zeros((height, width), np.float32)
    left, top = np.clip(np.floor(quad.min(axis=0)).astype(int), 0, (width, height)).tolist()
    right, bottom = np.clip(np.ceil(quad.max(axis=0)).astype(int), 0, (width, height)).tolist()
    if left < right and top < bottom:
        to_crop = _photo_to_crop(quad, size, left, top)
        result[top:bottom, left:right] = np.clip(
            warp_mask(faded, to_crop, right - left, bottom - top), 0, 1
        )
    return result


def _border_window(quad: np.ndarray, size: int, height: int, width: int) -> np.ndarray:
    """1 inside, falling smoothly to 0 towards the crop's edges that lie inside the photograph."""
    ramp = np.clip(np.arange(size) / (size * _FEATHER), 0, 1)
    ramp = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
    window = np.ones((size, size), np.float32)
    top_left, bottom_left, bottom_right, top_right = quad
    edges = (
        (top_left, bottom_left, ramp[None, :]),
        (top_right, bottom_right, ramp[None, ::-1]),
        (top_left, top_right, ramp[:, None]),
        (bottom_left, bottom_right, ramp[::-1, None]),
    )
    for one, other, fade in edges:
        ends = np.stack([one, other])
        if not np.any(np.all(ends <= 0, axis=0) | np.all(ends >= (width, height), axis=0)):
            window *= fade
    return window


def _side(quad: np.ndarray) -> float:
    return float(np.hypot(*(quad[3] - quad[0])))


def _unit(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def _crop_to_photo(quad: np.ndarray, size: int) -> np.ndarray:
    """[3, 3] map of crop coordinates to photograph coordinates."""
    across, down = (quad[3] - quad[0]) / size, (quad[1] - quad[0]) / size
    if np.abs(quad[0] + quad[2] - quad[1] - quad[3]).max() > 1e-3 * _side(quad):
        raise ValueError(f"not a parallelogram: {quad.tolist()}")
    return np.array([[across[0], down[0], quad[0, 0]], [across[1], down[1], quad[0, 1]], [0, 0, 1]])


def _photo_to_crop(quad: np.ndarray, size: int, left: int, top: int) -> np.ndarray:
    """[3, 3] map to crop coordinates from those of a region of the photograph at (left, top)."""
    return np.linalg.inv(_crop_to_photo(quad - np.array([left, top]), size))
