"""Samples of a generator in training, and their distance from held-out pictures.

All draws are fixed by the seed, so that two steps of a run differ by the weights alone. Pictures
are uint8 RGB [n, s, s, 3].
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

from diffcam_jax.metrics.features import InceptionFeatures
from diffcam_jax.metrics.frechet import Statistics, frechet_distance, statistics
from diffcam_jax.metrics.thumbnails import ThumbnailFeatures
from diffcam_jax.nn.latents import sample_w, truncate
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from diffcam_jax.ops.image import quantise
from diffcam_jax.train.state import TrainState

COLUMNS, ROWS = 8, 4
PSI = 0.7  # truncation of the pictures on a sheet; those that are measured are not truncated
MEAN_DRAWS = 4096


class Samples:
    """Pictures of a generator's moving average.

    Args:
        generator: the module.
        held_out: pictures to compare with; for a conditional generator with their classes as
            "label", of which it draws as many.
        seed: of all draws.
        batch_size: pictures drawn at a time.
        inception: measure FID by Inception's features as well, which are downloaded once.

    Attributes:
        mean_code: variables -> mean w [k].
    """

    def __init__(
        self,
        generator: StyleGAN2Generator,
        held_out: Mapping[str, np.ndarray],
        seed: int,
        batch_size: int,
        inception: bool,
    ) -> None:
        self._generator, self._held_out = generator, held_out["image"]
        self._batch_size, self._classes = batch_size, held_out.get("label")
        every = self._label(0, MEAN_DRAWS)
        self._key = jax.random.fold_in(jax.random.key(seed), 1)
        self.mean_code = jax.jit(
            lambda variables: sample_w(generator, variables, self._key, MEAN_DRAWS, every).mean(0)
        )
        self._features: dict[str, Any] = {"frechet": ThumbnailFeatures(batch=batch_size)}
        if inception:
            self._features["fid"] = InceptionFeatures(batch=batch_size)

        @jax.jit
        def draw(
            variables: dict, z: Array, labels: tuple[Array, ...], mean: Array, psi: Array
        ) -> UInt8[Array, "b s s 3"]:
            w = truncate(generator.apply(variables, z, *labels, method="mapping"), mean, psi)
            return quantise(generator.apply(variables, w, method="synthesis"))

        self._program = draw

    def draw(self, state: TrainState, count: int, psi: float) -> UInt8[np.ndarray, "n s s 3"]:
        """Draws the first `count` of the fixed codes.

        Args:
            state: of the run.
            count: pictures.
            psi: truncation towards the mean code; 1 is none.
        """
        variables = {**state.nets["generator"].variables, "params": state.ema["generator"]}
        size, mean = self._batch_size, self.mean_code(variables)
        parts = []
        for i in range(-(-count // size)):
            z = jax.random.normal(
                jax.random.fold_in(self._key, i), (size, self._generator.latent_size)
            )
            label = self._label(i * size, size)
            labels = () if label is None else (label,)
            parts.append(np.asarray(self._program(variables, z, labels, mean, psi)))
        return np.concatenate(parts)[:count]

    def _label(self, first: int, count: int) -> Float[Array, "b c"] | None:
        """Labels of samples from number `first` on: those of the held-out pictures in turn."""
        classes = self._generator.num_classes
        if not classes:
            return None
        numbers = self._classes[np.arange(first, first + count) % len(self._classes)]
        return jax.nn.one_hot(numbers, classes)

    def pictures(self, state: TrainState) -> dict[str, np.ndarray]:
        """Draws a grid of pictures, truncated towards the mean code."""
        drawn = self.draw(state, COLUMNS * ROWS, PSI)
        side = drawn.shape[1]
        grid = (
            drawn.reshape(ROWS, COLUMNS, side, side, 3)
            .swapaxes(1, 2)
            .reshape(ROWS * side, COLUMNS * side, 3)
        )
        return {"ema": grid}

    def distance(self, state: TrainState) -> dict[str, float]:
        """Measures Frechet distances between the held-out pictures and as many generated ones.

        "score" is the negative of the last one.
        """
        drawn = self.draw(state, len(self._held_out), 1.0)
        found = {
            name: frechet_distance(self._real[name], statistics(features(drawn)))
            for name, features in self._features.items()
        }
        return {**found, "score": -list(found.values())[-1]}

    @functools.cached_property
    def _real(self) -> dict[str, Statistics]:
        return {
            name: statistics(features(self._held_out)) for name, features in self._features.items()
        }
