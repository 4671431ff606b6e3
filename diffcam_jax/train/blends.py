"""Blends with ghosts and what they were before, as training of the deghosting network takes them
from a batch.

Pictures come as uint8 RGB [b, s, s, 3] and leave as [-1, 1]. A maker has `networks`, frozen ones by
name, which live in the training state and come back as `nets`; `target(batch, key)`; and
`pair(nets, batch, key)`, blends and targets.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.data.ghosts import (
    GhostConfig,
    GhostWorld,
    disturb,
    draw_edits,
    ghost_world,
    make_ghosts,
    toy_ghost_world,
)
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


class Folder:
    """Blends and targets as they are in the batch."""

    networks: Mapping[str, Network] = {}

    def target(self, batch: Batch, key: PRNGKeyArray) -> Float[Array, "b s s 3"]:
        """The pictures before the blend."""
        return to_unit(batch["target"])

    def pair(
        self, nets: Mapping[str, Net], batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, "b s s 3"], Float[Array, "b s s 3"]]:
        """Blends and targets."""
        return to_unit(batch["image"]), self.target(batch, key)


class OnTheFly:
    """Blends made by frozen networks, which live in the training state.

    Args:
        world: networks and edits.
        networks: their pipeline, whose encoder gives codes that are not in the batch; None draws
            random ones (a toy's).
        config: of the blends.
        disturbed: whether pictures are samples, which have to be changed first.
    """

    def __init__(
        self,
        world: GhostWorld,
        networks: Pipeline | None,
        config: GhostConfig,
        disturbed: bool,
    ) -> None:
        self._world, self._pipeline, self._config, self._disturbed = (
            world,
            networks,
            config,
            disturbed,
        )
        self.networks = {
            "generator": world.generator,
            "classifier": world.classifier.network,
        }
        if networks is not None and networks.encoder is not None:
            self.networks["encoder"] = networks.encoder.network

    def target(self, batch: Batch, key: PRNGKeyArray) -> Float[Array, "b s s 3"]:
        """The pictures before the blend."""
        images = to_unit(batch["image"])
        return disturb(jax.random.fold_in(key, 0), images) if self._disturbed else images

    def pair(
        self, nets: Mapping[str, Net], batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, "b s s 3"], Float[Array, "b s s 3"]]:
        """Blends and targets."""
        images = self.target(batch, key)
        world = self._world.replace(
            generator=self._network(nets, "generator"),
            classifier=self._world.classifier.replace(network=self._network(nets, "classifier")),
        )
        edits = draw_edits(jax.random.fold_in(key, 1), world, len(images), self._config)
        codes = (
            batch["code"]
            if "code" in batch
            else self._codes(nets, images, jax.random.fold_in(key, 2))
        )
        return make_ghosts(world, images, codes, *edits, self._config).fused, images

    def _network(self, nets: Mapping[str, Net], name: str) -> Network:
        """A frozen network with the variables that the state holds."""
        return self.networks[name].replace(variables=nets[name].variables)

    def _codes(
        self, nets: Mapping[str, Net], images: Array, key: PRNGKeyArray
    ) -> Float[Array, "b rows k"]:
        generator = self._network(nets, "generator")
        if self._pipeline is None:
            z = jax.random.normal(key, (len(images), generator.module.latent_size))
            return to_wplus(generator(z, method="mapping"), self._world.directions.shape[1])
        encoder = self._pipeline.encoder.replace(network=self._network(nets, "encoder"))
        return encoding.read(generator, encoder, images)


def networks_of(config: ConfigDict) -> dict[str, str]:
    """Where the frozen networks are.

    The generator is by default the one that the pictures were drawn by.
    """
    networks = dict(config.networks)
    if config.data.source == "generator":
        networks["generator"] = networks["generator"] or config.data.folder
    return networks


def ghost_maker(
    networks: Mapping[str, str], ghost: ConfigDict, cam: Mapping[str, str], data: Source
) -> OnTheFly:
    """The maker of blends for pictures that come without.

    Args:
        networks: folders (generator, encoder, classifier, directions), empty for the embedded part;
            generator "toy".
        ghost: strength (lowest, highest), size of the classifier, disturb.
        cam: how masks are made, fields of `CamConfig`.
        data: its held-out batch is checked against the networks.

    Raises:
        UserError: the parts do not fit together or with the data.
    """
    toy = networks["generator"] == "toy"
    parts, world = None, toy_ghost_world()
    if not toy:
        folders = {role: networks[role] or None for role in networks}
        found = checkpoints.read_directions(folders.pop("directions"))
        parts = checkpoints.from_checkpoints(**folders)
        world = ghost_world(parts, checkpoints.fit_directions(found, parts.generator))
    low, high = ghost.strength
    if not 0 < low <= high:
        raise UserError(
            f"config.ghost.strength={tuple(ghost.strength)}: give a lowest and a highest one, "
            "above 0"
        )
    if data.held_out["image"].shape[1] > world.generator.module.resolution:
        raise UserError(
            f"the pictures have {data.held_out['image'].shape[1]} pixels, the generator draws "
            f"{world.generator.module.resolution}; "
            f"lower config.data.size and config.model.out_size"
        )
    if "code" in data.held_out:
        _check_codes(world, data.held_out)
    elif not toy and parts.encoder is None:
        raise UserError(
            "these pictures come without codes and without blends; give "
            "--config.networks.encoder=FOLDER, "
            "--config.data.source=generator, or a folder that python -m diffcam_jax.data.ghosts "
            "wrote"
        )
    config = GhostConfig(diffcam.CamConfig(**cam), (low, high), ghost.classifier_size)
    return OnTheFly(world, parts, config, ghost.disturb)


def _check_codes(world: GhostWorld, batch: dict[str, np.ndarray]) -> None:
    """Whether codes belong to the generator: what the first one draws is the picture beside it."""
    if batch["code"].shape[1:] != world.directions.shape[1:]:
        raise UserError(
            f"codes are {batch['code'].shape[1:]}, directions {world.directions.shape[1:]}; take "
            "data and directions of "
            f"the same generator"
        )
    drawn = _draw(world, jnp.asarray(batch["code"][:1]), batch["image"].shape[1])
    if np.abs(drawn - to_unit(batch["image"][:1])).mean() > LARGEST_DEVIATION:
        raise UserError(
            "the codes of these pictures were made for another generator; give the same one as "
            "config.networks.generator and in config.data"
        )


@functools.partial(jax.jit, static_argnames="size")
def _draw(world: GhostWorld, codes: Float[Array, "b rows k"], size: int) -> Float[Array, "b s s 3"]:
    return world.generator(codes, method="synthesis", size=size).clip(-1, 1)
