"""The loop of an optimisation: steps of Adam on many codes at once, until they settle.

The step is compiled once for a problem and its shapes. The loop reads the step before the running
one, so that it never keeps the device waiting.

Accelerators share the pictures, each with one step for its part. On a CPU every picture has a lane
of its own, with one program for all: the maps of several pictures fill gigabytes, which the system
allocates page by page in every step (at 256 pixels two pictures in one step of the embedded
generator took 3.5 times the CPU seconds, each, of one alone). Lanes are distributed over the
devices that JAX makes of the CPU (JAX_NUM_CPU_DEVICES): those of different devices run in parallel.
A settled lane costs nothing.
"""

import dataclasses
import itertools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from tqdm import tqdm

from diffcam_jax.command.kept_jit import kept_jit
from diffcam_jax.command.progress import Progress, tell
from diffcam_jax.inversion.adam import Problem, State, StepSettings, Unknown, initial, step


class Minimum(NamedTuple):
    """The result of `minimise`.

    Attributes:
        best: the unknowns of the lowest loss seen; the start where none was finite.
        loss: [b] that loss, infinite where none was finite.
        history: [steps, b] the loss before every step; a settled picture repeats its last one.
        failures: [b] number of restarts.
        active: [b] pictures that still moved at the end.
        compile_seconds: time until the first step was running.
        seconds: time of the steps after that.
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
    """Factor of a rate at a step: 0 before `begin`, then from 1 down to 0 along half a cosine."""
    progress = (index - begin) / max(steps - begin, 1)
    return 0.5 * (1 + float(np.cos(np.pi * progress))) if index >= begin else 0.0


jitted_step = kept_jit(step, static_argnames="problem", donate_argnames="state")


def minimise(
    problem: Problem,
    frozen: Any,
    target: Any,
    weights: Any,
    start: tuple[Array | np.ndarray, ...],
    steps: int,
    step_settings: Callable[[int], StepSettings],
    seconds: float | None = None,
    progress: Progress = False,
    label: str = "inversion",
) -> Minimum:
    """Runs the steps.

    Args:
        problem: see `step`.
        frozen: see `step`.
        target: see `step`.
        weights: see `step`.
        start: the initial unknowns.
        steps: largest number of steps, at least 1.
        step_settings: step counted from 0 -> its settings.
        seconds: stop after the step in which this time has passed; compilation does not count.
        progress: whether to show a bar with the remaining time, or who is told instead.
        label: description in the bar.
    """
    lanes = _lanes(start, frozen, target)
    compiled, begun, late = 0.0, time.perf_counter(), False
    busy: dict[int, Array] = {}
    bar = tqdm(range(steps), desc=label, unit="step", disable=progress is not True, leave=False)
    for index in bar:
        tell(progress, label, index, steps)
        for lane in lanes:
            if lane.moving:
                # A step allocates its memory when it is dispatched: on a CPU a step waits for the
                # previous one.
                jax.block_until_ready(busy.get(lane.place))
                lane.state, row = jitted_step(
                    problem, lane.state, lane.frozen, lane.target, weights, step_settings(index)
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
    # A lane that settled before the others repeats its last row.
    rows = [jax.device_get(lane.rows + lane.rows[-1:] * (made - len(lane.rows))) for lane in lanes]
    history, moving = (
        np.concatenate([np.stack(column) for column in part], 1)
        for part in zip(*(zip(*r) for r in rows))
    )
    # The step that was running when the last picture settled moved nothing.
    count = next((i + 1 for i, row in enumerate(moving) if not row.any()), len(moving))
    ends = [(lane.state.best_loss, lane.state.failures, lane.state.active) for lane in lanes]
    loss, failures, active = (np.concatenate(parts) for parts in zip(*jax.device_get(ends)))
    every = zip(*jax.device_get([lane.state.best for lane in lanes]))
    best = tuple(jax.device_put(np.concatenate(parts)) for parts in every)
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
    """Pictures that share a step.

    Attributes:
        state: their state.
        frozen: see `step`.
        target: see `step`.
        place: index of the device of a CPU, where steps wait for each other; None on an
            accelerator.
        rows: losses and activity of every step.
        loss: their mean loss when last read.
        moving: whether any picture still moved then.
    """

    state: State
    frozen: Any
    target: Any
    place: int | None
    rows: list[tuple[Array, Array]] = dataclasses.field(default_factory=list)
    loss: float = float("nan")
    moving: bool = True


def _lanes(start: Any, frozen: Any, target: Any) -> list[_Lane]:
    count, on_cpu = len(start[0]), jax.default_backend() == "cpu"
    devices = jax.local_devices()[:count]
    copies = [
        frozen if device == devices[0] else jax.device_put(frozen, device) for device in devices
    ]
    lanes = []
    for i, rows in enumerate(_shares(count, count if on_cpu else len(devices))):
        own, aim = jax.tree.map(lambda x: x[rows], (start, target))  # noqa: B023
        place = i % len(devices)
        given = initial(own), copies[place], aim
        if len(devices) > 1:
            given = jax.device_put(given, devices[place])
        lanes.append(_Lane(*given, place if on_cpu else None))
    return lanes


def _shares(count: int, parts: int) -> list[slice]:
    """A number of rows in parts whose sizes differ by one at most."""
    ends = [count * part // parts for part in range(parts + 1)]
    return [slice(low, high) for low, high in itertools.pairwise(ends)]
