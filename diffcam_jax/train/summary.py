"""Summaries of a run, before it (`--dry-run`) and after it."""

import json
import sys
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from diffcam_jax.command.flags import plain
from diffcam_jax.train.devices import Devices
from diffcam_jax.train.loop import keyed
from diffcam_jax.train.report import batch_grid, save_picture
from diffcam_jax.train.state import TrainState
from diffcam_jax.train.trainer import Source, Trainer


def count(tree: Any) -> int:
    """Counts the numbers in a tree of arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def size(tree: Any) -> int:
    """Counts the bytes of a tree of arrays."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def dry_run(
    config: ConfigDict,
    trainer: Trainer,
    state: TrainState,
    data: Source,
    devices: Devices,
    workdir: Path,
) -> None:
    """Prints configuration, networks and memory, and writes samples/first_batch.png.

    Every phase is compiled, so the memory is the compiler's estimate; the run itself finds the
    programs in the compilation cache.
    """
    batch = data[0]
    print(json.dumps(plain(config), indent=2))
    print(f"{devices.total} x {devices.local[0].device_kind}, {config.batch_size} samples a step\n")
    print(f"{'network':16} {'parameters':>12} {'with optimiser and average':>28}")
    for name, net in state.nets.items():
        whole = size(net) + size(state.ema.get(name, ()))
        note = "" if net.opt_state is not None else "  (not trained)"
        print(f"{name:16} {count(net.params):12,} {_megabytes(whole):>28}{note}")
    picture = batch_grid(batch)
    if picture is None:
        print("\nthe batches of this run hold no pictures")
    else:
        save_picture(workdir / "samples" / "first_batch.png", picture)
        print(f"\nfirst batch: {workdir / 'samples' / 'first_batch.png'}")
    print(
        f"\nmemory of a device, estimated: {_megabytes(size(state))} between steps; within them, "
        "by the compiler's account:"
    )
    print("compiling (kept for the run; ctrl-c leaves the account out) ...", file=sys.stderr)
    for number, phase in enumerate(trainer.phases):
        print(
            f"{phase.name:16} {_megabytes(devices.memory(keyed(phase, number), state, batch)):>12}",
            flush=True,
        )
    print("nothing was trained; leave out --dry-run to begin")


def final(
    name: str,
    start: int,
    state: TrainState,
    best: tuple[float, int] | None,
    seconds: float,
    workdir: Path,
    command: str,
) -> str:
    """Returns the last lines of a run.

    Args:
        name: of the configuration.
        start: first step of this part of the run.
        state: the last one.
        best: highest score and its step.
        seconds: duration of this part.
        workdir: of the run.
        command: see `Trainer.next_command`.
    """
    steps, skipped = int(state.step), int(state.skipped)
    notes = [f"{name}: {steps} steps ({steps - start} now, {seconds:.0f} s)"]
    if best is not None:
        notes.append(f"best score {best[0]:.4g} at step {best[1]}")
    if skipped:
        notes.append(f"{skipped} updates left out as not finite")
    following = command.format(workdir=workdir)
    return f"{', '.join(notes)}; pictures in {workdir / 'samples'}\nnext: {following}"


def _megabytes(number: int) -> str:
    return f"{number / 1e6:,.1f} MB"
