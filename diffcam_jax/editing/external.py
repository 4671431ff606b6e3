"""An edit that another program made, taken into its photograph: where it acts, and the blend.

With I the photograph, I' the same photograph as soft as the other program's picture, and T that
picture in register and in the photograph's colours, everything is as in `window_edit`, with the
whole picture for a window. What differs is how it is told where the edit acts, for the other
program may have drawn everything anew:

* **evidence**: how far pixels and features (Eq. 1 of 2207.08134) of the pair differ, each divided
  by what is usual in the picture, and their geometric mean. Compression moves pixels at every edge,
  but features little; together they tell edits from noise best (`benchmarks.external_edits`).
* **maps**: Diff-CAM of every class (Eq. 3 and 4), for attributes that are named, of the pair in
  both orders: the attribute may have come or gone.

Pictures are [1, s, s, 3] RGB in [-1, 1], masks in [0, 1].
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from diffcam_jax.command.kept_jit import kept_jit
from diffcam_jax.editing.classifier import Classifier
from diffcam_jax.editing.compose import blend, dilate, feather, with_user_mask
from diffcam_jax.editing.config import EditConfig
from diffcam_jax.editing.diffcam import Activation, delta_features
from diffcam_jax.editing.window_edit import compose, feathered
from diffcam_jax.ops.image import resize

# Evidence that noise never reached on a head (3.3 at most, two faces saved in eight ways), and
# that of places around which belong to the same edit.
SURE, LIKELY = 4.0, 2.2
# Differences in [0, 2] of pixels and of features that are never called large: rounding.
_LEAST_PIXEL, _LEAST_FEATURE = 0.7 / 127.5, 0.05


class Taken(NamedTuple):
    """The blend.

    Attributes:
        fused: the photograph with the edit [1, s, s, 3]; equal to it, bit for bit, where the mask
            is 0.
        source: what is blended in [1, s, s, 3].
        mask: [1, s, s].
    """

    fused: Float[Array, "1 s s 3"]
    source: Float[Array, "1 s s 3"]
    mask: Float[Array, "1 s s"]


@kept_jit(static_argnames="size")
def evidence(
    classifier: Classifier,
    softened: Float[Array, "1 s s 3"],
    edited: Float[Array, "1 s s 3"],
    known: Float[Array, "1 s s"],
    size: int,
) -> Float[Array, "{size} {size}"]:
    """How far the edited picture differs from the photograph, in multiples of what is usual.

    Args:
        classifier: whose features are compared.
        softened: I'.
        edited: T.
        known: 1 where both pictures are known.
        size: at which the classifier compares.
    """
    before, after = (resize(x, (size, size), "area") for x in (softened, edited))
    sure = resize(known, (size, size), "area")[0] > 0.99
    moved = jnp.abs(feathered(after - before, max(1, size // 64))).mean(-1)[0]
    features = jnp.sqrt(jnp.square(delta_features(classifier, before, after)).mean(-1))
    features = resize(features, (size, size), "bilinear")[0]
    both = _unusual(moved, sure, _LEAST_PIXEL) * _unusual(features, sure, _LEAST_FEATURE)
    return jnp.where(sure, jnp.sqrt(both), 0.0)


def _unusual(x: Float[Array, "v v"], sure: Bool[Array, "v v"], least: float) -> Float[Array, "v v"]:
    usual = jnp.nan_to_num(jnp.nanmedian(jnp.where(sure, x, jnp.nan)))
    return x / jnp.maximum(usual, least)


def acting(evidence: Float[np.ndarray, "v v"]) -> Bool[np.ndarray, "v v"]:
    """Where pictures differ by more than noise: places that are sure, and what hangs together."""
    from skimage.filters import apply_hysteresis_threshold

    return apply_hysteresis_threshold(evidence, LIKELY, SURE)


@kept_jit(static_argnames="config")
def judge(
    classifier: Classifier,
    softened: Float[Array, "1 s s 3"],
    edited: Float[Array, "1 s s 3"],
    acts: Float[Array, "1 v v"],
    config: EditConfig,
) -> Activation:
    """Diff-CAM of every class, without the noise of places where nothing was edited.

    Args:
        classifier: Diff-CAM's.
        softened: I'.
        edited: T.
        acts: 1 where they differ by more than noise, at the size at which the classifier compares.
        config: static choices.

    Returns:
        Masks [2, N, v, v] and logits [2, N] of the pair (I', T), then of (T, I').
    """
    before, after = (resize(x, acts.shape[1:], "area") for x in (softened, edited))
    near = feather(dilate(acts, 2), 2)[..., None]
    after = before + near * (after - before)
    orders = jnp.concatenate([before, after]), jnp.concatenate([after, before])
    return config.activation(classifier, *orders, None, config.cam)


def shows(
    found: Activation, classes: Sequence[int], may: Float[np.ndarray, "r v v"], cam: float
) -> tuple[Bool[np.ndarray, "v v"], list[int]]:
    """Where named attributes were edited, and whether each appeared or went.

    Args:
        found: of `judge`, on the host.
        classes: index of each attribute among the classifier's classes.
        may: where each may act.
        cam: value of Diff-CAM's mask from which on the attribute is meant.

    Returns:
        The places, and for every attribute 0 when it appears and 1 when it goes.
    """
    orders = [int(found.logits[1, c] > found.logits[0, c]) for c in classes]
    maps = np.stack([found.mask[order, c] for order, c in zip(orders, classes, strict=True)])
    return ((maps >= cam) & (may > 0)).any(0), orders


@kept_jit(static_argnames="config")
def take_in(
    images: Float[Array, "1 s s 3"],
    softened: Float[Array, "1 s s 3"],
    edited: Float[Array, "1 s s 3"],
    acts: Float[Array, "1 v v"],
    may: Float[Array, "1 v v"],
    kept: Float[Array, "1 v v"],
    user_mask: Float[Array, "1 s s"],
    config: EditConfig,
) -> Taken:
    """Blends the edited picture into the photograph, by the product's blend.

    Args:
        images: I.
        softened: I'.
        edited: T.
        acts: 1 where the edit is taken, at the size at which the classifier compares.
        may: where the edit may act.
        kept: how far the photograph's shapes stay, in the light of the edit.
        user_mask: a mask by hand; see `compose.with_user_mask`.
        config: static choices, with a window.
    """
    source, mask = compose(images, softened, edited, acts, may, kept, config.window)
    # Exactly 0 where nothing may change, however far the rim reaches.
    mask = mask * jnp.clip(2 * resize(may, mask.shape[1:], "bilinear"), 0, 1)
    mask = with_user_mask(mask, user_mask, config.user_mask)
    source = source.clip(-1, 1)
    return Taken(blend(images, source, mask), source, mask)
