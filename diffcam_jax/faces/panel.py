"""Labelled rows and grids of pictures, and masks drawn over pictures, for people to look at."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

TILE, HEADER, GAP = 320, 26, 6


def heat_overlay(
    picture: UInt8[np.ndarray, "h w 3"], mask: Float[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Draws a mask over a picture: dimmed where the mask is 0, tinted orange where it is 1."""
    weight = mask[..., None]
    dimmed = picture * 0.45
    tinted = 0.55 * picture + 0.45 * np.array([255.0, 140.0, 0.0])
    return np.round(dimmed * (1 - weight) + tinted * weight).astype(np.uint8)


def grey(mask: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    """A mask [h, w] in [0, 1], or boolean, as a picture."""
    return np.repeat(np.round(mask * 255.0).astype(np.uint8)[..., None], 3, -1)


def labelled_row(pictures: Mapping[str, np.ndarray], tile: int = TILE) -> Image.Image:
    """A row of pictures, each scaled to the same height, with its name above.

    Args:
        pictures: label -> uint8 [h, w, 3], or a float mask [h, w] in [0, 1], drawn in grey.
        tile: height of the pictures in pixels.

    Returns:
        The row as a picture.
    """
    return _row(list(pictures.items()), tile)


def labelled_grid(
    rows: Sequence[Sequence[tuple[str, np.ndarray | None]]], tile: int = TILE
) -> Image.Image:
    """Rows of labelled pictures below each other; labels may repeat, and a cell may stay empty.

    Args:
        rows: of (label, picture as in `labelled_row`, or None for an empty square). A row without
            any label has no space for labels.
        tile: height of the pictures in pixels.
    """
    return stack_rows([_row(row, tile) for row in rows])


def titled_grid(
    rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str], tile: int = 128
) -> UInt8[np.ndarray, "h w 3"]:
    """Rows of pictures under column titles.

    Args:
        rows: pictures as in `labelled_row`.
        titles: one for each column.
        tile: height of the pictures in pixels.
    """
    labels = [titles, *[[""] * len(titles)] * (len(rows) - 1)]
    return np.asarray(labelled_grid([list(zip(*pair)) for pair in zip(labels, rows)], tile))


def _row(cells: Sequence[tuple[str, np.ndarray | None]], tile: int) -> Image.Image:
    tiles = []
    for _, array in cells:
        if array is None:
            tiles.append(Image.new("RGB", (tile, tile), "white"))
            continue
        if array.ndim == 2:
            array = grey(array)
        width = max(1, round(array.shape[1] * tile / array.shape[0]))
        tiles.append(Image.fromarray(array).resize((width, tile), Image.Resampling.LANCZOS))
    header = HEADER if any(label for label, _ in cells) else 0
    width = sum(t.width for t in tiles) + GAP * (len(tiles) + 1)
    row = Image.new("RGB", (width, tile + header + GAP), "white")
    draw, font, x = ImageDraw.Draw(row), ImageFont.load_default(15), GAP
    for (label, _), picture in zip(cells, tiles):
        draw.text((x + 2, 5), _fitting(label, font, picture.width), fill="black", font=font)
        row.paste(picture, (x, header))
        x += picture.width + GAP
    return row


def _fitting(label: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """A label, cut short where it would overlap its neighbour's."""
    if font.getlength(label) <= width:
        return label
    while label and font.getlength(label + "...") > width:
        label = label[:-1]
    return label + "..."


def stack_rows(rows: list[Image.Image]) -> Image.Image:
    """Rows below each other, left-aligned, on white."""
    sheet = Image.new("RGB", (max(r.width for r in rows), sum(r.height for r in rows)), "white")
    y = 0
    for row in rows:
        sheet.paste(row, (0, y))
        y += row.height
    return sheet
