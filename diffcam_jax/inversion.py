"""Inversion by optimisation: the W+ codes whose picture is an aligned photograph, kept where edits still work.

Pictures [b, s, s, 3] RGB in [-1, 1]; codes W+ [b, 18, 512]. A code is w [b, 512] shared by all rows plus one small
offset a row. The loss is LPIPS and squared error plus the whitened distance of w from the mean and of the
offsets from 0: codes that fit without that prior fall apart when edited. First w moves alone, then both.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from tqdm import tqdm

from diffcam_jax import losses
from diffcam_jax.latents import WPLUS_ROWS, LatentStats, whiten
from diffcam_jax.nn.vgg import VGG16, VGG16_LPIPS_TAPS
from diffcam_jax.ops.image import resize

# Where the face lies in an FFHQ crop: top left corner of a square of half the side, as a share of the side.
FACE_TOP, FACE_LEFT = 0.375, 0.25


@dataclasses.dataclass(frozen=True)
class InversionConfig:
    """Settings of an inversion.

    Attributes:
        steps: of the optimiser, at most.
        w_steps: how many of them move w alone.
        w_rate, offset_rate: peak learning rates of Adam.
        prior: weight of the mean squared whitened distance of w; that of the offsets counts twice as much.
        pixel: weight of the squared error against LPIPS.
        face: weight of the close-up of the face against the whole picture.
        patience: stop when the loss of no picture fell by `tolerance` (relative) within so many steps.
        size: side at which pictures are drawn; the close-up is half as wide, the whole picture is compared at a quarter.
    """

    steps: int = 100
    w_steps: int = 40
    w_rate: float = 0.05
    offset_rate: float = 0.02
    prior: float = 5e-4
    pixel: float = 0.5
    face: float = 1.0
    patience: int = 30
    tolerance: float = 0.003
    size: int = 512

    def with_steps(self, steps: int) -> "InversionConfig":
        """The same with other steps in all, shared out between w and the offsets as before."""
        return dataclasses.replace(self, steps=steps, w_steps=round(self.w_steps * steps / self.steps))


class View(NamedTuple):
    """Photographs [b, v, v, 3] and their LPIPS features."""

    image: Float[Array, "b v v 3"]
    features: tuple[Array, ...]


class Target(NamedTuple):
    """A batch of photographs as the loss sees them."""

    whole: View
    face: View


class Scales(NamedTuple):
    """The numbers of one step, traced so that no change of settings compiles anew; see `InversionConfig`."""

    pixel: float | Float[Array, ""]
    face: float | Float[Array, ""]
    prior: float | Float[Array, ""]
    w_rate: float | Float[Array, ""]
    offset_rate: float | Float[Array, ""]


class Networks(NamedTuple):
    """What stays fixed: the generator's variables, VGG16's trunk and the LPIPS heads, and the moments of w."""

    generator: dict[str, Any]
    trunk: dict[str, Any]
    heads: tuple[Array, ...]
    stats: LatentStats


@flax.struct.dataclass
class State:
    """What a step carries on.

    Attributes:
        w: [b, 512]; offsets: [b, 18, 512].
        w_adam, offset_adam: moments of Adam for each.
        best_w, best_offsets: the unknowns at the lowest loss so far; best_loss: that loss [b].
    """

    w: Float[Array, "b k"]
    offsets: Float[Array, "b rows k"]
    w_adam: optax.OptState
    offset_adam: optax.OptState
    best_w: Float[Array, "b k"]
    best_offsets: Float[Array, "b rows k"]
    best_loss: Float[Array, " b"]


class Inversion(NamedTuple):
    """The result.

    Attributes:
        codes: [b, 18, 512] W+ codes of the lowest loss seen.
        loss: [b] that loss; NaN for a picture whose loss was never finite.
        history: [steps, b] the loss before every step that was made.
    """

    codes: Float[Array, "b rows k"]
    loss: Float[Array, " b"]
    history: Float[np.ndarray, "steps b"]


def networks(generator: dict[str, Any], lpips: dict[str, Any], stats: LatentStats) -> Networks:
    """Collects the fixed parameters; `lpips` is the tree of `weights.load_pretrained("lpips")`."""
    vgg = lpips["vgg16"]
    return Networks(generator, vgg["trunk"], tuple(vgg["heads"][name] for name in sorted(vgg["heads"])), stats)


def views(image: Float[Array, "b s s 3"]) -> tuple[Float[Array, "b w w 3"], Float[Array, "b f f 3"]]:
    """The whole picture at a quarter of its side, and the face at full detail, half the side wide.

    The face gets the detail because edits happen there: what surrounds it comes from the photograph in the end.
    """
    b, side = image.shape[:2]
    whole = image.reshape(b, side // 4, 4, side // 4, 4, 3).mean((2, 4))
    top, left = round(FACE_TOP * side), round(FACE_LEFT * side)
    return whole, image[:, top : top + side // 2, left : left + side // 2]


def _features(nets: Networks, image: Float[Array, "b v v 3"]) -> tuple[Array, ...]:
    vgg = VGG16(taps=VGG16_LPIPS_TAPS[: len(nets.heads)])
    return losses.lpips_features(image, lambda x: list(vgg.apply({"params": nets.trunk}, x).values()))


@functools.partial(jax.jit, static_argnames="size")
def make_target(nets: Networks, image: Float[Array, "b s s 3"], size: int) -> Target:
    """The photographs' views with their features, computed once; `size` is the side that codes are drawn at."""
    return Target(*(View(view, _features(nets, view)) for view in views(resize(image, (size, size), "area"))))


