"""Edits whose correct result is known: generated faces that are made to look like photographs.

From a drawn face G(w) and a random edit n: I is G(w), and the truth is G(w + alpha n), both with
the same objects in front, the same light, lens and sensor (`data.photographic`). w' lies between w
and what the encoder finds for I: with all of the encoder's error T would often show another smile
than the truth, and a network that cannot know which draws the mean of both, without teeth. I' =
G(w'), T = G(w' + alpha n) and the Diff-CAM mask M of the two are what an editor has (2207.08134,
Eq. 1 to 4).

A network that turns the blend of I and T into the truth learns to remove ghosts while the edit and
what is in front of the face stay. The paper has no such truth: it trains on blends by folded masks
(Eq. 7), whose target is I; see `data.ghost_blends`.
"""

import dataclasses
import functools
import zlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from diffcam_jax.data.edit_samples import Encode
from diffcam_jax.data.ghost_blends import (
    GhostConfig,
    GhostNetworks,
    draw_edits,
    toy_ghost_networks,
)
from diffcam_jax.data.photographic import Photographic
from diffcam_jax.editing import diffcam
from diffcam_jax.ops.image import quantise, to_unit

Picture = UInt8[np.ndarray, "s s 3"]

OBJECTS = Photographic(align=0.0, light=0.0, objects=0.5, blur=0.0, noise=0.0, compress=0.0)
CAMERA = Photographic(objects=0.0)


@dataclasses.dataclass(frozen=True)
class KnownConfig(GhostConfig):
    """How a pair is made; hashable.

    Attributes:
        strength: see `GhostConfig`.
        error: range of the share of the encoder's error in the codes, uniform; 1 is the encoder's
            own code.
    """

    strength: tuple[float, float] = (0.5, 1.5)
    error: tuple[float, float] = (0.2, 0.7)


CONFIG = KnownConfig()


class Pair(NamedTuple):
    """An edit and its correct result; the fields are the names inside a file.

    Attributes:
        original: I, uint8 [s, s, 3].
        inverted: I', uint8 [s, s, 3].
        edited: T, uint8 [s, s, 3].
        truth: the correct result, uint8 [s, s, 3].
        mask: Diff-CAM's, uint8 [s, s], 255 is 1.
        code: W+ code of T, float32 [rows, k].
    """

    original: np.ndarray
    inverted: np.ndarray
    edited: np.ndarray
    truth: np.ndarray
    mask: np.ndarray
    code: np.ndarray


def covered(face: Picture, truth: Picture, rng: np.random.Generator) -> tuple[Picture, Picture]:
    """Puts the same objects in front of both pictures, pixel by pixel."""
    changed = OBJECTS(face, rng)
    return changed, np.where((changed != face).any(-1, keepdims=True), changed, truth)


def photographed(
    face: Picture, truth: Picture, rng: np.random.Generator
) -> tuple[Picture, Picture]:
    """Shows both pictures as one camera would, with the same objects in front."""
    face, truth = covered(face, truth, rng)
    seed = rng.integers(2**63)  # the camera depends on these numbers and not on the picture
    return CAMERA(face, np.random.default_rng(seed)), CAMERA(truth, np.random.default_rng(seed))


@functools.partial(jax.jit, static_argnames="size")
def draw(
    networks: GhostNetworks, codes: Float[Array, "b rows k"], size: int
) -> UInt8[Array, "b s s 3"]:
    """Draws the pictures of codes."""
    return quantise(networks.generator(codes, method="synthesis", size=size))


@functools.partial(jax.jit, static_argnames="cam")
def find_mask(
    networks: GhostNetworks,
    inverted: UInt8[Array, "b s s 3"],
    edited: UInt8[Array, "b s s 3"],
    edits: Int[Array, " b"],
    cam: diffcam.CamConfig,
) -> UInt8[Array, "b s s"]:
    """Finds Diff-CAM's masks of pairs (I', T)."""
    before, after = to_unit(inverted), to_unit(edited)
    found = diffcam.diff_cam(networks.classifier, before, after, networks.classes[edits], cam)
    return jnp.round(found.mask * 255).astype(jnp.uint8)


def make_pairs(
    networks: GhostNetworks,
    encode: Encode,
    names: list[str],
    faces: UInt8[np.ndarray, "b s s 3"],
    codes: Float[np.ndarray, "b rows k"],
    seed: int,
    config: KnownConfig = CONFIG,
) -> list[Pair]:
    """Makes the pairs of some faces; each depends on the seed and its name only.

    Args:
        networks: generator, classifier and edits.
        encode: I in [-1, 1] -> its code.
        names: of the faces.
        faces: their pictures.
        codes: the W+ codes that they were drawn from.
        seed: of edits, strengths and photography.
        config: of strengths, errors and masks.
    """
    keys = [jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode())) for name in names]
    drawn = [draw_edits(key, networks, 1, config) for key in keys]
    edits, strengths = (jnp.concatenate(part) for part in zip(*drawn, strict=True))
    shifts, size = strengths[:, None, None] * networks.directions[edits], faces.shape[1]
    truths = np.asarray(draw(networks, jnp.asarray(codes) + shifts, size))
    rngs = [np.random.default_rng((seed, zlib.crc32(name.encode()))) for name in names]
    taken = [photographed(*both) for both in zip(faces, truths, rngs, strict=True)]
    originals, truths = (np.stack(part) for part in zip(*taken, strict=True))
    shares = jnp.asarray([rng.uniform(*config.error) for rng in rngs], jnp.float32)[:, None, None]
    found = codes + shares * (encode(jnp.asarray(to_unit(originals))) - codes)
    inverted, edited = draw(networks, found, size), draw(networks, found + shifts, size)
    mask = find_mask(networks, inverted, edited, edits, config.cam)
    parts = originals, inverted, edited, truths, mask, found + shifts
    return [Pair(*pair) for pair in zip(*map(np.asarray, parts), strict=True)]


def toy_pairs(count: int, size: int) -> list[Pair]:
    """Makes pairs of a tiny generator with random weights, and random errors of their codes."""
    networks = toy_ghost_networks()
    key, key_error = jax.random.split(jax.random.key(0))
    w = jax.random.normal(key, (count, 1, networks.generator.module.latent_size))
    codes = jnp.broadcast_to(w, (count, networks.directions.shape[1], w.shape[-1]))
    missed = codes + 0.3 * jax.random.normal(key_error, codes.shape)
    faces = np.asarray(draw(networks, codes, size))
    return make_pairs(
        networks, lambda _: missed, [str(i) for i in range(count)], faces, np.asarray(codes), 0
    )
