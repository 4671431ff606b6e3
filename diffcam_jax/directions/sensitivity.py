"""Where small steps of a code change the picture: random probes of a generator's derivative.

J is the derivative of a picture by its W+ code, and M picks the pixels of a zone of the face. For a
random picture v of plus and minus ones, the gradient p = J^T M v has the second moment J^T M J: the
mean of (p . d)^2 is the squared change in the zone that a step d makes. So a few dozen gradients
tell of any step what it changes where, without drawing it.
"""

import functools
import hashlib
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8
from scipy.ndimage import binary_dilation
from tqdm import tqdm

from diffcam_jax.directions.acts import Acts
from diffcam_jax.directions.space import generator_hash
from diffcam_jax.errors import UserError
from diffcam_jax.faces.evidence import SIDE
from diffcam_jax.files import trees
from diffcam_jax.formats import read_npz
from diffcam_jax.nn.conventions import CLASSES
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.nn.network import Network

PROBE_SIZE = 128  # side of the pictures whose change is measured
STEP = SIDE // PROBE_SIZE
_FACE = ("skin", "eyeglasses", "nose", "left_ear", "right_ear")


class Zone(NamedTuple):
    """A part of the aligned picture: classes of the face parsing between two heights.

    Attributes:
        classes: names of `CLASSES`.
        top: upper end, relative to the picture's side.
        bottom: lower end.
        grown: pixels of `PROBE_SIZE` by which it is larger than its classes.
    """

    classes: tuple[str, ...]
    top: float = 0.0
    bottom: float = 1.0
    grown: int = 0


# An earlier zone takes its pixels from the later ones; what none has is the background.
ZONES = {
    "hair": Zone(("hair",)),
    "brows": Zone(("left_brow", "right_brow"), grown=2),
    "eyes": Zone(("left_eye", "right_eye"), grown=3),
    "lips": Zone(("mouth", "upper_lip", "lower_lip"), grown=2),
    "forehead": Zone(_FACE, bottom=0.42),
    "beside the eyes": Zone(_FACE, 0.42, 0.56),
    "nose": Zone(_FACE, 0.56, 0.66),
    "lower face": Zone(_FACE, 0.66),
}
BACKGROUND = "background"
NAMES = (*ZONES, BACKGROUND)


class Sensitivity(NamedTuple):
    """Probes of a generator on some codes.

    Attributes:
        probes: [n, z, k, rows, size] gradients: k of each of the zones `NAMES` for each of n codes.
            The mean of (probe . step)^2 is the mean squared change of the zone's pixels.
        labels: [n, SIDE, SIDE] face parsing of the codes' pictures.
    """

    probes: Float[np.ndarray, "n z k rows size"]
    labels: UInt8[np.ndarray, "n side side"]


def areas(labels: UInt8[np.ndarray, "n side side"]) -> Float[np.ndarray, " z"]:
    """Mean share of the picture that each zone has."""
    return np.mean([masks(parsed).mean((1, 2)) for parsed in labels], 0)


def inside(labels: UInt8[np.ndarray, "n side side"], region: Acts) -> Bool[np.ndarray, " z"]:
    """Which zones lie in a region for the most part."""
    shares = []
    for parsed in labels:
        zones, own = masks(parsed), region_mask(parsed, region)[::STEP, ::STEP]
        shares.append((zones & own).sum((1, 2)) / np.maximum(zones.sum((1, 2)), 1))
    return np.mean(shares, 0) > 0.5


def masks(labels: UInt8[np.ndarray, "side side"]) -> Bool[np.ndarray, "z s s"]:
    """The disjoint zones of a face parsing, in the order of `NAMES`, that cover the picture."""
    small = labels[::STEP, ::STEP]
    heights = np.broadcast_to((np.arange(PROBE_SIZE) / PROBE_SIZE)[:, None], small.shape)
    found, free = [], np.ones(small.shape, bool)
    for zone in ZONES.values():
        mask = np.isin(small, [CLASSES.index(name) for name in zone.classes])
        if zone.grown:
            mask = binary_dilation(mask, iterations=zone.grown)
        mask = mask & free & (heights >= zone.top) & (heights < zone.bottom)
        free = free & ~mask
        found.append(mask)
    return np.stack([*found, free])


