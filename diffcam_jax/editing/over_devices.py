"""`edit_batch` and the encoder on all local devices, each with its share of the pictures."""

from collections.abc import Sequence

import jax
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
        given = edits.directions, edits.classes
        return self.editing(config)(given, (images, codes, edits.strengths, user_mask))

    def editing(self, config: EditConfig) -> OverDevices:
        """The program of an edit, of ((directions, classes), (images, codes, strengths, mask))."""
        if config not in self._editing:

            def edit(networks: Pipeline, given, batch) -> Edit:
                (directions, classes), (images, codes, strengths, mask) = given, batch
                edits = Edits(directions, strengths, classes)
                return edit_batch(networks, images, codes, edits, config, mask)

            self._editing[config] = OverDevices(edit, self._networks, self._devices)
        return self._editing[config]
