"""Training of the deghosting network (2207.08134, section 3.4): from a blend back to its picture.

Batches are one of two kinds, uint8 RGB [b, s, s, 3] with s the network's output:

    {"image", "target"}       blends that `data.ghosts` wrote, and the pictures they were made of
    {"image"}, some "code"    pictures, whose blends frozen networks make on the device, with new
                              edits in every step

The input is the blend, area-reduced to `in_size`. One program updates both networks from the same
forward pass, as the official script does by updating one after the other with the same pictures.
The losses are in `deghost_losses`; configs/deghost.py is the configuration.
"""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.data import sources
from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder
from diffcam_jax.nn.network import Network, initial_variables
from diffcam_jax.train.blends import StoredBlends, ghost_maker, networks_of
from diffcam_jax.train.deghost_losses import Losses, choices
from diffcam_jax.train.deghost_networks import (
    copied,
    deghosting_network,
    discriminating_network,
    frozen_prior,
    perceptual_network,
    with_prior,
)
from diffcam_jax.train.deghost_samples import HeldOut
from diffcam_jax.train.state import Batch, Metrics, Net, TrainState, average, gradients, update
from diffcam_jax.train.trainer import Phase, Source, Trainer

LAST_RATE = 1e-7
make_source = sources.make_source


def build(config: ConfigDict, data: Source, axis: str | None) -> Trainer:
    """Builds the trainer of a configuration (`configs/deghost.py`).

    Args:
        config: the whole configuration.
        data: batches of one of the kinds above, and `held_out` ones to measure by.
        axis: of devices to average over.

    Raises:
        UserError: a field has a value that is not possible, or networks and data do not fit.
    """
    chosen = choices(config)
    deghoster, prior = deghosting_network(config.model)
    if data.held_out["image"].shape[1] != deghoster.out_size:
        raise UserError(
            f"the pictures have {data.held_out['image'].shape[1]} pixels, the network gives "
            f"{deghoster.out_size}; make config.data.size and config.model.out_size equal"
        )
    cam = {name: chosen[name] for name in ("normalise", "resize")}
    maker = (
        StoredBlends()
        if "target" in data.held_out
        else ghost_maker(networks_of(config), config.ghost, cam, data)
    )
    judge = discriminating_network(config, deghoster) if config.adversarial_weight else None
    frozen = {
        **maker.networks,
        **({"vgg": perceptual_network()} if chosen["perceptual_weight"] else {}),
    }
    losses = Losses(config, chosen, deghoster, None if judge is None else judge.module, maker)
    adam = optax.adam(
        optax.cosine_decay_schedule(
            config.learning_rate, config.steps, LAST_RATE / config.learning_rate
        ),
        *config.betas,
    )
    optimiser = (
        adam
        if config.model.train_prior
        else optax.multi_transform({"train": adam, "keep": optax.set_to_zero()}, frozen_prior)
    )
    run = functools.partial(gradients, axis=axis, accumulate=config.accumulate)

    def create() -> TrainState:
        # The default random number generator takes minutes to compile for so many small arrays.
        keys = jax.random.split(jax.random.key(config.seed, impl="unsafe_rbg"))
        blank = jnp.zeros((1, deghoster.in_size, deghoster.in_size, 3))
        variables = with_prior(initial_variables(deghoster, keys[0], blank), prior)
        nets = {"deghoster": Net.create(variables, optimiser)}
        if judge is not None:
            blank = jnp.zeros((1, deghoster.out_size, deghoster.out_size, 3))
            variables = copied(judge.variables) or initial_variables(judge.module, keys[1], blank)
            nets["discriminator"] = Net.create(variables, adam)
        # Copies: a step gives its state's memory away.
        nets |= {name: Net.create(copied(network.variables)) for name, network in frozen.items()}
        return TrainState.create(nets, config.seed, ("deghoster",) if config.ema else ())

    def train(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        params = {
            name: state.nets[name].params
            for name in ("deghoster", "discriminator")
            if name in state.nets
        }
        grads, metrics, _ = run(functools.partial(losses.loss, state), params, batch, key)
        state, metrics = update(
            state,
            "deghoster",
            optimiser,
            grads["deghoster"],
            {**metrics, "loss": metrics["restoration"]},
        )
        if judge is not None:
            own = {"loss": metrics["d_loss"]}
            state, own = update(state, "discriminator", adam, grads["discriminator"], own)
            metrics["d_grad_norm"] = own["grad_norm"]
        del metrics["restoration"]
        return (average(state, "deghoster", config.ema) if config.ema else state), metrics

    def train_r1(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        loss = functools.partial(losses.r1_loss, state, config.r1_gamma / 2 * config.r1_every)
        grads, metrics, _ = run(loss, state.nets["discriminator"].params, batch, key)
        return update(state, "discriminator", adam, grads, metrics)

    def export(state: TrainState, folder: Path) -> Any:
        description = {
            "kind": "deghost",
            "source": f"train.py, {config.name}, {int(state.step)} steps of {config.batch_size} "
            "pictures",
            "licence": "that of the pictures and the networks it was trained with",
            "variant": config.variant,
        }
        variables = jax.device_get(losses.variables(state))
        model_folder.save(folder, {"deghoster": Network(deghoster, variables)}, {}, description)

    phases = [Phase("train", train)]
    if judge is not None and config.r1_gamma and config.r1_every:
        phases.append(Phase("r1", train_r1, config.r1_every))
    look = HeldOut(losses, data.held_out, config, lpips=bool(chosen["perceptual_weight"]))
    return Trainer(create, tuple(phases), look.rows, look.measure, export, next_command(config))


def next_command(config: ConfigDict) -> str:
    """Returns how to edit with the trained network, which is as large as its generator."""
    size, folder = config.model.out_size, networks_of(config)["generator"]
    if folder in ("", "toy") and size != 1024:
        folder = f"FOLDER_OF_A_GENERATOR_OF_{size}_PIXELS"
    generator = f" --generator {folder}" if folder not in ("", "toy") else ""
    return (
        f"python edit.py PHOTO --deghoster {{workdir}}{generator} --attribute smiling=1 --out out"
    )
