"""Differential activations: where two pictures differ in the meaning of one attribute (2207.08134,
section 3.3).

Pictures [b,h,w,3] in [-1,1], masks [b,h,w] in [0,1]. `inverted` is I' = G(w), `edited` is T = G(w +
alpha n). A variant fixes what the paper and its official release do differently; every difference
can also be chosen alone:

                  official                    paper
    sign          features(T) - features(I')    features(I') - features(T)
    normalise     (M - min) / (max - min)     M / max
    resize        nearest from 256 to 1024    bilinear

Grad-CAM (1610.02391) and CAM (1512.04150) look at the edited picture alone and share the call
signature.
"""

import dataclasses
import functools
import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder, trees
from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.nn.classifier import PairClassifier
from diffcam_jax.ops.image import resize
from diffcam_jax.pretrained import store


@dataclasses.dataclass(frozen=True)
class CamConfig:
    """How a map becomes a mask; hashable, so it can be a static argument of jit.

    Attributes:
        sign: +1 for features(T) - features(I'), -1 for the reverse; weights work only with the sign
            of their training.
        normalise: "minmax" or "max", per map.
        upsample: "bilinear" or "nearest", from the size of H to the classifier's input.
        resize: "nearest" or "bilinear", from there to the full picture; what
            `compose.MaskConfig.resize` should be.
    """

    sign: int = 1
    normalise: str = "minmax"
    upsample: str = "bilinear"
    resize: str = "nearest"

    def __post_init__(self) -> None:
        allowed = {
            "sign": (1, -1),
            "normalise": ("minmax", "max"),
            "upsample": ("bilinear", "nearest"),
            "resize": ("nearest", "bilinear"),
        }
        for field, choices in allowed.items():
            if getattr(self, field) not in choices:
                raise ValueError(
                    f"{field} {getattr(self, field)!r}: allowed are {', '.join(map(repr, choices))}"
                )


OFFICIAL = CamConfig()
PAPER = CamConfig(sign=-1, normalise="max", resize="bilinear")


def variant(name: str, **overrides: int | str) -> CamConfig:
    """The preset `name` with single fields replaced."""
    presets = {"official": OFFICIAL, "paper": PAPER}
    if name not in presets:
        raise ValueError(f"variant {name!r}: allowed are official and paper")
    return dataclasses.replace(presets[name], **overrides)


class Classifier(NamedTuple):
    """A trained classifier.

    Attributes:
        model, variables: the network and its {"params", "batch_stats"}, float32.
        names: class names in the order of the logits.
        metadata: what else the file says: "direction_sha256", "generator_sha256", "strength",
            "sign", "accuracy", ...
    """

    model: PairClassifier
    variables: dict
    names: tuple[str, ...]
    metadata: dict


def load_classifier(path: str | os.PathLike | None = None) -> Classifier:
    """Read a classifier that `save_classifier` wrote, by default the one that ships for the
    embedded generator.

    Raises:
        UserError: the file is missing or holds something else.
    """
    tree, metadata = store.load_pretrained("diffcam_mobile") if path is None else trees.load(path)
    if metadata.get("kind") != "diff_classifier":
        raise UserError(
            f"{path or 'diffcam_mobile'} is not a Diff-CAM classifier; train one with train.py"
        )
    metadata = dict(metadata)
    names, described = tuple(metadata.pop("classes")), metadata.pop("model")
    model = model_folder.build(described)
    return Classifier(
        model, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree), names, metadata
    )


def classifier_from_folder(folder: ModelFolder) -> Classifier:
    """The classifier of a converted official checkpoint.

    Classes that were never published are called class_N.
    """
    model, variables = folder.network("classifier")
    hashes = {"direction_sha256": folder.config.get("direction_sha256", {})}
    return Classifier(model, variables, tuple(folder.config["classes"]), hashes)


def save_classifier(
    path: str | os.PathLike, model: PairClassifier, variables: dict, metadata: dict
) -> None:
    """Write a classifier: kernels in half precision, the normalisation's numbers in float32.

    Args:
        metadata: "classes" in the order of the logits, and whatever tells where the weights come
            from.
    """
    tree = jax.tree.map(
        lambda x: np.asarray(x, np.float16 if x.ndim > 1 else np.float32), variables
    )
    trees.save(
        path, tree, {"kind": "diff_classifier", "model": model_folder.describe(model), **metadata}
    )


class Activation(NamedTuple):
    """What a class activation method returns.

    Attributes:
        mask: [b,h,w] for chosen classes, [b,N,h,w] for all of them, in [0,1], at the size of the
            pictures.
        logits: [b,N]; whether the classifier agrees with the edit.
    """

    mask: Float[Array, "b h w"] | Float[Array, "b n h w"]
    logits: Float[Array, "b n"]


@functools.partial(jax.jit, static_argnums=0, inline=True)  # the second picture is not traced anew
def _features(
    model: PairClassifier, variables: dict, images: Float[Array, "b h w 3"]
) -> Float[Array, "b h2 w2 c"]:
    return model.apply(variables, images, method="features")


def delta_features(
    model: PairClassifier,
    variables: dict,
    inverted: Float[Array, "b h w 3"],
    edited: Float[Array, "b h w 3"],
    sign: int = 1,
) -> Float[Array, "b h2 w2 c"]:
    """Eq. 1: the difference of the two pictures' features."""
    return sign * (_features(model, variables, edited) - _features(model, variables, inverted))


