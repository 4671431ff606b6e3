"""Checkpoints of a training run, on orbax: saved in the background, never half-written.

The last few and the best are kept.
"""

import os
import pathlib
import re
from typing import Any, TypeVar

import jax
from orbax.checkpoint import v1 as ocp

from diffcam_jax.errors import UserError

State = TypeVar("State")


class Checkpoints:
    """A folder of checkpoints of one run.

    Args:
        folder: created if it does not exist; shared by all processes of a run.
        every: `save` acts on steps divisible by this; 0 saves only when forced.
        keep: number of latest checkpoints to keep, beside the one with the highest score.

    Raises:
        UserError: the folder cannot be used.
    """

    def __init__(self, folder: str | os.PathLike, every: int, keep: int = 2) -> None:
        self.folder = pathlib.Path(folder).absolute()
        self._every = every
        policies = ocp.training.preservation_policies
        best = policies.BestN(
            get_metric_fn=lambda metrics: metrics["score"],
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        try:
            self._checkpointer = ocp.training.Checkpointer(
                self.folder,
                preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
                cleanup_tmp_directories=True,
            )
        except OSError as error:
            raise UserError(
                f"cannot use {self.folder} ({_reason(error)}); choose another --workdir"
            ) from error
        self._pending: Any = None
        self._saved = self.latest
        scores = [(c.metrics["score"], c.step) for c in self._checkpointer.checkpoints if c.metrics]
        # (score, step); of equal scores the earliest, as while the run goes on.
        self.best: tuple[float, int] | None = max(
            scores, key=lambda best: (best[0], -best[1]), default=None
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        failure = None
        for ending in (self.wait, self._checkpointer.close):
            try:
                ending()
            except UserError as error:
                failure = error
            except (OSError, ValueError, RuntimeError) as error:  # repeated by orbax's close
                failure = failure or self._failed(error)
        # Another error that ends the run is more useful to hear of; a request to stop is not.
        if failure and (kind is None or kind is SystemExit):
            raise failure

    @property
    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, in rising order."""
        # Read from the folder: after a failed save orbax's own list is not reliable.
        return sorted(int(p.name) for p in self.folder.glob("[0-9]*") if p.name.isdigit())

    @property
    def latest(self) -> int | None:
        """Step of the newest complete checkpoint."""
        return max(self.steps, default=None)

    def due(self, step: int) -> bool:
        """Whether `save` acts on a step without being forced."""
        return self._every > 0 and step % self._every == 0

    def save(
        self, step: int, state: object, *, score: float | None = None, force: bool = False
    ) -> None:
        """Starts to save if `step` is due or `force` is set; copies the arrays before it returns.

        Args:
            step: of the state.
            state: arrays.
            score: how good it is, higher is better.
            force: save in any case.

        Raises:
            UserError: this save or the one before failed, mostly for lack of disk space; older
                checkpoints are intact.
        """
        if step == self._saved or not (force or self.due(step)):
            return
        self.wait()
        try:
            metrics = None if score is None else {"score": score}
            self._pending = self._checkpointer.save_async(step, state, force=True, metrics=metrics)
        except (OSError, ValueError, RuntimeError) as error:
            raise self._failed(error) from error
        self._saved = step
        if score is not None and (self.best is None or score > self.best[0]):
            self.best = (score, step)

    def wait(self) -> None:
        """Waits until the checkpoint that was started is on disk.

        Raises:
            UserError: it could not be written.
        """
        pending, self._pending = self._pending, None
        try:
            if pending is not None:
                pending.result()
        except (OSError, ValueError, RuntimeError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> UserError:
        latest = self.latest
        intact = "there is none yet" if latest is None else f"{self.folder / str(latest)} is intact"
        return UserError(
            f"cannot save a checkpoint to {self.folder} ({_reason(error)}); make room and run "
            f"the same command again: {intact}"
        )

    def restore(self, state: State, step: int | None = None) -> State:
        """Restores a checkpoint, or returns `state` itself if there is none.

        Args:
            state: of the structure, shapes, types and placement of the result; the run may have had
                another number of devices.
            step: of the checkpoint; None takes the newest.

        Raises:
            UserError: the checkpoint is of another network or optimiser, or is damaged.
        """
        step = self.latest if step is None else step
        if step is None:
            return state
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
        )
        try:
            there = _shapes(self._checkpointer.metadata(step).metadata)
            here = _shapes(state)
            if differing := [n for n in sorted(there | here) if there.get(n) != here.get(n)]:
                name = differing[0]
                raise UserError(
                    f"{self.folder} holds another network's run: {name} is "
                    f"{there.get(name, 'absent')} there and "
                    f"{here.get(name, 'absent')} here, {len(differing)} arrays differ in all; "
                    "choose another --workdir"
                )
            return self._checkpointer.load(step, target)
        except (ValueError, KeyError, TypeError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"checkpoint {self.folder / str(step)} cannot be read ({reason}); delete it to "
                "go on from the one before"
            ) from error


def _shapes(tree: Any) -> dict[str, str]:
    """Returns path of every array -> its type and shape."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{x.dtype}{list(x.shape)}"
        for path, x in leaves
        if hasattr(x, "shape")
    }


def _reason(error: Exception) -> str:
    """The system's words out of an error.

    Those of the storage library hold a whole story around them.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    found = re.search(r": ([^:\[\"]+) \[os_error_code", str(error))
    return found[1] if found else str(error).splitlines()[0][:200]
