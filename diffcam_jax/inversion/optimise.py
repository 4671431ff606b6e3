"""Adam on many codes at once, each picture on its own: its moments, its convergence, its restart after a loss that is no number.

A problem says what the unknown arrays are and what they cost; the step is compiled once for a problem and its shapes.
Everything a step decides stays on the device. The loop looks at the step before the one that runs, so that it never
keeps the device waiting.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int
from tqdm import tqdm

from diffcam_jax.inversion.settings import LONGEST_PATIENCE

# After a loss or gradient that is no number a picture goes back to its best code with half the rate, so often at most.
BACKOFF, CHANCES = 0.5, 4

Unknown = tuple[Array, ...]
_ADAM = optax.scale_by_adam()


@runtime_checkable
class Problem(Protocol):
    """What is minimised; hashable, as it is static."""

    def loss(self, frozen: Any, target: Any, weights: Any, unknown: Unknown) -> Float[Array, " b"]:
        """One value per picture, which depends on that picture's unknowns alone."""
        ...


class Pace(NamedTuple):
    """Numbers of one step.

    Attributes:
        rates: of every unknown array; an array and its moments rest while its rate is 0.
        patience, tolerance: a picture is settled when its loss fell by less than `tolerance` within `patience` steps.
        may_settle: whether it is time for that.
    """

    rates: tuple[float | Float[Array, ""], ...]
    patience: int | Int[Array, ""]
    tolerance: float | Float[Array, ""]
    may_settle: bool | Bool[Array, ""]


@flax.struct.dataclass
class State:
    """What a step carries on.

    Attributes:
        unknown: arrays [b, ...]; best: those of the lowest loss so far; best_loss: that loss, infinite before the first.
        moments: of Adam, for every array and picture.
        slowed: [b] factor of the rates; failures: [b] how often a loss or gradient was no number.
        active: [b] whether the picture still moves.
        window: [128, b] the last losses; before: [b] the lowest loss before those.
    """

    unknown: Unknown
    best: Unknown
    best_loss: Float[Array, " b"]
    moments: tuple[optax.OptState, ...]
    slowed: Float[Array, " b"]
    failures: Int[Array, " b"]
    active: Bool[Array, " b"]
    window: Float[Array, "window b"]
    before: Float[Array, " b"]


class Minimum(NamedTuple):
    """The result of `minimise`.

    Attributes:
        best: the unknowns of the lowest loss seen; the start where none was finite.
        loss: [b] that loss, infinite where none was finite.
        history: [steps, b] the loss before every step; a picture at rest repeats its last.
        failures: [b] restarts; active: [b] pictures that still moved at the end.
        compile_seconds: until the first step was under way.
        late: whether time ran out.
    """

    best: Unknown
    loss: Float[np.ndarray, " b"]
    history: Float[np.ndarray, "steps b"]
    failures: Int[np.ndarray, " b"]
    active: Bool[np.ndarray, " b"]
    compile_seconds: float
    late: bool


def initial(unknown: Unknown) -> State:
    """The state before the first step."""
    count = len(unknown[0])
    # Typed in full: a step gives such arrays back, and other types would compile it a second time.
    never = jnp.full(count, jnp.inf, jnp.float32)
    return State(
        # The step donates the state, so no two of its arrays may share a buffer.
        unknown=tuple(jnp.array(x) for x in unknown),
        best=tuple(jnp.array(x) for x in unknown),
        best_loss=never,
        moments=tuple(jax.vmap(_ADAM.init)(x) for x in unknown),
        slowed=jnp.ones(count),
        failures=jnp.zeros(count, jnp.int32),
        active=jnp.ones(count, bool),
        window=jnp.full((LONGEST_PATIENCE, count), jnp.inf, jnp.float32),
        before=jnp.copy(never),
    )


def _where(choice: Bool[Array, " b"], yes: Array, no: Array) -> Array:
    """Chooses per picture."""
    return jnp.where(choice.reshape(-1, *[1] * (max(yes.ndim, no.ndim) - 1)), yes, no)


def _next_moments(moved: Any, moment: Any, moves: Bool[Array, ""], failed: Bool[Array, " b"]) -> Any:
    """Adam's moments after a step: as they were while an array rests, and none for a picture that begins again."""
    return jax.tree.map(lambda new, old: _where(failed, jnp.zeros_like(new), jnp.where(moves, new, old)), moved, moment)


