"""Where an edit acts, from the pixels alone: a weak prior for training the DA classifier.

The paper trains with the class of a pair only. A classifier is correct as soon as any cell of its
map is, so nothing makes the map cover all of the edit, or keeps it off the edit's side effects: a
direction also shifts the background and the complexion a little. An edit is where a place changes
more than the other edits change it, in face after face. With x_c the change of class c, normalised
to mean 1 and averaged over faces, x the mean of the other classes, and y the change of one pair of
class c,

    prior = min(1, max(0, y^p x_c^(1-p) - contrast * x) / top_c),
    top_c = share * (a high quantile of the same with y = x_c).

Some edits change the whole head, and no place of it more than other edits do. Theirs is the head
itself: where details change alike from face to face, as they do on aligned faces and not on
backgrounds.

This addition is this project's; masks follow Eq. 1 to 4 without it. Maps are [_, g, g], priors lie
in [0, 1].
"""

import dataclasses
import functools
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from diffcam_jax.ops.image import resize, to_unit

CELL = 8  # pixels of a picture, a side
HEAD_PASSES = 12  # of smoothing: the middle of a cheek is part of the head, little as it changes
DETAIL = 64  # a detail is smaller than the side over this


@dataclasses.dataclass(frozen=True)
class PlaceConfig:
    """Settings of the prior; hashable.

    Attributes:
        whole: classes whose place is the head.
        pair: p, the weight of the pair's own change relative to that of its class.
        contrast: share of the other classes' change that is subtracted.
        share: of the highest value that counts as 1.
    """

    whole: tuple[str, ...] = ()
    pair: float = 0.3
    contrast: float = 0.85
    share: float = 0.7


def changes(
    inverted: Float[Array, "b h w 3"], edited: Float[Array, "b h w 3"], cell: int = CELL
) -> Float[Array, "2 b g g"]:
    """Measures how much colours, and how much details, change in each cell; the mean is 1.

    Args:
        inverted: I' of the pairs, in [-1, 1].
        edited: T of the pairs.
        cell: pixels, a side.
    """
    delta = edited - inverted
    size = delta.shape[1:3]
    coarse = resize(
        resize(delta, (min(DETAIL, size[0] // 2), min(DETAIL, size[1] // 2)), "area"), size
    )
    maps = jnp.stack([jnp.mean(jnp.abs(d), axis=-1) for d in (delta, delta - coarse)])
    grid = (size[0] // cell, size[1] // cell)
    maps = resize(maps.reshape(-1, *size), grid, "area").reshape(2, -1, *grid)
    return maps / (jnp.mean(maps, axis=(2, 3), keepdims=True) + 1e-6)


def smoothed(maps: Float[np.ndarray, "b h w"]) -> Float[np.ndarray, "b h w"]:
    """Smooths by 1 2 1 along both axes, with borders repeated."""
    for axis in (1, 2):
        padded = np.pad(maps, [(int(a == axis),) * 2 for a in range(3)], mode="edge")
        before, here, after = (padded.take(range(i, i + maps.shape[axis]), axis) for i in range(3))
        maps = (before + 2 * here + after) / 4
    return maps


@functools.partial(jax.jit, static_argnames="cell")
def sample_changes(sample: UInt8[Array, "m h w 3"], cell: int = CELL) -> Float[Array, "2 n g g"]:
    """Measures the changes of all edits of a face, in cells of so many pixels."""
    images = to_unit(sample)
    return changes(jnp.broadcast_to(images[:1], images[1:].shape), images[1:], cell)


class Places(NamedTuple):
    """The places of N classes.

    Attributes:
        own: x_c.
        others: contrast * x.
        top: top_c.
        head: place of the head.
        whole: which classes act on it.
        pair: p.
    """

    own: Float[np.ndarray, "n g g"]
    others: Float[np.ndarray, "n g g"]
    top: Float[np.ndarray, " n"]
    head: Float[np.ndarray, "g g"]
    whole: Bool[np.ndarray, " n"]
    pair: float

    def prior(
        self, changes: Float[np.ndarray, "2 b g g"], classes: Int[np.ndarray, " b"]
    ) -> Float[np.ndarray, "b g g"]:
        """Returns where the edit of each pair acts.

        Args:
            changes: of the pairs.
            classes: of the pairs.
        """
        change = smoothed(np.sqrt(changes[0] * changes[1]))
        excess = change**self.pair * self.own[classes] ** (1 - self.pair) - self.others[classes]
        place = np.clip(excess / self.top[classes, None, None], 0, 1)
        return np.where(self.whole[classes, None, None], self.head, place).astype(np.float32)


def learn(
    changes: Iterable[Float[np.ndarray, "2 n g g"]], names: tuple[str, ...], config: PlaceConfig
) -> Places:
    """Learns the places of classes as averages over faces.

    Args:
        changes: of the edits of each face.
        names: of the edits.
        config: settings.
    """
    colour, detail = np.stack(list(changes), axis=1)
    own = np.sqrt(colour * detail).mean(0)
    others = config.contrast * (own.sum(0) - own) / max(len(own) - 1, 1)
    top = config.share * np.quantile(
        np.maximum(own - others, 0).reshape(len(own), -1), 0.995, axis=1
    )
    # Mean over spread: high where faces agree. Half of an aligned picture lies outside the head, a
    # third well inside.
    alike = (detail.mean(0) / (detail.std(0) + 0.1 * detail.mean(0) + 1e-6)).mean(0)[None]
    for _ in range(HEAD_PASSES):
        alike = smoothed(alike)
    low, high = np.quantile(alike[0], (0.5, 0.65))
    head = np.clip((alike[0] - low) / (high - low + 1e-6), 0, 1).astype(np.float32)
    whole = np.array([name in config.whole for name in names])
    return Places(own, others, np.maximum(top, 1e-3), head, whole, config.pair)
