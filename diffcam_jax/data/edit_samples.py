"""Edited samples of a generator: a face and each of its edits (2207.08134, section 3.3).

A sample is w = mapping(z), truncated, sometimes mixed from two faces, and T_c = G(w + strength n_c)
for each of N directions, or what another edit makes of w. Pictures are uint8 RGB. Sample i depends
on the seed and i only.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from diffcam_jax.data.photographic import Photographic
from diffcam_jax.directions import Edit, importers
from diffcam_jax.directions.edits import is_linear, measured
from diffcam_jax.directions.scoring import draw_pictures, draw_uint8
from diffcam_jax.editing.checkpoints import fit_directions
from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder, trees
from diffcam_jax.nn.latents import latent_stats, wplus_rows
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network, initial_variables
from diffcam_jax.ops.image import quantise, to_unit
from diffcam_jax.pretrained import networks as pretrained

# Pictures in [-1, 1] to the W+ codes that an encoder finds for them.
Encode = Callable[[Float[Array, "b s s 3"]], Float[Array, "b rows k"]]

PHOTOGRAPHIC = Photographic()
# Faces that are drawn, one after the other, until the edits can move one.
TRIES, FURTHER = 20, 1_000_003


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The distribution of samples; hashable.

    Attributes:
        seed: of all draws.
        size: side of the pictures in pixels.
        psi: range of the truncation, uniform.
        strength: range of the edit, uniform, in the unit of the directions (1 is a clear edit).
        both_signs: draw negative strengths as well; the class is still that of the direction.
        mixing: probability that the fine layers come from a second face, which covers W+ beyond W.
        encoded: probability that the code is found again by an encoder; for pairs in a folder.
    """

    seed: int = 0
    size: int = 256
    psi: tuple[float, float] = (0.5, 0.9)
    strength: tuple[float, float] = (0.6, 1.4)
    both_signs: bool = False
    mixing: float = 0.3
    encoded: float = 0.0


@flax.struct.dataclass
class EditableGenerator:
    """A generator with the directions that edit its pictures.

    Attributes:
        generator: with the methods mapping and synthesis.
        mean: mean w [k].
        names: of the N directions, which are the classes.
        directions: [N, rows, k]; strength 1 adds the array to W+.
        edits: the N edits where some of them are not linear; `directions` then says nothing but
            the rows of a code.
    """

    generator: Network
    mean: Float[Array, " k"]
    names: tuple[str, ...] = flax.struct.field(pytree_node=False)
    directions: Float[Array, "n rows k"]
    edits: tuple[Edit, ...] = flax.struct.field(pytree_node=False, default=())

    def fingerprint(self) -> dict:
        """Returns class names and hashes, to recognise pairs that were made with other parts."""
        arrays = np.asarray(self.directions, np.float32)
        hashes = [edit.sha256 for edit in self.edits] or [
            hashlib.sha256(array.tobytes()).hexdigest() for array in arrays
        ]
        return {
            "classes": list(self.names),
            "direction_sha256": dict(zip(self.names, hashes, strict=True)),
            "generator_sha256": trees.tree_hash(self.generator.variables["params"]),
        }


