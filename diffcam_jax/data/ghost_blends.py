"""Blends with ghosts, to train the deghosting network with (2207.08134, section 3.4).

From an aligned picture I with its code w and a random edit: T = G(w + alpha n), M the Diff-CAM mask
of (G(w), T), values above 0.5 folded to 1 - M (Eq. 6), F = T M + I (1 - M) (Eq. 7). A network that
turns F into I learns to remove what a blend leaves behind. Pictures are NHWC RGB in [-1, 1].

A generator's own samples hold nothing that it cannot draw, which is what ghosts come from:
`disturb` changes colours and puts shapes in front of them.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from diffcam_jax.data.augment import AugmentConfig, augment
from diffcam_jax.data.edit_samples import toy_generator
from diffcam_jax.directions import Edit
from diffcam_jax.directions.edits import linear
from diffcam_jax.editing import diffcam
from diffcam_jax.editing.classifier import Classifier
from diffcam_jax.editing.compose import blend, resize_mask, training_mask
from diffcam_jax.editing.pipeline import Pipeline
from diffcam_jax.errors import UserError
from diffcam_jax.nn.classifier import DiffClassifier
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import resize

# What is done to a generator's sample so that its code no longer draws it exactly.
DISTURBANCE = AugmentConfig(flip=0.0, shift=0, colour=0.1, blur=0.2, occlude=0.8, hide=0.0)


@dataclasses.dataclass(frozen=True)
class GhostConfig:
    """How a training picture is made; hashable. The defaults are those of the official release.

    Attributes:
        cam: how activations become a mask, and how the mask is enlarged.
        strength: range of the edit, uniform, above 0, in the unit of the directions.
        classifier_size: side at which the classifier compares; smaller pictures keep their own.
    """

    cam: diffcam.CamConfig = diffcam.OFFICIAL
    strength: tuple[float, float] = (1.0, 1.0)
    classifier_size: int = 256


@flax.struct.dataclass
class GhostNetworks:
    """The frozen networks that make ghosts, and the edits.

    Attributes:
        generator: with the method synthesis.
        classifier: of Diff-CAM.
        names: of the N edits.
        directions: [N, rows, k]; strength 1 adds the array to W+.
        classes: [N], the index of each direction among the classifier's classes.
    """

    generator: Network
    classifier: Classifier
    names: tuple[str, ...] = flax.struct.field(pytree_node=False)
    directions: Float[Array, "n rows k"]
    classes: Int[Array, " n"]


class Ghosts(NamedTuple):
    """The result of `make_ghosts`.

    Attributes:
        fused: F [b, s, s, 3] in [-1, 1].
        edited: T [b, s, s, 3] in [-1, 1].
        mask: the folded mask [b, s, s].
    """

    fused: Float[Array, "b s s 3"]
    edited: Float[Array, "b s s 3"]
    mask: Float[Array, "b s s"]


@functools.partial(jax.jit, static_argnames="config")
def make_ghosts(
    networks: GhostNetworks,
    images: Float[Array, "b s s 3"],
    codes: Float[Array, "b rows k"],
    edits: Int[Array, " b"],
    strengths: Float[Array, " b"],
    config: GhostConfig = GhostConfig(),
) -> Ghosts:
    """Makes the training picture of Eq. 7 for each picture.

    Args:
        networks: networks and edits.
        images: I, at most as large as the generator's pictures.
        codes: W+ codes of I.
        edits: index of each picture's edit.
        strengths: of the edits.
        config: static choices.
    """
    size, small = images.shape[1], min(config.classifier_size, images.shape[1])

    def draw(w: Array, side: int) -> Array:
        return networks.generator(w, method="synthesis", size=side)

    edited = draw(codes + strengths[:, None, None] * networks.directions[edits], size)
    pair = draw(codes, small), resize(edited, (small, small), "area")
    classes = networks.classes[edits]
    found = diffcam.diff_cam(networks.classifier, *pair, classes, config.cam)
    mask = training_mask(resize_mask(found.mask, (size, size), config.cam.resize))
    edited = edited.clip(-1, 1)
    return Ghosts(blend(images, edited, mask), edited, mask)


def draw_edits(
    key: PRNGKeyArray, networks: GhostNetworks, count: int, config: GhostConfig
) -> tuple[Int[Array, " b"], Float[Array, " b"]]:
    """Draws an edit and its strength for each of `count` pictures."""
    which, how = jax.random.split(key)
    low, high = config.strength
    edits = jax.random.randint(which, (count,), 0, len(networks.names))
    return edits, jax.random.uniform(how, (count,), minval=low, maxval=high)


def disturb(
    key: PRNGKeyArray, images: Float[Array, "b s s 3"], config: AugmentConfig = DISTURBANCE
) -> Float[Array, "b s s 3"]:
    """Changes samples so that their codes no longer draw them: colour, blur, an ellipse in front.

    Args:
        key: of the draws.
        images: of a generator.
        config: without flips and shifts, which would move the picture away from its code.
    """
    return augment(key, images, images, jnp.zeros(len(images), bool), config)[0]


def ghost_networks(pipeline: Pipeline, directions: Mapping[str, Edit]) -> GhostNetworks:
    """Selects the edits that both the directions and the classifier know.

    Args:
        pipeline: with generator and classifier.
        directions: by name, with the rows of the generator.

    Raises:
        UserError: there is no such edit, or one is not linear.
    """
    directions = linear(directions, "what a deghosting network learns from")
    judge = pipeline.classifier
    names = tuple(name for name in directions if name in judge.names)
    if not names:
        raise UserError(
            f"the classifier knows {', '.join(judge.names)}, the directions are "
            f"{', '.join(directions)}; give a classifier trained with these directions"
        )
    arrays = jnp.stack([jnp.asarray(directions[name].array) for name in names])
    classes = jnp.asarray([judge.names.index(name) for name in names], jnp.int32)
    return GhostNetworks(pipeline.generator, judge, names, arrays, classes)


@functools.cache
def toy_ghost_networks() -> GhostNetworks:
    """Creates a tiny generator of 64 pixels and a tiny classifier; no file is needed."""
    edits = toy_generator()
    classifier = DiffClassifier(18, 4, num_classes=3, split=1, strides=(1, 2, 1, 1))
    blank, rng = jnp.zeros((1, 32, 32, 3)), np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: classifier.init(jax.random.key(0), blank, blank))

    def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> Array:
        name = path[-1].key
        if name == "kernel":
            value = rng.standard_normal(leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))
            # Activations are not negative: with such weights every class has evidence somewhere.
            return jnp.asarray(abs(value) if path[-2].key == "fc" else value, jnp.float32)
        return jnp.full(leaf.shape, float(name in ("scale", "var")))

    network = Network(classifier, jax.tree_util.tree_map_with_path(fill, shapes))
    judge = Classifier(network, edits.names)
    return GhostNetworks(edits.generator, judge, edits.names, edits.directions, jnp.arange(3))
