"""The training loop: phases, and at their intervals numbers, samples, evaluation, checkpoints.

The host waits for the devices only where numbers are due. Otherwise it runs ahead, and reads and
moves the next batch while a step runs.
"""

import contextlib
import math
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp

from diffcam_jax.errors import UserError
from diffcam_jax.train.checkpoint import Checkpoints
from diffcam_jax.train.devices import Devices, Placed
from diffcam_jax.train.report import Report
from diffcam_jax.train.state import Batch, Metrics, TrainState
from diffcam_jax.train.trainer import Phase, Source, Trainer

_next = jax.jit(lambda step: step + 1, donate_argnums=0)


def keyed(phase: Phase, number: int) -> Any:
    """Turns a phase into a step that takes its key from the state, inside the compiled program."""

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        before = state.in_a_row
        state, metrics = phase.step(state, batch, state.phase_key(number))
        if phase.every > 1:
            # A lazy phase does not end a series of failures: between two of its updates the
            # network's main phase may fail every time.
            state = state.replace(in_a_row=jax.tree.map(jnp.maximum, before, state.in_a_row))
        return state, metrics

    return step


def fit(
    trainer: Trainer,
    state: TrainState,
    data: Source,
    until: int,
    *,
    devices: Devices,
    checkpoints: Checkpoints,
    report: Report | None = None,
    log_every: int = 10,
    eval_every: int = 0,
    sample_every: int = 0,
    patience: int = 20,
) -> TrainState:
    """Trains until the state has taken `until` steps, then evaluates and saves.

    Args:
        trainer: see `Trainer`.
        state: from `Devices.replicate`; its memory is donated.
        data: see `Source`.
        until: step to stop at.
        devices: of the run.
        checkpoints: of the run.
        report: None in processes that do not write.
        log_every: steps between two reports of numbers; 0 is never, as below.
        eval_every: steps between two evaluations.
        sample_every: steps between two sheets of samples.
        patience: the run ends after so many consecutive updates of a network that are not finite.

    Raises:
        SystemExit: termination (code 0) or ctrl-c (130); the state has been saved.
        UserError: too many updates that are not finite, or a checkpoint that cannot be written.
    """
    at = int(devices.view(state.step))
    programs = [
        devices.compile(keyed(phase, number)) for number, phase in enumerate(trainer.phases)
    ]
    latest: dict[str, dict] = {}
    mark = (at, time.perf_counter())
    with (
        _interruptions() as interruptions,
        contextlib.closing(_batches(data, at, until, devices)) as batches,
    ):
        for batch in batches:
            for phase, program in zip(trainer.phases, programs, strict=True):
                if phase.due(at):
                    state, latest[phase.name] = program(state, batch)
            state = state.replace(step=_next(state.step))
            at += 1
            last, logging = at == until, _due(at, log_every)
            if report:
                report.advance()
            if logging:
                numbers = _numbers(devices.view((state.skipped, latest)))
                now = (at, time.perf_counter())
                numbers["run/steps_per_second"] = (now[0] - mark[0]) / (now[1] - mark[1])
                mark = now
                if report:
                    report.scalars(at, numbers)
                _check_health(devices.view(state.in_a_row), patience, at, checkpoints)
            if report and (last or _due(at, sample_every)):
                report.pictures(at, trainer.samples(devices.view(state)))
            score = None
            if last or _due(at, eval_every):
                score = _evaluate(trainer, devices.view(state), at, report)
            better = score is not None and (checkpoints.best is None or score > checkpoints.best[0])
            if last or better or checkpoints.due(at):
                # During a series of failures nothing is saved: the last checkpoint should be good.
                healthy = not any(map(int, devices.view(state.in_a_row).values()))
                if healthy or last:
                    checkpoints.save(at, state, score=score, force=True)
            # Several processes act together; they communicate where they wait anyway.
            if (devices.processes == 1 or logging) and devices.any(bool(interruptions)):
                checkpoints.save(at, state, force=True)
                checkpoints.wait()
                if report:
                    print(
                        f"stopped and saved at step {at}; the same command goes on from there",
                        file=sys.stderr,
                    )
                raise SystemExit(128 + signal.SIGINT if signal.SIGINT in interruptions else 0)
    return state


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _numbers(counts: tuple[jax.Array, dict[str, dict]]) -> dict[str, float]:
    skipped, latest = jax.device_get(counts)
    numbers = {
        f"{phase}/{name}": float(value)
        for phase, metrics in latest.items()
        for name, value in metrics.items()
    }
    return {**numbers, "run/skipped": float(skipped)}


def _check_health(
    in_a_row: dict[str, jax.Array], patience: int, at: int, checkpoints: Checkpoints
) -> None:
    worst = max(((int(count), name) for name, count in in_a_row.items()), default=(0, ""))
    if worst[0] < patience:
        return
    checkpoints.wait()
    step = checkpoints.latest
    good = "none was saved" if step is None else f"{checkpoints.folder / str(step)} (step {step})"
    raise UserError(
        f"loss or gradients of {worst[1]} were not finite in the last {worst[0]} updates up to "
        f"step {at}; last good checkpoint: {good}; check the data, or lower the learning rate"
    )


def _evaluate(trainer: Trainer, state: TrainState, at: int, report: Report | None) -> float | None:
    """Evaluates, in every process, so that all of them know the score."""
    numbers = trainer.evaluate(state)
    if report and numbers:
        report.scalars(at, {f"eval/{name}": float(value) for name, value in numbers.items()})
    score = float(numbers.get("score", math.nan))
    return score if math.isfinite(score) else None


def _batches(data: Source, first: int, until: int, devices: Devices) -> Iterator[Placed]:
    """Yields the batches of steps first to until - 1, prefetching one in a thread."""

    def fetch(step: int) -> Placed:
        return devices.place(data[step])

    with ThreadPoolExecutor(1, thread_name_prefix="data") as pool:
        coming = pool.submit(fetch, first) if first < until else None
        for step in range(first, until):
            batch = coming.result()
            coming = pool.submit(fetch, step + 1) if step + 1 < until else None
            yield batch


@contextlib.contextmanager
def _interruptions() -> Iterator[list[int]]:
    """Collects the signals of ctrl-c and termination, to act on them between two steps.

    Within a step the old state is already donated, and the new one is not there yet.
    """
    caught: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    handlers = [
        signal.signal(number, lambda number, _: caught.append(number)) for number in signals
    ]
    try:
        yield caught
    finally:
        for number, handler in zip(signals, handlers, strict=True):
            signal.signal(
                number, signal.SIG_DFL if handler is None else handler
            )  # None: set by a library in C
