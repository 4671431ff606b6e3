"""What a trainer is: pure phases that update networks, samples, evaluation and export.

`registry` has the trainers, `loop` runs their phases.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from diffcam_jax.train.state import Batch, Metrics, TrainState

# (state, batch, key) -> (state, metrics); pure; averages gradients over the device axis that it was
# built for.
Step = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Metrics]]


@runtime_checkable
class Source(Protocol):
    """Batches as a pure function of the step, which is the position in the data to restore.

    `data[step]` is this process's slice of the batch: {"image": uint8 [b, s, s, 3], ...}.

    Attributes:
        held_out: a fixed batch that training never sees, the whole one in every process.
    """

    held_out: dict[str, np.ndarray]

    def __getitem__(self, step: int) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class Phase:
    """One update of one network.

    Attributes:
        name: short, for the report: "d", "r1", "g", "path".
        step: see `Step`; its metrics are reported as "NAME/METRIC".
        every: the phase runs at steps divisible by this, 1 or more (lazy regularisation).
        since: first step of the phase.
        until: first step after the phase; None is the end of the run. Networks that grow have one
            phase after the other under one name, each compiled at its first step.
    """

    name: str
    step: Step
    every: int = 1
    since: int = 0
    until: int | None = None

    def due(self, step: int) -> bool:
        """Whether the phase runs at a step."""
        return (
            self.since <= step
            and (self.until is None or step < self.until)
            and step % self.every == 0
        )


@dataclass(frozen=True)
class Trainer:
    """How one network, or several, are trained.

    Attributes:
        create: creates the state before the first step, from the seed and the data alone.
        phases: run in this order in every step, each compiled on its own.
        samples: state -> named pictures to look at, uint8 [h, w, 3], which are written to
            samples/NAME_STEP.png. Here and below the state's arrays are on one device of this
            process.
        evaluate: state -> numbers on held-out data; a key "score" (higher is better) selects the
            best checkpoint.
        export: writes the trained networks as a folder of converted weights (`model_folder.save`)
            into the run's folder.
        next_command: a command that uses them; "{workdir}" stands for the run's folder.
    """

    create: Callable[[], TrainState]
    phases: tuple[Phase, ...]
    samples: Callable[[TrainState], Mapping[str, np.ndarray]]
    evaluate: Callable[[TrainState], dict[str, float]]
    export: Callable[[TrainState, Path], Any]
    next_command: str
