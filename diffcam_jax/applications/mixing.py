"""Style mixing: the coarse rows of one code, the fine rows of another.

Source: Karras et al. (1812.04948), section 3.1; 2004.00049.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffcam_jax.errors import UserError
from diffcam_jax.nn.latents import mix_styles

FROM_LAYER = 10


def check_layer(from_layer: int, rows: int) -> None:
    """Whether the style can begin at a layer of a generator with so many rows.

    Raises:
        UserError: there is no such layer.
    """
    if not 0 <= from_layer <= rows:
        raise UserError(
            f"--from-layer {from_layer}: the generator has {rows} layers; give 0 to {rows}"
        )


def mix(
    content: Float[np.ndarray, "c n k"],
    style: Float[np.ndarray, "s n k"],
    from_layer: int = FROM_LAYER,
) -> Float[np.ndarray, "c s n k"]:
    """Every content in every style.

    Args:
        content: gives the rows before `from_layer`: pose, shape, who it is.
        style: gives the others: colours, light.
        from_layer: 0 takes all from the style, n all from the content.

    Raises:
        UserError: there is no such layer.
    """
    rows = content.shape[1]
    check_layer(from_layer, rows)
    mixed = [
        mix_styles(jnp.asarray(content), jnp.broadcast_to(one, content.shape), from_layer, rows)
        for one in style
    ]
    return np.stack([np.asarray(one) for one in mixed], 1)
