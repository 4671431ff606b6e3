"""Coloured shapes with known attributes: a domain of one's own that trains within minutes."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 64


def draw(red: bool, wide: float, seed: int, side: int = SIDE) -> Image.Image:
    """A disc, red or blue, of a width in [0, 1], on a grey ground."""
    rng = np.random.default_rng(seed)
    big = 4 * side
    picture = Image.new("RGB", (big, big), (int(rng.integers(190, 230)),) * 3)
    x, y = big / 2 + rng.uniform(-4, 4, 2)
    half = big * (0.2 + 0.2 * wide)
    colour = (200, 40, 40) if red else (40, 60, 200)
    ImageDraw.Draw(picture).ellipse((x - half, y - 36, x + half, y + 36), colour)
    return picture.resize((side, side), Image.Resampling.BOX)


def write(folder: Path, count: int) -> Path:
    """Writes pictures and labels.csv below a folder; returns the table's path."""
    (folder / "pictures").mkdir(parents=True)
    lines = ["file,red,wide"]
    for i in range(count):
        rng = np.random.default_rng(1000 + i)
        red, wide = bool(rng.integers(2)), round(float(rng.uniform()), 3)
        draw(red, wide, i).save(folder / "pictures" / f"{i:04d}.png")
        lines.append(f"{i:04d}.png,{int(red)},{wide}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder / "labels.csv"
