"""The losses of the deghosting network (2207.08134, section 3.4), as printed and as released.

The squared error, VGG16's conv4_3 before its ReLU, and the opinion of a StyleGAN2 discriminator. A
variant presets in what paper and release differ; each preset can be overridden alone:

                        official                 paper
    perceptual_weight   0.01                     0.8
    adversarial         "nonsaturating"          "minimax", log(1 - D)
    ghost.normalise     "minmax"                 "max"
    ghost.resize        "nearest"                "bilinear"

The paper prints the pixel loss as a norm divided by the number of pixels, which its other weights
would outweigh by far; both variants take the mean square.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.errors import UserError
from diffcam_jax.losses import picture as losses
from diffcam_jax.losses.adversarial import logistic_loss, nonsaturating_loss, r1_penalty
from diffcam_jax.nn.deghosting import Deghoster
from diffcam_jax.nn.stylegan2_discriminator import StyleGAN2Discriminator
from diffcam_jax.nn.vgg import VGG16
from diffcam_jax.ops.image import resize
from diffcam_jax.train.blends import Maker
from diffcam_jax.train.deghost_networks import PERCEPTUAL_TAP
from diffcam_jax.train.state import Batch, Metrics, TrainState

VARIANTS = {
    "official": {
        "perceptual_weight": 0.01,
        "adversarial": "nonsaturating",
        "normalise": "minmax",
        "resize": "nearest",
    },
    "paper": {
        "perceptual_weight": 0.8,
        "adversarial": "minimax",
        "normalise": "max",
        "resize": "bilinear",
    },
}
# The deghosting network's adversarial loss of each logit.
ADVERSARIAL = {"nonsaturating": nonsaturating_loss, "minimax": lambda fake: -jax.nn.softplus(fake)}


def choices(config: ConfigDict) -> dict[str, Any]:
    """Returns the variant's presets, with the fields of a configuration that override them.

    Raises:
        UserError: no such variant, adversarial loss or way of making masks.
    """
    if config.variant not in VARIANTS:
        raise UserError(f"config.variant={config.variant!r}: choose official or paper")
    own = {
        "perceptual_weight": config.perceptual_weight,
        "adversarial": config.adversarial,
        "normalise": config.ghost.normalise,
        "resize": config.ghost.resize,
    }
    chosen = VARIANTS[config.variant] | {
        name: value for name, value in own.items() if value is not None
    }
    allowed = {
        "adversarial": tuple(ADVERSARIAL),
        "normalise": ("minmax", "max"),
        "resize": ("nearest", "bilinear"),
    }
    for name, values in allowed.items():
        if chosen[name] not in values:
            raise UserError(f"{name}={chosen[name]!r}: choose {' or '.join(values)}")
    return chosen


class Losses:
    """The losses of both networks, and the restored pictures that they look at.

    Args:
        config: the whole configuration.
        chosen: what `choices` made of it.
        deghoster: the module.
        discriminator: its module; None leaves the adversarial loss out.
        maker: of blends and targets.
    """

    def __init__(
        self,
        config: ConfigDict,
        chosen: Mapping[str, Any],
        deghoster: Deghoster,
        discriminator: StyleGAN2Discriminator | None,
        maker: Maker,
    ) -> None:
        self.deghoster, self.discriminator, self.maker = deghoster, discriminator, maker
        self._config, self._chosen = config, chosen
        self._half = config.precision == "bfloat16"

    def loss(
        self, state: TrainState, params: dict, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Array, tuple[Metrics, dict]]:
        """The sum of both networks' losses, each with a gradient for its own parameters only."""
        config, chosen = self._config, self._chosen
        fused, target = self.maker.pair(state.nets, batch, key)
        net = dict(params["deghoster"])
        if not config.model.train_prior:
            net["generator"] = jax.lax.stop_gradient(net["generator"])
        fake = self.restore({"params": net, **state.nets["deghoster"].collections}, fused)
        metrics = {"mse": losses.mse(fake, target).mean()}
        total = config.pixel_weight * metrics["mse"]
        if chosen["perceptual_weight"]:
            trunk = functools.partial(self._features, state.nets["vgg"].params)
            metrics["perceptual"] = losses.perceptual(fake, target, trunk).mean()
            total += chosen["perceptual_weight"] * metrics["perceptual"]
        if self.discriminator is None:
            return total, ({**metrics, "restoration": total}, {})
        judge = self._judge(len(fake))
        held = jax.lax.stop_gradient(params["discriminator"])
        metrics["adversarial"] = ADVERSARIAL[chosen["adversarial"]](judge(held, fake)).mean()
        total += config.adversarial_weight * metrics["adversarial"]
        own, given = params["discriminator"], jax.lax.stop_gradient(fake)
        metrics["d_loss"] = logistic_loss(judge(own, target), judge(own, given)).mean()
        return total + metrics["d_loss"], ({**metrics, "restoration": total}, {})

    def r1_loss(
        self, state: TrainState, weight: float, params: dict, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Array, tuple[Metrics, dict]]:
        """R1 penalty on the pictures that blends are compared with, times a weight."""
        target = self.maker.target(batch, key)
        penalty = r1_penalty(functools.partial(self._judge(len(target)), params), target).mean()
        return weight * penalty, ({"penalty": penalty}, {})

    def restore(
        self, variables: Mapping[str, Any], fused: Float[Array, "b s s 3"]
    ) -> Float[Array, "b s s 3"]:
        """Restores a blend.

        With config.precision "bfloat16" the encoder is in half precision; prior and decoder stay in
        single precision.
        """
        small, params = resize(fused, (self.deghoster.in_size,) * 2, "area"), variables["params"]
        if self._half:
            small = small.astype(jnp.bfloat16)
            params = {
                name: tree if name == "generator" else _halved(tree)
                for name, tree in params.items()
            }
        return self.deghoster.apply({**variables, "params": params}, small).astype(jnp.float32)

    def variables(self, state: TrainState) -> dict:
        """Returns the variables of the deghosting network; the averaged ones if there are any."""
        net = state.nets["deghoster"]
        return (
            {**net.variables, "params": state.ema["deghoster"]}
            if self._config.ema
            else net.variables
        )

    def _features(self, params: dict, x: Float[Array, "b s s 3"]) -> list[Array]:
        if self._half:
            params, x = _halved(params), x.astype(jnp.bfloat16)
        found = VGG16((PERCEPTUAL_TAP,)).apply({"params": params}, x)
        return [found[PERCEPTUAL_TAP].astype(jnp.float32)]

    def _judge(self, count: int) -> Callable[[dict, Array], Array]:
        group = self.discriminator.group
        if count > group and count % group:
            raise UserError(
                f"the discriminator compares {group} pictures at a time and a device's "
                f"microbatch has {count}; choose config.batch_size so that it is at most {group}, "
                "or a multiple"
            )
        return lambda params, x: self.discriminator.apply({"params": params}, x)[:, 0]


def _halved(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tree)
