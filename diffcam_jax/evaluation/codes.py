"""Codes of pictures, found once per method and shared by all protocols of a run.

A method is one of `inversion.METHODS`, or "known": the code that a generated picture was drawn
from. "pivotal_tuning" gives every picture a generator of its own; protocols that move codes leave
it out.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffcam_jax import inversion
from diffcam_jax.directions.edits import measured, steps
from diffcam_jax.errors import UserError
from diffcam_jax.evaluation.bench import Bench
from diffcam_jax.evaluation.pictures import Item
from diffcam_jax.evaluation.store import Key
from diffcam_jax.inversion.tuned_parts import Deltas
from diffcam_jax.ops.image import to_unit

KNOWN = "known"
PROTOCOL = "codes"


class Coded(NamedTuple):
    """A picture with its code.

    Attributes:
        item: the picture.
        code: [rows, k].
        seconds: that finding it took, compiling not counted; NaN for known ones.
        tuned: what "pivotal_tuning" changes the generator by, for this picture; else None.
    """

    item: Item
    code: Float[np.ndarray, "rows k"]
    seconds: float
    tuned: Deltas | None = None


def check_methods(methods: Sequence[str], tunes: bool = False) -> None:
    """Whether the methods exist, and are of use to a protocol.

    Args:
        methods: by name.
        tunes: the protocol draws with tuned generators, too.

    Raises:
        UserError: one does not, or is not.
    """
    allowed = [*inversion.METHODS, KNOWN]
    if unknown := [name for name in methods if name not in allowed]:
        raise UserError(
            f"no way of inverting is called {', '.join(unknown)}; there are {', '.join(allowed)}"
        )
    if inversion.TUNING in methods and not tunes:
        raise UserError(
            f"{inversion.TUNING} gives every picture a generator of its own, and this protocol "
            f"draws with one; measure it by reconstruction, and choose another method here"
        )


def usable(
    bench: Bench,
    methods: Sequence[str],
    tunes: bool = False,
) -> tuple[list[str], list[str]]:
    """The methods that these networks allow, and a note about the others.

    Without an encoder there is no encoder's code.

    Args:
        bench: of the run.
        methods: see `check_methods`.
        tunes: see `check_methods`.

    Raises:
        UserError: see `check_methods`, or no method is left.
    """
    check_methods(methods, tunes)
    left_out = (
        []
        if bench.world.encoder is not None
        else [
            name
            for name in methods
            if name in inversion.METHODS and inversion.METHODS[name].needs_encoder
        ]
    )
    found = [name for name in methods if name not in left_out]
    if not found:
        raise UserError(
            f"{', '.join(left_out)} need an encoder; give its folder: --config.encoder=DIR"
        )
    names = ", ".join(left_out)
    note = f"Left out, for there is no encoder: {names}; give one with --config.encoder=DIR."
    return found, [note] if left_out else []


class Coder:
    """Finds codes by one method.

    Args:
        bench: of the run. `config.inversion_steps` replaces a method's own number of steps unless
            it is 0.
        method, tunes: see `check_methods`.

    Raises:
        UserError: unknown method, or it needs an encoder and there is none.
    """

    def __init__(self, bench: Bench, method: str, tunes: bool = False) -> None:
        check_methods([method], tunes)
        self._bench, self.method = bench, method
        if method == KNOWN:
            self.recipe = KNOWN
            return
        world, settings = bench.world, inversion.METHODS[method].defaults
        if method != inversion.TUNING:
            settings = dataclasses.replace(settings, size=min(settings.size, world.size))
        if bench.config.inversion_steps and settings.steps:
            settings = settings.with_steps(bench.config.inversion_steps)
        self._invert = inversion.Inverter(world.generator, world.encoder, method, settings)
        self.recipe = f"{method} {dataclasses.asdict(settings)} {dict(world.hashes)}"

    def __call__(self, item: Item) -> Coded:
        """The code of a picture, from the store where it was found before.

        Raises:
            UserError: the picture cannot be read or has no known code, or no loss was finite.
        """
        if self.method == KNOWN:
            if item.code is None:
                raise UserError(
                    f"{item.name} was not drawn by the generator: its code is not known; choose "
                    "a method"
                )
            return Coded(item, item.code(), float("nan"))
        pixels = item.read()
        digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
        key = Key(PROTOCOL, self.method, f"{item.name} {digest[:12]}")
        if self.method == inversion.TUNING:  # too large to keep: what they draw is
            result = self._search(key, pixels)
            tuned = {path: changes[0] for path, changes in result.tuned.items()}
            return Coded(item, result.codes[0], result.seconds, tuned)
        code = self._bench.store.array(
            f"code_{self.method}", f"{digest} {self.recipe}", lambda: self._find(key, pixels)
        )
        found = self._bench.store.get(key)
        return Coded(item, code, float("nan") if found is None else found["seconds"])

    def _find(self, key: Key, pixels: np.ndarray) -> Float[np.ndarray, "rows k"]:
        return np.asarray(self._search(key, pixels).codes[0])

    def _search(self, key: Key, pixels: np.ndarray) -> inversion.Inversion:
        found = self._invert(jnp.asarray(to_unit(pixels))[None])
        tuned = found.tuned is None or np.isfinite(found.loss[0])
        if not (tuned and np.isfinite(found.codes).all()):
            raise UserError(
                f"{key.picture}: {self.method} found no code with a finite loss; leave it out"
            )
        self._bench.store.put(
            key,
            {
                "seconds": found.seconds,
                "compile_seconds": found.compile_seconds,
                "steps": found.steps,
            },
        )
        return found


def coded(bench: Bench, items: Sequence[Item], methods: Sequence[str]) -> list[Coded]:
    """Every picture that can be read, with its code by the first of the methods that fits.

    Known codes for generated ones.

    Args:
        bench: of the run.
        items: pictures.
        methods: "known" is taken where a code is known, else the first other one.
    """
    coders = {name: Coder(bench, name) for name in methods}
    found = []
    for item in bench.progress(items, "codes"):
        fitting = [name for name in coders if name != KNOWN or item.code is not None]
        with bench.listing(item.name):
            if not fitting:
                raise UserError(
                    f"{item.name} has no known code; add a way of inverting to the codes of this "
                    "protocol"
                )
            found.append(coders[fitting[0]](item))
    return found


def move(bench: Bench, one: Coded, attribute: str, strength: float) -> Float[np.ndarray, "rows k"]:
    """What an edit adds to the code of a picture.

    Raises:
        UserError: it cannot move such a face, see `Edit.moved`.
    """
    chosen = [bench.world.directions[attribute]]
    condition = measured(one.item.read()[None], chosen) if chosen[0].conditions else {}
    return steps(chosen, one.code[None], np.full((1, 1), strength), condition)[0, 0]
