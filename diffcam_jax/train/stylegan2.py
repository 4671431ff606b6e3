"""Training of StyleGAN2 (1912.04958), optionally with adaptive augmentation (ADA, 2006.06676).

Batches hold "image", uint8 RGB [b, s, s, 3], and for conditional networks "label", int32 [b]. Each
step runs up to four phases:

    d     logistic loss of the discriminator
    r1    every 16 steps: R1 penalty, 16 times its weight
    path  every 4 steps: path length penalty of the generator on half a batch, 4 times its weight
    g     non-saturating loss of the generator, then the moving average

With an anchor (`stylegan2_anchor`) the phase "anchor" goes before all of these in the first
steps, and its losses are part of "g" afterwards.

Adam's rate and decays are corrected for the additional updates, see `lazy_adam`. An interval or a
weight of 0 leaves a penalty out.

Sources: Karras et al., Analyzing and Improving the Image Quality of StyleGAN (1912.04958); Karras
et al., Training Generative Adversarial Networks with Limited Data (2006.06676).
"""

import functools
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.data import sources
from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator, config_widths
from diffcam_jax.nn.stylegan2_discriminator import StyleGAN2Discriminator
from diffcam_jax.pretrained import networks as pretrained
from diffcam_jax.train.samples import Samples
from diffcam_jax.train.state import Batch, Metrics, Net, TrainState, average, gradients, update
from diffcam_jax.train.stylegan2_anchor import ALONE_RATE, MOMENTUM, Anchor, axes_of, reading
from diffcam_jax.train.stylegan2_losses import Losses
from diffcam_jax.train.trainer import Phase, Source, Trainer

ADA_INTERVAL = 4  # steps between two changes of the augmentation's probability


def make_source(config: ConfigDict, batch_size: int, process: int = 0, processes: int = 1) -> Any:
    """Opens the data of a run; arguments and result are those of `data.sources.make_source`.

    Raises:
        UserError: see there, or the pictures' classes are not those of the networks.
    """
    source = sources.make_source(config, batch_size, process, processes)
    wanted, classes = config.model.num_classes, getattr(source, "classes", ())
    if not wanted:
        return source
    if source.held_out.get("label", np.zeros(())).ndim != 1:
        raise UserError(
            "config.model.num_classes: every picture needs one class, and these have none; give "
            "config.data.labels, or prepare them with --labels"
        )
    if len(classes) > wanted:
        raise UserError(
            f"config.model.num_classes={wanted}: the pictures have {len(classes)} classes; give "
            f"{len(classes)}"
        )
    return source


