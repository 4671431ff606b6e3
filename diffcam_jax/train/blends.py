"""Blends with ghosts and the pictures they were made of, to train the deghosting network with.

Batches hold uint8 RGB [b, s, s, 3]; blends and targets are [-1, 1].
"""

import functools
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.data.ghost_blends import (
    GhostConfig,
    GhostNetworks,
    disturb,
    draw_edits,
    ghost_networks,
    make_ghosts,
    toy_ghost_networks,
)
from diffcam_jax.directions import importers
from diffcam_jax.editing import checkpoints, diffcam
from diffcam_jax.editing.pipeline import Pipeline
from diffcam_jax.errors import UserError
from diffcam_jax.inversion import encoding
from diffcam_jax.nn.latents import to_wplus
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import to_unit
from diffcam_jax.train.state import Batch, Net
from diffcam_jax.train.trainer import Source

LARGEST_DEVIATION = 0.1  # of a picture from what its code draws, mean over pixels, range 2


@runtime_checkable
class Maker(Protocol):
    """Makes blends and targets of a batch.

    Attributes:
        networks: frozen ones by name, which are in the training state and come back as `nets`.
    """

    networks: Mapping[str, Network]

    def target(self, batch: Batch, key: PRNGKeyArray) -> Float[Array, "b s s 3"]:
        """Returns the pictures before the blend."""

    def pair(
        self, nets: Mapping[str, Net], batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, "b s s 3"], Float[Array, "b s s 3"]]:
        """Returns blends and targets."""


class StoredBlends:
    """A `Maker` of the blends and targets that are in the batch."""

    networks: Mapping[str, Network] = {}

    def target(self, batch: Batch, key: PRNGKeyArray) -> Float[Array, "b s s 3"]:
        """Returns the pictures before the blend."""
        return to_unit(batch["target"])

    def pair(
        self, nets: Mapping[str, Net], batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, "b s s 3"], Float[Array, "b s s 3"]]:
        """Returns blends and targets."""
        return to_unit(batch["image"]), self.target(batch, key)


class GeneratedBlends:
    """A `Maker` of blends by frozen networks, with new edits in every step.

    Args:
        ghosts: networks and edits.
        pipeline: of these networks, whose encoder finds codes that are not in the batch; None draws
            random ones, for toys.
        config: of the blends.
        disturbed: change the pictures first, as samples of the generator need it.
    """

    def __init__(
        self,
        ghosts: GhostNetworks,
        pipeline: Pipeline | None,
        config: GhostConfig,
        disturbed: bool,
    ) -> None:
        self._ghosts, self._pipeline = ghosts, pipeline
        self._config, self._disturbed = config, disturbed
        self.networks = {"generator": ghosts.generator, "classifier": ghosts.classifier.network}
        if pipeline is not None and pipeline.encoder is not None:
            self.networks["encoder"] = pipeline.encoder.network

    def target(self, batch: Batch, key: PRNGKeyArray) -> Float[Array, "b s s 3"]:
        """Returns the pictures before the blend."""
        images = to_unit(batch["image"])
        return disturb(jax.random.fold_in(key, 0), images) if self._disturbed else images

    def pair(
        self, nets: Mapping[str, Net], batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, "b s s 3"], Float[Array, "b s s 3"]]:
        """Returns blends and targets."""
        images = self.target(batch, key)
        ghosts = self._ghosts.replace(
            generator=self._network(nets, "generator"),
            classifier=self._ghosts.classifier.replace(network=self._network(nets, "classifier")),
        )
        edits = draw_edits(jax.random.fold_in(key, 1), ghosts, len(images), self._config)
        codes = (
            batch["code"]
            if "code" in batch
            else self._codes(nets, images, jax.random.fold_in(key, 2))
        )
        return make_ghosts(ghosts, images, codes, *edits, self._config).fused, images

    def _network(self, nets: Mapping[str, Net], name: str) -> Network:
        """Returns a frozen network with the variables that the state holds."""
        return self.networks[name].replace(variables=nets[name].variables)

    def _codes(
        self, nets: Mapping[str, Net], images: Array, key: PRNGKeyArray
    ) -> Float[Array, "b rows k"]:
        generator = self._network(nets, "generator")
        if self._pipeline is None:
            z = jax.random.normal(key, (len(images), generator.module.latent_size))
            return to_wplus(generator(z, method="mapping"), self._ghosts.directions.shape[1])
        encoder = self._pipeline.encoder.replace(network=self._network(nets, "encoder"))
        return encoding.read(generator, encoder, images)


