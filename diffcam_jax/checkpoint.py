"""Checkpoints of a training run, on orbax: saved in the background, never half-written, the last two kept."""

import os
import pathlib
from typing import TypeVar

import jax
from orbax.checkpoint import v1 as ocp

from diffcam_jax.errors import UserError

State = TypeVar("State")


class Checkpoints:
    """A folder of checkpoints of one run.

    Args:
        folder: made when missing.
        every: `save` acts on steps divisible by this.
        keep: how many of the latest stay.
    """

    def __init__(self, folder: str | os.PathLike, every: int, keep: int = 2) -> None:
        self.folder = pathlib.Path(folder).absolute()
        self._checkpointer = ocp.training.Checkpointer(
            self.folder,
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(every),
            preservation_policy=ocp.training.preservation_policies.LatestN(keep),
            cleanup_tmp_directories=True,
        )
        self._saved = self.latest

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._checkpointer.close()

    @property
    def latest(self) -> int | None:
        """Step of the newest checkpoint."""
        newest = self._checkpointer.latest
        return None if newest is None else newest.step

    def save(self, step: int, state: object, *, force: bool = False) -> None:
        """Start saving when `step` is due (or `force`); the arrays are copied before this returns."""
        if step != self._saved and (force or self._checkpointer.should_save(step)):
            self._saved = step
            self._checkpointer.save_async(step, state, force=True)

    def restore(self, state: State) -> State:
        """The newest checkpoint, or `state` itself when there is none.

        Args:
            state: gives structure, shapes, types and placement.

        Raises:
            UserError: the checkpoint is of another network or optimiser.
        """
        if self.latest is None:
            return state
        target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
        try:
            return self._checkpointer.load(self.latest, target)
        except (ValueError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{self.folder} holds another network's run ({reason}); choose another folder") from error
