"""Aligned photographs to codes, batch by batch, and how near their pictures come.

Pictures uint8 [b, s, s, 3]; codes W+ [b, n, k]. Codes that were searched for are kept on disk,
those that `edit.py` found among them.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, UInt8

from diffcam_jax.files.code_cache import CodeCache
from diffcam_jax.inversion import TUNING, Inverter
from diffcam_jax.inversion.tuned_parts import Deltas
from diffcam_jax.metrics import pixel
from diffcam_jax.ops.image import to_unit

# As in the released code of in-domain inversion.
BATCH = 4


class Limits(NamedTuple):
    """How long to search.

    Attributes:
        seconds: for each batch, compiling not counted; None for no limit.
        restarts: further searches from random codes.
        batch: photographs in one compiled step.
    """

    seconds: float | None = None
    restarts: int = 0
    batch: int = BATCH


class Found(NamedTuple):
    """Codes of pictures.

    Attributes:
        codes: [b, n, k].
        valid: [b] whether the loss was finite; the code of a picture without is where the search
            began.
        known: [b] whether the code was on disk, so that nothing was searched.
        seconds: of the search, compiling not counted; compile_seconds: of that.
        notes: what a person should know, a sentence each.
        tuned: what "pivotal_tuning" changes the generator by, path of a tensor -> [b, ...]; for the
            other methods None.
    """

    codes: Float[np.ndarray, "b n k"]
    valid: Bool[np.ndarray, " b"]
    known: Bool[np.ndarray, " b"]
    seconds: float
    compile_seconds: float
    notes: tuple[str, ...]
    tuned: Deltas | None = None


def search(
    inverter: Inverter,
    pictures: UInt8[np.ndarray, "b s s 3"],
    mask: Float[np.ndarray, "_ _"] | None = None,
    start: Float[np.ndarray, "_ n k"] | None = None,
    limits: Limits = Limits(),
    full: bool = False,
    cached: bool = True,
    progress: bool = False,
) -> Found:
    """Codes of any number of pictures.

    Args:
        inverter: one method for one generator.
        pictures: aligned.
        mask: where the pictures count, the same for all; None for everywhere.
        start: codes to begin from.
        limits: see `Limits`.
        full: on an accelerator, fill a batch up even when it is the only one, for more calls are to
            come; else it is as large as it has to be.
        cached: read and keep codes on disk, unless mask, start or limits make them others, and the
            method is one that searches for codes.
        progress: show a bar.

    Raises:
        UserError: see `inversion.invert`.
    """
    plain = mask is None and start is None and limits[:2] == (None, 0)
    plain = plain and inverter.method not in ("encoder", TUNING)
    store = CodeCache(inverter.recipe) if cached and plain else None
    known = (
        {}
        if store is None
        else {i: c for i, p in enumerate(pictures) if (c := store.load(p)) is not None}
    )
    todo = [i for i in range(len(pictures)) if i not in known]
    read = np.isin(np.arange(len(pictures)), list(known))
    tuned: dict[int, Deltas] = {}
    valid, seconds, compiled, notes = np.ones(len(pictures), bool), 0.0, 0.0, []
    side = limits.batch if full else min(limits.batch, max(len(todo), 1))
    for first in range(0, len(todo), side):
        chosen = todo[first : first + side]
        # A last batch that is not full is filled up: another size would compile the step anew,
        # which takes longer. On a CPU, where every picture has a step of its own, it is left as it
        # is.
        missing = 0 if jax.default_backend() == "cpu" else side - len(chosen)
        filled = chosen + chosen[-1:] * missing
        result = inverter(
            to_unit(pictures[filled]),
            None if mask is None else np.repeat(mask[None], len(filled), 0),
            None if start is None else start[filled],
            limits.seconds,
            limits.restarts,
            progress,
        )
        for place, index in enumerate(chosen):
            known[index], valid[index] = result.codes[place], np.isfinite(result.loss[place])
            if result.tuned is not None:
                tuned[index] = {path: changes[place] for path, changes in result.tuned.items()}
            if store is not None and valid[index]:
                store.save(pictures[index], known[index])
        seconds, compiled = seconds + result.seconds, compiled + result.compile_seconds
        notes += (
            result.notes
            if len(todo) <= side
            else [f"batch from picture {chosen[0] + 1}: {n}" for n in result.notes]
        )
    codes = np.stack([known[i] for i in range(len(pictures))])
    paths = tuned[0] if tuned else ()
    stacked = {path: np.stack([tuned[i][path] for i in range(len(pictures))]) for path in paths}
    return Found(codes, valid, read, seconds, compiled, tuple(notes), stacked or None)


def distances(
    pictures: UInt8[np.ndarray, "b s s 3"],
    drawn: UInt8[np.ndarray, "b s s 3"],
    lpips: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> list[dict[str, float]]:
    """How near pictures of codes are to those that were inverted, one record for each.

    Args:
        pictures: the photographs.
        drawn: pictures of their codes, of the same size.
        lpips: perceptual distance of pairs, `metrics.perceptual.Lpips`.

    Returns:
        "mse" in units of [-1, 1], "lpips".
    """
    perceived = lpips(pictures, drawn)
    errors = [
        float(pixel.mse(jnp.asarray(a[None]), jnp.asarray(b[None]))[0])
        for a, b in zip(pictures, drawn)
    ]
    return [
        {"mse": round(e, 6), "lpips": round(float(p), 5)}
        for e, p in zip(errors, perceived, strict=True)
    ]
