"""Pivotal tuning: the generator itself is fitted to a photograph around a code, within a window.

Pictures [b, s, s, 3] RGB in [-1, 1]; codes W+ [b, n, k], the pivots, which do not move. What moves
are the kernels and biases of the layers from 16 pixels on (`is_tuned`): the person, the hat and the
light come from them, and the code keeps the meaning that directions act on. Every photograph gets
numbers of its own, the difference from the generator's, in half precision.

Source: Roich et al., Pivotal Tuning for Latent-based Editing of Real Images (2106.05744). Theirs
tunes every number of StyleGAN2's synthesis at the rate 3e-4 around a code in W that is optimised
first, on whole pictures, for up to 350 steps, and stops at LPIPS 0.06. Ours leaves modulations,
noise and the layers below 16 pixels alone, begins at an encoder's code in W+, moves each tensor by
a share of its own deviation, looks at a window, and makes few steps: more fit better and edit less.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Int

from diffcam_jax.errors import UserError
from diffcam_jax.inversion.judges import Judge, LpipsAlex, Seen
from diffcam_jax.inversion.optimise import CHANCES, Pace, Unknown, cosine, minimise
from diffcam_jax.inversion.settings import TuningSettings
from diffcam_jax.losses import picture as losses
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import resize
from diffcam_jax.ops.window import Window, cut
from diffcam_jax.pretrained import networks as pretrained

Path = tuple[str, ...]
Deltas = dict[Path, Float[np.ndarray, "..."]]

# A layer's name, and the number that its first layer of 16 pixels has.
_LAYERS = (("block", 1), ("convs", 2), ("to_rgbs", 1))
# The smallest deviation that a tensor's rate counts in: biases may be all the same.
LEAST_DEVIATION = 1e-2
_UNKNOWN = "pivotal tuning knows StyleGAN2 and MobileStyleGAN; choose another method"


class Frozen(NamedTuple):
    """What stays fixed: the generator before it is tuned, and the variables of the judges."""

    generator: Network
    judges: tuple[dict[str, Any], ...]


class Target(NamedTuple):
    """A batch of photographs as the loss sees them.

    Attributes:
        codes: the pivots.
        top, left: places of the windows, in cells.
        full, half: the windows at full and at half size; seen: what the judges see in the latter.
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


class Tuned(NamedTuple):
    """The result.

    Attributes:
        deltas: path of a tensor -> its change [b, ...] in half precision; all zero for a photograph
            whose loss was never finite.
        begun, loss: [b] the loss at the pivot and the lowest; NaN where none was finite.
        steps: how many were made.
        seconds: in all but compiling; compile_seconds: until the first step was under way.
        history: [steps, b] the loss before every step; a picture at rest repeats its last.
        notes: what a person should know, a sentence each.
    """

    deltas: Deltas
    begun: Float[np.ndarray, " b"]
    loss: Float[np.ndarray, " b"]
    steps: int
    seconds: float
    notes: tuple[str, ...]
    history: Float[np.ndarray, "steps b"]
    compile_seconds: float


def is_tuned(path: Path) -> bool:
    """Whether a parameter moves: kernels and biases of convolutions from 16 pixels on, and the
    output's.

    Mapping, constant, modulations, depthwise kernels and noise rest. Tuning the latter two fits
    faster and burns the closed mouth in: a smile then loses its teeth.
    """
    if path[-1] not in ("kernel", "pointwise", "bias") or {"modulation", "up"} & set(path):
        return False
    name, _, number = path[0].rpartition("_")
    return path[0] == "to_image" or any(
        name == layer and number.isdecimal() and int(number) >= first for layer, first in _LAYERS
    )


def tuned_paths(variables: Mapping[str, Any]) -> tuple[Path, ...]:
    """The parameters of a generator that move, sorted.

    Raises:
        UserError: it has none, for instance as its pictures have fewer than 16 pixels a side.
    """
    paths = tuple(sorted(path for path in flatten_dict(variables["params"]) if is_tuned(path)))
    if not paths:
        raise UserError(_UNKNOWN)
    return paths


def check_generator(generator: Network) -> None:
    """Whether a generator can be tuned: it draws windows, and has parameters that move.

    Raises:
        UserError: it is of another kind; see also `tuned_paths`.
    """
    # StyleGAN v1 has an output of the same name, but draws no windows.
    if not hasattr(generator.module, "cells"):
        raise UserError(_UNKNOWN)
    tuned_paths(generator.variables)


def tuned_generator(generator: Network, deltas: Mapping[Path, Array | np.ndarray]) -> Network:
    """A generator with one photograph's changes added.

    Args:
        generator: before it is tuned.
        deltas: path -> change of that tensor, any float type; may be empty.
    """
    flat = dict(flatten_dict(generator.variables["params"]))
    for path, delta in deltas.items():
        flat[path] = flat[path] + jnp.asarray(delta, flat[path].dtype)
    return generator.replace(variables={**generator.variables, "params": unflatten_dict(flat)})


