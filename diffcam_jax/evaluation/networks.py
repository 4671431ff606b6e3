"""The networks that an evaluation is of.

The embedded ones, folders of converted or trained ones, or toys without any file.
"""

import functools
import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from diffcam_jax.data.drawn import Prior, make_prior
from diffcam_jax.data.edit_samples import toy_generator
from diffcam_jax.directions import Direction, Edit, importers
from diffcam_jax.directions.edits import is_linear
from diffcam_jax.directions.scoring import draw_uint8
from diffcam_jax.editing import checkpoints
from diffcam_jax.editing.alignment import Settings, aligner_for
from diffcam_jax.editing.classifier import Classifier
from diffcam_jax.editing.decomposition import Decomposer
from diffcam_jax.editing.pipeline import AlignmentNetwork, Pipeline, hashes
from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.inversion.encoding import Encoder
from diffcam_jax.inversion.tuned_parts import Deltas, tuned_generator
from diffcam_jax.nn.classifier import DiffClassifier
from diffcam_jax.nn.latents import sample_w, wplus_rows
from diffcam_jax.nn.mobile_encoder import MobileEncoder
from diffcam_jax.nn.network import Network, initial_variables

TOY = "toy"


class World(NamedTuple):
    """The networks of a run.

    Attributes:
        pipeline: that edit together.
        directions: attribute -> its direction or other edit, fitted to this generator.
        hashes: what the numbers depend on: network -> the first 12 digits of its hash.
        toy: random networks; their numbers mean nothing.
    """

    pipeline: Pipeline
    directions: Mapping[str, Edit]
    hashes: Mapping[str, str]
    toy: bool = False

    generator = property(lambda self: self.pipeline.generator)
    encoder = property(lambda self: self.pipeline.encoder)
    classifier = property(lambda self: self.pipeline.classifier)

    @property
    def size(self) -> int:
        """Side of the generator's pictures."""
        return self.generator.module.resolution

    @property
    def decomposer(self) -> Decomposer:
        """As `decomposition.decompose` takes it.

        Raises:
            UserError: there is no alignment network.
        """
        if self.pipeline.aligner is None:
            raise UserError(
                "there is no alignment network for these networks; give its folder: "
                "--config.aligner=DIR"
            )
        return self.pipeline.decomposer

    def draw(
        self, codes: Float[np.ndarray | Array, "b n k"], size: int, tuned: Deltas | None = None
    ) -> UInt8[np.ndarray, "b {size} {size} 3"]:
        """Pictures of codes.

        Args:
            codes: W+ of the generator.
            size: side of the pictures.
            tuned: what changes the generator first, without a batch axis; None for nothing.
        """
        generator = self.generator if tuned is None else tuned_generator(self.generator, tuned)
        return np.asarray(draw_uint8(*generator, jnp.asarray(codes), size))

    def prior(self, config) -> Prior:
        """What generated pictures are drawn from: this generator, truncated by config.psi."""
        if self.toy:
            return make_prior(TOY, self.size, config.psi, 0.0, config.seed)[0]
        module, variables = self.generator
        mean = jnp.mean(sample_w(module, variables, jax.random.key(0), 4096), axis=0)
        return Prior(module, variables, mean, self.size, config.psi, 0.0, config.seed)

    def classes(self, attributes: list[str]) -> Int[np.ndarray, " r"]:
        """Index of attributes among the classifier's classes.

        Raises:
            UserError: it does not know one of them, or there is no direction for it.
        """
        known = [name for name in self.classifier.names if name in self.directions]
        if unknown := [name for name in attributes if name not in known]:
            raise UserError(
                f"no direction and class for {', '.join(unknown)}; choose from {', '.join(known)}"
            )
        return np.array([self.classifier.names.index(name) for name in attributes], np.int32)


def open_world(config) -> World:
    """The networks that a configuration names.

    Args:
        config: generator_class, of a conditional generator; generator, encoder, classifier,
            deghoster, aligner: "" is the embedded one, a folder of converted weights or of a
            training run; directions: "" are those that ship, or files and folders separated by
            commas, see `importers.read_directions`; generator "toy" is a world of random networks
            without any file, and with aligner "toy" it has an encoder and an alignment network.

    Raises:
        UserError: one cannot be had, or they do not fit together.
    """
    if config.generator == TOY:
        return _aligned_toy() if config.aligner == TOY else _toy()
    folders = {role: config[role] or None for role in checkpoints.ROLES}
    plan = checkpoints.resolve(**folders, chosen=config.generator_class or None)
    networks = checkpoints.load(plan)
    # The directions that ship belong to the embedded generator.
    own = importers.listed(config.directions)
    own = {} if own is None and not plan.is_embedded else own
    directions = checkpoints.fit_directions(importers.read_directions(own), networks.generator)
    known = {**hashes(networks), "directions": _hash(directions)}
    short = {name: digest[:12] for name, digest in known.items() if digest}
    return World(jax.device_put(networks), directions, short)


def _hash(edits: Mapping[str, Edit]) -> str:
    """Changes with any number that decides what an edit does."""
    if is_linear(list(edits.values())):
        return trees.tree_hash({name: edit.array for name, edit in edits.items()})
    return hashlib.sha256(" ".join(edit.sha256 for edit in edits.values()).encode()).hexdigest()


@functools.cache
def _toy() -> World:
    world = toy_generator()
    model = DiffClassifier(
        depth=18, width=4, num_classes=len(world.names), split=1, strides=(1, 2, 2, 1)
    )
    blank = jnp.zeros((1, 32, 32, 3))
    variables = initial_variables(model, jax.random.key(2), blank, blank)
    rows = wplus_rows(world.generator.module)
    directions = {
        name: Direction(
            name,
            np.asarray(array, np.float32)[:rows],
            (-1.0, 1.0),
            (0, rows),
            "",
            "none",
            "random",
            "none",
        )
        for name, array in zip(world.names, world.directions)
    }
    classifier = Classifier(Network(model, variables), tuple(world.names))
    networks = Pipeline(world.generator, classifier)
    return World(networks, directions, {TOY: "random weights"}, toy=True)


@functools.cache
def _aligned_toy() -> World:
    world = _toy()
    generator, size = world.generator.module, world.size
    body = ((1, 8, 1, 1), (2, 8, 1, 2), (2, 8, 1, 2), (2, 8, 2, 2), (2, 8, 1, 2))
    encoder = MobileEncoder(
        wplus_rows(generator), size, generator.latent_size, 8, 8, 8, 2, 4, 8, body
    )
    settings, sides = Settings(map_size=size), (size // 4, size // 2)
    aligner = aligner_for(
        generator,
        encoder,
        settings,
        sides=sides,
        multiplier=0.5,
        align_corners=True,
        normalised=False,
    )
    maps = [
        [jnp.zeros((1, s, s, c)) for s, c in zip(sides, of)]
        for of in (aligner.features, aligner.inputs)
    ]
    read = Network(
        encoder, initial_variables(encoder, jax.random.key(3), jnp.zeros((1, size, size, 3)))
    )
    aligning = Network(aligner, initial_variables(aligner, jax.random.key(4), *maps))
    latent_avg = np.zeros(generator.latent_size, np.float32)
    networks = world.pipeline.replace(
        encoder=Encoder(read, latent_avg, 0, wplus_rows(generator)),
        aligner=AlignmentNetwork(aligning, settings),
    )
    return world._replace(pipeline=networks)
