"""A pure step on one device, on all devices of a process, or on those of several hosts.

The state is replicated with its true shapes, the batch is split.

    one device          jit
    one process         pmap over the axis "data" (today a jit of shard_map)
    several processes   jit of shard_map over a mesh of all hosts' devices; each host brings its
                        slice of the batch

Steps average their gradients over `axis` themselves (`train.state.gradients`). Statistics over the
batch (BatchNorm in training, minibatch standard deviation) are those of one device's part, as in
the official releases under data parallelism; running averages are averaged over devices.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from diffcam_jax.errors import UserError

AXIS = "data"
Step = Callable[[Any, Any], tuple[Any, Any]]


class Placed(dict):
    """A batch on the devices, as compiled steps take it."""


class Devices:
    """The devices of a run.

    Args:
        count: of this process's devices; None takes all. With several processes all are taken.

    Attributes:
        axis: name of the axis that steps average over; None with a single device in total.
        total: number of devices of all processes.
        processes: number of processes.
        process: number of this process.

    Raises:
        UserError: there are fewer devices.
    """

    def __init__(self, count: int | None = None) -> None:
        local = jax.local_devices()
        if count is not None and not 1 <= count <= len(local):
            raise UserError(
                f"{count} devices asked for, this machine has {len(local)}; change config.devices"
            )
        self.processes, self.process = jax.process_count(), jax.process_index()
        if self.processes > 1 and count is not None:
            raise UserError("several processes use all their devices; leave config.devices at 0")
        self.local = local[:count]
        self.total = len(self.local) if self.processes == 1 else jax.device_count()
        self.axis = None if self.total == 1 else AXIS
        self._mesh = Mesh(np.asarray(jax.devices() if self.processes > 1 else self.local), (AXIS,))

    def batch_size(self, whole: int, accumulate: int = 1) -> int:
        """Returns the share of this process in a batch of `whole` samples.

        Raises:
            UserError: the batch cannot be split evenly.
        """
        parts = self.total * accumulate
        if accumulate < 1 or whole < 1 or whole % parts:
            raise UserError(
                f"a batch of {whole} cannot be split over {self.total} devices with {accumulate} "
                f"microbatches each; take a multiple of {parts}: "
                f"--config.batch_size={max(parts, whole - whole % max(parts, 1))}"
            )
        return whole // self.processes

    def replicate(self, state: Any) -> Any:
        """Puts a copy of a state, equal in all processes, where steps expect it."""
        place = self.local[0] if self.axis is None else NamedSharding(self._mesh, PartitionSpec())
        if self.processes == 1:
            # Steps donate their state: nothing else may hold these buffers, and no two leaves may
            # share one.
            return jax.tree.map(lambda x: jax.device_put(x, place, may_alias=False), state)
        return jax.tree.map(
            lambda x: jax.make_array_from_callback(x.shape, place, lambda i: np.asarray(x)[i]),
            state,
        )

    def view(self, state: Any) -> Any:
        """Returns the state as arrays of one local device, valid until the next step."""
        return jax.tree.map(lambda x: x.addressable_data(0), state)

    def place(self, batch: dict[str, Any]) -> Placed:
        """Moves this process's slice of a batch to the devices.

        Args:
            batch: arrays of NumPy or JAX, whose first axis is that of samples.
        """
        if isinstance(batch, Placed):
            return batch
        if self.axis is None:
            return Placed(jax.device_put(dict(batch), self.local[0]))
        split = NamedSharding(self._mesh, PartitionSpec(AXIS))
        if self.processes > 1:
            return Placed(
                {
                    k: jax.make_array_from_process_local_data(split, np.asarray(x))
                    for k, x in batch.items()
                }
            )
        parts = {k: np.asarray(x).reshape(self.total, -1, *x.shape[1:]) for k, x in batch.items()}
        return Placed(jax.device_put(parts, split))

    def compile(self, step: Step) -> Step:
        """Compiles (state, batch) -> (state, metrics) with the old state donated.

        Args:
            step: pure; under several devices it sees its part of the batch and averages over
                `axis`.

        Returns:
            The same on this process's slice of the batch, as it is or from `place`.
        """
        program = self._program(step)
        return lambda state, batch: program(state, dict(self.place(batch)))

    def memory(self, step: Step, state: Any, batch: dict[str, Any]) -> int:
        """Returns the bytes that a step needs on one device, as the compiler estimates them."""
        compiled = self._program(step).lower(state, dict(self.place(batch))).compile()
        account = compiled.memory_analysis()
        new = account.output_size_in_bytes - account.alias_size_in_bytes
        return account.argument_size_in_bytes + account.temp_size_in_bytes + new

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; all of them have to call this together."""
        if self.processes == 1:
            return flag
        return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))

    def _program(self, step: Step) -> Any:
        if self.axis is None:
            return jax.jit(step, donate_argnums=0)
        if self.processes == 1:
            return jax.pmap(
                step, AXIS, in_axes=(None, 0), out_axes=None, donate_argnums=0, devices=self.local
            )
        everywhere, split = PartitionSpec(), PartitionSpec(AXIS)
        # check_vma=True would sum gradients over devices once more than pmean divides.
        mapped = jax.shard_map(
            step,
            mesh=self._mesh,
            in_specs=(everywhere, split),
            out_specs=everywhere,
            check_vma=False,
        )
        return jax.jit(mapped, donate_argnums=0)
