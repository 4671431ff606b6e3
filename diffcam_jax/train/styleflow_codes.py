"""Scored codes of a generator, on which a conditional flow is trained.

A condition is a list of scores, each normalised by its mean and deviation over the faces of the
training. Codes are given along the leading principal axes of W, or as they are.
"""

from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from diffcam_jax.directions import scoring
from diffcam_jax.directions.flows import Measure
from diffcam_jax.directions.recipe import pool
from diffcam_jax.directions.space import open_generator
from diffcam_jax.errors import UserError
from diffcam_jax.files.cache_dir import cache_dir
from diffcam_jax.nn.latents import moments
from diffcam_jax.nn.network import Network
from diffcam_jax.train.encoder_networks import load_generator

# A photograph may lie so far, in ranges of the training's faces, beyond these.
BEYOND = 0.25


class Frame(NamedTuple):
    """Where the numbers of a flow lie in W.

    Attributes:
        mean: [k] of the codes.
        axes: [k, f] principal axes; None takes codes as they are.
    """

    mean: Float[np.ndarray, " k"]
    axes: Float[np.ndarray, "k f"] | None

    def numbers(self, codes: Float[np.ndarray, "b r k"]) -> Float[np.ndarray, "b r f"]:
        """What the flow sees of codes."""
        return codes if self.axes is None else (codes - self.mean) @ self.axes


class ScoredCodes:
    """Batches of codes with their conditions.

    Args:
        codes: [n, r, k].
        conditions: [n, c] scores, all finite.
        names: of the scores.
        frame: in which the flow sees codes.
        held_out: the last so many codes are for evaluation.
        batch_size: codes that this process brings to a batch.
        process: number of this process.
        processes: how many there are.
        seed: of the order; every pass has one of its own.

    Attributes:
        frame: see above.
        held_out: "code" [m, r, f] and normalised "condition" [m, c].
        measures: how conditions are normalised, by the codes for training.

    Raises:
        UserError: there are too few codes, or a score is the same for all of them.
    """

    def __init__(
        self,
        codes: Float[np.ndarray, "n r k"],
        conditions: Float[np.ndarray, "n c"],
        names: tuple[str, ...],
        frame: Frame,
        held_out: int,
        batch_size: int,
        process: int = 0,
        processes: int = 1,
        seed: int = 0,
    ) -> None:
        count = len(codes) - held_out
        if count < batch_size * processes:
            raise UserError(
                f"only {len(codes)} faces have all scores: too few for config.eval_size="
                f"{held_out} and a batch; raise config.data.faces"
            )
        self.frame, self._codes, self._scores = frame, codes, conditions
        self.measures = tuple(map(_measure, names, conditions[:count].T))
        mean, std = (np.array([m[i] for m in self.measures], np.float32) for i in (1, 2))
        whole = {
            "code": frame.numbers(codes),
            "condition": ((conditions - mean) / std).astype(np.float32),
        }
        self._training = {name: array[:count] for name, array in whole.items()}
        self.held_out = {name: array[count:] for name, array in whole.items()}
        self._count, self._size, self._seed = count, batch_size, seed
        self._first, self._whole = process * batch_size, processes * batch_size

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        first = step * self._whole + self._first
        passes, places = np.divmod(np.arange(first, first + self._size), self._count)
        orders = {number: self._order(number) for number in set(passes.tolist())}
        rows = [orders[number][place] for number, place in zip(passes.tolist(), places)]
        return {name: array[rows] for name, array in self._training.items()}

    def faces(self, count: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The first held-out codes [count, r, k] that can be edited, and their scores by name."""
        lowest, highest = (np.array([m[i] for m in self.measures]) for i in (3, 4))
        held = slice(self._count, None)
        fits = ((self._scores[held] >= lowest) & (self._scores[held] <= highest)).all(1)
        codes, scores = self._codes[held][fits][:count], self._scores[held][fits][:count]
        return codes, {m.score: column for m, column in zip(self.measures, scores.T)}

    def _order(self, number: int) -> np.ndarray:
        return np.random.default_rng((self._seed, number)).permutation(self._count)


def _measure(name: str, scores: Float[np.ndarray, " n"]) -> Measure:
    lowest, highest = float(scores.min()), float(scores.max())
    if not lowest < highest:
        raise UserError(f"all faces have the same {name}; leave it out of config.conditions")
    room = BEYOND * (highest - lowest)
    std = float(np.std(scores, dtype=np.float64))
    return Measure(name, float(scores.mean()), std, lowest - room, highest + room)


def open_scorer(config: ConfigDict) -> tuple[Network, scoring.Scorer]:
    """The generator of a configuration, and the scorer of its pictures.

    Raises:
        UserError: the folder has no generator.
    """
    if config.generator == "toy":
        channels = {
            name: lambda pictures, channel=channel: pictures[..., channel].mean((1, 2))
            for channel, name in enumerate(("red", "green", "blue"))
        }
        return load_generator("toy").network("generator"), scoring.own(channels)
    return open_generator(config.generator or None), scoring.built_in()


def score_pool(
    config: ConfigDict, batch_size: int, process: int = 0, processes: int = 1
) -> ScoredCodes:
    """Draws the codes of a configuration and scores those that are not scored yet.

    Args:
        config: the whole configuration.
        batch_size: codes that this process brings to a batch.
        process: number of this process.
        processes: how many there are.

    Raises:
        UserError: a score is unknown, or see `ScoredCodes`.
    """
    generator, scorer = open_scorer(config)
    data, names = config.data, tuple(config.conditions)
    drawn = pool(generator, data.seed, data.faces, data.psi)
    frame, codes = _frame(drawn, config.model.axes), drawn[: data.faces]
    work = scores_folder(config)
    scores = scoring.scored_codes(generator, codes, scorer, list(names), work)
    conditions = np.stack([scores[name] for name in names], axis=1)
    clean = np.isfinite(conditions).all(1)
    codes, conditions = codes[clean], conditions[clean]
    if not len(codes):
        raise UserError("none of the faces has all scores; leave one out of config.conditions")
    shares = batch_size, process, processes
    return ScoredCodes(codes, conditions, names, frame, config.eval_size, *shares, config.seed)


def scores_folder(config: ConfigDict) -> Path:
    """The folder that keeps scores from one run to the next."""
    return Path(config.data.folder) if config.data.folder else cache_dir() / "scores"


def _frame(codes: Float[np.ndarray, "n r k"], axes: int) -> Frame:
    size = codes.shape[2]
    if axes > size:
        raise UserError(f"config.model.axes={axes}: a code of this generator has {size} numbers")
    found = moments(jnp.asarray(codes.reshape(-1, size)))
    return Frame(np.asarray(found.mean), np.asarray(found.eigenvectors)[:, :axes] if axes else None)
