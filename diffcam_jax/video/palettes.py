"""Frames of 256 colours, in which pixels that are not edited keep theirs wherever they fit."""

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

_MOST = 256


def indexed(rgba: UInt8[np.ndarray, "h w 4"], touched: Bool[np.ndarray, "h w"]) -> Image.Image:
    """A frame as numbers of a palette.

    All colours are kept where they are few enough. Otherwise those of the pixels that are not
    touched are kept, and touched pixels take the nearest of these and of a few more that are made
    for them, with the error spread over their neighbours. Only where the untouched colours alone
    are too many do they take the nearest, too.

    Args:
        rgba: pixels; less than half opaque is transparent.
        touched: the edited ones.

    Returns:
        A picture of mode "P"; `info["transparency"]` is the number of what is transparent.
    """
    clear = rgba[..., 3] < 128
    room = _MOST - 1 if clear.any() else _MOST
    codes = _codes(rgba)
    opaque = np.unique(codes[~clear])
    if len(opaque) <= room:
        return _image(
            np.searchsorted(opaque, codes).clip(0, max(len(opaque) - 1, 0)), opaque, clear
        )
    kept = np.unique(codes[~clear & ~touched])
    edited = rgba[~clear & touched][:, :3]
    if len(kept) > room:
        every = _made(rgba[~clear][:, :3], room)
        return _image(_nearest(rgba, every), every, clear)
    wanted = room - len(kept)
    more = np.setdiff1d(_made(edited, wanted), kept) if wanted and len(edited) else kept[:0]
    palette = np.concatenate([kept, more])
    numbers = _nearest(rgba, palette)
    exact = np.searchsorted(kept, codes).clip(0, max(len(kept) - 1, 0))
    return _image(np.where(touched, numbers, exact), palette, clear)


def _codes(rgba: np.ndarray) -> np.ndarray:
    parts = rgba[..., :3].astype(np.uint32)
    return parts[..., 0] << 16 | parts[..., 1] << 8 | parts[..., 2]


def _colours(codes: np.ndarray) -> np.ndarray:
    return np.stack([codes >> 16 & 255, codes >> 8 & 255, codes & 255], -1).astype(np.uint8)


def _made(pixels: np.ndarray, count: int) -> np.ndarray:
    """Codes of at most `count` colours that stand for pixels [n, 3]."""
    image = Image.fromarray(pixels[None]).quantize(count, Image.Quantize.MEDIANCUT)
    colours = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
    used = np.unique(np.asarray(image))
    return np.unique(_codes(colours[used]))


def _nearest(rgba: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The number of a near colour for every pixel, the error spread over its neighbours."""
    table = Image.new("P", (1, 1))
    colours = _colours(codes)
    table.putpalette(np.resize(colours, (_MOST, 3)).tobytes())  # repeats, so nothing is added
    image = Image.fromarray(np.ascontiguousarray(rgba[..., :3]))
    found = np.asarray(image.quantize(palette=table, dither=Image.Dither.FLOYDSTEINBERG))
    return found.astype(int) % len(codes)


def _image(numbers: np.ndarray, codes: np.ndarray, clear: np.ndarray) -> Image.Image:
    colours = _colours(codes)
    numbers = numbers.astype(np.uint8)
    transparent = len(colours)
    if clear.any():
        numbers = np.where(clear, np.uint8(transparent), numbers)
        colours = np.concatenate([colours, np.zeros((1, 3), np.uint8)])
    image = Image.fromarray(numbers)
    image.putpalette(colours.tobytes())
    if clear.any():
        image.info["transparency"] = transparent
    return image
