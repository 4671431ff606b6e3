"""One step of Adam on many codes at once, each picture with its own moments and restarts.

A problem defines the unknown arrays and their loss; everything a step decides stays on the device.
Written by hand, because optimisers of libraries share their state between the pictures of a batch.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from diffcam_jax.inversion.settings import LONGEST_PATIENCE

# After a loss or gradient that is not finite a picture returns to its best code with half the rate,
# at most so often.
BACKOFF, CHANCES = 0.5, 4

Unknown = tuple[Array, ...]


@runtime_checkable
class Problem(Protocol):
    """A minimisation problem; hashable, as it is static.

    Attributes:
        b2: decay of Adam's second moments.
    """

    b2: float

    def loss(self, frozen: Any, target: Any, weights: Any, unknown: Unknown) -> Float[Array, " b"]:
        """One value per picture, which depends only on that picture's unknowns."""
        ...


class StepSettings(NamedTuple):
    """Settings of one step.

    Attributes:
        rates: learning rate of every unknown array; an array and its moments do not change while
            its rate is 0.
        patience: a picture is settled when its loss fell by less than `tolerance` within this many
            steps.
        tolerance: relative decrease.
        may_settle: whether pictures may settle yet.
    """

    rates: tuple[float | Float[Array, ""], ...]
    patience: int | Int[Array, ""]
    tolerance: float | Float[Array, ""]
    may_settle: bool | Bool[Array, ""]


@flax.struct.dataclass
class State:
    """The state between two steps.

    Attributes:
        unknown: arrays [b, ...].
        best: those of the lowest loss so far.
        best_loss: that loss, infinite before the first.
        moments: of Adam, for every array and picture.
        slowed: [b] factor of the rates.
        failures: [b] number of losses or gradients that were not finite.
        active: [b] whether the picture still moves.
        window: [128, b] the last losses.
        before: [b] the lowest loss before those.
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


def initial(unknown: tuple[Array | np.ndarray, ...]) -> State:
    """The state before the first step."""
    count = len(unknown[0])

    # NumPy makes the arrays, for JAX would compile every operation. Their types are those that a
    # step returns, or it would be compiled a second time.
    def put(x: Any) -> Array:
        # The step donates the state, so no two of its arrays may share a buffer.
        return jax.device_put(np.array(x), may_alias=False)

    def full(value: float, *shape: int) -> Array:
        return put(np.full(shape, value, np.float32))

    shapes = tuple(jax.eval_shape(jax.vmap(optax.scale_by_adam().init), x) for x in unknown)
    return State(
        unknown=tuple(map(put, unknown)),
        best=tuple(map(put, unknown)),
        best_loss=full(np.inf, count),
        moments=jax.tree.map(lambda leaf: put(np.zeros(leaf.shape, leaf.dtype)), shapes),
        slowed=full(1.0, count),
        failures=put(np.zeros(count, np.int32)),
        active=put(np.ones(count, bool)),
        window=full(np.inf, LONGEST_PATIENCE, count),
        before=full(np.inf, count),
    )


def _where(choice: Bool[Array, " b"], yes: Array, no: Array) -> Array:
    """Chooses per picture."""
    return jnp.where(choice.reshape(-1, *[1] * (max(yes.ndim, no.ndim) - 1)), yes, no)


def _next_moments(
    moved: Any, moment: Any, moves: Bool[Array, ""], failed: Bool[Array, " b"]
) -> Any:
    """Adam's moments after a step.

    They are unchanged while an array rests, and reset for a picture that starts again.
    """
    return jax.tree.map(
        lambda new, old: _where(failed, jnp.zeros_like(new), jnp.where(moves, new, old)),
        moved,
        moment,
    )


def step(
    problem: Problem,
    state: State,
    frozen: Any,
    target: Any,
    weights: Any,
    step_settings: StepSettings,
) -> tuple[State, tuple[Float[Array, " b"], Bool[Array, " b"]]]:
    """One step of Adam on every picture independently.

    Args:
        problem: static.
        state: before the step.
        frozen: what the problem keeps fixed.
        target: photographs of the problem.
        weights: of the problem's loss.
        step_settings: see `StepSettings`.

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

    window = jnp.concatenate(
        [state.window[1:], jnp.where(jnp.isfinite(values), values, jnp.inf)[None]]
    )
    before = jnp.minimum(state.before, state.window[0])
    recent = jnp.arange(LONGEST_PATIENCE)[:, None] >= LONGEST_PATIENCE - step_settings.patience
    lowest = jnp.minimum(before, jnp.where(recent, jnp.inf, window).min(0))
    fell = jnp.where(recent, window, jnp.inf).min(0) < lowest * (1 - step_settings.tolerance)
    failures = state.failures + failed
    settled = step_settings.may_settle & (step_settings.patience > 0) & ~fell
    active = state.active & ~settled & (failures < CHANCES)

    unknown, moments, adam = [], [], optax.scale_by_adam(b2=problem.b2)
    for x, top, gradient, moment, rate in zip(
        state.unknown, best, gradients, state.moments, step_settings.rates, strict=True
    ):
        direction, moved = jax.vmap(adam.update)(
            _where(finite, gradient, jnp.zeros_like(gradient)), moment
        )
        length = (rate * state.slowed).reshape(-1, *[1] * (x.ndim - 1))
        # A picture that failed starts again from its best code, one that settles stays there.
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
