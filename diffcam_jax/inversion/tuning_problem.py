"""The loss of pivotal tuning: how far tuned generators are from photographs, within a window."""

import dataclasses
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, Int

from diffcam_jax.inversion.adam import Unknown
from diffcam_jax.inversion.judges import Judge, Seen
from diffcam_jax.inversion.tuned_parts import Path, tuned_generator
from diffcam_jax.losses import picture as losses
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import resize
from diffcam_jax.ops.window import Window, cut

_LEAST = 64  # pixels that judges see at least


class Frozen(NamedTuple):
    """What stays fixed: the generator before it is tuned, and the variables of the judges."""

    generator: Network
    judges: tuple[dict[str, Any], ...]


class Target(NamedTuple):
    """A batch of photographs with their features.

    Attributes:
        codes: the pivots.
        top: first rows of the windows, in cells.
        left: first columns of the windows, in cells.
        full: the windows at full size.
        half: the windows at half size.
        seen: the judges' features of the latter.
    """

    codes: Float[Array, "b n k"]
    top: Int[Array, " b"]
    left: Int[Array, " b"]
    full: Float[Array, "b h w 3"]
    half: Float[Array, "b h2 w2 3"]
    seen: tuple[Seen, ...]


class Weights(NamedTuple):
    """The weights of the loss; see `TuningSettings`."""

    judges: tuple[float | Float[Array, ""], ...]
    half: float | Float[Array, ""]
    full: float | Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class TuningProblem:
    """The minimisation problem; unknown are the changes of the tensors at `paths`, per photograph.

    Attributes:
        height: of the windows, in cells.
        width: of the windows, in cells.
        paths: of the tensors.
        judges: comparisons of windows besides their pixels.
    """

    height: int
    width: int
    paths: tuple[Path, ...]
    judges: tuple[Judge, ...]
    b2 = 0.99

    def target(
        self,
        frozen: Frozen,
        codes: Float[Array, "b n k"],
        images: Float[Array, "b s s 3"],
        top: Int[Array, " b"],
        left: Int[Array, " b"],
    ) -> Target:
        """The photographs' windows with their features, computed once."""
        factor = images.shape[1] // frozen.generator.module.cells

        def window(image: Array, y: Array, x: Array) -> Array:
            return cut(image[None], Window(y, x, self.height, self.width), factor)[0]

        full = jax.vmap(window)(images, top, left)
        half = _halved(full)
        shown = _shown(half)
        seen = tuple(j.see(v, shown) for j, v in zip(self.judges, frozen.judges, strict=True))
        return Target(codes, top, left, full, half, seen)

    def draw(self, frozen: Frozen, target: Target, unknown: Unknown) -> Float[Array, "b h w 3"]:
        """The windows as the tuned generators draw them."""

        def one(code: Array, top: Array, left: Array, deltas: Unknown) -> Array:
            generator = tuned_generator(
                frozen.generator, dict(zip(self.paths, deltas, strict=True))
            )
            window = Window(top, left, self.height, self.width)
            return generator(code[None], method="synthesis", window=window)[0]

        arguments = target.codes, target.top, target.left, unknown
        if len(target.codes) == 1:  # kernels with a batch axis are slower on a CPU
            return one(*jax.tree.map(lambda x: x[0], arguments))[None]
        return jax.vmap(one)(*arguments)

    def loss(
        self, frozen: Frozen, target: Target, weights: Weights, unknown: Unknown
    ) -> Float[Array, " b"]:
        """LPIPS + squared errors at half and at full size, one value per picture."""
        full = self.draw(frozen, target, unknown)
        half = _halved(full)
        shown = _shown(half)
        total = weights.half * losses.mse(half, target.half)
        total = total + weights.full * losses.mse(full, target.full)
        parts = zip(self.judges, frozen.judges, target.seen, weights.judges, strict=True)
        for judge, variables, theirs, weight in parts:
            total = total + weight * judge.distance(variables, judge.see(variables, shown), theirs)
        return total


def _halved(pictures: Float[Array, "b h w 3"]) -> Float[Array, "b h2 w2 3"]:
    return resize(pictures, (pictures.shape[1] // 2, pictures.shape[2] // 2), "area")


def _shown(half: Float[Array, "b h w 3"]) -> Float[Array, "b h2 w2 3"]:
    """As judges see windows: large enough for the networks that they are."""
    times = -(-_LEAST // min(half.shape[1:3]))
    return resize(half, (times * half.shape[1], times * half.shape[2]), "bilinear")
