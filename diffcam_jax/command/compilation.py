"""Compiled programs on disk: the second start of a command skips the compiler."""

import jax

from diffcam_jax.files.cache_dir import cache_dir


def keep_compiled_programs() -> None:
    """Turns on JAX's persistent compilation cache in the per-user cache folder."""
    jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
