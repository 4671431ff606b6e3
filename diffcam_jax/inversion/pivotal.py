"""Pivotal tuning as a method of inversion: the whole photograph, around codes that are found first.

Pictures are [b, s, s, 3] RGB in [-1, 1]; codes are W+ [b, n, k]. See `tuning` for the tuning itself
and its source; an edit tunes a window instead, see `face_tuning`.
"""

import time
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffcam_jax.command.progress import Progress
from diffcam_jax.inversion import encoding
from diffcam_jax.inversion.result import Inversion
from diffcam_jax.inversion.settings import TuningSettings
from diffcam_jax.inversion.tuning import tune
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.window import Window


def in_space(codes: Float[Array, "b n k"], space: str) -> Float[Array, "b n k"]:
    """Codes in a space without a search: in "w" every row is the mean of the code's rows."""
    if space == "w+":
        return codes
    return jnp.broadcast_to(codes.mean(1, keepdims=True), codes.shape)


def invert_by_tuning(
    generator: Network,
    encoder: encoding.Encoder | None,
    search: Callable[..., Inversion],
    images: Float[Array, "b s s 3"],
    settings: TuningSettings,
    space: str = "w+",
    start: Float[Array, "b n k"] | None = None,
    seconds: float | None = None,
    progress: Progress = False,
) -> Inversion:
    """Pivots, and the generator tuned to every photograph around its own pivot.

    Args:
        generator: see `tuning.check_generator`.
        encoder: gives the pivots.
        search: gives them if there is no encoder: (images, seconds=, progress=) -> codes.
        images: of any side; they are compared at the generator's own.
        settings: of the tuning.
        space: "w+", or "w" for pivots whose rows are all the same, as in the paper.
        start: the pivots, instead of the encoder's.
        seconds: time limit without compilation; the search may take half of it.
        progress: whether to show bars with the remaining time, or who is told instead.

    Returns:
        Pivots, changes and losses; the seconds are those of both.

    Raises:
        UserError: see `tuning.tune`.
    """
    begun, compiled, left, notes = time.perf_counter(), 0.0, seconds, ()
    if start is not None:
        pivots = start
    elif encoder is not None:
        pivots = encoding.read(generator, encoder, images)
    else:
        half = None if seconds is None else seconds / 2
        found = search(images, seconds=half, progress=progress)
        pivots, compiled, notes = jnp.asarray(found.codes), found.compile_seconds, found.notes
        # The last step of the search may have taken long: the tuning gets some time in any case.
        left = None if seconds is None else max(seconds - found.seconds, seconds / 4)
    pivots, cells = in_space(pivots, space), generator.module.cells
    pictures = encoding.fit(images, generator.module.resolution)
    whole = Window(0, 0, cells, cells)
    tuned = tune(generator, pivots, pictures, whole, settings, None, left, progress)
    compiled += tuned.compile_seconds
    return Inversion(
        codes=np.asarray(pivots),
        loss=tuned.loss,
        history=tuned.history,
        steps=tuned.steps,
        seconds=time.perf_counter() - begun - compiled,
        compile_seconds=compiled,
        notes=(*notes, *tuned.notes),
        tuned=tuned.deltas,
    )
