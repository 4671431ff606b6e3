"""Looking at a generator in training: a grid of its pictures, and how far they are from held-out ones.

All draws are fixed by the seed, so that two moments of a run differ by the weights alone. Pictures are uint8 RGB [n, s, s, 3].
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from diffcam_jax import zoo
from diffcam_jax.latents import sample_w, truncate
from diffcam_jax.metrics.frechet import FeatureStatistics, Statistics, frechet_distance
from diffcam_jax.nn.inception import fid_resize
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from diffcam_jax.ops.image import quantise, resize
from diffcam_jax.train.state import TrainState

COLUMNS, ROWS = 8, 4
PSI = 0.7  # truncation of the pictures that people look at; what is measured is not truncated
MEAN_DRAWS = 4096


class Samples:
    """Pictures of a generator's moving average.

    Args:
        generator: the module.
        held_out: pictures to compare with.
        seed: of all draws.
        batch_size: pictures drawn at a time.
        inception: measure by Inception's features (FID, fetched once) beside the cheap ones.

    Attributes:
        mean_code: variables -> average w [k].
    """

    def __init__(
        self, generator: StyleGAN2Generator, held_out: np.ndarray, seed: int, batch_size: int, inception: bool
    ) -> None:
        self._generator, self._held_out, self._batch_size = generator, held_out, batch_size
        self._key = jax.random.fold_in(jax.random.key(seed), 1)
        self.mean_code = jax.jit(lambda variables: sample_w(generator, variables, self._key, MEAN_DRAWS).mean(0))
        self._features = {"frechet": jax.jit(thumbnail_features)}
        if inception:
            self._features["fid"] = inception_features()

        @jax.jit
        def draw(variables: dict, z: Array, mean: Array, psi: Array) -> UInt8[Array, "b s s 3"]:
            w = truncate(generator.apply(variables, z, method="mapping"), mean, psi)
            return quantise(generator.apply(variables, w, method="synthesis"))

        self._program = draw

    def draw(self, state: TrainState, count: int, psi: float) -> UInt8[np.ndarray, "n s s 3"]:
        """The first `count` of the fixed draws, truncated by `psi` about the average code; 1 is no truncation."""
        variables = {**state.nets["generator"].variables, "params": state.ema["generator"]}
        size, mean = self._batch_size, self.mean_code(variables)
        parts = []
        for i in range(-(-count // size)):
            z = jax.random.normal(jax.random.fold_in(self._key, i), (size, self._generator.latent_size))
            parts.append(np.asarray(self._program(variables, z, mean, psi)))
        return np.concatenate(parts)[:count]

    def pictures(self, state: TrainState) -> dict[str, np.ndarray]:
        """A grid of pictures, truncated about the average code."""
        drawn = self.draw(state, COLUMNS * ROWS, PSI)
        side = drawn.shape[1]
        grid = drawn.reshape(ROWS, COLUMNS, side, side, 3).swapaxes(1, 2).reshape(ROWS * side, COLUMNS * side, 3)
        return {"ema": grid}

    def distance(self, state: TrainState) -> dict[str, float]:
        """Frechet distances between the held-out pictures and as many generated ones; "score" is the last one's negative."""
        drawn = self.draw(state, len(self._held_out), 1.0)
        found = {
            name: frechet_distance(self._real[name], self._statistics(features, drawn))
            for name, features in self._features.items()
        }
        return {**found, "score": -list(found.values())[-1]}

    @functools.cached_property
    def _real(self) -> dict[str, Statistics]:
        return {name: self._statistics(features, self._held_out) for name, features in self._features.items()}

    def _statistics(self, features: Any, images: np.ndarray) -> Statistics:
        collected, size = FeatureStatistics(), self._batch_size
        for first in range(0, len(images), size):
            part = images[first : first + size]
            # A short last part is filled up, so that one program does for all.
            filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), 0)])
            collected.update(np.asarray(features(filled))[: len(part)])
        return collected.compute()


def thumbnail_features(images: UInt8[Array, "b s s 3"]) -> Float[Array, "b _"]:
    """What a picture looks like from afar, and how much detail it has where: cheap, and no stand-in for Inception's features.

    Args:
      images: sides of 8 pixels or more.

    Returns:
      [b, 224]: mean colour of 8x8 cells, then the mean contrast between neighbours, across and down, of the lightness in 4x4
      cells; both as shares of the full range.
    """
    x = images.astype(jnp.float32) / 255
    grey = x.mean(-1, keepdims=True)
    across, down = jnp.abs(jnp.diff(grey, axis=2)), jnp.abs(jnp.diff(grey, axis=1))
    parts = [resize(x, (8, 8), "area"), *(resize(edges, (4, 4), "area") for edges in (across, down))]
    return jnp.concatenate([part.reshape(len(x), -1) for part in parts], 1)


def inception_features() -> Any:
    """The features that FID is defined by: uint8 pictures -> [b, 2048]; the network is fetched once."""
    network = zoo.load("inception").network("inception")

    @jax.jit
    def features(variables: dict, images: UInt8[Array, "b s s 3"]) -> Float[Array, "b 2048"]:
        return network.module.apply(variables, fid_resize(images.astype(jnp.float32) / 127.5 - 1))[0]

    return functools.partial(features, network.variables)
