"""Adam on many codes at once, each picture on its own: its moments, its convergence, its restart
after a loss that is no number.

A problem says what the unknown arrays are and what they cost; the step is compiled once for a
problem and its shapes. Everything a step decides stays on the device. The loop looks at the step
before the one that runs, so that it never keeps the device waiting.

An accelerator takes all pictures in one step. On a CPU each has a lane of its own, with one program
for all: the maps of several pictures fill gigabytes, which the system hands out page by page in
every step (at 256 pixels two pictures in one step of the embedded generator took 3.5 times the CPU
seconds, each, of one alone). Lanes share out the devices that JAX makes of the CPU
(JAX_NUM_CPU_DEVICES): those of different ones run side by side. A lane at rest costs nothing.
"""

import dataclasses
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

# After a loss or gradient that is no number a picture goes back to its best code with half the
# rate, so often at most.
BACKOFF, CHANCES = 0.5, 4

Unknown = tuple[Array, ...]


@runtime_checkable
class Problem(Protocol):
    """What is minimised; hashable, as it is static.

    Attributes:
        b2: decay of Adam's second moments.
    """

    b2: float

    def loss(self, frozen: Any, target: Any, weights: Any, unknown: Unknown) -> Float[Array, " b"]:
        """One value per picture, which depends on that picture's unknowns alone."""
        ...


class Pace(NamedTuple):
    """Numbers of one step.

    Attributes:
        rates: of every unknown array; an array and its moments rest while its rate is 0.
        patience, tolerance: a picture is settled when its loss fell by less than `tolerance` within
            `patience` steps.
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
        unknown: arrays [b, ...]; best: those of the lowest loss so far; best_loss: that loss,
            infinite before the first.
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
        compile_seconds: until the first step was under way; seconds: of the steps after that.
        late: whether time ran out.
    """

    best: Unknown
    loss: Float[np.ndarray, " b"]
    history: Float[np.ndarray, "steps b"]
    failures: Int[np.ndarray, " b"]
    active: Bool[np.ndarray, " b"]
    compile_seconds: float
    seconds: float
    late: bool


def cosine(index: int, steps: int, begin: int = 0) -> float:
    """Share of a rate at a step: 0 before `begin`, then from 1 down to 0 along half a cosine."""
    progress = (index - begin) / max(steps - begin, 1)
    return 0.5 * (1 + float(np.cos(np.pi * progress))) if index >= begin else 0.0


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
        moments=tuple(jax.vmap(optax.scale_by_adam().init)(x) for x in unknown),
        slowed=jnp.ones(count),
        failures=jnp.zeros(count, jnp.int32),
        active=jnp.ones(count, bool),
        window=jnp.full((LONGEST_PATIENCE, count), jnp.inf, jnp.float32),
        before=jnp.copy(never),
    )


def _where(choice: Bool[Array, " b"], yes: Array, no: Array) -> Array:
    """Chooses per picture."""
    return jnp.where(choice.reshape(-1, *[1] * (max(yes.ndim, no.ndim) - 1)), yes, no)


