"""Edits as the protocols need them.

Pictures with known codes, one attribute, by Diff-CAM and what it is compared with.

whole           G(w + strength * direction) itself: what inversion alone gives
diffcam         the blend of Eq. 5 with Diff-CAM's mask, or, with such a network, the deghosted one
grad_cam        the same with the mask of Grad-CAM
cam             the same with the mask of CAM
invertibility   everything drawn anew but what is out of the generator's domain
both            Diff-CAM that leaves alone what is out of domain
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, UInt8

from diffcam_jax.directions.edits import is_linear
from diffcam_jax.editing.compose import blend
from diffcam_jax.editing.config import DECOMPOSING, METHODS, VARIANTS
from diffcam_jax.editing.edit import Edit, Edits, edit_batch
from diffcam_jax.editing.over_devices import PipelineOverDevices
from diffcam_jax.editing.pipeline import Pipeline
from diffcam_jax.errors import UserError
from diffcam_jax.evaluation.bench import Bench, groups
from diffcam_jax.evaluation.codes import Coded, move
from diffcam_jax.evaluation.instruments import AT_A_TIME
from diffcam_jax.evaluation.store import Key
from diffcam_jax.ops.image import from_unit, to_unit

WHOLE = "whole"
SYSTEMS = (WHOLE, *METHODS, *DECOMPOSING)


class Edited(NamedTuple):
    """One picture after one edit.

    Attributes:
        picture: the result.
        mask: where it may differ from the original, above 0.
    """

    picture: UInt8[np.ndarray, "s s 3"]
    mask: Float[np.ndarray, "s s"]


def check(bench: Bench, systems: Sequence[str], variant: str) -> None:
    """Whether systems and variant exist.

    Raises:
        UserError: one does not, or there is no alignment network for it.
    """
    if unknown := [name for name in systems if name not in SYSTEMS]:
        raise UserError(f"no system is called {', '.join(unknown)}; there are {', '.join(SYSTEMS)}")
    if variant not in VARIANTS:
        raise UserError(f"variant={variant!r}: allowed are {', '.join(VARIANTS)}")
    if set(systems) & set(DECOMPOSING):
        _ = bench.world.decomposer


def edit(
    bench: Bench,
    pictures: UInt8[np.ndarray, "b s s 3"],
    codes: Float[np.ndarray, "b n k"],
    attribute: str,
    strength: float,
    systems: Sequence[str],
    variant: str,
    moves: Float[np.ndarray, "b n k"] | None = None,
) -> dict[str, list[Edited]]:
    """Edits a few pictures by every system.

    Args:
        bench: of the run.
        pictures: to be edited.
        codes: of the pictures.
        attribute: what is changed.
        strength: by how much.
        systems: of `SYSTEMS`.
        variant: of `VARIANTS`.
        moves: what the edit adds to each code, see `codes.move`; a linear edit needs none.
    """
    world, found = bench.world, {}
    images = jnp.asarray(to_unit(pictures))
    steps = world.directions[attribute].array[None] if moves is None else moves[None]
    edits = Edits(
        jnp.asarray(steps),
        jnp.full((len(codes), 1), strength, jnp.float32),
        jnp.asarray(world.classes([attribute])),
    )
    config = dataclasses.replace(VARIANTS[variant], classifier_size=min(256, pictures.shape[1]))
    run = functools.partial(_editing(world.pipeline), images, jnp.asarray(codes), edits)
    methods = [name for name in systems if name != WHOLE]
    if WHOLE in systems and not set(methods) & set(METHODS):
        methods.append("diffcam")
    for method in methods:
        result = run(dataclasses.replace(config, method=method))
        mask = np.asarray(result.paste_mask)
        blended = from_unit(blend(images, result.source, result.paste_mask))
        found[method] = [Edited(*pair) for pair in zip(blended, mask)]
        if (
            WHOLE in systems and method in METHODS
        ):  # the generator's own picture comes with any of these
            everywhere = np.ones(pictures.shape[1:3], np.float32)
            found[WHOLE] = [Edited(picture, everywhere) for picture in from_unit(result.edited)]
    return {name: found[name] for name in systems}


@functools.lru_cache(maxsize=1)
def _editing(pipeline: Pipeline) -> Callable[..., Edit]:
    """`edit_batch` with its networks, on all devices."""
    if jax.local_device_count() == 1:
        return functools.partial(edit_batch, pipeline)
    return PipelineOverDevices(pipeline).edit


class Group(NamedTuple):
    """A few pictures and their edits.

    Attributes:
        which: the pictures.
        originals: [b, s, s, 3].
        results: system -> one result for each.
    """

    which: list[Coded]
    originals: UInt8[np.ndarray, "b s s 3"]
    results: dict[str, list[Edited]]


def edited(
    bench: Bench, chosen: Sequence[Coded], attribute: str, part, protocol: str
) -> Iterator[Group]:
    """The edits of every picture that was not measured yet, a few pictures at a time.

    Args:
        bench: of the run.
        chosen: pictures with codes.
        attribute: what is changed.
        part: with strength, systems and variant.
        protocol: under whose name results are stored; subjects are "system attribute".
    """

    def missing(one: Coded) -> bool:
        return not all(
            bench.store.has(Key(protocol, f"{s} {attribute}", one.item.name)) for s in part.systems
        )

    waiting = (one for one in bench.progress(chosen, f"{protocol}: {attribute}") if missing(one))
    size = AT_A_TIME * jax.local_device_count()
    linear = is_linear([bench.world.directions[attribute]])
    for few in groups(waiting, size):
        read = []
        for one in few:
            with bench.listing(one.item.name):
                added = () if linear else move(bench, one, attribute, part.strength)
                read.append((one, one.item.read(), added))
        if not read:
            continue
        # A short last batch is filled up, so that one program does for all.
        filled = read + [read[-1]] * (size - len(read))
        chosen, pictures, moves = zip(*filled)
        pictures, codes = np.stack(pictures), np.stack([one.code for one in chosen])
        given = pictures, codes, attribute, part.strength, part.systems, part.variant
        results = edit(bench, *given, None if linear else np.stack(moves))
        count = len(read)
        yield Group(
            list(chosen[:count]),
            pictures[:count],
            {s: found[:count] for s, found in results.items()},
        )


def grown(regions: Bool[np.ndarray, "b s s"], side: int) -> Bool[np.ndarray, "b {side} {side}"]:
    """Regions on the grid of a picture."""
    rows = np.arange(side) * regions.shape[1] // side
    return regions[:, rows[:, None], rows]
