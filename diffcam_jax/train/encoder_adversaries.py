"""What is trained against an encoder: e4e's discriminator of codes, in-domain inversion's
discriminator of pictures.

e4e takes one row of each picture's code at random from those up to the stage, through a pool of
older ones. Fresh codes of all devices go through the pool, so that it stays the same on all of
them. Codes of the mapping network need no pool: every draw is as good as an older one.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.losses.adversarial import logistic_loss, nonsaturating_loss, r1_penalty
from diffcam_jax.nn.latent_discriminator import LatentDiscriminator
from diffcam_jax.nn.latents import sample_w
from diffcam_jax.nn.stylegan2 import config_widths
from diffcam_jax.nn.stylegan2_discriminator import StyleGAN2Discriminator, batch_logits
from diffcam_jax.train.code_pool import CodePool
from diffcam_jax.train.encoder_losses import code_r1
from diffcam_jax.train.encoder_passes import Inverter, Pass
from diffcam_jax.train.ranger import make_optimiser
from diffcam_jax.train.state import Batch, Metrics, Net, TrainState, gradients, update
from diffcam_jax.train.trainer import Phase


class Adversary(NamedTuple):
    """A discriminator in training, "discriminator" in the state.

    Attributes:
        create: key -> the network, and what it carries on in `TrainState.extra`.
        loss: (state, what the encoder made) -> how well that is told from the real, to be lowered
            by the encoder.
        phases: its own updates.
    """

    create: Callable[[PRNGKeyArray], tuple[Net, dict[str, Any]]]
    loss: Callable[[TrainState, Pass], Float[Array, ""]]
    phases: tuple[Phase, ...]


def make(
    config: ConfigDict, folder: ModelFolder, inverter: Inverter, axis: str | None
) -> Adversary | None:
    """The adversary of a kind of encoder; None for those without one."""
    if config.model.kind == "e4e":
        return _of_codes(config, folder, inverter, axis)
    return _of_pictures(config, folder, inverter, axis) if config.model.kind == "indomain" else None


def _of_codes(
    config: ConfigDict, folder: ModelFolder, inverter: Inverter, axis: str | None
) -> Adversary:
    options, features = config.discriminator, inverter.generator.latent_size
    module = LatentDiscriminator(options.width, options.depth)
    optimiser = make_optimiser(options.optimiser, config.steps)
    run = functools.partial(gradients, axis=axis, accumulate=config.accumulate)

    def create(key: PRNGKeyArray) -> tuple[Net, dict[str, Any]]:
        net = Net.create(jax.jit(module.init)(key, jnp.zeros((1, features))), optimiser)
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

    def train_d(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
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
            return logistic_loss(real, fake).mean(), (
                {"real": real.mean(), "fake": fake.mean()},
                {},
            )

        grads, metrics, _ = run(loss, state.nets["discriminator"].params, pairs, loss_key)
        state = state.replace(extra={**state.extra, "code_pool": pool})
        return update(state, "discriminator", optimiser, grads, metrics)

    def train_r1(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        def loss(
            params: Any, batch: Batch, key: PRNGKeyArray
        ) -> tuple[Array, tuple[Metrics, dict]]:
            codes = real_codes(state, len(batch["image"]), key)
            penalty = code_r1(functools.partial(module.apply, {"params": params}), codes).mean()
            return options.r1_every * options.r1 / 2 * penalty, ({"penalty": penalty}, {})

        grads, metrics, _ = run(loss, state.nets["discriminator"].params, batch, key)
        return update(state, "discriminator", optimiser, grads, metrics)

    return Adversary(create, loss, (Phase("d", train_d), Phase("r1", train_r1, options.r1_every)))


def _of_pictures(
    config: ConfigDict, folder: ModelFolder, inverter: Inverter, axis: str | None
) -> Adversary:
    """Goes on with the generator's own discriminator if that judges pictures of the encoder's size."""
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
            variables = jax.jit(module.init)(key, jnp.zeros((1, size, size, 3)))
        return Net.create(variables, optimiser), {}

    def judge(variables: dict, pictures: Float[Array, "b s s 3"]) -> Float[Array, "b 1"]:
        return batch_logits(module, variables, pictures)

    def loss(state: TrainState, found: Pass) -> Float[Array, ""]:
        return nonsaturating_loss(
            judge(state.nets["discriminator"].variables, found.picture)
        ).mean()

    def train_d(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
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

        grads, metrics, _ = gradients(
            loss,
            state.nets["discriminator"].params,
            batch,
            key,
            axis=axis,
            accumulate=config.accumulate,
        )
        return update(state, "discriminator", optimiser, grads, metrics)

    return Adversary(create, loss, (Phase("d", train_d),))
