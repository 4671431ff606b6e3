"""Tests trace networks most of the time, so garbage is looked for rarely, as
`diffcam_jax.command.allocator.collect_rarely` does.

That function cannot be called here: shapes are only checked in modules that are imported later.
"""

import gc

gc.set_threshold(100_000, 20, 100)
