"""A pure function of a batch, computed by all local devices, each for its share of the batch."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_AXIS = "batch"


class OverDevices:
    """A function whose batch is split over devices; its results are those of one device.

    Args:
        function: (fixed, given, batch) -> pytree whose leaves have the batch as their first axis;
            each row depends on its own row of the batch only.
        fixed: pytree of arrays, such as networks; every device has a copy from the start.
        devices: None takes all of this process.
    """

    def __init__(
        self,
        function: Callable[[Any, Any, Any], Any],
        fixed: Any,
        devices: Sequence[jax.Device] | None = None,
    ) -> None:
        self._devices = list(jax.local_devices() if devices is None else devices)
        mesh = Mesh(np.asarray(self._devices), (_AXIS,))
        everywhere, split = PartitionSpec(), PartitionSpec(_AXIS)
        self._everywhere, self._split = (NamedSharding(mesh, x) for x in (everywhere, split))
        self._fixed = jax.device_put(fixed, self._everywhere)
        self.program = jax.jit(
            jax.shard_map(
                function,
                mesh=mesh,
                in_specs=(everywhere, everywhere, split),
                out_specs=split,
                check_vma=False,
            )
        )

    def __call__(self, given: Any, batch: Any) -> Any:
        """The function's result for a batch of any length.

        Args:
            given: pytree of further arrays that all rows share.
            batch: pytree of arrays [b, ...].
        """
        count = len(jax.tree.leaves(batch)[0])
        found = self.program(*self.placed(given, batch))
        return jax.tree.map(lambda x: x[:count], found)

    def placed(self, given: Any, batch: Any) -> tuple[Any, Any, Any]:
        """The arguments of `program`; the last row is repeated until every device has as many."""
        count = len(jax.tree.leaves(batch)[0])
        rows = np.minimum(np.arange(count + -count % len(self._devices)), count - 1)
        padded = jax.tree.map(lambda x: jnp.asarray(x)[rows], batch)
        return (
            self._fixed,
            jax.device_put(given, self._everywhere),
            jax.device_put(padded, self._split),
        )
