"""The tuned numbers of one face: from the cache, or by tuning.

Where a device runs out of memory, the window becomes smaller.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from diffcam_jax.command.progress import Progress
from diffcam_jax.directions.space import generator_hash
from diffcam_jax.editing import windows
from diffcam_jax.inversion.tuned_cache import Entry, TunedCache
from diffcam_jax.inversion.tuning import Tuned, TuningSettings, tune
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import to_unit
from diffcam_jax.ops.window import Window

# Loss above which a face was not reached.
UNREACHED = 0.35


def tuned_window(
    generator: Network,
    aligned: UInt8[np.ndarray, "s s 3"],
    codes: Float[np.ndarray, "n k"],
    window: Window,
    settings: TuningSettings,
    cache: bool,
    progress: Progress,
) -> tuple[Entry, dict[str, Any]]:
    """Tunes the generator to a photograph in a window, or finds that it was.

    Args:
        generator: see `inversion.tuning.tune`.
        codes: the pivot.
        settings: of the tuning.
        aligned: the photograph.
        window: that has to be within the tuned one.
        cache: read and keep tuned numbers; a photograph that was tuned elsewhere goes on from
            there.
        progress: show a bar, or tell.

    Returns:
        What was tuned, and for the report "window" (top, left, height, width in cells), "begun"
        and "loss", "steps", "cached", "notes".

    Raises:
        UserError: see `inversion.tuning.tune`.
    """
    recipe = {"generator": generator_hash(generator), **dataclasses.asdict(settings)}
    store = TunedCache(aligned, codes, recipe)
    kept = store.load() if cache else []
    for entry in kept:
        if windows.holds(entry.window, window):
            store.touch(entry.window)
            told = {"loss": entry.loss, "steps": 0, "cached": True, "notes": []}
            return entry, {"window": entry.window.numbers, **told}
    start = {path: x[None] for path, x in kept[0].deltas.items()} if kept else None
    found, window, notes = _tuned(generator, aligned, codes, window, settings, start, progress)
    loss = float(found.loss[0])
    entry = Entry(window, {path: x[0] for path, x in found.deltas.items()}, loss)
    notes += found.notes
    if not np.isfinite(loss):
        notes.append("the tuning found no finite loss; the generator stays as it is")
    elif loss > UNREACHED:
        notes.append("the tuning hardly reaches this picture: is it covered, blurred or tiny?")
    if cache and np.isfinite(loss):
        store.save(entry)
    begun, ended = (None if not np.isfinite(x) else float(x) for x in (found.begun[0], loss))
    told = {"begun": begun, "loss": ended, "steps": found.steps, "cached": False}
    return entry, {"window": window.numbers, **told, "notes": notes}


def _tuned(
    generator, aligned, codes, window, settings, start, progress
) -> tuple[Tuned, Window, list[str]]:
    """Tunes, in the next smaller window when a device runs out of memory."""
    notes: list[str] = []
    while True:
        try:
            images = to_unit(aligned)[None]
            given = generator, codes[None], images, window, settings, start
            return tune(*given, progress=progress), window, notes
        except jax.errors.JaxRuntimeError as error:
            smaller = windows.smaller(window, generator.module.cells)
            if "RESOURCE_EXHAUSTED" not in str(error) or smaller is None:
                raise
            window = smaller
            notes.append(f"out of memory: tuned {window.height} x {window.width} cells of 64 only")
