"""A pool of codes from earlier steps of an encoder, so that its discriminator remembers them.

Source: Shrivastava et al., Learning from Simulated and Unsupervised Images (1612.07828), section
2.3, where the pool holds pictures.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


@flax.struct.dataclass
class CodePool:
    """A pool of fixed capacity; its fields are in checkpoints.

    Attributes:
        codes: [n, k], of which the first `filled` are valid.
        filled: number of stored codes, int32.
    """

    codes: Any
    filled: Any

    @classmethod
    def create(cls, size: int, features: int) -> "CodePool":
        """Creates an empty pool."""
        return cls(jnp.zeros((size, features)), jnp.int32(0))

    def query(
        self, fresh: Float[Array, "b k"], key: PRNGKeyArray
    ) -> tuple["CodePool", Float[Array, "b k"]]:
        """Exchanges fresh codes, one after the other, for those that the discriminator sees.

        While the pool is not full a fresh code is stored and returned. Afterwards, with probability
        one half, it is returned without being stored; otherwise it replaces a random stored code,
        which is returned.

        Args:
            fresh: new codes. One that is not finite is never stored.
            key: of the draws; equal on all devices, as the pool is.

        Returns:
            The new pool, and as many codes as there are fresh ones.
        """
        size = len(self.codes)
        swap_key, place_key = jax.random.split(key)
        swaps = jax.random.bernoulli(swap_key, 0.5, (len(fresh),))
        places = jax.random.randint(place_key, (len(fresh),), 0, size)

        def one(pool: CodePool, item: tuple[Array, Array, Array]) -> tuple[CodePool, Array]:
            code, swap, place = item
            free = pool.filled < size
            finite = jnp.isfinite(code).all()
            place = jnp.where(free, jnp.minimum(pool.filled, size - 1), place)
            given = jnp.where(free | ~swap, code, pool.codes[place])
            stored = jnp.where(finite & (free | swap), code, pool.codes[place])
            taken = pool.filled + jnp.where(free & finite, 1, 0)
            return CodePool(pool.codes.at[place].set(stored), taken), given

        return jax.lax.scan(one, self, (fresh, swaps, places))
