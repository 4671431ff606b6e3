"""Pictures of codes and their scores: by the built-in scorers, or by functions of your own.

A scorer takes uint8 RGB pictures [n, s, s, 3] and returns one number for each, NaN where it has
none. Scores are kept on disk in parts of 24 codes, named by the generator and the codes: an
interrupted run continues, a further score is added to the existing ones, and other codes or another
generator have other files.
"""

import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from tqdm import tqdm

from diffcam_jax.directions.space import generator_hash
from diffcam_jax.errors import UserError, suggestion
from diffcam_jax.files import trees
from diffcam_jax.formats import read_npz
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import quantise

# Side of the scored pictures, or the generator's if that is smaller; the parsing network sees 512.
SCORE_SIZE = 512
PART = 24
Pictures = UInt8[np.ndarray, "n s s 3"]


class Scorer(NamedTuple):
    """Scores of pictures by name.

    Attributes:
        names: of the scores.
        score: (pictures, names) -> name -> [n], NaN where a picture has no score.
    """

    names: tuple[str, ...]
    score: Callable[[Pictures, list[str]], Mapping[str, np.ndarray]]

    def check(self, names: list[str]) -> None:
        """Checks that the scorer knows these scores.

        Raises:
            UserError: it does not know one of them.
        """
        for name in names:
            if name not in self.names:
                raise UserError(f"no scorer is called {name!r}; {suggestion(name, self.names)}")


def built_in() -> Scorer:
    """The scorers for faces of `diffcam_jax.faces.scorers`."""
    from diffcam_jax.faces import scorers

    return Scorer(tuple(scorers.SCORERS), scorers.score)


def own(functions: Mapping[str, Callable[[Pictures], np.ndarray]]) -> Scorer:
    """Functions of your own as a scorer.

    Args:
        functions: name -> function of uint8 pictures [n, s, s, 3] that returns n numbers, NaN for a
            picture without a score. Scores on disk identify a function by its name only: a changed
            function needs another name or another folder.
    """

    def score(pictures: Pictures, names: list[str]) -> dict[str, np.ndarray]:
        found = {}
        for name in names:
            values = np.asarray(functions[name](pictures), np.float32)
            if values.shape != (len(pictures),):
                raise UserError(
                    f"scorer {name} gave {values.shape} for {len(pictures)} pictures; return one "
                    "number for each"
                )
            found[name] = values
        return found

    return Scorer(tuple(functions), score)


@functools.partial(jax.jit, static_argnames=("model", "size"))
def draw_uint8(
    model: nn.Module, variables: dict, codes: Float[Array, "b *rows k"], size: int
) -> UInt8[Array, "b s s 3"]:
    """Pictures of codes."""
    return quantise(model.apply(variables, codes, method="synthesis", size=size))


def draw_pictures(
    generator: Network, codes: np.ndarray, batch: int = 4, progress: bool = True
) -> np.ndarray:
    """Pictures of any number of codes, a few at a time.

    Args:
        generator: draws them.
        codes: [n, r, k]; a single row drives all layers.
        batch: number drawn at once; one program is compiled for it.
        progress: whether to show a bar.

    Returns:
        uint8 [n, s, s, 3], s SCORE_SIZE or the generator's resolution.
    """
    size = min(SCORE_SIZE, generator.module.resolution)
    codes = codes[:, 0] if codes.shape[1] == 1 else codes
    pictures = []
    for start in tqdm(
        range(0, len(codes), batch), desc="drawing", unit="batch", disable=not progress, leave=False
    ):
        part = codes[start : start + batch]
        padded = np.concatenate([part, np.repeat(part[-1:], batch - len(part), 0)])
        drawn = draw_uint8(generator.module, generator.variables, jnp.asarray(padded), size)
        pictures.append(np.asarray(drawn)[: len(part)])
    return np.concatenate(pictures)


def score_codes(
    generator: Network, codes: np.ndarray, scorer: Scorer, names: list[str]
) -> Mapping[str, np.ndarray]:
    """Scores [n] of the pictures of codes [n, r, k] by name, NaN where a picture has none."""
    return scorer.score(draw_pictures(generator, codes, progress=False), names)


def scored_codes(
    generator: Network,
    codes: np.ndarray,
    scorer: Scorer,
    names: list[str],
    work: Path,
    progress: bool = True,
) -> dict[str, np.ndarray]:
    """Scores of many codes; finished parts are kept in `work`, so an interrupted run continues.

    Args:
        generator: draws the pictures.
        codes: [n, r, k].
        scorer: of the pictures.
        names: of the scores to compute.
        work: folder, created if it is missing.
        progress: whether to show a bar.

    Returns:
        Name -> [n].

    Raises:
        UserError: a score is unknown.
    """
    scorer.check(names)
    identity = generator_hash(generator)
    parts = []
    with tqdm(total=len(codes), desc="scoring", unit="sample", disable=not progress) as bar:
        for start in range(0, len(codes), PART):
            part = np.ascontiguousarray(codes[start : start + PART])
            digest = hashlib.sha256(identity.encode() + part.tobytes()).hexdigest()
            path = work / f"scores_{digest[:16]}.npz"
            scores = _read(path)
            if missing := [name for name in names if name not in scores]:
                scores |= score_codes(generator, part, scorer, missing)
                with trees.replacing(path) as file:
                    np.savez(file, **scores)
            parts.append(scores)
            bar.update(len(part))
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _read(path: Path) -> dict[str, np.ndarray]:
    """Scores of an earlier run; a file that cannot be read counts as absent."""
    try:
        return read_npz(path)
    except UserError:
        return {}