def _next_moments(
    moved: Any, moment: Any, moves: Bool[Array, ""], failed: Bool[Array, " b"]
) -> Any:
    """Adam's moments after a step: as they were while an array rests, and none for a picture that
    begins again.
    """
    return jax.tree.map(
        lambda new, old: _where(failed, jnp.zeros_like(new), jnp.where(moves, new, old)),
        moved,
        moment,
    )


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

    window = jnp.concatenate(
        [state.window[1:], jnp.where(jnp.isfinite(values), values, jnp.inf)[None]]
    )
    before = jnp.minimum(state.before, state.window[0])
    recent = jnp.arange(LONGEST_PATIENCE)[:, None] >= LONGEST_PATIENCE - pace.patience
    lowest = jnp.minimum(before, jnp.where(recent, jnp.inf, window).min(0))
    fell = jnp.where(recent, window, jnp.inf).min(0) < lowest * (1 - pace.tolerance)
    failures = state.failures + failed
    settled = pace.may_settle & (pace.patience > 0) & ~fell
    active = state.active & ~settled & (failures < CHANCES)

    unknown, moments, adam = [], [], optax.scale_by_adam(b2=problem.b2)
    for x, top, gradient, moment, rate in zip(
        state.unknown, best, gradients, state.moments, pace.rates, strict=True
    ):
        direction, moved = jax.vmap(adam.update)(
            _where(finite, gradient, jnp.zeros_like(gradient)), moment
        )
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
    label: str = "inversion",
) -> Minimum:
    """Runs the steps.

    Args:
        problem, frozen, target, weights: see `step`.
        start: the unknowns to begin from.
        steps: at most so many, from 1.
        pace: step counted from 0 -> its numbers.
        seconds: stop after the step in which so many have passed; compiling does not count.
        progress: show a bar with the time left.
        label: what the bar says.
    """
    lanes = _lanes(start, frozen, target)
    compiled, begun, late = 0.0, time.perf_counter(), False
    busy: dict[int, Array] = {}
    bar = tqdm(range(steps), desc=label, unit="step", disable=not progress, leave=False)
    for index in bar:
        for lane in lanes:
            if lane.moving:
                # A step's memory is taken when it is asked for: on a CPU one waits for the one
                # before it.
                jax.block_until_ready(busy.get(lane.place))
                lane.state, row = _jitted_step(
                    problem, lane.state, lane.frozen, lane.target, weights, pace(index)
                )
                lane.rows.append(row)
                if lane.place is not None:
                    busy[lane.place] = row[0]
        if index == 0:
            compiled = time.perf_counter() - begun
            begun += compiled
            continue
        for lane in lanes:
            if lane.moving:
                values, active = jax.device_get(lane.rows[-2])
                lane.loss, lane.moving = float(np.mean(values)), bool(active.any())
        bar.set_postfix(loss=f"{np.mean([lane.loss for lane in lanes]):.3f}", refresh=False)
        late = seconds is not None and time.perf_counter() - begun > seconds
        if late or not any(lane.moving for lane in lanes):
            break
    made = max(len(lane.rows) for lane in lanes)
    # A lane that came to rest before the others repeats its last row.
    rows = [jax.device_get(lane.rows + lane.rows[-1:] * (made - len(lane.rows))) for lane in lanes]
    history, moving = (
        np.concatenate([np.stack(column) for column in part], 1)
        for part in zip(*(zip(*r) for r in rows))
    )
    # The step that ran while the last picture was seen to rest moved nothing.
    count = next((i + 1 for i, row in enumerate(moving) if not row.any()), len(moving))
    ends = [(lane.state.best_loss, lane.state.failures, lane.state.active) for lane in lanes]
    loss, failures, active = (np.concatenate(parts) for parts in zip(*jax.device_get(ends)))
    best = tuple(
        jnp.concatenate(parts)
        for parts in zip(*jax.device_get([lane.state.best for lane in lanes]))
    )
    return Minimum(
        best,
        loss,
        history[:count],
        failures,
        active,
        compiled,
        time.perf_counter() - begun,
        late and count < steps,
    )


@dataclasses.dataclass
class _Lane:
    """Pictures that share a step: where they stand, what a step takes, which device of a CPU it is
    on, the rows of every step, and what
    was last seen."""

    state: State
    frozen: Any
    target: Any
    place: int | None
    rows: list[tuple[Array, Array]] = dataclasses.field(default_factory=list)
    loss: float = float("nan")
    moving: bool = True


def _lanes(start: Unknown, frozen: Any, target: Any) -> list[_Lane]:
    if jax.default_backend() != "cpu":
        return [_Lane(initial(start), frozen, target, None)]
    devices = jax.local_devices()[: len(start[0])]
    copies = [
        frozen if device == devices[0] else jax.device_put(frozen, device) for device in devices
    ]
    lanes = []
    for i in range(len(start[0])):
        own, aim = jax.tree.map(lambda x: x[i : i + 1], (start, target))  # noqa: B023
        place = i % len(devices)
        given = initial(own), copies[place], aim
        lanes.append(
            _Lane(*(given if len(devices) == 1 else jax.device_put(given, devices[place])), place)
        )
    return lanes
