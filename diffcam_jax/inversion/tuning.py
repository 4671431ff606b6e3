"""Pivotal tuning: the generator itself is fitted to a photograph around a code, within a window.

Pictures are [b, s, s, 3] RGB in [-1, 1]; codes are W+ [b, n, k], the pivots, which do not change.
The parameters that change are the kernels and biases of the layers from 16 pixels up (`is_tuned`):
they determine the person, the hat and the light, and the code keeps the meaning on which directions
act. Every photograph has its own changes of the generator, in half precision.

Source: Roich et al., Pivotal Tuning for Latent-based Editing of Real Images (2106.05744). They tune
all parameters of StyleGAN2's synthesis at the rate 3e-4 around a code in W that is optimised first,
on whole pictures, for up to 350 steps, and stop at LPIPS 0.06. Here modulations, noise and the
layers below 16 pixels are fixed, the pivot is an encoder's code in W+, the rate of each tensor is
relative to its own standard deviation, the loss covers a window, and there are few steps: more
steps fit better and edit less.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Int

from diffcam_jax.command.kept_jit import kept_jit
from diffcam_jax.command.progress import Progress
from diffcam_jax.errors import UserError
from diffcam_jax.inversion.adam import CHANCES, StepSettings, Unknown
from diffcam_jax.inversion.checks import check_tuning_settings
from diffcam_jax.inversion.judges import Judge, LpipsAlex, Seen
from diffcam_jax.inversion.optimise import cosine, minimise
from diffcam_jax.inversion.settings import TuningSettings
from diffcam_jax.losses import picture as losses
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import resize
from diffcam_jax.ops.window import Window, cut
from diffcam_jax.pretrained import networks as pretrained

Path = tuple[str, ...]
Deltas = dict[Path, Float[np.ndarray, "..."]]

# A layer's name, and the number of its first layer of 16 pixels.
_LEAST = 64  # pixels
_LAYERS = (("block", 1), ("convs", 2), ("to_rgbs", 1))
# The smallest standard deviation to which a tensor's rate refers: biases may all be equal.
LEAST_DEVIATION = 1e-2
_UNKNOWN = "pivotal tuning supports StyleGAN2 and MobileStyleGAN; choose another method"


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


class Tuned(NamedTuple):
    """The result of `tune`.

    Attributes:
        deltas: path of a tensor -> its change [b, ...] in half precision; all zero for a photograph
            whose loss was never finite.
        begun: [b] the loss at the pivot; NaN where none was finite.
        loss: [b] the lowest loss; NaN where none was finite.
        steps: number of steps.
        seconds: total time without compilation.
        notes: messages for the user, a sentence each.
        history: [steps, b] the loss before every step; a settled picture repeats its last one.
        compile_seconds: time until the first step was running.
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
    """Whether a parameter is tuned: kernels and biases from 16 pixels up, and the output's.

    Mapping, constant, modulations, depthwise kernels and noise are fixed. Tuning the latter two
    fits faster and burns the closed mouth in: a smile then lacks its teeth.
    """
    if path[-1] not in ("kernel", "pointwise", "bias") or {"modulation", "up"} & set(path):
        return False
    name, _, number = path[0].rpartition("_")
    return path[0] == "to_image" or any(
        name == layer and number.isdecimal() and int(number) >= first for layer, first in _LAYERS
    )


def tuned_paths(variables: Mapping[str, Any]) -> tuple[Path, ...]:
    """The parameters of a generator that are tuned, sorted.

    Raises:
        UserError: there are none, for instance because its pictures have sides below 16 pixels.
    """
    paths = tuple(sorted(path for path in flatten_dict(variables["params"]) if is_tuned(path)))
    if not paths:
        raise UserError(_UNKNOWN)
    return paths


def check_generator(generator: Network) -> None:
    """Checks that a generator can be tuned: it draws windows, and has tunable parameters.

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


_target = kept_jit(TuningProblem.target, static_argnames="self")


@kept_jit
def _deviations(tensors: tuple[Array, ...]) -> tuple[Float[Array, ""], ...]:
    return tuple(jnp.std(tensor) for tensor in tensors)


def step_settings(
    settings: TuningSettings, deviations: tuple[float, ...], index: int
) -> StepSettings:
    """The settings of a step, counted from 0."""
    rise = min(1.0, (index + 1) / max(settings.warmup, 1))
    rate = settings.rate * rise * cosine(index, settings.steps)
    may_settle = index + 1 > settings.patience
    return StepSettings(
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
    progress: Progress = False,
) -> Tuned:
    """Fits the generator to photographs around their codes.

    Args:
        generator: MobileStyleGAN or StyleGAN2.
        codes: the pivots.
        images: aligned photographs of the generator's size, RGB in [-1, 1].
        window: the part that is fitted, in cells; its position may differ between pictures ([b]
            arrays).
        settings: steps, rates and weights.
        start: initial changes, of an earlier tuning; None for none.
        seconds: time limit without compilation; the best so far is the result.
        progress: whether to show a bar with the remaining time, or who is told instead.

    Returns:
        The changes. The same input gives the same changes; a photograph whose loss is repeatedly
        not finite keeps its best changes, or none.

    Raises:
        UserError: the generator is of another kind, the settings are impossible, or LPIPS cannot be
            fetched.

    Reference:
        Roich et al. (2106.05744); see above for the differences.
    """
    check_tuning_settings(settings)
    check_generator(generator)
    paths = tuned_paths(generator.variables)
    flat = flatten_dict(generator.variables["params"])
    spread = jax.device_get(_deviations(tuple(flat[path] for path in paths)))
    deviations = tuple(max(float(x), LEAST_DEVIATION) for x in spread)
    judges = (LpipsAlex(),) if settings.lpips else ()
    frozen = Frozen(generator, (_lpips(),) if settings.lpips else ())
    problem = TuningProblem(window.height, window.width, paths, judges)
    count = len(codes)
    top, left = (np.broadcast_to(np.asarray(x, np.int32), count) for x in (window.top, window.left))
    target = _target(problem, frozen, codes, images, top, left)
    zeros = {path: np.zeros((count, *flat[path].shape), np.float16) for path in paths}
    first = tuple(np.asarray({**zeros, **(start or {})}[path], np.float32) for path in paths)
    found = minimise(
        problem,
        frozen,
        target,
        Weights((settings.lpips,) * len(judges), settings.half, settings.full),
        first,
        settings.steps,
        functools.partial(step_settings, settings, deviations),
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
        f"picture {number}: the loss of the tuning was not finite {times} times; "
        + ("its best generator is kept" if times >= CHANCES else "continued at a lower rate")
        for number, times in enumerate(failures.tolist(), start=1)
        if times
    ]
    if late:
        notes.append(f"the tuning ran out of time at step {made} of {steps}")
    return tuple(notes)
