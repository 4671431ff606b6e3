"""Planes of samples, as videos store them, and RGB pixels.

A plane is an array [rows, columns], uint8 for 8 bits and uint16 for more. A picture of brightness
and two colour differences (Y'CbCr) usually stores the differences once for a block of pixels. Every
pixel of a block is given the block's differences, and the differences of edited pixels are averaged
over a block, so that what comes back is what went in.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

Planes = tuple[np.ndarray, ...]

_BLOCKS = {
    "444": (1, 1), "422": (2, 1), "420": (2, 2), "440": (1, 2), "411": (4, 1), "410": (4, 4),
}  # fmt: skip
_NAME = re.compile(r"(?:(yuv)j?(4\d\d)p|(gray)|(gbr)p)(?:(9|1[0246])le)?$")
# Kr and Kb by the number of the matrix. Constant luminance (10) is not a matrix.
MATRICES = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}


@dataclass(frozen=True)
class Layout:
    """How a picture is taken into planes.

    Attributes:
        kind: "yuv" (Y', Cb, Cr), "gray" (Y') or "gbr" (G, B, R).
        bits: of a sample.
        across: pixels in a row of a block.
        down: rows of a block.
    """

    kind: str
    bits: int = 8
    across: int = 1
    down: int = 1

    @property
    def name(self) -> str:
        """FFmpeg's name for it."""
        depth = "" if self.bits == 8 else f"{self.bits}le"
        if self.kind != "yuv":
            return f"{'gbrp' if self.kind == 'gbr' else 'gray'}{depth}"
        return f"yuv{_CHROMA[self.across, self.down]}p{depth}"


_CHROMA = {block: name for name, block in _BLOCKS.items()}


class Colours(NamedTuple):
    """What samples mean.

    Attributes:
        red: share of red in the brightness (Kr).
        blue: share of blue (Kb).
        full: whether samples use their full range.
    """

    red: float
    blue: float
    full: bool


class Turn(NamedTuple):
    """How a stored picture becomes upright.

    Attributes:
        transposed: rows become columns, first of all.
        flip_x: left and right change places.
        flip_y: top and bottom change places.
    """

    transposed: bool = False
    flip_x: bool = False
    flip_y: bool = False


UPRIGHT = Turn()


def layout_of(name: str) -> Layout | None:
    """The layout of FFmpeg's name for it; None for another kind of picture."""
    found = _NAME.match(name)
    if not found:
        return None
    yuv, blocks, gray, _, bits = found.groups()
    if yuv and blocks not in _BLOCKS:
        return None
    depth = int(bits or 8)
    return Layout("yuv", depth, *_BLOCKS[blocks]) if yuv else Layout(gray or "gbr", depth)


