"""The loss of in-domain inversion, Image2StyleGAN and plain squared error, with its unknown codes.

Pictures are [b, v, v, 3] RGB in [-1, 1]; codes are W+ [b, n, k] or, in W, [b, k].

    loss = pixel * mean (x - G(z))^2
         + perceptual * mean (F(x) - F(G(z)))^2
         + domain * mean (z - E(G(z)))^2

plus the other judges' distances of x and G(z), each with its weight. With a mask x and G(z) are
multiplied by it before they are compared, as in semantic diffusion; the term of the encoder, which
reads whole pictures, is then omitted. Sources: Zhu et al., In-Domain GAN Inversion (2004.00049),
eq. 4; Abdal et al., Image2StyleGAN (1904.03189), eq. 1.
"""

import dataclasses
from typing import Any, NamedTuple

from jaxtyping import Array, Float

from diffcam_jax.inversion import encoding
from diffcam_jax.inversion.adam import StepSettings, Unknown
from diffcam_jax.inversion.judges import Judge, Seen
from diffcam_jax.inversion.optimise import cosine
from diffcam_jax.inversion.settings import SearchSettings
from diffcam_jax.losses import picture as losses
from diffcam_jax.nn.latents import to_wplus
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import resize


class Frozen(NamedTuple):
    """Networks that stay fixed.

    Attributes:
        generator: with a method `synthesis(codes, size)`.
        judges: the variables of each judge's network.
        encoder: the one that must agree, or whose codes are the start; None without one.
    """

    generator: Network
    judges: tuple[dict[str, Any], ...] = ()
    encoder: encoding.Encoder | None = None


class Target(NamedTuple):
    """A batch of photographs, multiplied by the mask if there is one, with their features.

    Attributes:
        image: [b, v, v, 3].
        seen: the features of every judge.
        mask: [b, v, v, 1], or None.
    """

    image: Float[Array, "b v v 3"]
    seen: tuple[Seen, ...]
    mask: Float[Array, "b v v 1"] | None


class Weights(NamedTuple):
    """The weights of the loss, traced; see `SearchSettings`."""

    pixel: float | Float[Array, ""]
    judges: tuple[float | Float[Array, ""], ...]
    domain: float | Float[Array, ""]


def mask_at(mask: Float[Array, "b s s"], size: int) -> Float[Array, "b v v 1"]:
    """A mask at the size of a comparison, ready to be multiplied with pictures."""
    return resize(mask, (size, size), "area" if mask.shape[1] > size else "bilinear")[..., None]


@dataclasses.dataclass(frozen=True)
class FitProblem:
    """The minimisation problem of these methods.

    The unknown is the code, or (w, offsets) where these have separate rates.

    Attributes:
        size: side at which pictures are drawn and compared.
        rows: of the W+ codes.
        judges: comparisons of pictures besides their pixels.
        agrees: whether the encoder must agree.
        apart: whether the mean of the rows and their deviations from it are two unknowns.
    """

    size: int
    rows: int
    judges: tuple[Judge, ...] = ()
    agrees: bool = False
    apart: bool = False
    b2 = 0.999

    def target(
        self,
        frozen: Frozen,
        images: Float[Array, "b s s 3"],
        mask: Float[Array, "b s s"] | None = None,
    ) -> Target:
        """The photographs at the size of the comparison with their features, computed once."""
        images = encoding.fit(images, self.size)
        if mask is not None:
            mask = mask_at(mask, self.size)
            images = images * mask
        seen = tuple(
            judge.see(given, images)
            for judge, given in zip(self.judges, frozen.judges, strict=True)
        )
        return Target(images, seen, mask)

    def draw(self, frozen: Frozen, codes: Float[Array, "b n k"]) -> Float[Array, "b v v 3"]:
        """The codes' pictures at the size of the comparison."""
        return frozen.generator(codes, size=self.size, method="synthesis")

    def loss(
        self, frozen: Frozen, target: Target, weights: Weights, unknown: Unknown
    ) -> Float[Array, " b"]:
        """One value per picture; see the module's docstring."""
        codes = self.codes(unknown)
        image = self.draw(frozen, codes)
        seen = image if target.mask is None else image * target.mask
        total = weights.pixel * losses.mse(seen, target.image)
        parts = zip(self.judges, frozen.judges, target.seen, weights.judges, strict=True)
        for judge, variables, theirs, weight in parts:
            total = total + weight * judge.distance(variables, judge.see(variables, seen), theirs)
        if self.agrees:
            read = self.read(frozen, image)
            total = total + weights.domain * ((codes - read) ** 2).mean((1, 2))
        return total

    def read(self, frozen: Frozen, images: Float[Array, "b v v 3"]) -> Float[Array, "b n k"]:
        """The encoder's codes of pictures, for ReStyle after all of its passes."""
        return encoding.read(frozen.generator, frozen.encoder, images)

    def unknown(self, codes: Float[Array, "b n k"], space: str) -> Unknown:
        """The start of a search; in W it is the mean of the rows."""
        mean = codes.mean(1)
        if space == "w":
            return (mean,)
        return (mean, codes - mean[:, None]) if self.apart else (codes,)

    def codes(self, unknown: Unknown) -> Float[Array, "b n k"]:
        """W+ codes of the unknown."""
        first, *offsets = unknown
        if offsets:
            return first[:, None] + offsets[0]
        return first if first.ndim == 3 else to_wplus(first, self.rows)

    def weights(self, settings: SearchSettings) -> Weights:
        """The settings that are part of the loss."""
        judges = tuple(getattr(settings, judge.weight) for judge in self.judges)
        return Weights(settings.pixel, judges, settings.domain)

    def step_settings(self, settings: SearchSettings, space: str, index: int) -> StepSettings:
        """The settings of a step."""
        rate = settings.rate * (cosine(index, settings.steps) if settings.cosine else 1.0)
        rates = (rate, rate * settings.offsets) if self.apart and space == "w+" else (rate,)
        return StepSettings(
            rates, settings.patience, settings.tolerance, index + 1 > settings.patience
        )
