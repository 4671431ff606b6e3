"""Pictures to codes and back, while an encoder is trained.

All kinds make one pass but ReStyle, which makes several; e4e uses the rows up to its current stage.
Pictures are float32 RGB [b, s, s, 3] in [-1, 1] at the side at which they are compared, the
encoder's own or a larger one; codes are W+ [b, n, k].
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from diffcam_jax.inversion import encoding
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.ops.image import to_unit
from diffcam_jax.train.encoder_losses import masked_rows, stage_of
from diffcam_jax.train.state import TrainState


class Pass(NamedTuple):
    """The result of one pass of an encoder.

    Attributes:
        codes: W+ [b, n, k].
        picture: what the generator draws of them [b, s, s, 3], not clamped.
    """

    codes: Float[Array, "b n k"]
    picture: Float[Array, "b s s 3"]


class Inverter:
    """Pictures to codes and back, as pure functions of a run's state.

    Args:
        config: the whole configuration.
        encoder: its module.
        generator: the module of the frozen generator.

    Attributes:
        reads: side of the pictures that the encoder sees.
        channels: of those pictures.
        size: side of the pictures that are compared.
        rows: of W+.
        count: passes of the encoder.
    """

    def __init__(self, config: ConfigDict, encoder: nn.Module, generator: nn.Module) -> None:
        self.encoder, self.generator = encoder, generator
        self.reads = config.model.size
        self.size = max(self.reads, config.model.get("judged", 0))
        self.rows = wplus_rows(generator)
        # Only ReStyle has passes: it sees the picture beside its last reconstruction.
        self.count = config.model.get("passes", 1)
        self.channels = 6 if "passes" in config.model else 3
        stages = config.get("stages")  # only e4e has these
        self._stages = None if stages is None else (stages.start, stages.every)
        self._stored = config.model.get("stored_norm", False)
        self._half = config.precision == "bfloat16"

    def prepare(self, images: UInt8[Array, "b h w 3"]) -> Float[Array, "b s s 3"]:
        """Resizes pictures to the side at which they are compared."""
        return encoding.fit(to_unit(images), self.size)

    def draw(self, variables: dict, codes: Float[Array, "b n k"]) -> Float[Array, "b s s 3"]:
        """Draws codes at that side."""
        return encoding.draw(self.generator, variables, codes, self.size)

    def stage(self, step: Array) -> Array:
        """Returns the last row that has a delta of its own at a step."""
        return (
            jnp.int32(self.rows - 1)
            if self._stages is None
            else stage_of(step, *self._stages, self.rows)
        )

    def passes(
        self, state: TrainState, params: Any, images: Float[Array, "b s s 3"], train: bool
    ) -> tuple[list[Pass], dict]:
        """Encodes and reconstructs pictures; ReStyle does so several times, the last is the best.

        Args:
            state: everything but the parameters.
            params: of the encoder.
            images: from `prepare`.
            train: normalise by statistics of the batch, unless config.model.stored_norm keeps those
                of an earlier run.

        Returns:
            The passes, and the collections of the encoder that changed.
        """
        variables, changed = {**state.nets["encoder"].variables, "params": params}, {}
        codes = jnp.broadcast_to(
            state.extra["latent_avg"], (len(images), self.rows, self.generator.latent_size)
        )
        picture = state.extra.get("avg_image")
        found = []
        for _ in range(self.count):
            given = images
            if picture is not None:
                current = jax.lax.stop_gradient(jnp.broadcast_to(picture, images.shape))
                given = jnp.concatenate([images, current], axis=-1)
            offsets, changed = self._encode({**variables, **changed}, given, train)
            if "colouring" in state.extra:  # the encoder gives standard deviations
                offsets = offsets @ state.extra["colouring"]
            if self._stages is not None:
                offsets = masked_rows(offsets, self.stage(state.step))
            codes = jax.lax.stop_gradient(codes) + offsets
            picture = self.draw(state.nets["frozen/generator"].variables, codes)
            found.append(Pass(codes, picture))
        return found, changed

    def _encode(
        self, variables: dict, given: Float[Array, "b s s c"], train: bool
    ) -> tuple[Array, dict]:
        if self.reads < self.size:
            given = encoding.fit(given, self.reads)
        if self._half:
            half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), variables["params"])
            variables, given = {**variables, "params": half}, given.astype(jnp.bfloat16)
        if not train or self._stored:
            return self.encoder.apply(variables, given).astype(jnp.float32), {}
        offsets, changed = self.encoder.apply(variables, given, True, mutable=["batch_stats"])
        return offsets.astype(jnp.float32), changed
