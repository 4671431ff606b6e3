"""A pool of codes that an encoder gave some steps ago, so that its discriminator does not forget
them.

Shrivastava et al., Learning from Simulated and Unsupervised Images (1612.07828), section 2.3, had
it for pictures.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


@flax.struct.dataclass
class CodePool:
    """A fixed number of places for codes.

    Attributes:
        codes: [n, k]; those from `filled` on mean nothing yet.
        filled: places taken, int32.
    """

    codes: Any
    filled: Any

    @classmethod
    def create(cls, size: int, features: int) -> "CodePool":
        """An empty pool."""
        return cls(jnp.zeros((size, features)), jnp.int32(0))

    def query(
        self, fresh: Float[Array, "b k"], key: PRNGKeyArray
    ) -> tuple["CodePool", Float[Array, "b k"]]:
        """Gives codes for fresh ones, one after the other.

        While a place is free a fresh code is stored and comes back itself. Then with probability
        one half it comes back itself and is not stored, else it takes the place of a random stored
        one, which comes back.

        Args:
            fresh: new codes. One that is not finite is never stored.
            key: random; the same on all devices, as the pool is.
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
