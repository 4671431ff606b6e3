"""The loop around a training step: batches by step number, numbers, evaluation, checkpoints."""

import contextlib
import functools
import signal
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import jax
import numpy as np

from diffcam_jax.checkpoint import Checkpoints
from diffcam_jax.report import Report
from diffcam_jax.train.state import TrainState


@runtime_checkable
class Source(Protocol):
    """Batches as a pure function of the step: the position of the data is the step number itself."""

    def __getitem__(self, step: int) -> dict[str, np.ndarray]: ...


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _update(step: Callable, state: TrainState, batch: dict) -> tuple[TrainState, dict]:
    return step(state, batch, state.step_key())


def fit(
    state: TrainState,
    step: Callable,
    source: Source,
    until: int,
    *,
    report: Report,
    checkpoints: Checkpoints,
    log_every: int,
    evaluate: Callable[[TrainState], dict[str, float]],
    eval_every: int,
) -> TrainState:
    """Take steps until the state's counter is `until`, from wherever it stands.

    Args:
        step: pure (state, batch, key) -> (state, metrics); it is jitted here and the old state is donated.
        evaluate: numbers of a state, called every `eval_every` steps and after the last one.

    Raises:
        SystemExit: ctrl-c or termination was asked for; the state has been saved.
    """
    at = int(state.step)
    with _interruptions() as interruptions:
        while at < until and not interruptions:
            state, metrics = _update(step, state, source[at])
            at += 1
            report.advance()
            if at % log_every == 0:
                report.scalars(at, {f"train_{name}": float(value) for name, value in metrics.items()})
            if at % eval_every == 0 or at == until:
                report.scalars(at, evaluate(state))
            checkpoints.save(at, state, force=at == until)
        if interruptions:
            checkpoints.save(at, state, force=True)
            raise SystemExit(128 + interruptions[0])
    return state


@contextlib.contextmanager
def _interruptions() -> Iterator[list[int]]:
    """Collect ctrl-c and termination instead of acting on them: between two steps the state is whole and can be saved.

    Inside a step the old state is already donated, and the new one is not there yet.
    """
    caught: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.signal(number, lambda number, _: caught.append(number)) for number in signals]
    try:
        yield caught
    finally:
        for number, handler in zip(signals, handlers, strict=True):
            signal.signal(number, handler)
