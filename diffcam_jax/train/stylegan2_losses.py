"""The losses of StyleGAN2's two networks.

Pictures are RGB [b, s, s, 3] in [-1, 1]. The minibatch standard deviation compares pictures of one
device's microbatch. With conditional networks a batch has the classes of its pictures as "label",
int32 [b]; generated pictures are drawn of the same classes, so that these follow the data's
distribution. Labels [b, c] are 1 for the class, None without classes.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from diffcam_jax.errors import UserError
from diffcam_jax.losses.adversarial import (
    logistic_loss,
    nonsaturating_loss,
    path_length_penalty,
    r1_penalty,
)
from diffcam_jax.nn.latents import to_wplus
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from diffcam_jax.nn.stylegan2_discriminator import StyleGAN2Discriminator
from diffcam_jax.ops.ada import augment
from diffcam_jax.ops.image import to_unit
from diffcam_jax.train.state import Batch, Metrics, TrainState

Result = tuple[Float[Array, ""], tuple[Metrics, dict]]
Label = Float[Array, "b c"] | None


@dataclasses.dataclass(frozen=True)
class Losses:
    """The losses of both networks; with the state bound they are a `train.state.Loss`.

    Attributes:
        generator: its module.
        discriminator: its module.
        mixing: probability of style mixing.
        augmented: the discriminator sees augmented pictures, with the probability in the state.
    """

    generator: StyleGAN2Generator
    discriminator: StyleGAN2Discriminator
    mixing: float
    augmented: bool

    @property
    def blank_code(self) -> Float[Array, "1 k"]:
        """Input of the generator, to initialise it with."""
        return jnp.zeros((1, self.generator.latent_size))

    @property
    def blank_picture(self) -> Float[Array, "1 s s 3"]:
        """Input of the discriminator, to initialise it with."""
        return jnp.zeros((1, self.generator.resolution, self.generator.resolution, 3))

    def labels(self, batch: Batch) -> Label:
        """The labels of a batch's pictures."""
        classes = self.generator.num_classes
        return jax.nn.one_hot(batch["label"], classes) if classes else None

    def codes(
        self, params: Any, key: PRNGKeyArray, count: int, label: Label = None
    ) -> Float[Array, "b n k"]:
        """Draws W+ codes, with style mixing; both parts of a mixed code are of one class.

        Reference:
            Karras et al., A Style-Based Generator Architecture (1812.04948), section 3.1.
        """
        draw, chance, place = jax.random.split(key, 3)
        rows = self.generator.num_styles
        z = jax.random.normal(draw, (2 * count, self.generator.latent_size))
        both = () if label is None else (jnp.concatenate([label, label]),)
        w = self.generator.apply({"params": params}, z, *both, method="mapping")
        first, second = jnp.split(to_wplus(w, rows), 2)
        mixed = jax.random.bernoulli(chance, self.mixing, (count,))
        cut = jnp.where(mixed, jax.random.randint(place, (count,), 1, rows), rows)
        return jnp.where((jnp.arange(rows) < cut[:, None])[..., None], first, second)

    def draw(
        self, params: Any, codes: Float[Array, "b n k"], key: PRNGKeyArray
    ) -> Float[Array, "b s s 3"]:
        """Draws the pictures of codes, with fresh noise."""
        return self.generator.apply(
            {"params": params}, codes, noise="random", rngs={"noise": key}, method="synthesis"
        )

    def fakes(
        self, params: Any, key: PRNGKeyArray, count: int, label: Label
    ) -> Float[Array, "b s s 3"]:
        """Draws random pictures."""
        code, noise = jax.random.split(key)
        return self.draw(params, self.codes(params, code, count, label), noise)

    def judge(
        self, params: Any, images: Float[Array, "b s s 3"], label: Label
    ) -> Float[Array, "b 1"]:
        """Returns the discriminator's logits of pictures."""
        return self.discriminator.apply({"params": params}, images, label)

    def seen(
        self, state: TrainState, images: Float[Array, "b s s 3"], key: PRNGKeyArray
    ) -> Float[Array, "b s s 3"]:
        """Returns pictures as the discriminator sees them: augmented if `augmented`."""
        return augment(key, images, state.extra["ada_p"]) if self.augmented else images

    def reals(self, batch: Batch) -> Float[Array, "b s s 3"]:
        """Returns the batch's pictures in [-1, 1].

        Raises:
            UserError: their number is no multiple of the discriminator's groups.
        """
        count, group = len(batch["image"]), self.discriminator.group
        if count > group and count % group:
            raise UserError(
                f"{count} pictures at a time on a device: StyleGAN2 compares groups of {group}; "
                "make config.batch_size a multiple of "
                f"{group} times devices times config.accumulate"
            )
        return to_unit(batch["image"])

    def discriminator_loss(
        self, state: TrainState, params: Any, batch: Batch, key: PRNGKeyArray
    ) -> Result:
        """Logistic loss of the discriminator on real and generated pictures."""
        draw, change = jax.random.split(key)
        real, label = self.reals(batch), self.labels(batch)
        fake = self.fakes(state.nets["generator"].params, draw, len(real), label)
        both = jnp.split(self.seen(state, jnp.concatenate([real, fake]), change), 2)
        # In two calls: real and generated pictures must not share a group of the minibatch
        # standard deviation.
        on_real, on_fake = (self.judge(params, images, label) for images in both)
        metrics = {
            "real": on_real.mean(),
            "fake": on_fake.mean(),
            "real_sign": jnp.sign(on_real).mean(),
        }
        return logistic_loss(on_real, on_fake).mean(), (metrics, {})

    def r1_loss(
        self, state: TrainState, weight: float, params: Any, batch: Batch, key: PRNGKeyArray
    ) -> Result:
        """R1 penalty on real pictures, times a weight.

        The gradient is with respect to the pictures before augmentation, through it.
        """
        label = self.labels(batch)
        penalty = r1_penalty(
            lambda x: self.judge(params, self.seen(state, x, key), label), self.reals(batch)
        ).mean()
        return weight * penalty, ({"penalty": penalty}, {})

    def generator_loss(
        self, state: TrainState, params: Any, batch: Batch, key: PRNGKeyArray
    ) -> Result:
        """Non-saturating loss of the generator on as many pictures as the batch holds."""
        draw, change = jax.random.split(key)
        label = self.labels(batch)
        fake = self.fakes(params, draw, len(batch["image"]), label)
        seen = self.seen(state, fake, change)
        logits = self.judge(state.nets["discriminator"].params, seen, label)
        return nonsaturating_loss(logits).mean(), ({}, {})

    def path_loss(
        self, state: TrainState, weight: float, params: Any, batch: Batch, key: PRNGKeyArray
    ) -> Result:
        """Path length penalty on half as many pictures as the batch holds, times a weight."""
        code, noise, direction = jax.random.split(key, 3)
        count, label = max(1, len(batch["image"]) // 2), self.labels(batch)
        codes = self.codes(params, code, count, None if label is None else label[:count])
        synthesis: Callable = lambda codes: self.draw(params, codes, noise)  # noqa: E731
        shape = (len(codes), *self.blank_picture.shape[1:])
        found = path_length_penalty(
            synthesis, codes, jax.random.normal(direction, shape), state.extra["path_mean"]
        )
        return weight * found.penalty.mean(), (
            {"mean": found.mean, "length": found.lengths.mean()},
            {},
        )
