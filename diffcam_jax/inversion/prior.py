"""The default inversion: W+ codes under a prior, which keeps them where edits work.

Pictures are [b, s, s, 3] RGB in [-1, 1]; codes are W+ [b, n, k]. A code is w [b, k] shared by all
rows plus one small offset per row. The loss is LPIPS and squared error plus the whitened distance
of w from the mean and of the offsets from 0: codes that fit without that prior fall apart when
edited. First w moves alone, then both.

Sources: Abdal et al., Image2StyleGAN (1904.03189), for optimisation into W+; Zhu et al., In-Domain
GAN Inversion (2004.00049), for keeping codes in the domain in which edits work.
"""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.inversion import encoding
from diffcam_jax.inversion.adam import StepSettings, Unknown
from diffcam_jax.inversion.fit import mask_at
from diffcam_jax.inversion.judges import LpipsVgg
from diffcam_jax.inversion.optimise import cosine
from diffcam_jax.inversion.settings import PriorSettings
from diffcam_jax.losses import picture as losses
from diffcam_jax.nn.latents import LatentStats, whiten
from diffcam_jax.nn.network import Network

# The face in an FFHQ crop: top left corner of a square of half the side, relative to the side.
FACE_TOP, FACE_LEFT = 0.375, 0.25
_LPIPS = LpipsVgg()


class View(NamedTuple):
    """Photographs at one of the two views.

    Attributes:
        image: [b, v, v, 3].
        features: their LPIPS features.
        mask: where they count [b, v, v, 1]; None for everywhere.
    """

    image: Float[Array, "b v v 3"]
    features: tuple[Array, ...]
    mask: Float[Array, "b v v 1"] | None = None


class Target(NamedTuple):
    """Both views of a batch of photographs."""

    whole: View
    face: View


class Weights(NamedTuple):
    """The weights of the loss, traced; see `PriorSettings`."""

    pixel: float | Float[Array, ""]
    face: float | Float[Array, ""]
    prior: float | Float[Array, ""]


class Frozen(NamedTuple):
    """Networks and statistics that stay fixed.

    Attributes:
        generator: with a method `synthesis(codes, size)`.
        lpips: variables of LPIPS on VGG16, see `judges`.
        stats: moments of w.
    """

    generator: Network
    lpips: dict[str, Any]
    stats: LatentStats


def views(
    image: Float[Array, "b s s c"],
) -> tuple[Float[Array, "b w w c"], Float[Array, "b f f c"]]:
    """The whole picture at a quarter of its side, and the face at full detail, half the side wide.

    The face gets the detail because edits happen there: its surroundings finally come from the
    photograph.
    """
    b, side, _, channels = image.shape
    whole = image.reshape(b, side // 4, 4, side // 4, 4, channels).mean((2, 4))
    top, left = round(FACE_TOP * side), round(FACE_LEFT * side)
    return whole, image[:, top : top + side // 2, left : left + side // 2]


def _fit(
    nets: Frozen, weights: Weights, image: Float[Array, "b v v 3"], target: View
) -> Float[Array, " b"]:
    image = image if target.mask is None else image * target.mask
    distance = _LPIPS.distance(nets.lpips, _LPIPS.see(nets.lpips, image), target.features)
    return distance + weights.pixel * losses.mse(image, target.image)


@dataclasses.dataclass(frozen=True)
class PriorProblem:
    """The minimisation problem of this method; unknown are w [b, k] and the offsets [b, n, k].

    Attributes:
        size: side at which pictures are drawn.
    """

    size: int
    b2 = 0.999

    def target(
        self,
        frozen: Frozen,
        images: Float[Array, "b s s 3"],
        mask: Float[Array, "b s s"] | None = None,
    ) -> Target:
        """The photographs' views with their features, computed once."""
        pictures = views(encoding.fit(images, self.size))
        masks = (None, None) if mask is None else views(mask_at(mask, self.size))
        pictures = [x if m is None else x * m for x, m in zip(pictures, masks, strict=True)]
        return Target(
            *(View(x, _LPIPS.see(frozen.lpips, x), m) for x, m in zip(pictures, masks, strict=True))
        )

    def loss(
        self, frozen: Frozen, target: Target, weights: Weights, unknown: Unknown
    ) -> Float[Array, " b"]:
        """Fit of both views plus the prior, one value per picture.

        fit = LPIPS + pixel * MSE; loss = fit(whole) + face * fit(face) + prior * (mean white(w -
        mean)^2 + 2 mean white(offsets)^2).
        """
        w, offsets = unknown
        image = frozen.generator(self.codes(unknown), size=self.size, method="synthesis")
        whole, face = views(image)
        fit = _fit(frozen, weights, whole, target.whole) + weights.face * _fit(
            frozen, weights, face, target.face
        )
        prior = (whiten(w - frozen.stats.mean, frozen.stats) ** 2).mean(-1)
        prior = prior + 2 * (whiten(offsets, frozen.stats) ** 2).mean((1, 2))
        return fit + weights.prior * prior

    def unknown(self, codes: Float[Array, "b n k"], space: str) -> Unknown:
        """The start of a search: w is the mean of the codes' rows, the offsets are the rest.

        In the space "w" the offsets are 0.
        """
        w = codes.mean(1)
        offsets = codes - w[:, None]
        return w, offsets if space == "w+" else jnp.zeros_like(offsets)

    def codes(self, unknown: Unknown) -> Float[Array, "b n k"]:
        """W+ codes: the shared w plus each row's offset."""
        w, offsets = unknown
        return w[:, None] + offsets

    def weights(self, config: PriorSettings) -> Weights:
        """The settings that are part of the loss."""
        return Weights(config.pixel, config.face, config.prior)

    def step_settings(self, config: PriorSettings, space: str, index: int) -> StepSettings:
        """The settings of a step; no picture settles before the offsets have had time to move."""
        w_rate, offset_rate = rates(config, index)
        chance = index + 1 >= (config.w_steps if space == "w+" else 0) + config.patience
        return StepSettings(
            (w_rate, offset_rate if space == "w+" else 0.0),
            config.patience,
            config.tolerance,
            chance,
        )


def rates(config: PriorSettings, index: int) -> tuple[float, float]:
    """Learning rates of w and of the offsets at a step: a cosine from the peak to 0.

    Those of the offsets begin after `w_steps`.
    """
    steps, begin = config.steps, config.w_steps
    return config.w_rate * cosine(index, steps), config.offset_rate * cosine(index, steps, begin)
