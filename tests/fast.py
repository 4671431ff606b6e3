"""Compiling for tests: quickly, to programs that need not be quick.

Many times faster than running a network operation by operation.
"""

import functools

import jax

fast = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
