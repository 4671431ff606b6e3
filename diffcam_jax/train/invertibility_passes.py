"""The networks of invertibility decomposition in training, and their pass through a batch.

Batches hold uint8 RGB "image" [b, s, s, 3]; some data add "mask" [b, s, s], 255 where something is
in front of the face, and "code" [b, rows, k], from which the face was drawn. Only the alignment
network is trained; generator and encoder are in the state under "frozen/NAME".

Two things serve edits of photographs and are not in the paper. Codes lie between the known one and
the encoder's, as those of a photograph do after refinement; and a share of them is edited by a
random direction, so that an edit alone does not count as out of domain.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.directions import importers
from diffcam_jax.directions.edits import linear
from diffcam_jax.editing import checkpoints
from diffcam_jax.editing.alignment import aligner_for, settings_of
from diffcam_jax.editing.compose import blend
from diffcam_jax.editing.decomposition import Decomposer, draw, encode, fuse
from diffcam_jax.errors import UserError
from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.inversion import encoding
from diffcam_jax.inversion.encoding import Encoder
from diffcam_jax.nn.invertibility import SIDES
from diffcam_jax.nn.latents import to_wplus, wplus_rows
from diffcam_jax.nn.mobile_encoder import MobileEncoder
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network, initial_variables
from diffcam_jax.ops.image import resize, to_unit
from diffcam_jax.pretrained import networks as pretrained
from diffcam_jax.train.state import Batch, TrainState

TOY_LATENT = 8
# The losses of pictures, not of masks alone (see `invertibility_losses`).
PICTURE_LOSSES = ("pixel", "identity", "perceptual", "style", "adversarial")


class Loaded(NamedTuple):
    """The networks of a configuration.

    Attributes:
        decomposer: with the alignment network to be trained, without its variables.
        folders: those of the generator and of the encoder.
    """

    decomposer: Decomposer
    folders: tuple[ModelFolder, ModelFolder]


class Pass(NamedTuple):
    """The decomposition of a batch.

    Attributes:
        wanted: the pictures [b, s, s, 3] at the side at which they are compared.
        image: the blend, which shows the pictures where the mask is 1.
        generated: the generator's pictures.
        masks: of every level, coarse to fine, then the one merged from them [b, s, s].
        truth: where something is in front of the face [b, s, s]; None where that is not known.
        edited: 1 where a picture's code was edited [b]; its picture is not to be reconstructed.
    """

    wanted: Float[Array, "b s s 3"]
    image: Float[Array, "b s s 3"]
    generated: Float[Array, "b s s 3"]
    masks: list[Float[Array, "b _ _"]]
    truth: Float[Array, "b s s"] | None
    edited: Float[Array, " b"]


def load_networks(config: ConfigDict) -> Loaded:
    """Loads the networks of a configuration, and creates the alignment network between them.

    Raises:
        UserError: folders without the networks, or networks that do not fit together.
    """
    if config.generator == "toy":
        folders = _toy_folders()
    else:
        encoder = (
            pretrained.load(config.encoder)
            if config.encoder
            else checkpoints.shipped(checkpoints.ENCODER)
        )
        if encoder is None:
            raise UserError("this version ships no encoder; give --config.encoder=FOLDER")
        folders = pretrained.load(config.generator or "mobile_stylegan_ffhq"), encoder
    drawing, reading = folders[0].network("generator"), folders[1].network("encoder")
    model = dict(config.model)
    sides = tuple(model.pop("sides", ())) or tuple(
        side for side in SIDES if side <= drawing.module.resolution
    )
    settings = settings_of(reading.module, sides)
    aligner = aligner_for(drawing.module, reading.module, settings, sides=sides, **model)
    average = folders[1].arrays.get("latent_avg", np.zeros(drawing.module.latent_size, np.float32))
    encoder = Encoder(reading, average)
    return Loaded(Decomposer(drawing, encoder, Network(aligner, {}), settings), folders)


def load_edits(config: ConfigDict, generator: Any) -> Float[Array, "n rows k"] | None:
    """Loads the directions of random edits; None where config.edits is 0.

    Raises:
        UserError: no such directions, or those of another generator.
    """
    if not config.edits:
        return None
    rows = wplus_rows(generator)
    if config.generator == "toy":
        return jax.random.normal(jax.random.key(1), (2, rows, generator.latent_size))
    found = importers.read_directions(importers.listed(config.directions))
    found = linear(found, "what an alignment network learns from")
    return jnp.stack(
        [jnp.asarray(one.fitted(rows, generator.latent_size).array) for one in found.values()]
    )


class BatchDecomposer:
    """Decomposes batches, as a pure function of a run's state.

    Args:
        config: the whole configuration.
        networks: the decomposer of `load_networks`.
        edits: of `load_edits`.
    """

    def __init__(
        self, config: ConfigDict, networks: Decomposer, edits: Float[Array, "n rows k"] | None
    ) -> None:
        self._networks = networks
        self._edits, self._share, self._strengths = edits, config.edits, tuple(config.strengths)
        self._nearest = config.nearest
        self._passing = any(config.loss.get(name) for name in PICTURE_LOSSES)

    def __call__(
        self,
        state: TrainState,
        params: Any,
        batch: Batch,
        key: PRNGKeyArray | None,
        largest: int,
        size: int,
    ) -> Pass:
        """Decomposes a batch.

        Args:
            state: everything but the parameters.
            params: of the alignment network.
            batch: see the module.
            key: of the random choices; None takes the encoder's codes, unedited, as editing does.
            largest: side of the finest level that is used.
            size: side at which pictures are drawn and compared.
        """
        networks = self.networks(state, params)
        images = to_unit(batch["image"])
        wanted = encoding.fit(images, size)
        codes, maps = jax.lax.stop_gradient(encode(networks, images))
        edited = jnp.zeros(len(images))
        if key is not None:
            codes, edited = self._varied(codes, batch.get("code"), key)
        generated, fields = draw(networks, codes, maps, size, largest, self._passing)
        masks = [field[..., 2] for field in fields]
        fused = fuse(masks, size)
        truth = None
        if "mask" in batch:
            truth = resize(batch["mask"].astype(jnp.float32) / 255, (size, size), "area")
        image = blend(wanted, generated, 1 - fused)
        return Pass(wanted, image, generated, [*masks, fused], truth, edited)

    def networks(self, state: TrainState, params: Any) -> Decomposer:
        """Returns the networks with the variables in the state and the given parameters."""
        parts, nets = self._networks, state.nets
        generator, encoder = parts.generator, parts.encoder.network
        return parts.replace(
            generator=generator.replace(variables=nets["frozen/generator"].variables),
            encoder=parts.encoder.replace(
                network=encoder.replace(variables=nets["frozen/encoder"].variables),
                latent_avg=state.extra["latent_avg"],
            ),
            aligner=parts.aligner.replace(variables={"params": params}),
        )

    def _varied(self, codes: Array, known: Array | None, key: PRNGKeyArray) -> tuple[Array, Array]:
        near, chosen, which, strength = jax.random.split(key, 4)
        count, rows = codes.shape[:2]
        if known is not None:
            known = to_wplus(known, rows) if known.ndim == 2 else known[:, :rows]
            share = jax.random.uniform(near, (count, 1, 1), minval=self._nearest)
            codes = known + share * (codes - known)
        if self._edits is None:
            return codes, jnp.zeros(count)
        edited = (jax.random.uniform(chosen, (count,)) < self._share).astype(jnp.float32)
        moves = self._edits[jax.random.randint(which, (count,), 0, len(self._edits)), :rows]
        strengths = jax.random.uniform(
            strength, (count,), minval=self._strengths[0], maxval=self._strengths[1]
        )
        return codes + (edited * strengths)[:, None, None] * moves, edited


@functools.cache
def _toy_folders() -> tuple[ModelFolder, ModelFolder]:
    """Creates a tiny generator of 32 pixels and an encoder, with random weights."""
    generator = MobileStyleGAN((8, 8, 8), TOY_LATENT, 1)
    rows = wplus_rows(generator)
    body = ((1, 8, 1, 1), (2, 8, 1, 2), (2, 8, 1, 2), (2, 8, 2, 2), (2, 8, 1, 2))
    encoder = MobileEncoder(rows, 32, TOY_LATENT, 8, 8, 8, 2, 4, 8, body)
    networks = {}
    for number, (name, module, shape) in enumerate(
        (("generator", generator, (1, TOY_LATENT)), ("encoder", encoder, (1, 32, 32, 3)))
    ):
        # The default random number generator takes long to compile for so many small arrays.
        variables = initial_variables(
            module, jax.random.key(number, impl="unsafe_rbg"), jnp.zeros(shape)
        )
        networks[name] = ModelFolder({name: Network(module, variables)}, {}, {"kind": "toy"})
    return networks["generator"], networks["encoder"]
