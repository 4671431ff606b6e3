"""What a run leaves to read: metrics.jsonl, TensorBoard events, a progress bar and picture grids."""

import json
import os
import pathlib
import time

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from tensorboardX import SummaryWriter
from tqdm import tqdm

from diffcam_jax.weights import replacing, write_atomically


class Report:
    """Writer of a run's numbers.

    Args:
        folder: made when missing.
        start: steps already taken; later lines of metrics.jsonl, from a run that was cut short, are dropped.
        total: steps of the whole run, for the bar.
    """

    def __init__(self, folder: str | os.PathLike, start: int, total: int) -> None:
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [r for line in lines if (r := _record(line)) and r["step"] <= start]
        write_atomically(path, "".join(json.dumps(r) + "\n" for r in kept).encode())
        self._file = path.open("a", buffering=1)
        self._events = SummaryWriter(str(self.folder), purge_step=start)
        self._bar = tqdm(total=total, initial=start, unit="step", dynamic_ncols=True, disable=None)
        self._clock = time.perf_counter()

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._events.close()
        self._file.close()

    def advance(self) -> None:
        """One step done."""
        self._bar.update()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Write numbers of a step."""
        seconds = round(time.perf_counter() - self._clock, 2)
        self._file.write(json.dumps({"step": step, "seconds": seconds, **values}) + "\n")
        for name, value in values.items():
            self._events.add_scalar(name, value, step)
        self._bar.set_postfix({name: f"{value:.3g}" for name, value in values.items() if "/" not in name})


def _record(line: str) -> dict | None:
    """A line cut short by a kill is no record."""
    try:
        return json.loads(line)
    except ValueError:
        return None


def overlay(image: UInt8[np.ndarray, "h w 3"], mask: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """A mask as a heat map over a picture."""
    heat = matplotlib.colormaps["turbo"](mask)[..., :3] * 255
    weight = 0.6 * mask[..., None]
    return np.rint(image * (1 - weight) + heat * weight).astype(np.uint8)


def save_grid(
    path: str | os.PathLike, rows: list[list[UInt8[np.ndarray, "h w 3"]]], titles: list[str], cell: int = 128
) -> None:
    """Write pictures in rows under column titles as one PNG, each `cell` pixels wide."""
    path, head = pathlib.Path(path), 16
    sheet = Image.new("RGB", (cell * len(titles), head + cell * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        draw.text((column * cell + 3, 2), title[: cell // 6], fill="black")
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            small = Image.fromarray(picture).resize((cell, cell), Image.Resampling.BOX)
            sheet.paste(small, (j * cell, head + i * cell))
    with replacing(path) as file:
        sheet.save(file, format="PNG")
