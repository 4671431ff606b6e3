"""Encoder4Editing: rows of a code learn one after the other to differ from the first.

A discriminator of single codes keeps them near the distribution of the mapping network. It sees one
row of each picture's code at random, of those up to the current stage, through a pool of older
ones. Fresh codes of all devices go through the pool, so that it stays the same on all of them;
codes of the mapping network need no pool, as every draw is as good as an older one.

Source: Tov et al., Designing an Encoder for StyleGAN Image Manipulation (2102.02766).
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.data import sources
from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.losses.adversarial import logistic_loss, nonsaturating_loss
from diffcam_jax.nn.e4e import Encoder4Editing
from diffcam_jax.nn.latent_discriminator import LatentDiscriminator
from diffcam_jax.nn.latents import sample_w
from diffcam_jax.nn.network import initial_variables
from diffcam_jax.train import encoder
from diffcam_jax.train.code_pool import CodePool
from diffcam_jax.train.encoder_losses import code_r1
from diffcam_jax.train.encoder_networks import check_power_of_two, check_pyramid, residual_body
from diffcam_jax.train.encoder_passes import Inverter, Pass
from diffcam_jax.train.ranger import make_optimiser
from diffcam_jax.train.state import Batch, Metrics, Net, TrainState, gradients, update
from diffcam_jax.train.trainer import Phase


def make_encoder(model: ConfigDict, rows: int, features: int) -> nn.Module:
    """Creates the encoder of a configuration.

    Args:
        model: of the configuration.
        rows: of W+.
        features: length of a code.

    Raises:
        UserError: a field has a value that is not possible.
    """
    check_power_of_two(model.size)
    check_pyramid(model, features)
    body = residual_body(model)
    return Encoder4Editing(rows, model.size, features, **body, channels=model.channels)


def without_deltas(variables: dict[str, Any], stage: int) -> dict[str, Any]:
    """Makes the heads of rows beyond a stage give 0: they have not been trained yet.

    Args:
        variables: of an `Encoder4Editing`.
        stage: the last row with a delta of its own.
    """
    params = {
        name: {**layer, "linear": jax.tree.map(np.zeros_like, layer["linear"])}
        if name.startswith("styles_") and int(name.removeprefix("styles_")) > stage
        else layer
        for name, layer in variables["params"].items()
    }
    return {**variables, "params": params}


def exported(variables: dict[str, Any], state: TrainState, inverter: Inverter) -> dict[str, Any]:
    """Returns the encoder as it has been trained up to a step."""
    return without_deltas(variables, int(inverter.stage(state.step)))


def discriminator(
    config: ConfigDict, folder: ModelFolder, inverter: Inverter, axis: str | None
) -> encoder.Adversary:
    """Creates the discriminator of codes.

    Args:
        config: the whole configuration.
        folder: not used.
        inverter: pictures to codes.
        axis: of devices to average over.
    """
    options, features = config.discriminator, inverter.generator.latent_size
    module = LatentDiscriminator(options.width, options.depth)
    optimiser = make_optimiser(options.optimiser, config.steps)
    run = functools.partial(gradients, axis=axis, accumulate=config.accumulate)

    def create(key: PRNGKeyArray) -> tuple[Net, dict[str, Any]]:
        net = Net.create(initial_variables(module, key, jnp.zeros((1, features))), optimiser)
        return net, {"code_pool": CodePool.create(options.pool, features)}

    def loss(state: TrainState, found: Pass) -> Float[Array, ""]:
        b, rows, k = found.codes.shape
        logits = module.apply(
            state.nets["discriminator"].variables, found.codes.reshape(-1, k)
        ).reshape(b, rows)
        mask = jnp.arange(rows) <= inverter.stage(state.step)
        return (nonsaturating_loss(logits).mean(0) * mask).sum() / mask.sum()

    def real_codes(state: TrainState, count: int, key: PRNGKeyArray) -> Float[Array, "b k"]:
        codes = sample_w(inverter.generator, state.nets["frozen/generator"].variables, key, count)
        return codes if codes.ndim == 2 else codes[:, 0]

    def through_pool(
        state: TrainState, fresh: Float[Array, "b k"], key: PRNGKeyArray
    ) -> tuple[CodePool, Array]:
        if axis is None:
            return state.extra["code_pool"].query(fresh, key)
        pool, given = state.extra["code_pool"].query(
            jax.lax.all_gather(fresh, axis, tiled=True), key
        )
        return pool, jax.lax.dynamic_slice_in_dim(
            given, jax.lax.axis_index(axis) * len(fresh), len(fresh)
        )

    def train(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        pool_key, own_key, loss_key = jax.random.split(key, 3)
        if axis is not None:
            own_key = jax.random.fold_in(own_key, jax.lax.axis_index(axis))
        images = inverter.prepare(batch["image"])
        codes = inverter.passes(state, state.nets["encoder"].params, images, True)[0][-1].codes
        row_key, real_key = jax.random.split(own_key)
        rows = jax.random.randint(row_key, (len(codes),), 0, inverter.stage(state.step) + 1)
        pool, fake = through_pool(state, codes[jnp.arange(len(codes)), rows], pool_key)
        pairs = {"real": real_codes(state, len(codes), real_key), "fake": fake}

        def loss(
            params: Any, batch: Batch, key: PRNGKeyArray
        ) -> tuple[Array, tuple[Metrics, dict]]:
            real, fake = (
                module.apply({"params": params}, batch[name]) for name in ("real", "fake")
            )
            metrics = {"real": real.mean(), "fake": fake.mean()}
            return logistic_loss(real, fake).mean(), (metrics, {})

        grads, metrics, _ = run(loss, state.nets["discriminator"].params, pairs, loss_key)
        state = state.replace(extra={**state.extra, "code_pool": pool})
        return update(state, "discriminator", optimiser, grads, metrics)

    def regularise(
        state: TrainState, batch: Batch, key: PRNGKeyArray
    ) -> tuple[TrainState, Metrics]:
        def loss(
            params: Any, batch: Batch, key: PRNGKeyArray
        ) -> tuple[Array, tuple[Metrics, dict]]:
            codes = real_codes(state, len(batch["image"]), key)
            penalty = code_r1(functools.partial(module.apply, {"params": params}), codes).mean()
            return options.r1_every * options.r1 / 2 * penalty, ({"penalty": penalty}, {})

        grads, metrics, _ = run(loss, state.nets["discriminator"].params, batch, key)
        return update(state, "discriminator", optimiser, grads, metrics)

    phases = [Phase("d", train)]
    if options.r1 and options.r1_every:
        phases.append(Phase("r1", regularise, options.r1_every))
    return encoder.Adversary(create, loss, tuple(phases))


KIND = encoder.Kind(
    "encoder.py:e4e",
    frozenset({"stages", "discriminator"}),
    make_encoder,
    exported=exported,
    adversary=discriminator,
)
make_source = sources.make_source
build = functools.partial(encoder.build, KIND)
