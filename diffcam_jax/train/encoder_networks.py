"""The frozen generator of an encoder in training, and what encoders are initialised with."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.errors import UserError
from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.nn.latents import sample_w
from diffcam_jax.nn.network import Network, initial_variables
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from diffcam_jax.pretrained import networks as pretrained

TOY_WIDTHS, TOY_LATENT = (16, 16, 16), 32
MEAN_DRAWS = 10_000


def load_generator(source: str) -> ModelFolder:
    """Loads the folder whose generator an encoder is trained for.

    Args:
        source: a folder of converted weights, "" for the embedded generator, "toy" for a tiny one
            with random weights.

    Raises:
        UserError: no such folder, or it has no generator.
    """
    if source == "toy":
        module = StyleGAN2Generator(TOY_WIDTHS, TOY_LATENT, mapping_layers=2)
        variables = initial_variables(module, jax.random.key(0), jnp.zeros((1, TOY_LATENT)))
        return ModelFolder({"generator": Network(module, variables)}, {}, {"kind": "toy"})
    folder = pretrained.load(source or "mobile_stylegan_ffhq")
    folder.network("generator")
    return folder


def code_moments(
    folder: ModelFolder, seed: int
) -> tuple[Float[Array, "*rows k"], Float[Array, "*rows k"]]:
    """Average code and standard deviation of every entry, over draws of the mapping network.

    Returns:
        [k] each, [n, k] where every row has a mapping of its own. The average is the folder's own
        where it has one.
    """
    module, variables = folder.network("generator")
    codes = jax.jit(sample_w, static_argnums=(0, 3))(
        module, variables, jax.random.key(seed), MEAN_DRAWS
    )
    return jnp.array(folder.arrays.get("latent_avg", codes.mean(0))), codes.std(0)


def check_power_of_two(size: int) -> None:
    """Refuses a side of pictures that most encoders cannot take.

    Raises:
        UserError: the side is no power of two from 16 up.
    """
    if size < 16 or size & (size - 1):
        raise UserError(
            f"config.model.size={size}: the side of the pictures is a power of two from 16 up"
        )


def residual_body(model: ConfigDict) -> dict[str, Any]:
    """Returns the fields of an IR-SE body: counts and widths of its stages, and its squeeze."""
    return {
        "counts": tuple(model.counts),
        "widths": tuple(model.widths),
        "squeeze": model.squeeze,
    }


def check_pyramid(model: ConfigDict, features: int) -> None:
    """Refuses a body that does not end with the channels of the pyramid above it.

    Args:
        model: of the configuration.
        features: length of a code, which is the number of channels where model.channels is None.

    Raises:
        UserError: the numbers differ.
    """
    if model.widths[-1] != (model.channels or features):
        raise UserError(
            f"config.model.widths={tuple(model.widths)}: a pyramid's last number is "
            f"config.model.channels, here {model.channels or features} (None takes the length of "
            "a code)"
        )


def initialise(
    encoder: nn.Module, key: PRNGKeyArray, picture: Float[Array, "b s s c"]
) -> dict[str, Any]:
    """Initialises an encoder at random.

    Args:
        encoder: the module.
        key: of the random numbers.
        picture: of the shape that the encoder takes.
    """
    return initial_variables(encoder, key, picture)


def same_encoder(variables: Mapping[str, Any], folder: ModelFolder) -> dict[str, Any]:
    """Replaces an encoder by the trained one of a folder.

    Raises:
        UserError: the architectures differ.
    """
    theirs = folder.network("encoder").variables
    if jax.tree.map(jnp.shape, variables) != jax.tree.map(jnp.shape, theirs):
        raise UserError(
            "config.model.start holds an encoder of another architecture; give it the same "
            "config.model"
        )
    return jax.tree.map(lambda ours, given: jnp.asarray(given, ours.dtype), variables, theirs)


def same_body(variables: Mapping[str, Any], folder: ModelFolder) -> dict[str, Any]:
    """Replaces an encoder's body by that of a folder.

    The body is a face recogniser's (the official encoders start from ArcFace), or a network of its
    own (the small encoder starts from ImageNet). The first convolution stays as it is where it has
    other inputs, as ReStyle's has.

    Raises:
        UserError: the bodies differ.
    """
    theirs = folder.networks.get("body")
    bare = theirs is not None  # a network that is nothing but a body
    theirs = theirs.variables if bare else folder.network("identity").variables
    changed = dict(variables)
    for collection in ("params", "batch_stats"):
        ours = variables[collection].get("body", {})
        given = dict(theirs[collection] if bare else theirs[collection]["body"])
        if collection == "params" and "input_conv" in ours:
            new, old = given["input_conv"]["kernel"], ours["input_conv"]["kernel"]
            given["input_conv"] = {"kernel": new if new.shape == old.shape else old}
        if jax.tree.map(jnp.shape, ours) != jax.tree.map(jnp.shape, given):
            raise UserError(
                "config.model.start holds another body than the encoder's; give it the same "
                "counts and widths (IR-SE50: (3, 4, 14, 3) and (64, 128, 256, 512); MobileNetV2: "
                "as in configs/encoder_mobile.py)"
            )
        changed[collection] = {**variables[collection], "body": jax.tree.map(jnp.array, given)}
    return changed
