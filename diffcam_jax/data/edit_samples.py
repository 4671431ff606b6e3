"""Edited samples of a generator: a face and each of its edits (2207.08134, section 3.3).

A sample is w = mapping(z), truncated, sometimes mixed from two faces, and T_c = G(w + strength n_c)
for each of N directions. Pictures are uint8 RGB. Sample i depends on the seed and i only.
"""

import dataclasses
import hashlib
from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from diffcam_jax.data.photographic import Photographic
from diffcam_jax.directions import load_directions
from diffcam_jax.directions.scoring import draw_uint8
from diffcam_jax.files import trees
from diffcam_jax.nn.latents import latent_stats
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network, initial_variables
from diffcam_jax.ops.image import quantise, to_unit
from diffcam_jax.pretrained import networks as pretrained

# Pictures in [-1, 1] to the W+ codes that an encoder finds for them.
Encode = Callable[[Float[Array, "b s s 3"]], Float[Array, "b rows k"]]

PHOTOGRAPHIC = Photographic()


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
    """

    generator: Network
    mean: Float[Array, " k"]
    names: tuple[str, ...] = flax.struct.field(pytree_node=False)
    directions: Float[Array, "n rows k"]

    def fingerprint(self) -> dict:
        """Returns class names and hashes, to recognise pairs that were made with other parts."""
        arrays = np.asarray(self.directions, np.float32)
        return {
            "classes": list(self.names),
            "direction_sha256": {
                name: hashlib.sha256(array.tobytes()).hexdigest()
                for name, array in zip(self.names, arrays, strict=True)
            },
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


_draw_code, _render_sample = (
    jax.jit(function, static_argnums=1) for function in (draw_code, render_sample)
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
    """
    rng, number, code = np.random.default_rng((recipe.seed, index)), jnp.asarray(index), None
    if encode is not None and rng.random() < recipe.encoded:
        own = _draw_code(editable, recipe, number)[None]
        face = np.asarray(draw_uint8(*editable.generator, own, recipe.size))[0]
        code = encode(jnp.asarray(to_unit(PHOTOGRAPHIC(face, rng)[None])))[0]
    return np.asarray(_render_sample(editable, recipe, number, code))


def embedded_generator(directions: str | None = None) -> EditableGenerator:
    """Loads the embedded generator with the shipped directions, or those of a file."""
    generator = jax.device_put(pretrained.load("mobile_stylegan_ffhq").network("generator"))
    table = load_directions(directions)
    names = tuple(sorted(table))  # the official order: class i is the i-th file name
    arrays = jnp.stack([jnp.asarray(table[name].array) for name in names])
    mean = latent_stats(*generator, jax.random.key(0)).mean
    return EditableGenerator(generator, mean, names, arrays)


def toy_generator() -> EditableGenerator:
    """Creates a tiny generator with random weights and three random edits; no file is needed."""
    model = MobileStyleGAN(widths=(16, 16, 16, 8), latent_size=8, mapping_layers=2)
    generator = Network(model, initial_variables(model, jax.random.key(0), jnp.zeros((1, 8))))
    directions = 2 * jax.random.normal(jax.random.key(1), (3, 18, 8))
    return EditableGenerator(generator, jnp.zeros(8), ("a", "b", "c"), directions)
