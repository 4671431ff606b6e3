"""ReStyle: an encoder that corrects its own result, pass by pass.

Each pass sees the picture beside the current reconstruction; the first reconstruction is that of
the average code. The loss is the sum over passes, and no gradient flows from a pass to the one
before it.

Source: Alaluf et al., ReStyle (2104.02699).
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array
from ml_collections import ConfigDict

from diffcam_jax.data import sources
from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.nn.restyle import BackboneEncoder, ResNetBackboneEncoder
from diffcam_jax.train import encoder
from diffcam_jax.train.encoder_networks import check_power_of_two, residual_body
from diffcam_jax.train.encoder_passes import Inverter


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
    fields = {**residual_body(model), "channels": model.channels}
    if model.backbone == "resnet":
        del fields["squeeze"]
        return ResNetBackboneEncoder(rows, model.progressive, model.size, features, **fields)
    return BackboneEncoder(rows, model.progressive, model.size, features, **fields)


def average_picture(
    folder: ModelFolder, inverter: Inverter, mean: Array, seed: int
) -> dict[str, Any]:
    """Draws the picture of the average code, which the first pass compares with.

    Args:
        folder: of the generator.
        inverter: draws it.
        mean: the average code.
        seed: not used.
    """
    code = jnp.broadcast_to(mean, (1, inverter.rows, mean.shape[-1]))
    return {"avg_image": jax.jit(inverter.draw)(folder.network("generator").variables, code)}


KIND = encoder.Kind(
    "encoder.py:restyle", frozenset({"passes"}), make_encoder, carried=average_picture
)
make_source = sources.make_source
build = functools.partial(encoder.build, KIND)
