"""`edit_batch` and the encoder on all local devices, each with its share of the pictures."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.editing.config import EditConfig
from diffcam_jax.editing.edit import Edit, Edits, edit_batch
from diffcam_jax.editing.pipeline import Pipeline, encode
from diffcam_jax.ops.over_devices import OverDevices


class PipelineOverDevices:
    """A pipeline of which every device has a copy.

    Args:
        pipeline: the networks.
        devices: None takes all of this process.
    """

    def __init__(self, pipeline: Pipeline, devices: Sequence[jax.Device] | None = None) -> None:
        self._networks, self._devices = pipeline, devices
        self._encoding = OverDevices(lambda networks, _, x: encode(networks, x), pipeline, devices)
        self._editing: dict[EditConfig, OverDevices] = {}

    def encode(self, images: Float[Array, "b s s 3"]) -> Float[Array, "b n k"]:
        """See `pipeline.encode`."""
        return self._encoding((), images)

    def edit(
        self,
        images: Float[Array, "b s s 3"],
        codes: Float[Array, "b rows k"],
        edits: Edits,
        config: EditConfig = EditConfig(),
        user_mask: Float[Array, "b s s"] | None = None,
    ) -> Edit:
        """See `edit_batch`; the number of pictures need not be one of devices."""
        shared = edits.steps.ndim == 3
        given = edits.steps if shared else None, edits.classes
        own = None if shared else jnp.moveaxis(edits.steps, 1, 0)
        return self.editing(config)(given, (images, codes, edits.strengths, user_mask, own))

    def editing(self, config: EditConfig) -> OverDevices:
        """The program of an edit, of ((steps, classes), (images, codes, strengths, mask, own)).

        Steps are those of all pictures, or None where every picture has its own.
        """
        if config not in self._editing:

            def edit(networks: Pipeline, given, batch) -> Edit:
                (steps, classes), (images, codes, strengths, mask, own) = given, batch
                steps = jnp.moveaxis(own, 0, 1) if steps is None else steps
                edits = Edits(steps, strengths, classes)
                return edit_batch(networks, images, codes, edits, config, mask)

            self._editing[config] = OverDevices(edit, self._networks, self._devices)
        return self._editing[config]
