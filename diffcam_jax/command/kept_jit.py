"""`kept_jit`: `jax.jit` whose compiled programs are kept on disk.

A process that finds a program there neither traces nor lowers nor compiles it: for one edit that is
half of its time. JAX's own compilation cache saves the last of the three only.

A program is kept by what it was made from: the function, its static arguments, the shapes and types
of the others, and the surroundings (`program_store.surroundings`).
"""

import contextlib
import functools
import hashlib
import inspect
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from diffcam_jax.command.program_store import Program, Programs

_programs: Programs | None = None


def keep_programs(folder: Path, ahead: bool = False) -> None:
    """Lets all functions of `kept_jit` keep their programs in a folder, the first that is given.

    Args:
        folder: of the programs.
        ahead: load those that were used last in a thread; JAX's devices start with it.
    """
    global _programs
    if _programs is None:
        _programs = Programs(folder)
        if ahead:
            _programs.load_ahead()


def kept_jit(
    function: Callable[..., Any] | None = None,
    *,
    static_argnames: str | Iterable[str] = (),
    donate_argnames: str | Iterable[str] = (),
) -> Any:
    """`jax.jit`, whose programs outlive the process after `keep_programs`.

    Within another traced function, and for arguments on several devices, it is `jax.jit`.

    Args:
        function: pure, of arguments that can be given by name; None for use with options.
        static_argnames: see `jax.jit`. Their `repr` must tell all of them.
        donate_argnames: see `jax.jit`.
    """
    if function is None:
        return functools.partial(
            kept_jit, static_argnames=static_argnames, donate_argnames=donate_argnames
        )
    statics, donated = _names(static_argnames), _names(donate_argnames)
    jitted = jax.jit(
        function, static_argnames=tuple(sorted(statics)), donate_argnames=tuple(sorted(donated))
    )
    signature = inspect.signature(function)
    found: dict[Any, Program] = {}

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        if _programs is None:
            return jitted(*arguments, **named)
        given = signature.bind(*arguments, **named).arguments
        chosen = tuple((name, given.pop(name)) for name in sorted(statics & given.keys()))
        leaves, structure = jax.tree.flatten(given)
        places = _places(leaves)
        if places is None:
            return jitted(*arguments, **named)
        key = chosen, structure, places, tuple(map(jax.typeof, leaves))
        program = found.get(key)
        if program is None:
            spent = [
                name in donated for name in sorted(given) for _ in jax.tree.leaves(given[name])
            ]
            program = found[key] = _program(function, key, leaves, spent)
        return program(*leaves)

    return call


def _names(given: str | Iterable[str]) -> set[str]:
    return {given} if isinstance(given, str) else set(given)


def _program(function, key, leaves: list[Any], spent: list[bool]) -> Program:
    """Loads a program of the arguments' leaves, or compiles and keeps it."""
    chosen, structure, places, types = key

    def flat(*leaves: Any) -> Any:
        return function(**jax.tree.unflatten(structure, leaves), **dict(chosen))

    flat.__name__ = function.__name__  # for profiles

    def compiled() -> jax.stages.Compiled:
        donate = [i for i, is_spent in enumerate(spent) if is_spent]
        return jax.jit(flat, donate_argnums=donate).lower(*leaves).compile()

    told = [function.__module__, function.__qualname__, repr(chosen), str(structure)]
    told += [str(places), *(f"{kind} {kind.weak_type}" for kind in types)]
    text = "\n".join(told)
    if " at 0x" in text:  # an address tells nothing, so such a program would never be found again
        return compiled()
    name = f"{function.__name__.strip('_')}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    program = _programs.find(name)
    if program is None:
        with _anew:
            program = compiled()
        _programs.keep(name, program)
    return program


class _Anew(contextlib.AbstractContextManager):
    """Compiles without JAX's cache, whose programs lose functions when they are kept again."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._was = jax.config.jax_enable_compilation_cache
        self._set(False)

    def __exit__(self, *exception: object) -> None:
        self._set(self._was)
        self._lock.release()

    def _set(self, on: bool) -> None:
        jax.config.update("jax_enable_compilation_cache", on)
        compilation_cache.reset_cache()  # JAX looks at the setting once only


_anew = _Anew()


def _places(leaves: list[Any]) -> tuple[int, ...] | None:
    """The device that arguments are on; None for those being traced, or on several."""
    ids = set()
    for leaf in leaves:
        if isinstance(leaf, jax.core.Tracer):
            return None
        if isinstance(leaf, jax.Array) and leaf.committed:
            ids |= {device.id for device in leaf.sharding.device_set}
    if not ids:
        default = jax.config.jax_default_device or jax.local_devices()[0]
        return None if isinstance(default, str) else (-1, default.id)
    return tuple(ids) if len(ids) == 1 else None
