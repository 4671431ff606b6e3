"""The domain-guided encoder of in-domain inversion: absolute codes, batch_logits by their pictures.

A discriminator of reconstructions is trained along, with R1 in every step. It continues from the
generator's own discriminator if that judges pictures of the encoder's side.

Source: Zhu et al., In-Domain GAN Inversion for Real Image Editing (2004.00049), section 3.1.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.data import sources
from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.losses.adversarial import logistic_loss, nonsaturating_loss, r1_penalty
from diffcam_jax.nn.indomain_encoder import InDomainEncoder, InDomainTrainingEncoder, encoder_widths
from diffcam_jax.nn.network import initial_variables
from diffcam_jax.nn.stylegan2 import config_widths
from diffcam_jax.nn.stylegan2_discriminator import StyleGAN2Discriminator, batch_logits
from diffcam_jax.train import encoder
from diffcam_jax.train.encoder_networks import check_power_of_two
from diffcam_jax.train.encoder_passes import Inverter, Pass
from diffcam_jax.train.ranger import make_optimiser
from diffcam_jax.train.state import Batch, Metrics, Net, TrainState, gradients, update
from diffcam_jax.train.trainer import Phase


def make_encoder(model: ConfigDict, rows: int, features: int) -> nn.Module:
    """Creates the encoder of a configuration, as released or as in the training code.

    Args:
        model: of the configuration.
        rows: of W+.
        features: length of a code.

    Raises:
        UserError: a field has a value that is not possible.
    """
    check_power_of_two(model.size)
    cls = InDomainEncoder if model.released else InDomainTrainingEncoder
    return cls(encoder_widths(model.size, model.base, model.largest), rows, features)


def at_moments(
    module: InDomainEncoder,
    variables: dict[str, Any],
    mean: Float[Array, "*rows k"],
    std: Float[Array, "*rows k"],
) -> dict[str, Any]:
    """Sets the last normalisation to the moments of the generator's codes.

    Args:
        module: the encoder.
        variables: as initialised.
        mean: average code.
        std: its standard deviation. The arrangement of the training code has no parameter for it.
    """
    head = variables["params"][f"block_{len(module.widths)}"]["bn"]
    for name, moment in (("bias", mean), ("scale", std)):
        if name in head:
            head[name] = jnp.broadcast_to(moment, (module.rows, module.latent_size)).reshape(-1)
    return variables


def discriminator(
    config: ConfigDict, folder: ModelFolder, inverter: Inverter, axis: str | None
) -> encoder.Adversary:
    """Creates the discriminator of reconstructions.

    Args:
        config: the whole configuration.
        folder: of the generator, and perhaps its discriminator.
        inverter: pictures to codes and back.
        axis: of devices to average over.
    """
    options, size = config.discriminator, inverter.size
    optimiser = make_optimiser(options.optimiser, config.steps)
    own = folder.networks.get("discriminator")
    trained = own is not None and getattr(own.module, "resolution", None) == size
    module = (
        own.module
        if trained
        else StyleGAN2Discriminator(config_widths(size, options.multiplier, options.width))
    )

    def create(key: PRNGKeyArray) -> tuple[Net, dict[str, Any]]:
        if trained:
            variables = jax.tree.map(jnp.array, own.variables)
        else:
            variables = initial_variables(module, key, jnp.zeros((1, size, size, 3)))
        return Net.create(variables, optimiser), {}

    def judge(variables: dict, pictures: Float[Array, "b s s 3"]) -> Float[Array, "b 1"]:
        return batch_logits(module, variables, pictures)

    def loss(state: TrainState, found: Pass) -> Float[Array, ""]:
        logits = judge(state.nets["discriminator"].variables, found.picture)
        return nonsaturating_loss(logits).mean()

    def train(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        def loss(
            params: Any, batch: Batch, key: PRNGKeyArray
        ) -> tuple[Array, tuple[Metrics, dict]]:
            variables = {**state.nets["discriminator"].variables, "params": params}
            images = inverter.prepare(batch["image"])
            made = inverter.passes(state, state.nets["encoder"].params, images, True)[0][-1].picture
            real, fake = judge(variables, images), judge(variables, made)
            penalty = r1_penalty(functools.partial(judge, variables), images).mean()
            total = logistic_loss(real, fake).mean() + options.r1 / 2 * penalty
            return total, ({"real": real.mean(), "fake": fake.mean(), "r1": penalty}, {})

        params = state.nets["discriminator"].params
        average = {"axis": axis, "accumulate": config.accumulate}
        grads, metrics, _ = gradients(loss, params, batch, key, **average)
        return update(state, "discriminator", optimiser, grads, metrics)

    return encoder.Adversary(create, loss, (Phase("d", train),))


KIND = encoder.Kind(
    "encoder.py:indomain",
    frozenset({"released", "discriminator"}),
    make_encoder,
    absolute=True,
    initialised=at_moments,
    adversary=discriminator,
    encoder_first=True,
)
make_source = sources.make_source
build = functools.partial(encoder.build, KIND)
