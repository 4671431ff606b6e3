"""The losses of invertibility decomposition (2212.09262, as released), and one of known masks.

    pixel        squared error of the blended picture
    identity     1 - cosine of the faces' embeddings
    perceptual   absolute error of VGG's features
    style        absolute error of their Gram matrices
    adversarial  the non-saturating loss of the blended picture
    area         excess of the masks' area over a limit
    binary       distance of the masks from 0 and 1
    truth        cross entropy of all masks, and one minus the Dice coefficient of the merged one,
                 where the objects in front are known

The paper's masks have no ground truth: the blend alone, limited by the area, finds what cannot be
drawn. Where objects were pasted the truth is known, and separates them from what the encoder merely
missed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from diffcam_jax.errors import UserError
from diffcam_jax.losses import networks as perceptual
from diffcam_jax.losses import picture as losses
from diffcam_jax.losses.masks import area_loss, binary_loss
from diffcam_jax.ops.image import resize
from diffcam_jax.train.distances import Distance, make_distances
from diffcam_jax.train.invertibility_passes import PICTURE_LOSSES, Pass

NAMES = (*PICTURE_LOSSES, "area", "binary", "truth")
_LEAST = 1e-4  # keeps the logarithm of a mask finite; masks are exactly 0 and 1 in places


def cross_entropy(mask: Float[Array, "b h w"], truth: Float[Array, "b h w"]) -> Float[Array, " b"]:
    """Mean binary cross entropy in nats.

    Args:
        mask: in [0, 1].
        truth: in [0, 1].
    """
    mask = jnp.clip(mask, _LEAST, 1 - _LEAST)
    return -(truth * jnp.log(mask) + (1 - truth) * jnp.log(1 - mask)).mean((1, 2))


def dice(mask: Float[Array, "b h w"], truth: Float[Array, "b h w"]) -> Float[Array, ""]:
    """One minus the Dice coefficient of a batch's masks together, as single ones may be empty."""
    return 1 - (2 * (mask * truth).sum() + 1) / (mask.sum() + truth.sum() + 1)


def truth_loss(
    masks: Sequence[Float[Array, "b _ _"]], truth: Float[Array, "b s s"]
) -> Float[Array, ""]:
    """Distance of masks from known ones.

    Args:
        masks: of every level, then the merged one, which counts as much as all others together.
        truth: at the side of the merged one.
    """
    *levels, fused = masks
    entropies = [
        cross_entropy(mask, resize(truth, mask.shape[1:3], "area")).mean() for mask in levels
    ]
    return (
        cross_entropy(fused, truth).mean()
        + dice(fused, truth)
        + sum(entropies) / max(len(entropies), 1)
    )


class Losses:
    """The terms of a configuration.

    Args:
        config: the whole configuration.
        levels: number of levels of the alignment network.

    Attributes:
        weights: name -> weight, without weights of 0.
        frozen: name -> variables of the networks that compare pictures.

    Raises:
        UserError: unknown losses, a wrong number of areas, or a network that is not available.
    """

    def __init__(self, config: ConfigDict, levels: int) -> None:
        if unknown := set(config.loss) - set(NAMES):
            raise UserError(
                f"config.loss has no {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}"
            )
        if len(config.areas) != levels + 1:
            raise UserError(
                f"config.areas has {len(config.areas)} limits; give {levels + 1}, one for each "
                "level and one for the merged mask"
            )
        self.weights = {name: weight for name, weight in config.loss.items() if weight}
        self._areas = tuple(config.areas)
        self._identity: Distance | None = make_distances(config).get("identity")
        self._features, features = None, {}
        if not self.weights.keys().isdisjoint(("perceptual", "style")):
            self._features, features = perceptual.decomposition(config.perceptual)
        frozen = {
            "identity": self._identity.variables if self._identity else {},
            "perceptual": features,
        }
        self.frozen = {name: variables for name, variables in frozen.items() if variables}

    def __call__(
        self, found: Pass, frozen: dict[str, Any], opinion: Callable[[Array], Array] | None
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Computes the weighted sum and its terms, means over the batch.

        Args:
            found: of a batch.
            frozen: variables by the names in `self.frozen`.
            opinion: pictures -> their adversarial loss [b]; None leaves it out.
        """
        terms: dict[str, Array] = {}
        # An edited picture differs from the photograph by intention.
        kept = 1 - found.edited

        def mean(values: Array) -> Array:
            return (values * kept).sum() / jnp.maximum(kept.sum(), 1)

        if "pixel" in self.weights:
            terms["pixel"] = mean(losses.mse(found.image, found.wanted))
        if "identity" in self.weights:
            terms["identity"] = mean(
                self._identity.function(frozen["identity"], found.image, found.wanted)
            )
        if self._features is not None:
            ours, theirs = (
                self._features(frozen["perceptual"], x) for x in (found.image, found.wanted)
            )
            compared = {"perceptual": perceptual.absolute, "style": perceptual.style}
            terms |= {
                name: mean(compare(ours, theirs))
                for name, compare in compared.items()
                if name in self.weights
            }
        if opinion is not None:
            terms["adversarial"] = opinion(found.image).mean()
        if "area" in self.weights:
            *levels, fused = found.masks
            terms["area"] = area_loss(
                [*levels, fused], [*self._areas[: len(levels)], self._areas[-1]]
            )
        if "binary" in self.weights:
            terms["binary"] = binary_loss(found.masks)
        if "truth" in self.weights and found.truth is not None:
            terms["truth"] = truth_loss(found.masks, found.truth)
        return sum(
            (self.weights[name] * value for name, value in terms.items()), jnp.float32(0)
        ), terms
