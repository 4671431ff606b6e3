"""The product's edit: what a window of the tuned generator changes, taken into the photograph.

Pictures [b, ., ., 3] RGB in [-1, 1], masks in [0, 1]. With I the photograph, I' the tuned inversion
and T the tuned edit, Diff-CAM of the pair (2207.08134, Eq. 1 to 4) says where the attribute
changes, the regions of the attribute say where it may, and the blend is Eq. 5. Three things are
ours:

* the mask has a hard core, in which the edit counts fully; softness is a rim outside of it;
* light and colour meet at the rim: what edit and inversion differ by where nothing is meant to
  change is continued into the core, as a membrane is, and taken off (`membrane`);
* skin keeps the photograph's own detail where the edit hardly acts (`detail`).

Masks are computed at the classifier's size, where a cell of the window has `GRAIN` pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from diffcam_jax.command.kept_jit import kept_jit
from diffcam_jax.editing.classifier import Classifier
from diffcam_jax.editing.compose import blend, dilate, feather, with_user_mask, without_holes
from diffcam_jax.editing.config import EditConfig, WindowConfig
from diffcam_jax.editing.diffcam import Activation
from diffcam_jax.editing.pairs import find
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import resize
from diffcam_jax.ops.window import Window, cut, scaled


class Attributes(NamedTuple):
    """The attributes of an edit, in the order of their steps.

    Attributes:
        classes: [r] index of each among the classifier's classes.
        undo: [r] whether it is taken away: the classifier then sees the pair the other way round.
        allowed: [b, r, v, v] above 0 where each may act, at the classifier's size.
        kept: [b, v, v] how far the photograph's shapes stay, in the light of the edit.
    """

    classes: Int[Array, " r"]
    undo: Bool[Array, " r"]
    allowed: Float[Array, "b r v v"]
    kept: Float[Array, "b v v"]


class WindowEdit(NamedTuple):
    """The result for a batch.

    Attributes:
        fused: the aligned photographs with the edit [b, s, s, 3]; equal to them, bit for bit, where
            the mask is 0.
        source: what is blended in [b, s, s, 3]; the photograph outside the window.
        mask: [b, s, s].
        cam_mask: Diff-CAM's mask of all attributes [b, v, v], before regions and core.
        logits: [b, r, N] scores of the classifier.
    """

    fused: Float[Array, "b s s 3"]
    source: Float[Array, "b s s 3"]
    mask: Float[Array, "b s s"]
    cam_mask: Float[Array, "b v v"]
    logits: Float[Array, "b r n"]


@kept_jit(static_argnames="config")
def draft(
    classifier: Classifier,
    images: Float[Array, "b s s 3"],
    windows: Sequence[Float[Array, "b h w 3"]],
    place: Window,
    attributes: Attributes,
    config: EditConfig,
) -> Float[Array, "b r v v"]:
    """Diff-CAM's masks of edits before anything is tuned, which tell where to tune.

    Args:
        classifier: Diff-CAM's.
        images: aligned photographs.
        windows: I' of the untuned generator, then the edits one after the other; r + 1 of them.
        place: of the windows, in cells; around all places where the edits may act.
        attributes: of the edits.
        config: static choices.
    """
    return _found(classifier, _shown(images, windows, place, attributes), attributes, config).mask


@kept_jit
def draw_window(
    generator: Network, codes: Float[Array, "b n k"], window: Window
) -> Float[Array, "b h w 3"]:
    """The window of the pictures of codes."""
    return generator(codes, method="synthesis", window=window)


def into(
    images: Float[Array, "b s s *c"], parts: Float[Array, "b h w *c"], top: Array, left: Array
) -> Float[Array, "b s s *c"]:
    """Pictures with parts put into them; the place is traced."""
    start = (0, top, left) + (0,) * (images.ndim - 3)
    return jax.lax.dynamic_update_slice(images, parts.astype(images.dtype), start)


def fill(x: Float[Array, "b h w c"], known: Float[Array, "b h w"]) -> Float[Array, "b h w c"]:
    """Continues x from where it is known to everywhere else, smoothly: pull and push.

    Averages of what is known are taken on coarser and coarser grids, and holes are filled from the
    next coarser one: a quick stand-in for the membrane that Laplace's equation stretches.

    Args:
        x: any values.
        known: how far each place is known, in [0, 1].

    Reference:
        Gortler et al., The Lumigraph (SIGGRAPH 1996), section 3.4.
    """
    weight = known[..., None]
    levels = [(x * weight, weight)]
    while max(levels[-1][0].shape[1:3]) > 1:
        size = tuple(-(-side // 2) for side in levels[-1][0].shape[1:3])
        sums, weights = (resize(a, size, "area") for a in levels[-1])
        # Four known samples make one that is known for certain, and so does a single one.
        gain = jnp.minimum(1.0, 4 * weights) / jnp.maximum(weights, 1e-6)
        levels.append((sums * gain, weights * gain))
    sums, weights = levels.pop()
    found = sums / jnp.maximum(weights, 1e-6)
    for sums, weights in reversed(levels):
        found = sums + (1 - weights) * resize(found, sums.shape[1:3], "bilinear")
    return found


@kept_jit(static_argnames="size")
def missed(
    images: Float[Array, "b s s 3"], inverted: Float[Array, "b h w 3"], place: Window, size: int
) -> Float[Array, "b v v"]:
    """How far a tuned window is from the photograph, smoothed; 0 outside it.

    Args:
        images: I.
        inverted: I'.
        place: of the window, in cells.
        size: of the result.
    """
    factor = inverted.shape[1] // place.height
    drawn = into(images, inverted, place.top * factor, place.left * factor)
    error = jnp.abs(resize(drawn - images, (size, size), "area")).mean(-1)
    return feather(error, size // 64)


def compose(
    image: Float[Array, "b h w 3"],
    inverted: Float[Array, "b h w 3"],
    edited: Float[Array, "b h w 3"],
    meant: Float[Array, "b v u"],
    may: Float[Array, "b v u"],
    keeps: Float[Array, "b v u"],
    config: WindowConfig,
) -> tuple[Float[Array, "b h w 3"], Float[Array, "b h w"]]:
    """What is blended into a window, and its mask.

    Args:
        image: I.
        inverted: I'.
        edited: T.
        meant: Diff-CAM's mask times where the attribute may act, at the mask's size.
        may: where it may act.
        keeps: how far the photograph's shapes stay, in the light of the edit.
        config: choices.
    """
    small, size = meant.shape[1:], image.shape[1:3]
    moved = resize(edited - inverted, small, "area")
    missed = resize(image - inverted, small, "area")
    drift = jnp.zeros_like(moved)
    if config.membrane:
        strength = feather(jnp.abs(moved).mean(-1), config.smooth)
        # Clothes and background have a light of their own: a red hood must not colour the chin.
        elsewhere = jnp.clip(1 - meant / max(config.cam, 1e-3), 0, 1) * (may > 0)
        typical = jnp.nanmedian(
            jnp.where(elsewhere > 0, strength, jnp.nan), axis=(1, 2), keepdims=True
        )
        typical = jnp.nan_to_num(typical) + 1e-3
        quiet = elsewhere / (1 + (strength / typical) ** 4)
        drift = feathered(fill(moved, quiet), config.rim)
    moved_by = jnp.abs(moved - drift).mean(-1)
    change = feather(dilate(moved_by, config.smooth // 2), config.smooth)
    allowed = meant >= config.cam
    largest = jnp.max(jnp.where(allowed, change, 0.0), axis=(1, 2), keepdims=True)
    core = allowed & (change > jnp.maximum(config.share * largest, config.least))
    # Closed and filled: amid what changes, patches of the old face would look like stains.
    closed = 1 - dilate(1 - dilate(core.astype(jnp.float32), config.rim), config.rim)
    grown = dilate(closed, config.rim)
    mask = feather(jnp.maximum(grown, without_holes(grown > 0) & (may > 0)), config.rim)
    kept = jnp.exp(-((change / config.detail) ** 2))[..., None]

    def up(x: Array) -> Array:
        return resize(x, size, "bilinear")

    # T + (I - I') where little changes; where much does, only the light and colour of I - I'.
    k = up(kept)
    tone = up((1 - kept) * feathered(missed, config.rim) - drift)
    drawn = edited + k * (image - inverted) + tone
    lit = image + up(feathered(moved - drift, config.rim))
    return drawn + up(keeps[..., None]) * (lit - drawn), up(mask)


def feathered(x: Float[Array, "b h w c"], radius: int) -> Float[Array, "b h w c"]:
    """`compose.feather` of pictures: shifted below 1, beyond which it clamps masks."""
    channels = [feather(x[..., c] - 4, radius) + 4 for c in range(x.shape[-1])]
    return jnp.stack(channels, -1)


@kept_jit(static_argnames="config")
def edit_window(
    classifier: Classifier,
    images: Float[Array, "b s s 3"],
    windows: Sequence[Float[Array, "b h w 3"]],
    place: Window,
    attributes: Attributes,
    config: EditConfig,
    user_mask: Float[Array, "b s s"] | None = None,
) -> WindowEdit:
    """Takes the edits of a window into the photographs.

    Args:
        classifier: Diff-CAM's.
        images: aligned photographs.
        windows: I', then the edits one after the other; r + 1 of them.
        place: of the windows, in cells.
        attributes: of the edits, where each may act, and what keeps its shapes.
        config: static choices, with a window.
        user_mask: a mask by hand; see `compose.with_user_mask`.
    """
    allowed = attributes.allowed
    size, side = allowed.shape[-1], images.shape[1]
    factor = windows[0].shape[1] // place.height
    cells = side // factor
    grain = size // cells
    top, left = place.top * factor, place.left * factor
    found = _found(classifier, _shown(images, windows, place, attributes), attributes, config)
    meant = jnp.max(found.mask * allowed, axis=1)
    window = cut(images, scaled(place, factor))
    maps = meant, jnp.max(allowed, axis=1), attributes.kept
    here, bound, shapes = (cut(x[..., None], scaled(place, grain))[..., 0] for x in maps)
    source, mask = compose(window, windows[0], windows[-1], here, bound, shapes, config.window)
    mask = mask * limit(bound, mask.shape[1:]) * border(place, cells, factor)
    if user_mask is not None:
        by_hand = cut(user_mask[..., None], scaled(place, factor))[..., 0]
        mask = with_user_mask(mask, by_hand, config.user_mask)
    source = source.clip(-1, 1)
    fused = blend(window, source, mask)
    return WindowEdit(
        into(images, fused, top, left),
        into(images, source, top, left),
        into(jnp.zeros(images.shape[:3]), mask, top, left),
        jnp.max(found.mask, axis=1),
        found.logits,
    )


def limit(may: Float[Array, "b v u"], size: tuple[int, int]) -> Float[Array, "b h w"]:
    """Exactly 0 where nothing may change, however far a mask's rim reaches; 1 well inside.

    Args:
        may: above 0 where an edit may act.
        size: height and width of the result.
    """
    return jnp.clip(2 * resize(may, size, "bilinear"), 0, 1)


def border(place: Window, cells: int, factor: int) -> Float[Array, "h w"]:
    """1 inside a window, falling to 0 within a cell of its sides but for the picture's own."""

    def ramp(start: Array, length: int) -> Array:
        at = (jnp.arange(length * factor) + 0.5) / factor
        low = jnp.where(start > 0, at, 1.0)
        high = jnp.where(start + length < cells, length - at, 1.0)
        return jnp.clip(jnp.minimum(low, high), 0.0, 1.0)

    rows, columns = ramp(place.top, place.height), ramp(place.left, place.width)
    return jnp.minimum(rows[:, None], columns[None])


def _shown(images, windows, place: Window, attributes: Attributes) -> list[Array]:
    """The photographs with windows put into them, as the classifier sees them."""
    factor, size = windows[0].shape[1] // place.height, attributes.allowed.shape[-1]
    top, left = place.top * factor, place.left * factor
    return [resize(into(images, part, top, left), (size, size), "area") for part in windows]


def _found(
    classifier: Classifier, pictures: list[Array], attributes: Attributes, config: EditConfig
) -> Activation:
    undo = jnp.broadcast_to(attributes.undo[:, None], (len(attributes.undo), len(pictures[0])))
    return find(classifier, pictures, attributes.classes, undo, config)