def build(config: ConfigDict, data: Source, axis: str | None) -> Trainer:
    """Builds the trainer of a configuration (`configs/stylegan2_64.py`, `configs/stylegan2.py`).

    Args:
        config: the whole configuration.
        data: batches, and `held_out` ones to measure against.
        axis: of devices to average over.

    Raises:
        UserError: a field has a value that is not possible.
    """
    if config.precision != "float32":
        raise UserError(
            f"config.precision={config.precision}: StyleGAN2 trains in float32; leave the option "
            "out"
        )
    probability = ada_probability(config.ada)
    losses = Losses(*networks(config), config.style_mixing, config.ada != "off")
    # A regulariser without weight or interval is off, and has no share in Adam's correction.
    r1_every = config.r1_every if config.r1_gamma else 0
    path_every = config.path_every if config.path_weight else 0
    d_optimiser = lazy_adam(config.learning_rate, r1_every)
    g_optimiser = lazy_adam(config.learning_rate, path_every)
    anchor = make_anchor(config, losses)
    if anchor is not None:
        alone_optimiser = lazy_adam(ALONE_RATE * config.learning_rate, 0, (MOMENTUM, 0.99))
    run = functools.partial(gradients, axis=axis, accumulate=config.accumulate)

    def create() -> TrainState:
        keys = jax.random.split(jax.random.key(config.seed))
        drawing = _initialised(losses.generator, keys[0], losses.blank_code)
        extra = {
            "path_mean": jnp.float32(0),
            "ada_p": jnp.float32(probability),
            "ada_signs": jnp.float32(0),
        }
        if anchor is not None:
            extra |= axes_of(data, config.batch_size, config.model.latent_size)
            drawing = reading(drawing, extra["anchor_axes"].shape[1])
        nets = {
            "generator": Net.create(drawing, g_optimiser),
            "discriminator": Net.create(
                _initialised(losses.discriminator, keys[1], losses.blank_picture), d_optimiser
            ),
        }
        if anchor is not None and anchor.lpips is not None:
            nets["lpips"] = Net.create(jax.tree.map(jnp.array, anchor.lpips.variables))
        return TrainState.create(nets, config.seed, ("generator",), extra)

    def train_d(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        loss = functools.partial(losses.discriminator_loss, state)
        grads, metrics, changed = run(loss, state.nets["discriminator"].params, batch, key)
        new, metrics = update(state, "discriminator", d_optimiser, grads, metrics, changed)
        if config.ada != "on":
            return new, metrics
        speed = ADA_INTERVAL * config.batch_size / (1000 * config.ada_kimg)
        extra = adapt(new.extra, metrics["real_sign"], state.step, config.ada_target, speed)
        return new.replace(extra=extra), {**metrics, "ada_p": extra["ada_p"]}

    def train_r1(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        loss = functools.partial(losses.r1_loss, state, config.r1_gamma / 2 * r1_every)
        grads, metrics, changed = run(loss, state.nets["discriminator"].params, batch, key)
        return update(state, "discriminator", d_optimiser, grads, metrics, changed)

    def train_path(
        state: TrainState, batch: Batch, key: PRNGKeyArray
    ) -> tuple[TrainState, Metrics]:
        loss = functools.partial(losses.path_loss, state, config.path_weight * path_every)
        grads, metrics, changed = run(loss, state.nets["generator"].params, batch, key)
        new, metrics = update(state, "generator", g_optimiser, grads, metrics, changed)
        mean = jnp.where(jnp.isfinite(metrics["mean"]), metrics["mean"], state.extra["path_mean"])
        return new.replace(extra={**new.extra, "path_mean": mean}), metrics

    def train_anchor(
        state: TrainState, batch: Batch, key: PRNGKeyArray
    ) -> tuple[TrainState, Metrics]:
        loss = functools.partial(anchor.loss, state)
        grads, metrics, changed = run(loss, state.nets["generator"].params, batch, key)
        return averaged(*update(state, "generator", alone_optimiser, grads, metrics, changed))

    def train_g(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        def loss(params: Any, batch: Batch, key: PRNGKeyArray) -> Any:
            total, result = losses.generator_loss(state, params, batch, key)
            if anchor is None:
                return total, result
            anchored, result = anchor.loss(state, params, batch, key)
            return total + anchored, result

        grads, metrics, changed = run(loss, state.nets["generator"].params, batch, key)
        return averaged(*update(state, "generator", g_optimiser, grads, metrics, changed))

    def averaged(new: TrainState, metrics: Metrics) -> tuple[TrainState, Metrics]:
        decay = ema_decay(new.step, config.batch_size, config.ema_kimg, config.ema_rampup)
        return average(new, "generator", decay), metrics

    samples = Samples(
        losses.generator, data.held_out, config.seed, config.batch_size, config.eval_fid
    )

    conditional = losses.generator.num_classes > 0

    def export(state: TrainState, folder: Path) -> Any:
        generator, discriminator = state.nets["generator"], state.nets["discriminator"]
        drawn = {**generator.variables, "params": state.ema["generator"]}
        description = {
            "kind": "stylegan2",
            "source": f"train.py, {config.name}, {int(state.step)} steps of {config.batch_size} "
            "pictures",
            "licence": "that of the pictures it was trained on",
            **({"labels": list(getattr(data, "classes", ()))} if conditional else {}),
        }
        model_folder.save(
            folder,
            {
                "generator": Network(losses.generator, jax.device_get(drawn)),
                "discriminator": Network(
                    losses.discriminator, jax.device_get(discriminator.variables)
                ),
            },
            {"latent_avg": np.asarray(samples.mean_code(drawn))},
            description,
        )

    # The generator's own loss comes last, so that the average is that of a whole step.
    alone = 0 if anchor is None else config.anchor.steps
    phases = (
        Phase("anchor", train_anchor, int(alone > 0), until=alone),
        Phase("d", train_d, since=alone),
        Phase("r1", train_r1, r1_every, since=alone),
        Phase("path", train_path, path_every, since=alone),
        Phase("g", train_g, since=alone),
    )
    return Trainer(
        create,
        tuple(phase for phase in phases if phase.every),
        samples.pictures,
        samples.distance,
        export,
        "python invert.py invert PHOTO --generator {workdir} --class 0 --out out"
        if conditional
        else "python train.py --config configs/encoder.py:psp --config.generator={workdir} "
        "--config.data.folder=FACES --workdir ENCODER",
    )


def make_anchor(config: ConfigDict, losses: Losses) -> Anchor | None:
    """The anchor of a configuration; None without one.

    Raises:
        UserError: networks of classes have none.
    """
    if not config.anchor.weight:
        return None
    if config.model.num_classes:
        raise UserError(
            "config.anchor.weight: networks with classes are trained without an anchor; give 0"
        )
    lpips = pretrained.load("lpips").network("lpips_alex") if config.anchor.lpips else None
    return Anchor(losses, config.anchor.weight, lpips, config.anchor.lpips)


def _initialised(module: nn.Module, key: PRNGKeyArray, blank: Array) -> dict:
    # The program draws random numbers of dozens of shapes: compiling it with optimisation takes far
    # longer than running it.
    return jax.jit(module.init, compiler_options={"xla_backend_optimization_level": 0})(key, blank)


def networks(config: ConfigDict) -> tuple[StyleGAN2Generator, StyleGAN2Discriminator]:
    """Creates the two networks of a configuration.

    Raises:
        UserError: the side of the pictures is no power of two from 8 up, or it has no channels.
    """
    model, size = config.model, config.data.size
    if size < 8 or size & (size - 1):
        raise UserError(
            f"config.data.size={size}: StyleGAN2 draws powers of two from 8 up; take 64, 128 or 256"
        )
    widths = config_widths(size, model.channel_multiplier, model.channel_max)
    if not min(widths):
        raise UserError(
            f"config.model.channel_multiplier={model.channel_multiplier} leaves no channel at "
            f"{size} pixels; give {size / 2**14:g} or more"
        )
    classes = model.num_classes
    generator = StyleGAN2Generator(
        widths, model.latent_size, model.mapping_layers, num_classes=classes
    )
    return generator, StyleGAN2Discriminator(widths, num_classes=classes)


def ada_probability(text: str) -> float:
    """Reads the initial probability of augmentation: 0 for "off" and "on", or the fixed one.

    Raises:
        UserError: the text is none of these.
    """
    try:
        value = 0.0 if text in ("off", "on") else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UserError(f"config.ada={text!r}: give off, on, or a fixed probability from 0 to 1")
    return value


def lazy_adam(
    learning_rate: float, every: int, betas: tuple[float, float] = (0.0, 0.99)
) -> optax.GradientTransformation:
    """Creates Adam for a network whose regulariser has an update of its own at some steps.

    Args:
        learning_rate: for updates without a regulariser.
        every: steps between two updates of the regulariser; 0 is a network without one.
        betas: Adam's decays for updates without a regulariser.

    Reference:
        Karras et al. (1912.04958), appendix B, lazy regularization.
    """
    ratio = every / (every + 1) if every else 1.0
    return optax.adam(learning_rate * ratio, betas[0] ** ratio, betas[1] ** ratio, eps=1e-8)


def ema_decay(step: Array, batch_size: int, kimg: float, rampup: float) -> Float[Array, ""]:
    """Decay of the moving average in a step.

    Args:
        step: steps taken before.
        batch_size: pictures in a step.
        kimg: half-life in thousands of pictures.
        rampup: the half-life never exceeds this share of the pictures seen so far.
    """
    seen = jnp.asarray(step, jnp.float32) * batch_size
    return 0.5 ** (batch_size / jnp.maximum(jnp.minimum(1000 * kimg, rampup * seen), 1e-8))


def adapt(
    extra: dict[str, Array], sign: Array, step: Array, target: float, speed: float
) -> dict[str, Array]:
    """ADA's controller: augments more while the discriminator is too certain of real pictures.

    Args:
        extra: "ada_p", the probability, and "ada_signs", the sum of the signs since the probability
            last changed.
        sign: mean sign of the logits of real pictures.
        step: steps taken before.
        target: desired mean sign.
        speed: size of one change of the probability.

    Returns:
        The next `extra`.

    Reference:
        Karras et al. (2006.06676), section 3.1.
    """
    signs = extra["ada_signs"] + jnp.where(jnp.isfinite(sign), sign, target)
    due = (step + 1) % ADA_INTERVAL == 0
    moved = jnp.clip(extra["ada_p"] + speed * jnp.sign(signs / ADA_INTERVAL - target), 0.0, 1.0)
    return {
        **extra,
        "ada_p": jnp.where(due, moved, extra["ada_p"]),
        "ada_signs": jnp.where(due, 0.0, signs),
    }
