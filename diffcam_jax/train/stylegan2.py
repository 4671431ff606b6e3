"""Training of StyleGAN2 (Karras et al., 1912.04958), with adaptive augmentation (2006.06676) as an
option.

Batches hold "image", uint8 RGB [b, s, s, 3]; networks see [-1, 1]. Each step runs up to four
updates, each a program of its own:

    d     logistic loss of the discriminator
    r1    every 16 steps: R1 penalty, 16 times its weight
    path  every 4 steps: path length penalty of the generator on half a batch, 4 times its weight
    g     non-saturating loss of the generator, then the moving average

Adam's rate and decays are corrected for the extra updates, as the paper's appendix B says. R1 is
taken with respect to the pictures before augmentation, through it. Minibatch deviation compares
pictures of one device's microbatch.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder
from diffcam_jax.losses.adversarial import (
    logistic_loss,
    nonsaturating_loss,
    path_length_penalty,
    r1_penalty,
)
from diffcam_jax.nn.latents import to_wplus
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator, config_widths
from diffcam_jax.nn.stylegan2_discriminator import StyleGAN2Discriminator
from diffcam_jax.ops.ada import augment
from diffcam_jax.ops.image import to_unit
from diffcam_jax.train.samples import Samples
from diffcam_jax.train.state import Batch, Metrics, Net, TrainState, average, gradients, update
from diffcam_jax.train.trainer import Phase, Source, Trainer

ADA_INTERVAL = 4  # steps between two changes of the augmentation's probability
Result = tuple[Float[Array, ""], tuple[Metrics, dict]]


def build(config: ConfigDict, data: Source, axis: str | None) -> Trainer:
    """The trainer of a configuration (`configs/stylegan2_64.py`).

    Args:
        config: the whole configuration.
        data: batches, and `held_out` ones to measure against.
        axis: of devices to average over.

    Raises:
        UserError: a field has a value that cannot be.
    """
    if config.precision != "float32":
        raise UserError(
            f"config.precision={config.precision}: StyleGAN2 trains in float32; leave the option "
            "out"
        )
    probability = ada_probability(config.ada)
    game = Game(*networks(config), config.style_mixing, config.ada != "off")
    d_optimiser = lazy_adam(config.learning_rate, config.r1_every)
    g_optimiser = lazy_adam(config.learning_rate, config.path_every)
    run = functools.partial(gradients, axis=axis, accumulate=config.accumulate)

    def create() -> TrainState:
        keys = jax.random.split(jax.random.key(config.seed))
        nets = {
            "generator": Net.create(
                _initialised(game.generator, keys[0], game.blank_code), g_optimiser
            ),
            "discriminator": Net.create(
                _initialised(game.discriminator, keys[1], game.blank_picture), d_optimiser
            ),
        }
        extra = {
            "path_mean": jnp.float32(0),
            "ada_p": jnp.float32(probability),
            "ada_signs": jnp.float32(0),
        }
        return TrainState.create(nets, config.seed, ("generator",), extra)

    def train_d(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        loss = functools.partial(game.discriminator_loss, state)
        grads, metrics, changed = run(loss, state.nets["discriminator"].params, batch, key)
        new, metrics = update(state, "discriminator", d_optimiser, grads, metrics, changed)
        if config.ada != "on":
            return new, metrics
        speed = ADA_INTERVAL * config.batch_size / (1000 * config.ada_kimg)
        extra = adapt(new.extra, metrics["real_sign"], state.step, config.ada_target, speed)
        return new.replace(extra=extra), {**metrics, "ada_p": extra["ada_p"]}

    def train_r1(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        loss = functools.partial(game.r1_loss, state, config.r1_gamma / 2 * config.r1_every)
        grads, metrics, changed = run(loss, state.nets["discriminator"].params, batch, key)
        return update(state, "discriminator", d_optimiser, grads, metrics, changed)

    def train_path(
        state: TrainState, batch: Batch, key: PRNGKeyArray
    ) -> tuple[TrainState, Metrics]:
        loss = functools.partial(game.path_loss, state, config.path_weight * config.path_every)
        grads, metrics, changed = run(loss, state.nets["generator"].params, batch, key)
        new, metrics = update(state, "generator", g_optimiser, grads, metrics, changed)
        mean = jnp.where(jnp.isfinite(metrics["mean"]), metrics["mean"], state.extra["path_mean"])
        return new.replace(extra={**new.extra, "path_mean": mean}), metrics

    def train_g(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        loss = functools.partial(game.generator_loss, state)
        grads, metrics, changed = run(loss, state.nets["generator"].params, batch, key)
        new, metrics = update(state, "generator", g_optimiser, grads, metrics, changed)
        decay = ema_decay(state.step, config.batch_size, config.ema_kimg, config.ema_rampup)
        return average(new, "generator", decay), metrics

    samples = Samples(
        game.generator, data.held_out["image"], config.seed, config.batch_size, config.eval_fid
    )

    def export(state: TrainState, folder: Path) -> Any:
        generator, discriminator = state.nets["generator"], state.nets["discriminator"]
        drawn = {**generator.variables, "params": state.ema["generator"]}
        description = {
            "kind": "stylegan2",
            "source": f"train.py, {config.name}, {int(state.step)} steps of {config.batch_size} "
            "pictures",
            "licence": "that of the pictures it was trained on",
        }
        model_folder.save(
            folder,
            {
                "generator": Network(game.generator, jax.device_get(drawn)),
                "discriminator": Network(
                    game.discriminator, jax.device_get(discriminator.variables)
                ),
            },
            {"latent_avg": np.asarray(samples.mean_code(drawn))},
            description,
        )

    return Trainer(
        create,
        (  # The generator's own loss comes last, so that the average is that of a whole step.
            Phase("d", train_d),
            Phase("r1", train_r1, config.r1_every),
            Phase("path", train_path, config.path_every),
            Phase("g", train_g),
        ),
        samples.pictures,
        samples.distance,
        export,
        "python train.py --config configs/encoder.py:psp --config.generator={workdir} "
        "--config.data.folder=FACES --workdir ENCODER",
    )


def _initialised(module: nn.Module, key: PRNGKeyArray, blank: Array) -> dict:
    # Nothing but random numbers, of dozens of shapes: optimising the program takes far longer than
    # running it.
    return jax.jit(module.init, compiler_options={"xla_backend_optimization_level": 0})(key, blank)


def networks(config: ConfigDict) -> tuple[StyleGAN2Generator, StyleGAN2Discriminator]:
    """The two networks of a configuration.

    Raises:
        UserError: the pictures' side is no power of two from 8 up.
    """
    model, size = config.model, config.data.size
    if size < 8 or size & (size - 1):
        raise UserError(
            f"config.data.size={size}: StyleGAN2 draws powers of two from 8 up; take 64, 128 or 256"
        )
    widths = config_widths(size, model.channel_multiplier, model.channel_max)
    return StyleGAN2Generator(
        widths, model.latent_size, model.mapping_layers
    ), StyleGAN2Discriminator(widths)


def ada_probability(text: str) -> float:
    """What the augmentation's probability starts with: 0 for "off" and "on", or the fixed one.

    Raises:
        UserError: it is none of these.
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
    """Adam for a network whose regulariser takes an update of its own every so many steps.

    Args:
        learning_rate: without a regulariser.
        every: steps between two updates for the regulariser.
        betas: Adam's decays, without a regulariser.

    Reference: Karras et al., Analyzing and Improving the Image Quality of StyleGAN (1912.04958),
    appendix B, lazy regularization.
    """
    ratio = every / (every + 1)
    return optax.adam(learning_rate * ratio, betas[0] ** ratio, betas[1] ** ratio, eps=1e-8)


