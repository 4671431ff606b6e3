"""pixel2style2pixel: codes are offsets from the average code, one map2style head a row.

Source: Richardson et al., Encoding in Style (2008.00951). The small network has one pooled head in
place of the pyramid.
"""

import functools

import flax.linen as nn
from ml_collections import ConfigDict

from diffcam_jax.data import sources
from diffcam_jax.errors import UserError
from diffcam_jax.nn.psp import GradualStyleEncoder, IntoWPlus
from diffcam_jax.train import encoder
from diffcam_jax.train.encoder_networks import check_power_of_two, check_pyramid, residual_body


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
    body = residual_body(model)
    if model.heads == "pyramid":
        check_pyramid(model, features)
        return GradualStyleEncoder(rows, model.size, features, **body, channels=model.channels)
    if model.size != 256:
        raise UserError(
            f"config.model.size={model.size}: the pooled head is for 256; "
            "--config.model.heads=pyramid"
        )
    return IntoWPlus(rows, features, model.pool, **body)


KIND = encoder.Kind("encoder.py:psp", frozenset({"heads"}), make_encoder)
make_source = sources.make_source
build = functools.partial(encoder.build, KIND)