def _fit(nets: Networks, scales: Scales, image: Float[Array, "b v v 3"], target: View) -> Float[Array, " b"]:
    distance = losses.lpips_distance(_features(nets, image), target.features, nets.heads)
    return distance + scales.pixel * losses.mse(image, target.image)


def codes_of(w: Float[Array, "b k"], offsets: Float[Array, "b rows k"]) -> Float[Array, "b rows k"]:
    """W+ codes: the shared w plus each row's offset."""
    return w[:, None] + offsets


def loss(
    generator: nn.Module,
    nets: Networks,
    target: Target,
    scales: Scales,
    w: Float[Array, "b k"],
    offsets: Float[Array, "b rows k"],
) -> Float[Array, " b"]:
    """Fit of both views plus the prior, one value per picture.

    fit = LPIPS + pixel * MSE; loss = fit(whole) + face * fit(face)
    + prior * (mean white(w - mean)^2 + 2 mean white(offsets)^2).
    """
    size = 4 * target.whole.image.shape[1]
    image = generator.apply(nets.generator, codes_of(w, offsets), size=size, method="synthesis")
    whole, face = views(image)
    fit = _fit(nets, scales, whole, target.whole) + scales.face * _fit(nets, scales, face, target.face)
    prior = (whiten(w - nets.stats.mean, nets.stats) ** 2).mean(-1)
    prior = prior + 2 * (whiten(offsets, nets.stats) ** 2).mean((1, 2))
    return fit + scales.prior * prior


_ADAM = optax.scale_by_adam()


def init(start: Float[Array, "b rows k"]) -> State:
    """The state before the first step: w is the mean of the start codes' rows, the offsets are the rest."""
    w = start.mean(1)
    offsets = start - w[:, None]
    never = jnp.full(start.shape[0], jnp.inf)
    # The step donates the state, so no two of its arrays may share a buffer.
    return State(w, offsets, _ADAM.init(w), _ADAM.init(offsets), jnp.copy(w), jnp.copy(offsets), never)


