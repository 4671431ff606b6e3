"""The deghosting network in training, and the networks that judge it.

Source: Diff-CAM (2207.08134), section 3.4; GLEAN (2012.00739).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from diffcam_jax.errors import UserError
from diffcam_jax.nn.deghosting import Deghoster
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator, config_widths
from diffcam_jax.nn.stylegan2_discriminator import StyleGAN2Discriminator
from diffcam_jax.nn.vgg import VGG16
from diffcam_jax.pretrained import networks as pretrained

PERCEPTUAL_TAP = "conv4_3"


def deghosting_network(model: ConfigDict) -> tuple[Deghoster, dict | None]:
    """Creates the network of a configuration, and loads the variables of its prior.

    Where there is a prior the widths are its own.

    Raises:
        UserError: impossible sizes, or a prior of another size or kind.
    """
    inner, outer = model.in_size, model.out_size
    if inner & (inner - 1) or outer & (outer - 1) or not 4 <= inner < outer:
        raise UserError(
            f"config.model.in_size={inner}, out_size={outer}: give two powers of two from 4 up, "
            "the second one larger"
        )
    form = {
        name: model[name] for name in ("blocks", "rrdb_width", "growth", "image_width", "remat")
    }
    if not model.prior:
        widths = config_widths(outer, model.channel_multiplier, model.channel_max)
        return Deghoster(inner, widths, model.latent_size, model.mapping_layers, **form), None
    module, variables = pretrained.load(model.prior).network("generator")
    if not isinstance(module, StyleGAN2Generator):
        raise UserError(
            f"{model.prior} holds a {type(module).__name__}; the prior has to be a StyleGAN2"
        )
    if module.resolution != outer:
        raise UserError(
            f"the prior draws {module.resolution} pixels, config.model.out_size is {outer}; make "
            "them equal"
        )
    return Deghoster(
        inner, module.widths, module.latent_size, module.mapping_layers, **form
    ), variables


def discriminating_network(config: ConfigDict, deghoster: Deghoster) -> Network:
    """Loads the discriminator of the network's output, or creates one without variables.

    Raises:
        UserError: the loaded one takes pictures of another size.
    """
    if not config.model.discriminator:
        return Network(StyleGAN2Discriminator(deghoster.widths), {})
    network = pretrained.load(config.model.discriminator).network("discriminator")
    if network.module.resolution != deghoster.out_size:
        raise UserError(
            f"the discriminator takes {network.module.resolution} pixels, the network gives "
            f"{deghoster.out_size}; leave config.model.discriminator empty for a new one"
        )
    return network


def perceptual_network() -> Network:
    """Loads torchvision's VGG16 up to the layer that the perceptual loss compares."""
    trunk = pretrained.load("lpips").network("lpips_vgg").variables["params"]["trunk"]
    params = {name: layer for name, layer in trunk.items() if name <= PERCEPTUAL_TAP}
    return Network(VGG16((PERCEPTUAL_TAP,)), {"params": params})


def with_prior(variables: dict, prior: dict | None) -> dict:
    """Puts the variables of a converted generator into those of the deghosting network."""
    if prior is None:
        return variables
    return {name: {**tree, "generator": copied(prior[name])} for name, tree in variables.items()}


def frozen_prior(params: Mapping[str, Any]) -> dict[str, str]:
    """Labels parameters for the optimiser: the prior's are kept, the others are trained."""
    return {name: "keep" if name == "generator" else "train" for name in params}


def copied(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Copies a tree of arrays, as the state gives its memory away with every step."""
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), dict(tree))