def channel_weights(
    model: PairClassifier,
    variables: dict,
    activations: Float[Array, "b h w c"],
    classes: Int[Array, " b"] | None = None,
) -> Float[Array, "b c"] | Float[Array, "b n c"]:
    """Eq. 3: beta_k, the spatial mean of the gradient of the class score with respect to H_k.

    Args:
        activations: H, from head().
        classes: one class a picture, or None for every class.

    Returns:
        [b,c], or [b,N,c] for every class.
    """

    def score(h: Float[Array, "b h w c"], chosen: Int[Array, " b"]) -> Float[Array, ""]:
        logits = model.apply(variables, h, method="score")
        return jnp.sum(jnp.take_along_axis(logits, chosen[:, None], axis=1))

    def beta(chosen: Int[Array, " b"]) -> Float[Array, "b c"]:
        return jnp.mean(jax.grad(score)(activations, chosen), axis=(1, 2))

    if classes is not None:
        return beta(classes)
    every = jnp.arange(model.num_classes)[:, None].repeat(activations.shape[0], axis=1)
    return jax.vmap(beta, out_axes=1)(every)


def activation_map(
    activations: Float[Array, "b h w c"], beta: Float[Array, "b c"] | Float[Array, "b n c"]
) -> Float[Array, "b h w"] | Float[Array, "b n h w"]:
    """The sum inside Eq. 4: sum over k of beta_k H_k."""
    return jnp.einsum("bhwc,b...c->b...hw", activations, beta, precision=jax.lax.Precision.HIGHEST)


def normalise(maps: Float[Array, "*b h w"], how: str) -> Float[Array, "*b h w"]:
    """Scale every map to [0,1].

    A map without contrast ("minmax") or without a positive value ("max") gives zeros, where the
    official code divides 0 by 0; the guarded divisor keeps gradients finite as well.
    """
    peak = jnp.max(maps, axis=(-2, -1), keepdims=True)
    low = jnp.min(maps, axis=(-2, -1), keepdims=True) if how == "minmax" else jnp.zeros_like(peak)
    span = peak - low
    # Interpolation of a constant leaves rounding noise of this relative size; it must not be
    # stretched to [0,1].
    usable = span > jnp.maximum(
        1e-6 * jnp.maximum(jnp.abs(peak), jnp.abs(low)), jnp.finfo(jnp.float32).tiny
    )
    scaled = jnp.clip((maps - low) / jnp.where(usable, span, 1.0), 0.0, 1.0)
    return jnp.where(usable, scaled, 0.0)


def map_to_mask(
    maps: Float[Array, "b h w"] | Float[Array, "b n h w"],
    size: tuple[int, int],
    config: CamConfig = OFFICIAL,
) -> Float[Array, "b h2 w2"] | Float[Array, "b n h2 w2"]:
    """Upsample to `size`, then normalise (the order of the official code)."""
    stack = maps.reshape(-1, *maps.shape[-2:])
    masks = normalise(resize(stack, size, config.upsample), config.normalise)
    return masks.reshape(*maps.shape[:-2], *size)


def diff_cam(
    model: PairClassifier,
    variables: dict,
    inverted: Float[Array, "b h w 3"],
    edited: Float[Array, "b h w 3"],
    classes: Int[Array, " b"] | None = None,
    config: CamConfig = OFFICIAL,
) -> Activation:
    """Diff-CAM masks of a batch of pairs.

    Args:
        variables: {"params", "batch_stats"} of `model`.
        inverted, edited: the pairs, at the size the classifier works at (256).
        classes: the edited attribute of each pair; None gives the masks of all classes.

    Reference: 2207.08134, Eq. 1, 3 and 4.
    """
    delta = delta_features(model, variables, inverted, edited, config.sign)  # Eq. 1
    logits, h = model.apply(variables, delta, method="head")  # class scores and H
    beta = channel_weights(model, variables, h, classes)  # Eq. 3
    maps = jax.nn.relu(activation_map(h, beta))  # Eq. 4
    return Activation(map_to_mask(maps, inverted.shape[1:3], config), logits)


def grad_cam(
    model: PairClassifier,
    variables: dict,
    inverted: Float[Array, "b h w 3"],
    edited: Float[Array, "b h w 3"],
    classes: Int[Array, " b"] | None = None,
    config: CamConfig = OFFICIAL,
) -> Activation:
    """Grad-CAM of the edited picture alone: the same classifier without the subtraction.

    `inverted` only gives the signature of diff_cam. Reference: 1610.02391, Eq. 1 and 2.
    """
    logits, h = model.apply(
        variables, model.apply(variables, edited, method="features"), method="head"
    )
    maps = jax.nn.relu(activation_map(h, channel_weights(model, variables, h, classes)))
    return Activation(map_to_mask(maps, inverted.shape[1:3], config), logits)


def cam(
    model: PairClassifier,
    variables: dict,
    inverted: Float[Array, "b h w 3"],
    edited: Float[Array, "b h w 3"],
    classes: Int[Array, " b"] | None = None,
    config: CamConfig = OFFICIAL,
) -> Activation:
    """CAM of the edited picture alone: the linear layer's own weights, no ReLU, so that negative
    evidence counts too.

    `inverted` only gives the signature of diff_cam. Reference: 1512.04150, Eq. 2.
    """
    logits, h = model.apply(
        variables, model.apply(variables, edited, method="features"), method="head"
    )
    kernel = variables["params"]["fc"]["kernel"].T  # [N, c]
    beta = jnp.broadcast_to(kernel, (len(h), *kernel.shape)) if classes is None else kernel[classes]
    return Activation(map_to_mask(activation_map(h, beta), inverted.shape[1:3], config), logits)