def step(
    generator: nn.Module, state: State, nets: Networks, target: Target, scales: Scales
) -> tuple[State, Float[Array, " b"]]:
    """One step of Adam on every picture on its own.

    A picture whose loss or gradient is not finite stands still in this step.

    Args:
        generator: static.
        state, nets, target, scales: see their classes. Offsets and their moments rest while their rate is 0.

    Returns:
        The next state, and the loss [b] before the step.
    """

    def total(w: Array, offsets: Array) -> tuple[Array, Array]:
        values = loss(generator, nets, target, scales, w, offsets)
        return values.sum(), values

    (_, values), (w_grad, offset_grad) = jax.value_and_grad(total, (0, 1), has_aux=True)(state.w, state.offsets)
    sane = jnp.isfinite(values) & jnp.isfinite(w_grad).all(1) & jnp.isfinite(offset_grad).all((1, 2))
    better = sane & (values < state.best_loss)

    w_step, w_adam = _ADAM.update(jnp.where(sane[:, None], w_grad, 0), state.w_adam)
    offset_step, offset_adam = _ADAM.update(jnp.where(sane[:, None, None], offset_grad, 0), state.offset_adam)
    moving = scales.offset_rate > 0
    return State(
        w=state.w - jnp.where(sane[:, None], scales.w_rate * w_step, 0),
        offsets=state.offsets - jnp.where(sane[:, None, None], scales.offset_rate * offset_step, 0),
        w_adam=w_adam,
        offset_adam=jax.tree.map(lambda new, old: jnp.where(moving, new, old), offset_adam, state.offset_adam),
        best_w=jnp.where(better[:, None], state.w, state.best_w),
        best_offsets=jnp.where(better[:, None, None], state.offsets, state.best_offsets),
        best_loss=jnp.where(better, values, state.best_loss),
    ), values


_jitted_step = jax.jit(step, static_argnums=0, donate_argnums=1)


def rates(config: InversionConfig, index: int) -> tuple[float, float]:
    """Learning rates of w and of the offsets at a step: a cosine from the peak to 0, the offsets' after `w_steps`."""

    def cosine(begin: int) -> float:
        progress = (index - begin) / max(config.steps - begin, 1)
        return 0.5 * (1 + float(np.cos(np.pi * progress))) if index >= begin else 0.0

    return config.w_rate * cosine(0), config.offset_rate * cosine(config.w_steps)


def invert(
    generator: nn.Module,
    nets: Networks,
    images: Float[Array, "b s s 3"],
    config: InversionConfig = InversionConfig(),
    start: Float[Array, "b rows k"] | None = None,
    progress: bool = False,
) -> Inversion:
    """Find the codes of aligned photographs.

    Args:
        generator: with a method `synthesis(codes, size)`.
        nets: see `networks`.
        images: aligned photographs, RGB in [-1, 1], side `config.size` or more.
        config: settings.
        start: codes to begin from, an encoder's guess for instance; the mean w when None.
        progress: show a bar with the time left.

    Returns:
        Codes, their loss and the history. The same input gives the same codes; a picture's codes do not depend on the
        rest of the batch beyond rounding.

    Reference:
        Abdal et al., Image2StyleGAN (1904.03189), for optimisation into W+; Zhu et al., In-Domain GAN Inversion
        (2004.00049), for keeping codes in the domain in which edits work.
    """
    target = make_target(nets, images, config.size)
    if start is None:
        start = jnp.broadcast_to(nets.stats.mean, (images.shape[0], WPLUS_ROWS, nets.stats.mean.shape[0]))
    state = init(start)
    history: list[np.ndarray] = []
    bar = tqdm(range(config.steps), desc="inversion", unit="step", disable=not progress, leave=False)
    for index in bar:
        scales = Scales(config.pixel, config.face, config.prior, *rates(config, index))
        state, values = _jitted_step(generator, state, nets, target, scales)
        history.append(np.asarray(values))
        bar.set_postfix(loss=f"{np.mean(history[-1]):.3f}")
        if _settled(np.stack(history), config):
            break
    lost = jnp.isinf(state.best_loss)
    return Inversion(
        codes=codes_of(state.best_w, state.best_offsets),
        loss=jnp.where(lost, jnp.nan, state.best_loss),
        history=np.stack(history),
    )


def _settled(history: Float[np.ndarray, "steps b"], config: InversionConfig) -> bool:
    """Whether no picture's loss has fallen for a while; never before the offsets had their chance."""
    if len(history) < config.w_steps + config.patience:
        return False
    before = np.fmin.reduce(history[: -config.patience])
    recent = np.fmin.reduce(history[-config.patience :])
    return bool(np.all(~(recent < before * (1 - config.tolerance))))
