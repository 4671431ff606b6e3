"""Tests trace and compile networks most of the time.

What is compiled is kept below `.pytest_cache`, by content: for the other workers, for programs that
tests start, and for the next run. Garbage is looked for rarely, as by
`diffcam_jax.command.allocator.collect_rarely`, which cannot be called here: shapes are only checked
in modules that are imported later.
"""

import gc
import os
from pathlib import Path

gc.set_threshold(100_000, 20, 100)

_COMPILED = Path(__file__).parent.parent / ".pytest_cache" / "compiled"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_COMPILED))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.03")
