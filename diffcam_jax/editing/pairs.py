"""Successive edits: the activation map of each pair of neighbours (2207.08134, section 3.6)."""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from diffcam_jax.editing.classifier import Classifier
from diffcam_jax.editing.config import EditConfig
from diffcam_jax.editing.diffcam import Activation


def find(
    classifier: Classifier,
    pictures: Sequence[Float[Array, "b v v 3"]],
    classes: Int[Array, " r"],
    undo: Bool[Array, "r b"],
    config: EditConfig,
) -> Activation:
    """Masks and logits of successive edits.

    Args:
        classifier: Diff-CAM's.
        pictures: after 0, 1, ... r edits.
        classes: index of each edit's attribute among the classifier's classes.
        undo: whether an edit takes its attribute away from a picture; the classifier then sees the
            pair the other way round, so that the attribute appears.
        config: static choices.

    Returns:
        Masks [b, r, v, v] and logits [b, r, N].
    """
    found = []
    for i, (before, after) in enumerate(itertools.pairwise(pictures)):
        swapped = undo[i][:, None, None, None]
        pair = jnp.where(swapped, after, before), jnp.where(swapped, before, after)
        chosen = jnp.broadcast_to(classes[i], (len(before),))
        found.append(config.activation(classifier, *pair, chosen, config.cam))
    return Activation(*(jnp.stack(parts, 1) for parts in zip(*found, strict=True)))