def step(
    problem: Problem, state: State, frozen: Any, target: Any, weights: Any, pace: Pace
) -> tuple[State, tuple[Float[Array, " b"], Bool[Array, " b"]]]:
    """One step of Adam on every picture on its own.

    Args:
        problem: static.
        state, pace: see their classes.
        frozen, target, weights: of the problem.

    Returns:
        The next state, and per picture the loss before the step and whether it moves on.
    """

    def total(unknown: Unknown) -> tuple[Array, Array]:
        values = problem.loss(frozen, target, weights, unknown)
        return values.sum(), values

    (_, values), gradients = jax.value_and_grad(total, has_aux=True)(state.unknown)
    finite = jnp.isfinite(values)
    for gradient in gradients:
        finite &= jnp.isfinite(gradient).all(tuple(range(1, gradient.ndim)))
    better = state.active & finite & (values < state.best_loss)
    failed = state.active & ~finite
    best = tuple(_where(better, x, y) for x, y in zip(state.unknown, state.best, strict=True))

    window = jnp.concatenate([state.window[1:], jnp.where(jnp.isfinite(values), values, jnp.inf)[None]])
    before = jnp.minimum(state.before, state.window[0])
    recent = jnp.arange(LONGEST_PATIENCE)[:, None] >= LONGEST_PATIENCE - pace.patience
    lowest = jnp.minimum(before, jnp.where(recent, jnp.inf, window).min(0))
    fell = jnp.where(recent, window, jnp.inf).min(0) < lowest * (1 - pace.tolerance)
    failures = state.failures + failed
    settled = pace.may_settle & (pace.patience > 0) & ~fell
    active = state.active & ~settled & (failures < CHANCES)

    unknown, moments = [], []
    for x, top, gradient, moment, rate in zip(state.unknown, best, gradients, state.moments, pace.rates, strict=True):
        direction, moved = jax.vmap(_ADAM.update)(_where(finite, gradient, jnp.zeros_like(gradient)), moment)
        length = (rate * state.slowed).reshape(-1, *[1] * (x.ndim - 1))
        # A picture that failed begins again, one that comes to rest does so where it was best.
        unknown.append(_where(active & finite, x - length * direction, top))
        moments.append(_next_moments(moved, moment, rate > 0, failed))
    return State(
        unknown=tuple(unknown),
        best=best,
        best_loss=jnp.where(better, values, state.best_loss),
        moments=tuple(moments),
        slowed=jnp.where(failed, BACKOFF * state.slowed, state.slowed),
        failures=failures,
        active=active,
        window=window,
        before=before,
    ), (values, active)


_jitted_step = jax.jit(step, static_argnums=0, donate_argnums=1)


def minimise(
    problem: Problem,
    frozen: Any,
    target: Any,
    weights: Any,
    start: Unknown,
    steps: int,
    pace: Callable[[int], Pace],
    seconds: float | None = None,
    progress: bool = False,
) -> Minimum:
    """Runs the steps.

    Args:
        problem, frozen, target, weights: see `step`.
        start: the unknowns to begin from.
        steps: at most so many, from 1.
        pace: step counted from 0 -> its numbers.
        seconds: stop after the step in which so many have passed; compiling does not count.
        progress: show a bar with the time left.
    """
    state, rows, compiled, begun, late = initial(start), [], 0.0, time.perf_counter(), False
    bar = tqdm(range(steps), desc="inversion", unit="step", disable=not progress, leave=False)
    for index in bar:
        state, row = _jitted_step(problem, state, frozen, target, weights, pace(index))
        if not rows:
            compiled = time.perf_counter() - begun
            begun += compiled
        rows.append(row)
        if index == 0:
            continue
        values, active = jax.device_get(rows[-2])
        bar.set_postfix(loss=f"{np.mean(values):.3f}", refresh=False)
        late = seconds is not None and time.perf_counter() - begun > seconds
        if late or not active.any():
            break
    history, moving = (np.stack(column) for column in zip(*jax.device_get(rows), strict=True))
    # The step that ran while the last picture was seen to rest moved nothing.
    count = next((i + 1 for i, row in enumerate(moving) if not row.any()), len(moving))
    loss, failures, active = jax.device_get((state.best_loss, state.failures, state.active))
    return Minimum(state.best, loss, history[:count], failures, active, compiled, late and count < steps)