def sizes(layout: Layout, width: int, height: int) -> list[tuple[int, int]]:
    """Rows and columns of every plane of a picture."""
    if layout.kind == "gray":
        return [(height, width)]
    chroma = -(-height // layout.down), -(-width // layout.across)
    return [(height, width), chroma, chroma]


def to_rgb(planes: Planes, layout: Layout, colours: Colours) -> np.ndarray:
    """The pixels of a picture.

    Args:
        planes: of the layout.
        layout: of the planes.
        colours: what the samples mean; of "gbr" the range is full.

    Returns:
        [h, w, 3], uint8 for 8 bits and otherwise uint16 of 0 to 65535.
    """
    most = 255 if layout.bits == 8 else 65535
    kind = np.uint8 if layout.bits == 8 else np.uint16
    height, width = planes[0].shape
    if layout.kind == "gbr":
        green, blue, red = planes
        stacked = np.stack([red, green, blue], -1)
        if layout.bits in (8, 16):
            return stacked
        return np.rint(stacked * np.float32(most / (2**layout.bits - 1))).astype(kind)
    black, span, _, _ = _levels(layout.bits, colours.full)
    light = (planes[0].astype(np.float32) - black) * np.float32(most / span)
    out = np.empty((height, width, 3), kind)
    if layout.kind == "gray":
        out[:] = _rounded(light, most, kind)[..., None]
        return out
    for channel, added in enumerate(_shares(planes[1], planes[2], layout.bits, colours, most)):
        whole = _spread(added, layout)[:height, :width]
        out[..., channel] = _rounded(light + whole, most, kind)
    return out


def replaced(
    planes: Planes,
    before: np.ndarray,
    after: np.ndarray,
    touched: Bool[np.ndarray, "h w"],
    layout: Layout,
    colours: Colours,
) -> Planes:
    """The planes of a picture of which some pixels have other colours now.

    Args:
        planes: of the picture before.
        before: its pixels [h, w, 3], see `to_rgb`.
        after: pixels that it has now, of the same kind.
        touched: pixels outside are not changed, whatever `after` says.
        layout: of the planes.
        colours: what the samples mean.

    Returns:
        New planes; samples of which no pixel is changed are those of `planes`.
    """
    changed = touched & (before != after).any(-1)
    if not changed.any():
        return planes
    rows, columns = (_extent(changed.any(1 - axis)) for axis in (0, 1))
    top, bottom = _in_blocks(rows, layout.down, planes[0].shape[0])
    left, right = _in_blocks(columns, layout.across, planes[0].shape[1])
    window = np.s_[top:bottom, left:right]
    changed = changed[window]
    pixels = np.where(changed[..., None], after[window], before[window])
    made = from_rgb(pixels, layout, colours)
    if layout.kind == "yuv":
        small = np.s_[
            top // layout.down : -(-bottom // layout.down),
            left // layout.across : -(-right // layout.across),
        ]
        blocks = _padded(changed, layout).any((1, 3))
        masks, windows = [changed, blocks, blocks], [window, small, small]
    else:
        masks, windows = [changed] * len(planes), [window] * len(planes)
    copies = tuple(plane.copy() for plane in planes)
    for copy, place, mask, samples in zip(copies, windows, masks, made):
        copy[place][mask] = samples[mask]
    return copies


def from_rgb(pixels: np.ndarray, layout: Layout, colours: Colours) -> Planes:
    """The planes of a picture.

    Args:
        pixels: [h, w, 3], uint8 or, for more than 8 bits, uint16 of 0 to 65535.
        layout: of the planes.
        colours: what the samples mean; of "gbr" the range is full.
    """
    most = np.iinfo(pixels.dtype).max
    kind = np.uint8 if layout.bits == 8 else np.uint16
    top = 2**layout.bits - 1
    scaled = np.moveaxis(pixels, -1, 0).astype(np.float32) / np.float32(most)
    red, green, blue = scaled
    if layout.kind == "gbr":
        return tuple(_rounded(c * np.float32(top), top, kind) for c in (green, blue, red))
    light = colours.red * red + (1 - colours.red - colours.blue) * green + colours.blue * blue
    black, span, centre, wide = _levels(layout.bits, colours.full)
    luma = _rounded(light * np.float32(span) + black, top, kind)
    if layout.kind == "gray":
        return (luma,)
    chroma = []
    for colour, share in ((blue, colours.blue), (red, colours.red)):
        difference = _padded((colour - light) / np.float32(2 * (1 - share)), layout).mean((1, 3))
        chroma.append(_rounded(difference * np.float32(wide) + centre, top, kind))
    return (luma, *chroma)


def turned_layout(layout: Layout, turn: Turn, width: int, height: int) -> Layout:
    """The layout of a turned picture.

    Args:
        layout: of the stored picture.
        turn: of it.
        width: of the stored picture.
        height: likewise.
    """
    cut = (turn.flip_x or turn.flip_y) and (width % layout.across or height % layout.down)
    if cut or (turn.transposed and layout.across != layout.down):
        return Layout(layout.kind, layout.bits)
    return layout


def turned(planes: Planes, layout: Layout, turn: Turn) -> Planes:
    """The planes of a turned picture, see `turned_layout`."""
    if turn == UPRIGHT:
        return planes
    height, width = planes[0].shape
    if turned_layout(layout, turn, width, height) != layout:
        planes = whole_chroma(planes, layout)
    steps = np.s_[:: -1 if turn.flip_y else 1, :: -1 if turn.flip_x else 1]
    return tuple(
        np.ascontiguousarray((plane.T if turn.transposed else plane)[steps]) for plane in planes
    )


def whole_chroma(planes: Planes, layout: Layout) -> Planes:
    """The planes with colour differences for every pixel, which are those of its block."""
    height, width = planes[0].shape
    spread = (_spread(plane, layout)[:height, :width] for plane in planes[1:])
    return (planes[0], *spread)


def _levels(bits: int, full: bool) -> tuple[int, int, int, int]:
    """Sample of black, from black to white, of no colour, and between extreme differences."""
    if full:
        return 0, 2**bits - 1, 1 << (bits - 1), 2**bits - 1
    unit = 1 << (bits - 8)
    return 16 * unit, 219 * unit, 128 * unit, 224 * unit


def _shares(
    cb: np.ndarray, cr: np.ndarray, bits: int, colours: Colours, most: int
) -> list[np.ndarray]:
    """What colour differences add to the brightness in red, green and blue."""
    _, _, centre, wide = _levels(bits, colours.full)
    scale = np.float32(2 * most / wide)
    blue = (cb.astype(np.float32) - centre) * (scale * np.float32(1 - colours.blue))
    red = (cr.astype(np.float32) - centre) * (scale * np.float32(1 - colours.red))
    rest = 1 - colours.red - colours.blue
    green = np.float32(-colours.red / rest) * red + np.float32(-colours.blue / rest) * blue
    return [red, green, blue]


def _rounded(values: np.ndarray, most: int, kind: type) -> np.ndarray:
    return np.clip(np.rint(values), 0, most).astype(kind)


def _spread(plane: np.ndarray, layout: Layout) -> np.ndarray:
    if layout.across > 1:
        plane = np.repeat(plane, layout.across, 1)
    return np.repeat(plane, layout.down, 0) if layout.down > 1 else plane


def _padded(values: np.ndarray, layout: Layout) -> np.ndarray:
    """Values in blocks [rows, down, columns, across]; the last block repeats the picture's edge."""
    height, width = values.shape
    more = (-height % layout.down, -width % layout.across)
    values = np.pad(values, ((0, more[0]), (0, more[1])), mode="edge")
    return values.reshape(
        values.shape[0] // layout.down, layout.down, values.shape[1] // layout.across, layout.across
    )


def _extent(any_along: np.ndarray) -> tuple[int, int]:
    found = np.flatnonzero(any_along)
    return int(found[0]), int(found[-1]) + 1


def _in_blocks(extent: tuple[int, int], block: int, size: int) -> tuple[int, int]:
    return extent[0] // block * block, min(-(-extent[1] // block) * block, size)