def ema_decay(step: Array, batch_size: int, kimg: float, rampup: float) -> Float[Array, ""]:
    """Factor of the moving average in a step.

    Args:
        step: steps taken before.
        batch_size: pictures a step.
        kimg: half-life in thousands of pictures.
        rampup: the half-life is never more than this share of the pictures seen.
    """
    seen = jnp.asarray(step, jnp.float32) * batch_size
    return 0.5 ** (batch_size / jnp.maximum(jnp.minimum(1000 * kimg, rampup * seen), 1e-8))


def adapt(
    extra: dict[str, Array], sign: Array, step: Array, target: float, speed: float
) -> dict[str, Array]:
    """ADA's controller: more augmentation while the discriminator is too sure of the real pictures.

    Args:
        extra: "ada_p", the probability, and "ada_signs", the sum of the signs since it last
            changed.
        sign: mean sign of the logits of real pictures.
        step: steps taken before.
        target: mean sign that is aimed at.
        speed: change of the probability at a time.

    Returns: the next `extra`.

    Reference: Karras et al., Training Generative Adversarial Networks with Limited Data
    (2006.06676), section 3.1.
    """
    signs = extra["ada_signs"] + jnp.where(jnp.isfinite(sign), sign, target)
    due = (step + 1) % ADA_INTERVAL == 0
    moved = jnp.clip(extra["ada_p"] + speed * jnp.sign(signs / ADA_INTERVAL - target), 0.0, 1.0)
    return {
        **extra,
        "ada_p": jnp.where(due, moved, extra["ada_p"]),
        "ada_signs": jnp.where(due, 0.0, signs),
    }