def region_mask(
    labels: UInt8[np.ndarray, "side side"], region: Acts
) -> Bool[np.ndarray, "side side"]:
    """The pixels of a face parsing in which an attribute may act."""
    top, bottom, left, right = (round(share * SIDE) for share in region.box)
    box = np.zeros(labels.shape, bool)
    box[top:bottom, left:right] = True
    if not region.classes:
        return box
    return box & np.isin(labels, [CLASSES.index(name) for name in region.classes])


def probe(
    generator: Network,
    codes: Float[np.ndarray, "n r k"],
    labels: UInt8[np.ndarray, "n side side"],
    work: Path,
    count: int = 3,
) -> Sensitivity:
    """Probes a generator; finished codes are kept in `work`, so an interrupted run continues.

    Args:
        generator: any whose pictures have at least `PROBE_SIZE` pixels.
        codes: of the faces.
        labels: face parsing of their pictures.
        work: folder, created if it is missing.
        count: number of probes of each zone.

    Raises:
        UserError: the generator's pictures are smaller.
    """
    rows, found = wplus_rows(generator.module), []
    faces = zip(tqdm(codes, desc="probing", unit="face"), labels, strict=True)
    for seed, (code, parsed) in enumerate(faces):
        digest = hashlib.sha256(generator_hash(generator).encode() + code.tobytes()).hexdigest()
        path = work / f"probes_{digest[:16]}_{seed}_{count}.npz"
        try:
            found.append(read_npz(path)["probes"])
            continue
        except UserError:
            pass  # missing or damaged: made anew
        seen = probing(generator.module, parsed, count, seed)
        code = jnp.asarray(np.broadcast_to(code, (1, rows, code.shape[-1])))
        pulled = _pulled_back(generator.module, generator.variables, code, jnp.asarray(seen))
        found.append(np.asarray(pulled).reshape(-1, count, rows, code.shape[-1]))
        with trees.replacing(path) as file:
            np.savez(file, probes=found[-1])
    return Sensitivity(np.stack(found), labels)


def probing(
    model: nn.Module, labels: UInt8[np.ndarray, "side side"], count: int, seed: int
) -> Float[np.ndarray, "p 1 s s 3"]:
    """Random pictures M v, `count` of each zone of a face, scaled so that J^T M v are probes.

    Raises:
        UserError: the generator's pictures are smaller than `PROBE_SIZE`.
    """
    if model.resolution < PROBE_SIZE:
        raise UserError(
            f"pictures of {model.resolution} pixels are too small for zones of a face; "
            f"{PROBE_SIZE} are needed"
        )
    zones = masks(labels).astype(np.float32)
    signs = np.random.default_rng(seed).choice(
        np.float32([-1, 1]), (len(zones), count, 1, PROBE_SIZE, PROBE_SIZE, 3)
    )
    zones = zones / np.sqrt(3 * np.maximum(zones.sum((1, 2)), 1))[:, None, None]
    seen = signs * zones[:, None, None, ..., None]
    return seen.reshape(-1, *seen.shape[2:])


@functools.partial(jax.jit, static_argnames="model")
def _pulled_back(
    model: nn.Module,
    variables: dict,
    code: Float[Array, "1 rows k"],
    seen: Float[Array, "p 1 s s 3"],
) -> Float[Array, "p rows k"]:
    """Gradients of the inner products of a code's picture with others."""

    def picture(w: Array) -> Array:
        return model.apply(variables, w, method="synthesis", size=PROBE_SIZE)

    _, back = jax.vjp(picture, code)
    return jax.lax.map(lambda cotangent: back(cotangent)[0][0], seen)