def draw_code(
    editable: EditableGenerator, recipe: Recipe, index: Int[Array, ""]
) -> Float[Array, "rows k"]:
    """Draws the W+ code of sample `index`."""
    key_z, key_psi, key_mix, key_cut = jax.random.split(
        jax.random.fold_in(jax.random.key(recipe.seed), index), 4
    )
    z = jax.random.normal(key_z, (2, editable.mean.shape[0]))
    w = editable.generator(z, method="mapping")
    psi = jax.random.uniform(key_psi, (), minval=recipe.psi[0], maxval=recipe.psi[1])
    w = editable.mean + psi * (w - editable.mean)
    rows = editable.directions.shape[1]
    mixed = jax.random.uniform(key_mix) < recipe.mixing
    cut = jnp.where(mixed, jax.random.randint(key_cut, (), rows // 3, rows), rows)
    return jnp.where((jnp.arange(rows) < cut)[:, None], w[0], w[1])


def draw_strengths(
    editable: EditableGenerator, recipe: Recipe, index: Int[Array, ""]
) -> Float[Array, " n"]:
    """Draws the strengths of the edits of sample `index`."""
    key, key_sign = jax.random.split(jax.random.fold_in(jax.random.key(recipe.seed + 1), index))
    strengths = jax.random.uniform(
        key, (len(editable.names),), minval=recipe.strength[0], maxval=recipe.strength[1]
    )
    return (
        strengths * jax.random.rademacher(key_sign, strengths.shape)
        if recipe.both_signs
        else strengths
    )


def render_sample(
    editable: EditableGenerator,
    recipe: Recipe,
    index: Int[Array, ""],
    code: Float[Array, "rows k"] | None = None,
) -> UInt8[Array, "_ s s 3"]:
    """Draws all pictures of sample `index`, I' and its N edits; `code` replaces its own code."""
    code = draw_code(editable, recipe, index) if code is None else code
    edits = code + draw_strengths(editable, recipe, index)[:, None, None] * editable.directions
    codes = jnp.concatenate([code[None], edits])
    return quantise(editable.generator(codes, method="synthesis", size=recipe.size))


_draw_code, _draw_strengths, _render_sample = (
    jax.jit(function, static_argnums=1) for function in (draw_code, draw_strengths, render_sample)
)


def make_sample(
    editable: EditableGenerator, recipe: Recipe, index: int, encode: Encode | None = None
) -> UInt8[np.ndarray, "_ s s 3"]:
    """Draws all pictures of sample `index`, I' and its N edits.

    Args:
        editable: generator and directions.
        recipe: of the samples.
        index: of the sample.
        encode: finds the code again in the face as a photograph might show it, with probability
            `recipe.encoded`.

    Raises:
        UserError: `TRIES` faces in turn are none that the edits can move, see `Edit.moved`.
    """
    if editable.edits:
        codes = moved_codes(editable, recipe, index, range(len(editable.edits)), encode)
        return np.asarray(draw_uint8(*editable.generator, jnp.asarray(codes), recipe.size))
    code = _found_code(editable, recipe, index, encode)
    return np.asarray(_render_sample(editable, recipe, jnp.asarray(index), code))


def moved_codes(
    editable: EditableGenerator,
    recipe: Recipe,
    index: int,
    labels: Sequence[int],
    encode: Encode | None = None,
) -> Float[np.ndarray, "_ rows k"]:
    """The code of sample `index`, and what some edits make of it, of which some are not linear.

    Args:
        editable: generator and edits.
        recipe: of the samples.
        index: of the sample.
        labels: of the edits.
        encode: see `make_sample`.

    Raises:
        UserError: see `make_sample`.
    """
    strengths = np.asarray(_draw_strengths(editable, recipe, jnp.asarray(index)))
    chosen = [editable.edits[label] for label in labels]
    for attempt in range(TRIES):
        other = index + attempt * FURTHER
        code = _found_code(editable, recipe, other, encode)
        code = _draw_code(editable, recipe, jnp.asarray(other)) if code is None else code
        code = np.asarray(code)[None]
        try:
            face = draw_pictures(editable.generator, code, 1, progress=False)
            condition = measured(face, chosen)
            moved = [
                edit.moved(code, float(strengths[label]), condition)
                for edit, label in zip(chosen, labels, strict=True)
            ]
        except UserError as error:
            refusal = error
        else:
            return np.concatenate([code, *moved])
    raise refusal


def _found_code(
    editable: EditableGenerator, recipe: Recipe, index: int, encode: Encode | None
) -> Float[Array, "rows k"] | None:
    """The code that an encoder finds for sample `index`; None where its own one is taken."""
    rng, number, code = np.random.default_rng((recipe.seed, index)), jnp.asarray(index), None
    if encode is not None and rng.random() < recipe.encoded:
        own = _draw_code(editable, recipe, number)[None]
        face = np.asarray(draw_uint8(*editable.generator, own, recipe.size))[0]
        code = encode(jnp.asarray(to_unit(PHOTOGRAPHIC(face, rng)[None])))[0]
    return code


def editable_generator(
    directions: importers.Source | Sequence[importers.Source] | None = None,
    folder: Path | None = None,
) -> EditableGenerator:
    """Loads a generator with directions, or edits of files and folders.

    Args:
        directions: see `importers.read_directions`; None for those that ship.
        folder: of converted or trained weights; None for the embedded generator.

    Raises:
        UserError: they cannot be read, or are another generator's.
    """
    held = pretrained.load("mobile_stylegan_ffhq") if folder is None else model_folder.load(folder)
    generator = jax.device_put(held.network("generator"))
    table = fit_directions(importers.read_directions(directions), generator)
    names = tuple(sorted(table))  # the official order: class i is the i-th file name
    edits = tuple(table[name] for name in names)
    mean = latent_stats(*generator, jax.random.key(0)).mean
    if not is_linear(edits):
        shape = len(names), wplus_rows(generator.module), generator.module.latent_size
        return EditableGenerator(generator, mean, names, jnp.zeros(shape), edits)
    arrays = jnp.stack([jnp.asarray(edit.array) for edit in edits])
    return EditableGenerator(generator, mean, names, arrays)


def toy_generator() -> EditableGenerator:
    """Creates a tiny generator with random weights and three random edits; no file is needed."""
    model = MobileStyleGAN(widths=(16, 16, 16, 8), latent_size=8, mapping_layers=2)
    generator = Network(model, initial_variables(model, jax.random.key(0), jnp.zeros((1, 8))))
    directions = 2 * jax.random.normal(jax.random.key(1), (3, 18, 8))
    return EditableGenerator(generator, jnp.zeros(8), ("a", "b", "c"), directions)
