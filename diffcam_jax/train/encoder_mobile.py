"""The small encoder of the embedded generator, trained in standard deviations of the prior.

The network gives whitened offsets: in this basis entries of a code that pictures hardly depend on
do not dominate the loss. `exported` folds the basis into the last layers, which are linear.
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from diffcam_jax.data import sources
from diffcam_jax.errors import UserError
from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.nn.latents import latent_stats
from diffcam_jax.nn.mobile_encoder import MobileEncoder
from diffcam_jax.train import encoder
from diffcam_jax.train.encoder_networks import MEAN_DRAWS
from diffcam_jax.train.encoder_passes import Inverter
from diffcam_jax.train.state import TrainState

# Along the first forty principal axes of the embedded W a standard deviation is at least 0.5.
# Pictures change with an axis's variance (a mean squared error of 0.004 for half a deviation at
# variance 1, 0.00002 at 0.05): weighted alike, the faint axes would be most of a loss.
WHITENING_EPSILON = 0.3
FIELDS = ("channels", "features", "reduced", "grid", "rank", "stem", "frozen")


def make_encoder(model: ConfigDict, rows: int, features: int) -> nn.Module:
    """Creates the encoder of a configuration.

    Args:
        model: of the configuration.
        rows: of W+.
        features: length of a code.

    Raises:
        UserError: a field has a value that is not possible.
    """
    if model.size < 32 or model.size % 32:
        raise UserError(
            f"config.model.size={model.size}: the side of the pictures is a multiple of 32"
        )
    chosen = {name: model[name] for name in FIELDS}
    return MobileEncoder(rows, model.size, features, rows=tuple(map(tuple, model.rows)), **chosen)


def whitening(folder: ModelFolder, seed: int) -> tuple[Float[Array, "k k"], Float[Array, "k k"]]:
    """Computes the matrices of the whitened basis, from draws of the mapping network.

    Returns:
        Two matrices to multiply differences of codes [..., k] with from the right: to standard
        deviations of the prior, and back. As `latents.whiten`, with an epsilon by which the axes
        that pictures hardly show count less.
    """
    module, variables = folder.network("generator")
    stats = jax.jit(latent_stats, static_argnums=(0, 3))(
        module, variables, jax.random.key(seed), MEAN_DRAWS
    )
    scale = jnp.sqrt(stats.eigenvalues + WHITENING_EPSILON)
    return stats.eigenvectors / scale, (stats.eigenvectors * scale).T


def carried(folder: ModelFolder, inverter: Inverter, mean: Array, seed: int) -> dict[str, Any]:
    """Returns the arrays that a run carries: the matrices of `whitening`."""
    return dict(zip(("whitening", "colouring"), whitening(folder, seed), strict=True))


def in_basis(variables: Mapping[str, Any], matrix: Float[Array, "k k"]) -> dict[str, Any]:
    """Multiplies the outputs of a `MobileEncoder` by a matrix from the right.

    Args:
        variables: of the encoder, whose last layers are linear.
        matrix: of the change of basis.
    """

    def changed(layer: Mapping[str, Any]) -> dict[str, Array]:
        return {name: leaf @ matrix for name, leaf in layer.items()}

    params = dict(variables["params"])
    params["base"] = changed(params["base"])
    for name in [name for name in params if name.startswith("level_")]:
        parts = {part: changed(params[name][part]) for part in ("common", "basis")}
        params[name] = {**params[name], **parts}
    return {**variables, "params": params}


def imported(variables: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Brings an exported encoder back to the whitened basis."""
    return in_basis(variables, extra["whitening"])


def exported(variables: Mapping[str, Any], state: TrainState, inverter: Inverter) -> dict[str, Any]:
    """Brings an encoder to W+, with parameters in half precision and statistics in single."""
    variables = in_basis(variables, state.extra["colouring"])
    halved = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), variables["params"])
    return {**variables, "params": halved}


KIND = encoder.Kind(
    "encoder_mobile.py",
    frozenset({"rank"}),
    make_encoder,
    carried=carried,
    imported=imported,
    exported=exported,
)
make_source = sources.make_source
build = functools.partial(encoder.build, KIND)
