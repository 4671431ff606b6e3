"""Pivotal tuning: the generator itself is fitted to a photograph around a code, within a window.

Pictures are [b, s, s, 3] RGB in [-1, 1]; codes are W+ [b, n, k], the pivots, which do not change.
The parameters that change are the kernels and biases of the layers from 16 pixels up
(`tuned_parts.is_tuned`): they determine the person, the hat and the light, and the code keeps the
meaning on which directions act. Every photograph has its own changes of the generator, in half
precision; `shared_tuning` lets pictures of one person share them.

Source: Roich et al., Pivotal Tuning for Latent-based Editing of Real Images (2106.05744). They tune
all parameters of StyleGAN2's synthesis at the rate 3e-4 around a code in W that is optimised first,
on whole pictures, for up to 350 steps, and stop at LPIPS 0.06. Here modulations, noise and the
layers below 16 pixels are fixed, the pivot is an encoder's code in W+, the rate of each tensor is
relative to its own standard deviation, the loss covers a window, and there are few steps: more
steps fit better and edit less.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float

from diffcam_jax.command.kept_jit import kept_jit
from diffcam_jax.command.progress import Progress
from diffcam_jax.inversion.adam import CHANCES, StepSettings
from diffcam_jax.inversion.checks import check_tuning_settings
from diffcam_jax.inversion.judges import LpipsAlex
from diffcam_jax.inversion.optimise import cosine, minimise
from diffcam_jax.inversion.settings import TuningSettings
from diffcam_jax.inversion.tuned_parts import Deltas, Path, check_generator, tuned_paths
from diffcam_jax.inversion.tuning_problem import Frozen, Target, TuningProblem, Weights
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.window import Window
from diffcam_jax.pretrained import networks as pretrained

# The smallest standard deviation to which a tensor's rate refers: biases may all be equal.
LEAST_DEVIATION = 1e-2


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


class Task(NamedTuple):
    """What every step of a tuning has in common.

    Attributes:
        problem: of the window.
        frozen: what stays fixed.
        weights: of the loss.
        shapes: of the tensors that are tuned, by path.
        deviations: to which their rates refer.
    """

    problem: TuningProblem
    frozen: Frozen
    weights: Weights
    shapes: dict[Path, tuple[int, ...]]
    deviations: tuple[float, ...]

    def target(
        self, codes: Float[Array | np.ndarray, "b n k"], images: Any, window: Window
    ) -> Target:
        """The photographs' windows with their features."""
        count = len(codes)
        place = (np.broadcast_to(np.asarray(x, np.int32), count) for x in (window.top, window.left))
        return _target(self.problem, self.frozen, codes, images, *place)


def task(generator: Network, window: Window, settings: TuningSettings) -> Task:
    """Checks what is asked for, and loads what a tuning needs.

    Raises:
        UserError: see `tune`.
    """
    check_tuning_settings(settings)
    check_generator(generator)
    paths = tuned_paths(generator.variables)
    flat = flatten_dict(generator.variables["params"])
    spread = jax.device_get(_deviations(tuple(flat[path] for path in paths)))
    judges = (LpipsAlex(),) if settings.lpips else ()
    return Task(
        TuningProblem(window.height, window.width, paths, judges),
        Frozen(generator, (_lpips(),) if settings.lpips else ()),
        Weights((settings.lpips,) * len(judges), settings.half, settings.full),
        {path: flat[path].shape for path in paths},
        tuple(max(float(x), LEAST_DEVIATION) for x in spread),
    )


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
    ready, count = task(generator, window, settings), len(codes)
    zeros = {path: np.zeros((count, *shape), np.float16) for path, shape in ready.shapes.items()}
    first = tuple(np.asarray({**zeros, **(start or {})}[path], np.float32) for path in zeros)
    found = minimise(
        ready.problem,
        ready.frozen,
        ready.target(codes, images, window),
        ready.weights,
        first,
        settings.steps,
        functools.partial(step_settings, settings, ready.deviations),
        seconds,
        progress,
        "tuning",
    )
    begun = found.history[0]
    return Tuned(
        deltas={path: np.asarray(x, np.float16) for path, x in zip(zeros, found.best, strict=True)},
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
