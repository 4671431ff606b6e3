"""Decompositions as the protocol of invertibility needs them.

Faces with objects in front, what is found of them, kept in the store.

object, truth           the face with a held-out object, and where that is; what is pasted depends
                        on names alone
mask, difference        of what is out of domain, by the network, and by the plain difference
encoder, aligned, kept  the encoder's picture, the generator's with aligned features, and the blend
                        that keeps what is out of domain
"""

import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, UInt8

from diffcam_jax.data.occluders import HELD_OUT, held_out
from diffcam_jax.editing.compose import feather
from diffcam_jax.editing.decomposition import Decomposition, decompose
from diffcam_jax.evaluation.bench import Bench
from diffcam_jax.evaluation.codes import Coded, Coder
from diffcam_jax.evaluation.networks import World
from diffcam_jax.evaluation.pictures import Item
from diffcam_jax.evaluation.store import Key
from diffcam_jax.faces.panel import grey
from diffcam_jax.metrics import masks as measures
from diffcam_jax.ops.image import from_unit, to_unit

NAME = "invertibility"
OBJECT, TRUTH = "object", "truth"
MASKS = {"mask": "network", "difference": "difference"}
PICTURES = {
    "encoder": "encoder alone",
    "aligned": "aligned features",
    "kept": "aligned, out of domain kept",
}
SMOOTHING = 32  # the difference is smoothed over this part of the side


def paste(bench: Bench, faces: Sequence[Item]) -> dict[str, list[Item]]:
    """kind of object -> faces behind one.

    What is pasted depends on the names of face and kind alone, and is kept in the store.
    """
    found: dict[str, list[Item]] = {kind: [] for kind in HELD_OUT} if faces else {}
    for face in bench.progress(faces, f"{NAME}: objects"):
        read = functools.cache(face.read)
        for kind, members in found.items():
            name = f"{face.name}_{kind}"
            key, truth = Key(NAME, OBJECT, name), Key(NAME, TRUTH, name)
            if not bench.store.has(key) or not bench.store.has(truth):
                picture, mask = held_out(read(), kind, np.random.default_rng(list(name.encode())))
                bench.store.save_picture(key, picture)
                bench.store.save_picture(truth, np.repeat(mask[..., None], 3, -1))
                bench.store.put(key, {})
                bench.store.put(truth, {"area": float((mask >= 128).mean())})
            members.append(
                Item(name, functools.partial(bench.store.load_picture, key), face.code, face.shown)
            )
    return found


def measure(
    bench: Bench, coder: Coder, items: Sequence[Item], label: str, share: float | None = None
) -> list[Coded]:
    """Decomposes pictures and keeps what was found; gives those that could be inverted.

    Args:
        bench: of the run.
        coder: finds codes.
        items: pictures.
        label: of the progress bar.
        share: of `largest`; None leaves the difference out.
    """
    found, maps = [], list(MASKS)[: 1 if share is None else 2]
    for item in bench.progress(items, f"{NAME}: {label}"):
        with bench.listing(item.name):
            one = coder(item)
            if not all(bench.store.has(Key(NAME, name, item.name)) for name in (*PICTURES, *maps)):
                _measure(bench, one, share)
            found.append(one)
    return found


def _measure(bench: Bench, one: Coded, share: float | None) -> None:
    pixels, name = one.item.read()[None], one.item.name
    size = pixels.shape[1]
    parts = decomposed(bench.world, pixels, one.code[None])
    alone = bench.world.draw(one.code[None], size)
    maps = {"mask": np.asarray(parts.mask)}
    if share is not None:
        maps["difference"] = largest(pixels, alone, share)
    truth = truth_of(bench, name, size)
    for kind, found in maps.items():
        values = {
            column: getattr(measures, column)(found, truth)
            for column in ("iou", "coverage", "inside")
        }
        values["area"] = measures.area(found >= measures.THRESHOLD)
        keep(
            bench,
            Key(NAME, kind, name),
            grey(found[0]),
            {column: value[0] for column, value in values.items()},
        )
    for kind, picture in zip(
        PICTURES, (alone, from_unit(parts.generated), from_unit(parts.image)), strict=True
    ):
        keep(bench, Key(NAME, kind, name), picture[0], bench.pairs(pixels, picture)[0])


def decomposed(
    world: World, pictures: UInt8[np.ndarray, "b s s 3"], codes: Float[np.ndarray, "b n k"]
) -> Decomposition:
    """Pictures with known codes, decomposed by the networks of a run."""
    images = jnp.asarray(to_unit(pictures))
    return _decompose(world.decomposer, images, None, jnp.asarray(codes))


_decompose = jax.jit(decompose, static_argnames="largest")


def largest(
    pictures: UInt8[np.ndarray, "b s s 3"], drawn: UInt8[np.ndarray, "b s s 3"], share: float
) -> Bool[np.ndarray, "b s s"]:
    """Where two pictures differ most.

    The mean over channels, smoothed, and of each picture the share with the largest values.
    """
    difference = np.abs(pictures.astype(np.float32) - drawn).mean(-1) / 255
    smooth = np.asarray(feather(jnp.asarray(difference), pictures.shape[1] // SMOOTHING))
    return smooth >= np.quantile(smooth, 1 - share, axis=(1, 2), keepdims=True)


def keep(
    bench: Bench, key: Key, picture: UInt8[np.ndarray, "s s 3"], values: Mapping[str, float]
) -> None:
    """Stores what was measured, with the picture that it was measured on."""
    bench.store.save_picture(key, picture)
    bench.store.put(key, values)


def truth_of(bench: Bench, name: str, size: int) -> Bool[np.ndarray, "1 s s"]:
    """Where the object is that was pasted into a picture; nowhere in others."""
    key = Key(NAME, TRUTH, name)
    if not bench.store.has(key):
        return np.zeros((1, size, size), bool)
    return bench.store.load_picture(key)[None, ..., 0] >= 128
