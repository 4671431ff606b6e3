"""The record of a run: metrics.jsonl, TensorBoard events, a progress bar, sheets of pictures."""

import contextlib
import json
import math
import os
import pathlib
import time
from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from diffcam_jax.faces.panel import titled_grid
from diffcam_jax.files.json_text import read_lines
from diffcam_jax.files.trees import replacing, write_atomically
from diffcam_jax.train.events import Events


class Report:
    """Writer of a run's numbers.

    Args:
        folder: created if it does not exist.
        start: steps already taken; later lines of metrics.jsonl, from a run that was killed, are
            removed.
        total: steps of the whole run, for the bar.
    """

    def __init__(self, folder: str | os.PathLike, start: int, total: int) -> None:
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "metrics.jsonl"
        kept = [record for record in read_lines(path) if record["step"] <= start]
        write_atomically(path, "".join(json.dumps(r) + "\n" for r in kept).encode())
        with contextlib.ExitStack() as opened:
            self._file = opened.enter_context(path.open("a", buffering=1))
            self._events = opened.enter_context(contextlib.closing(Events(self.folder, start)))
            self._opened = opened.pop_all()
        self._bar = tqdm(total=total, initial=start, unit="step", dynamic_ncols=True, disable=None)
        self._clock = time.perf_counter()

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._opened.close()

    def advance(self) -> None:
        """Advances the progress bar by a step."""
        self._bar.update()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Writes numbers of a step; those that are not finite become null."""
        seconds = round(time.perf_counter() - self._clock, 2)
        valid = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, "seconds": seconds, **valid}) + "\n")
        for name, value in values.items():
            self._events.scalar(name, value, step)
        self._events.flush()
        shown = {
            name: f"{value:.3g}"
            for name, value in values.items()
            if name.endswith(("/loss", "/score"))
        }
        if shown:
            self._bar.set_postfix(shown)

    def pictures(self, step: int, pictures: Mapping[str, UInt8[np.ndarray, "_ _ 3"]]) -> None:
        """Writes pictures of a step to samples/NAME_STEP.png and to TensorBoard."""
        for name, picture in pictures.items():
            save_picture(self.folder / "samples" / f"{name}_{step:06d}.png", picture)
            self._events.image(name, picture, step)
        self._events.flush()


def batch_grid(batch: Mapping[str, np.ndarray], rows: int = 8) -> UInt8[np.ndarray, "h w 3"] | None:
    """Draws the first pictures of a batch, with a column for each array uint8 [b, s, s, 3].

    Returns:
        One picture; None if the batch has no such array.
    """
    pictures = {
        n: x for n, x in batch.items() if x.dtype == np.uint8 and x.ndim == 4 and x.shape[-1] == 3
    }
    return (
        titled_grid(list(zip(*(x[:rows] for x in pictures.values()))), list(pictures))
        if pictures
        else None
    )


def save_picture(path: str | os.PathLike, picture: UInt8[np.ndarray, "_ _ 3"]) -> None:
    """Writes a picture as PNG."""
    with replacing(pathlib.Path(path)) as file:
        Image.fromarray(picture).save(file, format="PNG")
