"""Diff-CAM: where two pictures differ in the meaning of one attribute (2207.08134, section 3.3).

Pictures [b, h, w, 3] RGB in [-1, 1], masks [b, h, w] in [0, 1]. `inverted` is I' = G(w), `edited`
is T = G(w + alpha n). One function an equation:

    Eq. 1    delta_features     the difference of the two pictures' features
    Eq. 3    channel_weights    beta, the mean gradient of the class score
    Eq. 4    activation_map, map_to_mask    ReLU of the weighted sum, normalised

Grad-CAM (1610.02391) and CAM (1512.04150) look at the edited picture alone and share the call
signature.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffcam_jax.editing.classifier import Classifier
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import resize


@dataclasses.dataclass(frozen=True)
class CamConfig:
    """How a map becomes a mask; hashable, so it can be a static argument of jit.

    As it stands it follows the official release; `PAPER` follows the paper.

    Attributes:
        normalise: each map, "minmax" for (M - min) / (max - min), "max" for M / max.
        upsample: "bilinear" or "nearest", from the size of H to the classifier's input.
        resize: "nearest" or "bilinear", from there to the full picture; what
            `compose.MaskConfig.resize` should be.
    """

    normalise: str = "minmax"
    upsample: str = "bilinear"
    resize: str = "nearest"

    def __post_init__(self) -> None:
        allowed = {
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
PAPER = CamConfig(normalise="max", resize="bilinear")


class Activation(NamedTuple):
    """What a class activation method returns.

    Attributes:
        mask: [b, h, w] for chosen classes, [b, N, h, w] for all of them, in [0, 1], at the size of
            the pictures.
        logits: [b, N]; whether the classifier agrees with the edit.
    """

    mask: Float[Array, "b h w"] | Float[Array, "b n h w"]
    logits: Float[Array, "b n"]


@functools.partial(jax.jit, inline=True)  # the second picture is not traced anew
def _features(network: Network, images: Float[Array, "b h w 3"]) -> Float[Array, "b h2 w2 c"]:
    return network(images, method="features")


def delta_features(
    classifier: Classifier, inverted: Float[Array, "b h w 3"], edited: Float[Array, "b h w 3"]
) -> Float[Array, "b h2 w2 c"]:
    """Eq. 1: the difference of the two pictures' features, with the classifier's sign."""
    network = classifier.network
    return classifier.sign * (_features(network, edited) - _features(network, inverted))


def channel_weights(
    classifier: Classifier,
    activations: Float[Array, "b h w c"],
    classes: Int[Array, " b"] | None = None,
) -> Float[Array, "b c"] | Float[Array, "b n c"]:
    """Eq. 3: beta_k, the spatial mean of the gradient of the class score with respect to H_k.

    Args:
        classifier: whose score is differentiated.
        activations: H, from head().
        classes: one class a picture, or None for every class.

    Returns:
        [b, c], or [b, N, c] for every class.
    """
    network = classifier.network

    def score(h: Float[Array, "b h w c"], chosen: Int[Array, " b"]) -> Float[Array, ""]:
        logits = network(h, method="score")
        return jnp.sum(jnp.take_along_axis(logits, chosen[:, None], axis=1))

    def beta(chosen: Int[Array, " b"]) -> Float[Array, "b c"]:
        return jnp.mean(jax.grad(score)(activations, chosen), axis=(1, 2))

    if classes is not None:
        return beta(classes)
    every = jnp.arange(network.module.num_classes)[:, None].repeat(len(activations), axis=1)
    return jax.vmap(beta, out_axes=1)(every)


def activation_map(
    activations: Float[Array, "b h w c"], beta: Float[Array, "b c"] | Float[Array, "b n c"]
) -> Float[Array, "b h w"] | Float[Array, "b n h w"]:
    """The sum inside Eq. 4: sum over k of beta_k H_k."""
    return jnp.einsum("bhwc,b...c->b...hw", activations, beta, precision=jax.lax.Precision.HIGHEST)


def normalise(maps: Float[Array, "*b h w"], how: str) -> Float[Array, "*b h w"]:
    """Scales every map to [0, 1].

    A map without contrast ("minmax") or without a positive value ("max") gives zeros, where the
    official code divides 0 by 0; the guarded divisor keeps gradients finite as well.
    """
    peak = jnp.max(maps, axis=(-2, -1), keepdims=True)
    low = jnp.min(maps, axis=(-2, -1), keepdims=True) if how == "minmax" else jnp.zeros_like(peak)
    span = peak - low
    # Interpolation of a constant leaves rounding noise of this relative size; it must not be
    # stretched to [0, 1].
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
    """Upsamples to `size`, then normalises (the order of the official code)."""
    stack = maps.reshape(-1, *maps.shape[-2:])
    masks = normalise(resize(stack, size, config.upsample), config.normalise)
    return masks.reshape(*maps.shape[:-2], *size)


def diff_cam(
    classifier: Classifier,
    inverted: Float[Array, "b h w 3"],
    edited: Float[Array, "b h w 3"],
    classes: Int[Array, " b"] | None = None,
    config: CamConfig = OFFICIAL,
) -> Activation:
    """Diff-CAM masks of a batch of pairs.

    Args:
        classifier: tells the attributes apart.
        inverted: I', at the size that the classifier works at (256).
        edited: T, at the same size.
        classes: the edited attribute of each pair; None gives the masks of all classes.
        config: how maps become masks.

    Reference: 2207.08134, Eq. 1, 3 and 4.
    """
    delta = delta_features(classifier, inverted, edited)  # Eq. 1
    logits, h = classifier.network(delta, method="head")  # class scores and H
    beta = channel_weights(classifier, h, classes)  # Eq. 3
    maps = jax.nn.relu(activation_map(h, beta))  # Eq. 4
    return Activation(map_to_mask(maps, inverted.shape[1:3], config), logits)


def grad_cam(
    classifier: Classifier,
    inverted: Float[Array, "b h w 3"],
    edited: Float[Array, "b h w 3"],
    classes: Int[Array, " b"] | None = None,
    config: CamConfig = OFFICIAL,
) -> Activation:
    """Grad-CAM of the edited picture alone: the same classifier without the subtraction.

    `inverted` only gives the signature of `diff_cam`. Reference: 1610.02391, Eq. 1 and 2.
    """
    logits, h = classifier.network(_features(classifier.network, edited), method="head")
    maps = jax.nn.relu(activation_map(h, channel_weights(classifier, h, classes)))
    return Activation(map_to_mask(maps, inverted.shape[1:3], config), logits)


def cam(
    classifier: Classifier,
    inverted: Float[Array, "b h w 3"],
    edited: Float[Array, "b h w 3"],
    classes: Int[Array, " b"] | None = None,
    config: CamConfig = OFFICIAL,
) -> Activation:
    """CAM of the edited picture alone: the linear layer's own weights.

    Without a ReLU, so that negative evidence counts too. `inverted` only gives the signature of
    `diff_cam`. Reference: 1512.04150, Eq. 2.
    """
    logits, h = classifier.network(_features(classifier.network, edited), method="head")
    kernel = classifier.network.variables["params"]["fc"]["kernel"].T  # [N, c]
    beta = jnp.broadcast_to(kernel, (len(h), *kernel.shape)) if classes is None else kernel[classes]
    return Activation(map_to_mask(activation_map(h, beta), inverted.shape[1:3], config), logits)
