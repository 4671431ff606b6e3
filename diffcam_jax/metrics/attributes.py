"""The effect of an edit on the attributes of faces, by the built-in scorers (`scorers.SCORERS`)."""

import importlib.util
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from diffcam_jax.errors import UserError
from diffcam_jax.faces import scorers
from diffcam_jax.metrics.batches import Pictures, runs

_AT_A_TIME = 32
_NEED_ONNX = frozenset({"age", "gender"})


def available() -> tuple[tuple[str, ...], str]:
    """The scores that this machine can compute, and one line about the others ("" without any)."""
    if importlib.util.find_spec("onnxruntime"):
        return tuple(scorers.SCORERS), ""
    missing = [name for name, scorer in scorers.SCORERS.items() if scorer.needs & _NEED_ONNX]
    note = f"not scored: {', '.join(missing)}; they need onnxruntime: pip install onnxruntime"
    return tuple(name for name in scorers.SCORERS if name not in missing), note


def scores(
    pictures: Pictures, names: Sequence[str] | None = None
) -> dict[str, Float[np.ndarray, " n"]]:
    """Every named score of every picture, NaN where no face was found.

    Args:
        pictures: FFHQ-aligned uint8 RGB [n, s, s, 3], or any iterable of [s, s, 3] whose sizes may
            differ.
        names: keys of `scorers.SCORERS`; None takes all that are `available`.

    Raises:
        UserError: a name is unknown, a picture is not an aligned one, or onnxruntime is missing and
            a named score needs it.
    """
    names = available()[0] if names is None else tuple(names)
    # Reports unknown names before the first picture is read.
    scorers.score(np.zeros((0, 256, 256, 3), np.uint8), names)
    parts = [scorers.score(part, names) for part in runs(pictures, _AT_A_TIME)]
    return {
        name: np.concatenate([np.zeros(0, np.float32), *(part[name] for part in parts)])
        for name in names
    }


def change(
    before: Pictures, after: Pictures, names: Sequence[str] | None = None
) -> dict[str, Float[np.ndarray, " n"]]:
    """The increase of each score from one picture to the other, NaN where either shows no face.

    Args:
        before: as in `scores`.
        after: as in `scores`, as many as before.
        names: as in `scores`.

    Raises:
        UserError: as in `scores`, or the numbers of pictures differ.
    """
    first, second = scores(before, names), scores(after, names)
    counts = [len(next(iter(found.values()), ())) for found in (first, second)]
    if counts[0] != counts[1]:
        raise UserError(
            f"{counts[0]} pictures before and {counts[1]} after; pairs need the same number of both"
        )
    return {name: second[name] - first[name] for name in first}