def networks_of(config: ConfigDict) -> dict[str, str]:
    """Returns the folders of the frozen networks.

    The default generator is the one that drew the pictures.
    """
    networks = dict(config.networks)
    if config.data.source == "generator":
        networks["generator"] = networks["generator"] or config.data.folder
    return networks


def ghost_maker(
    networks: Mapping[str, str], ghost: ConfigDict, cam: Mapping[str, str], data: Source
) -> GeneratedBlends:
    """Loads what makes blends of pictures.

    Args:
        networks: folders of generator, encoder, classifier and directions; "" is the embedded part.
            The generator may be "toy".
        ghost: strength (lowest, highest), side of the classifier, disturb.
        cam: how masks are made, fields of `CamConfig`.
        data: its held-out batch is checked against the networks.

    Raises:
        UserError: the parts do not fit together, or not with the data.
    """
    toy = networks["generator"] == "toy"
    pipeline, ghosts = None, toy_ghost_networks()
    if not toy:
        folders = {role: networks[role] or None for role in networks}
        found = importers.read_directions(importers.listed(folders.pop("directions") or ""))
        pipeline = checkpoints.from_checkpoints(**folders)
        ghosts = ghost_networks(pipeline, checkpoints.fit_directions(found, pipeline.generator))
    low, high = ghost.strength
    if not 0 < low <= high:
        raise UserError(
            f"config.ghost.strength={tuple(ghost.strength)}: give a lowest and a highest one, "
            "above 0"
        )
    if data.held_out["image"].shape[1] > ghosts.generator.module.resolution:
        raise UserError(
            f"the pictures have {data.held_out['image'].shape[1]} pixels, the generator draws "
            f"{ghosts.generator.module.resolution}; lower config.data.size and "
            "config.model.out_size"
        )
    if "code" in data.held_out:
        _check_codes(ghosts, data.held_out)
    elif not toy and pipeline.encoder is None:
        raise UserError(
            "these pictures come without codes and without blends; give "
            "--config.networks.encoder=FOLDER, --config.data.source=generator, or a folder that "
            "python -m diffcam_jax.data.ghosts wrote"
        )
    config = GhostConfig(diffcam.CamConfig(**cam), (low, high), ghost.classifier_size)
    return GeneratedBlends(ghosts, pipeline, config, ghost.disturb)


def _check_codes(ghosts: GhostNetworks, batch: dict[str, np.ndarray]) -> None:
    """Checks that codes belong to the generator: the first one has to draw its picture."""
    if batch["code"].shape[1:] != ghosts.directions.shape[1:]:
        raise UserError(
            f"codes are {batch['code'].shape[1:]}, directions {ghosts.directions.shape[1:]}; take "
            "data and directions of the same generator"
        )
    drawn = _draw(ghosts.generator, jnp.asarray(batch["code"][:1]), batch["image"].shape[1])
    if np.abs(drawn - to_unit(batch["image"][:1])).mean() > LARGEST_DEVIATION:
        raise UserError(
            "the codes of these pictures were made for another generator; give the same one as "
            "config.networks.generator and in config.data"
        )


@functools.partial(jax.jit, static_argnames="size")
def _draw(
    generator: Network, codes: Float[Array, "b rows k"], size: int
) -> Float[Array, "b s s 3"]:
    return generator(codes, method="synthesis", size=size).clip(-1, 1)
