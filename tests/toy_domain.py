"""Coloured discs with known attributes: a domain of one's own that trains within minutes."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 64
RED, BLUE = np.array([210, 50, 40]), np.array([40, 60, 210])


def draw(red: float, wide: float, seed: int) -> Image.Image:
    """A disc from blue to red, of a width in [0, 1], on a grey ground."""
    rng = np.random.default_rng(seed)
    big = 4 * SIDE
    picture = Image.new("RGB", (big, big), (int(rng.integers(190, 230)),) * 3)
    x, y = big / 2 + rng.uniform(-4, 4, 2)
    half = big * (0.2 + 0.2 * wide)
    colour = tuple(map(int, red * RED + (1 - red) * BLUE))
    ImageDraw.Draw(picture).ellipse((x - half, y - 72, x + half, y + 72), colour)
    return picture.resize((SIDE, SIDE), Image.Resampling.BOX)


def write(folder: Path, count: int, labelled: int | None = None) -> Path:
    """Writes pictures and labels.csv, of all or some, below a folder; returns the table's path."""
    (folder / "pictures").mkdir(parents=True)
    lines = ["file,red,wide"]
    for i in range(count):
        red, wide = np.random.default_rng(1000 + i).uniform(size=2).round(3)
        draw(red, wide, i).save(folder / "pictures" / f"{i:04d}.png")
        known = labelled is None or i < labelled
        lines.append(f"{i:04d}.png,{red},{wide}" if known else f"{i:04d}.png,,")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder / "labels.csv"