@dataclasses.dataclass(frozen=True)
class Game:
    """The two players' losses, as `train.state.gradients` takes them once the state is bound.

    Attributes:
        generator, discriminator: modules.
        mixing: probability that a picture's later layers follow another code.
        augmented: the discriminator sees augmented pictures, with the probability of the state.
    """

    generator: StyleGAN2Generator
    discriminator: StyleGAN2Discriminator
    mixing: float
    augmented: bool

    @property
    def blank_code(self) -> Float[Array, "1 k"]:
        """An input of the generator, for its initialisation."""
        return jnp.zeros((1, self.generator.latent_size))

    @property
    def blank_picture(self) -> Float[Array, "1 s s 3"]:
        """An input of the discriminator, for its initialisation."""
        return jnp.zeros((1, self.generator.resolution, self.generator.resolution, 3))

    def codes(self, params: Any, key: PRNGKeyArray, count: int) -> Float[Array, "b n k"]:
        """Random W+ codes with style mixing.

        Reference: Karras et al., A Style-Based Generator Architecture (1812.04948), section 3.1.
        """
        draw, chance, place = jax.random.split(key, 3)
        rows = self.generator.num_styles
        z = jax.random.normal(draw, (2 * count, self.generator.latent_size))
        first, second = jnp.split(
            to_wplus(self.generator.apply({"params": params}, z, method="mapping"), rows), 2
        )
        mixed = jax.random.bernoulli(chance, self.mixing, (count,))
        cut = jnp.where(mixed, jax.random.randint(place, (count,), 1, rows), rows)
        return jnp.where((jnp.arange(rows) < cut[:, None])[..., None], first, second)

    def draw(
        self, params: Any, codes: Float[Array, "b n k"], key: PRNGKeyArray
    ) -> Float[Array, "b s s 3"]:
        """Pictures of codes, with fresh noise."""
        return self.generator.apply(
            {"params": params}, codes, noise="random", rngs={"noise": key}, method="synthesis"
        )

    def fakes(self, params: Any, key: PRNGKeyArray, count: int) -> Float[Array, "b s s 3"]:
        """Random pictures."""
        code, noise = jax.random.split(key)
        return self.draw(params, self.codes(params, code, count), noise)

    def judge(self, params: Any, images: Float[Array, "b s s 3"]) -> Float[Array, "b 1"]:
        """Logits of pictures."""
        return self.discriminator.apply({"params": params}, images)

    def seen(
        self, state: TrainState, images: Float[Array, "b s s 3"], key: PRNGKeyArray
    ) -> Float[Array, "b s s 3"]:
        """Pictures as the discriminator sees them: augmented, where that is wanted."""
        return augment(key, images, state.extra["ada_p"]) if self.augmented else images

    def reals(self, batch: Batch) -> Float[Array, "b s s 3"]:
        """The batch's pictures in [-1, 1].

        Raises:
            UserError: they cannot be compared in groups.
        """
        count, group = len(batch["image"]), self.discriminator.group
        if count > group and count % group:
            raise UserError(
                f"{count} pictures at a time on a device: StyleGAN2 compares groups of {group}; "
                "make config.batch_size "
                f"a multiple of {group} times devices times config.accumulate"
            )
        return to_unit(batch["image"])

    def discriminator_loss(
        self, state: TrainState, params: Any, batch: Batch, key: PRNGKeyArray
    ) -> Result:
        """Logistic loss on real and generated pictures."""
        draw, change = jax.random.split(key)
        real = self.reals(batch)
        fake = self.fakes(state.nets["generator"].params, draw, len(real))
        both = jnp.split(self.seen(state, jnp.concatenate([real, fake]), change), 2)
        # One after the other: real and generated pictures must not share a group of the minibatch
        # deviation.
        on_real, on_fake = (self.judge(params, images) for images in both)
        metrics = {
            "real": on_real.mean(),
            "fake": on_fake.mean(),
            "real_sign": jnp.sign(on_real).mean(),
        }
        return logistic_loss(on_real, on_fake).mean(), (metrics, {})

    def r1_loss(
        self, state: TrainState, weight: float, params: Any, batch: Batch, key: PRNGKeyArray
    ) -> Result:
        """Weighted R1 penalty on real pictures."""
        penalty = r1_penalty(
            lambda x: self.judge(params, self.seen(state, x, key)), self.reals(batch)
        ).mean()
        return weight * penalty, ({"penalty": penalty}, {})

    def generator_loss(
        self, state: TrainState, params: Any, batch: Batch, key: PRNGKeyArray
    ) -> Result:
        """Non-saturating loss on as many pictures as the batch holds."""
        draw, change = jax.random.split(key)
        fake = self.fakes(params, draw, len(batch["image"]))
        logits = self.judge(state.nets["discriminator"].params, self.seen(state, fake, change))
        return nonsaturating_loss(logits).mean(), ({}, {})

    def path_loss(
        self, state: TrainState, weight: float, params: Any, batch: Batch, key: PRNGKeyArray
    ) -> Result:
        """Weighted path length penalty on half as many pictures as the batch holds."""
        code, noise, direction = jax.random.split(key, 3)
        codes = self.codes(params, code, max(1, len(batch["image"]) // 2))
        synthesis: Callable = lambda codes: self.draw(params, codes, noise)  # noqa: E731
        shape = (len(codes), *self.blank_picture.shape[1:])
        found = path_length_penalty(
            synthesis, codes, jax.random.normal(direction, shape), state.extra["path_mean"]
        )
        return weight * found.penalty.mean(), (
            {"mean": found.mean, "length": found.lengths.mean()},
            {},
        )
