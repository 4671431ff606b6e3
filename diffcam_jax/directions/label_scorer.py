"""A scorer learned from labelled pictures: a ridge regression on a frozen network's features.

Directions are fitted to scores of generated pictures, whose codes are known exactly, as those of
InterFaceGAN are (1907.10786, section 3.1): codes of the labelled pictures themselves would be as
far from right as the encoder is. For labels of a few hundred pictures the three maps of MobileNetV2
(1801.04381), trained on ImageNet, are features enough; the finer ones say where things are.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from diffcam_jax.directions.scoring import Scorer
from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import resize, to_unit

KIND = "label_scorer"
SIDE = 256  # pixels of the pictures that the network sees
GRIDS = (8, 4, 2)  # cells a side in which its maps are averaged
BATCH = 16
RIDGE = 0.3  # for features of unit variance, divided by the root of their number
FEWEST = 10
HELD_OUT = 0.2  # share of the labelled pictures that tells how good the scorer is
MOST = 8000  # labelled pictures that it learns from


class LabelScorer(NamedTuple):
    """Linear functions of the features of `features`.

    Attributes:
        names: of the labels.
        mean: of the features.
        scale: of the features, their spread times the root of their number.
        kernel: one column a label.
        offset: one number a label.
        right: correlation of each label with its score on pictures that were held out.
    """

    names: tuple[str, ...]
    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    kernel: Float[np.ndarray, "d n"]
    offset: Float[np.ndarray, " n"]
    right: Mapping[str, float]


@functools.lru_cache(maxsize=1)
def _body() -> Network:
    from diffcam_jax.pretrained import networks

    return networks.load("mobilenet_v2").network("body")


@jax.jit
def _maps(body: Network, pictures: UInt8[Array, "b s s 3"]) -> Float[Array, "b d"]:
    maps = body(resize(to_unit(pictures), (SIDE, SIDE)))
    cells = [resize(m, (g, g), "area") for m, g in zip(maps, GRIDS, strict=True)]
    return jnp.concatenate([c.reshape(len(pictures), -1) for c in cells], -1)


def features(pictures: UInt8[np.ndarray, "b s s 3"]) -> Float[np.ndarray, "b d"]:
    """What the scorers see of pictures of any size; one program for any number of them."""
    found = []
    for start in range(0, len(pictures), BATCH):
        part = pictures[start : start + BATCH]
        padded = np.concatenate([part, np.repeat(part[-1:], BATCH - len(part), 0)])
        found.append(np.asarray(_maps(_body(), padded))[: len(part)])
    return np.concatenate(found)


def fit(
    batches: Iterable[UInt8[np.ndarray, "_ s s 3"]],
    labels: Mapping[str, Float[np.ndarray, " n"]],
    seed: int = 0,
) -> LabelScorer:
    """Learns scores from labelled pictures.

    Args:
        batches: n pictures in all.
        labels: name -> a number for each picture, NaN where there is none.
        seed: of the choice of held-out pictures.

    Raises:
        UserError: a label has fewer than ten numbers.
    """
    for name, values in labels.items():
        if (known := int(np.isfinite(values).sum())) < FEWEST:
            raise UserError(f"{name}: {known} pictures have a number, at least {FEWEST} are needed")
    seen = np.concatenate([features(batch) for batch in batches])
    mean = seen.mean(0)
    scale = (seen.std(0) + 1e-2) * np.sqrt(seen.shape[1])
    inputs = (seen - mean) / scale
    found = {name: _fit_one(inputs, values, seed) for name, values in labels.items()}
    kernel = np.stack([one[0] for one in found.values()], -1).astype(np.float32)
    offset = np.array([one[1] for one in found.values()], np.float32)
    right = {name: round(one[2], 4) for name, one in found.items()}
    return LabelScorer(tuple(labels), mean, scale.astype(np.float32), kernel, offset, right)


def _fit_one(
    inputs: Float[np.ndarray, "n d"], values: Float[np.ndarray, " n"], seed: int
) -> tuple[np.ndarray, float, float]:
    """Weights, offset, and the correlation on held-out pictures, of those with a label."""
    from sklearn.linear_model import Ridge

    known = np.random.default_rng(seed).permutation(np.flatnonzero(np.isfinite(values)))[:MOST]
    apart = max(int(HELD_OUT * len(known)), 2)
    trial, rest = known[:apart], known[apart:]
    guessed = Ridge(RIDGE).fit(inputs[rest], values[rest]).predict(inputs[trial])
    both = guessed.std() * values[trial].std()
    right = float(np.corrcoef(guessed, values[trial])[0, 1]) if both > 0 else 0.0
    whole = Ridge(RIDGE).fit(inputs[known], values[known])
    return whole.coef_, float(whole.intercept_), right


def as_scorer(learned: LabelScorer) -> Scorer:
    """The scorer as directions are fitted to it."""

    def score(pictures: UInt8[np.ndarray, "n s s 3"], names: Sequence[str]) -> dict:
        inputs = (features(pictures) - learned.mean) / learned.scale
        every = inputs @ learned.kernel + learned.offset
        return {name: every[:, learned.names.index(name)] for name in names}

    return Scorer(learned.names, score)


def save(path: Path, learned: LabelScorer) -> None:
    """Writes a scorer; OSError when that cannot be."""
    arrays = {name: getattr(learned, name) for name in ("mean", "scale", "kernel", "offset")}
    trees.save(path, arrays, {"kind": KIND, "names": learned.names, "right": dict(learned.right)})


def load(path: Path) -> LabelScorer:
    """Reads a scorer that `save` wrote.

    Raises:
        UserError: the file is missing, damaged, or holds something else.
    """
    arrays, metadata = trees.load(path)
    try:
        names, right = tuple(metadata["names"]), dict(metadata["right"])
        given = {name: arrays[name] for name in ("mean", "scale", "kernel", "offset")}
        sizes = [given[name].shape for name in given]
        d, n = given["kernel"].shape
        if metadata["kind"] != KIND or sizes != [(d,), (d,), (d, n), (n,)] or n != len(names):
            raise ValueError("its arrays do not fit each other")
        if set(right) != set(names) or not all(np.isfinite(x).all() for x in given.values()):
            raise ValueError("its numbers are not finite")
        return LabelScorer(names, right=right, **given)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is no scorer of labels ({error}); python -m diffcam_jax.domain makes one"
        ) from error