@dataclasses.dataclass(frozen=True)
class Tuning:
    """The problem; the unknowns are the changes of the tensors at `paths`, one set a photograph.

    Attributes:
        height, width: of the windows, in cells.
        paths: of the tensors.
        judges: what compares windows besides their pixels.
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
        seen = tuple(j.see(v, half) for j, v in zip(self.judges, frozen.judges, strict=True))
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
        """LPIPS + squared error at half size + squared error at full size, one value per picture."""
        full = self.draw(frozen, target, unknown)
        half = _halved(full)
        total = weights.half * losses.mse(half, target.half)
        total = total + weights.full * losses.mse(full, target.full)
        parts = zip(self.judges, frozen.judges, target.seen, weights.judges, strict=True)
        for judge, variables, theirs, weight in parts:
            total = total + weight * judge.distance(variables, judge.see(variables, half), theirs)
        return total


def _halved(pictures: Float[Array, "b h w 3"]) -> Float[Array, "b h2 w2 3"]:
    return resize(pictures, (pictures.shape[1] // 2, pictures.shape[2] // 2), "area")


_target = jax.jit(Tuning.target, static_argnums=0)


def pace(settings: TuningSettings, deviations: tuple[float, ...], index: int) -> Pace:
    """The numbers of a step, counted from 0."""
    rise = min(1.0, (index + 1) / max(settings.warmup, 1))
    rate = settings.rate * rise * cosine(index, settings.steps)
    may_settle = index + 1 > settings.patience
    return Pace(
        tuple(rate * d for d in deviations), settings.patience, settings.tolerance, may_settle
    )


@functools.cache
def _lpips() -> dict[str, Any]:
    return jax.device_put(pretrained.load("lpips").network("lpips_alex").variables)


def tune(
    generator: Network,
    codes: Float[Array | np.ndarray, "b n k"],
    images: Float[Array | np.ndarray, "b s s 3"],
    window: Window,
    settings: TuningSettings = TuningSettings(),
    start: Deltas | None = None,
    seconds: float | None = None,
    progress: bool = False,
) -> Tuned:
    """Fits the generator to photographs around their codes.

    Args:
        generator: MobileStyleGAN or StyleGAN2.
        codes: the pivots; images: aligned photographs of the generator's size, RGB in [-1, 1].
        window: what is fitted, in cells; its place may differ between pictures ([b] arrays).
        settings: steps, rates and weights.
        start: changes to begin from, of an earlier tuning; None for none.
        seconds: time to stop after, compiling not counted; the best so far is the result.
        progress: show a bar with the time left.

    Returns:
        The changes. The same input gives the same changes; a photograph whose loss is no number
        time and again keeps its best, or the pivot's generator.

    Raises:
        UserError: a generator of another kind, impossible settings, or LPIPS cannot be had.

    Reference:
        Roich et al. (2106.05744); see above for what differs.
    """
    check_settings(settings)
    check_generator(generator)
    paths = tuned_paths(generator.variables)
    flat = flatten_dict(generator.variables["params"])
    deviations = tuple(max(float(np.std(flat[path])), LEAST_DEVIATION) for path in paths)
    judges = (LpipsAlex(),) if settings.lpips else ()
    frozen = Frozen(generator, (_lpips(),) if settings.lpips else ())
    problem = Tuning(window.height, window.width, paths, judges)
    count = len(codes)
    top, left = (
        jnp.broadcast_to(jnp.asarray(x, jnp.int32), count) for x in (window.top, window.left)
    )
    target = _target(problem, frozen, jnp.asarray(codes), jnp.asarray(images), top, left)
    zeros = {path: np.zeros((count, *flat[path].shape), np.float16) for path in paths}
    first = tuple(jnp.asarray({**zeros, **(start or {})}[path], jnp.float32) for path in paths)
    found = minimise(
        problem,
        frozen,
        target,
        Weights((settings.lpips,) * len(judges), settings.half, settings.full),
        first,
        settings.steps,
        functools.partial(pace, settings, deviations),
        seconds,
        progress,
        "tuning",
    )
    begun = found.history[0]
    return Tuned(
        deltas={path: np.asarray(x, np.float16) for path, x in zip(paths, found.best, strict=True)},
        begun=begun,
        loss=np.where(np.isfinite(found.loss), found.loss, np.nan).astype(np.float32),
        steps=len(found.history),
        seconds=found.seconds,
        notes=_notes(found.failures, found.late, len(found.history), settings.steps),
        history=found.history,
        compile_seconds=found.compile_seconds,
    )


def _notes(failures: np.ndarray, late: bool, made: int, steps: int) -> tuple[str, ...]:
    notes = [
        f"picture {number}: the loss of the tuning was no number {times} times; "
        + ("its best generator is kept" if times >= CHANCES else "went on at a lower rate")
        for number, times in enumerate(failures.tolist(), start=1)
        if times
    ]
    if late:
        notes.append(f"the tuning stopped for want of time, at step {made} of {steps}")
    return tuple(notes)


def check_settings(settings: TuningSettings) -> None:
    """Whether settings are possible.

    Raises:
        UserError: names the setting.
    """
    for name, value in dataclasses.asdict(settings).items():
        if not (math.isfinite(value) and value >= 0):
            raise UserError(f"{name}={value}: settings of a tuning are finite and not negative")
    if settings.steps < 1:
        raise UserError("steps=0: take at least one step, or leave the tuning out")
