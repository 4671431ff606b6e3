"""Sliced Wasserstein distance between sets of pictures, at every scale.

Pictures in 0..255 are split into the levels of a Laplacian pyramid; random 7x7 patches of a level,
normalised by the set's own mean and deviation in each channel, are projected on random directions,
and the distance of two sets is that of their sorted projections. Values are multiplied by 1000, as
usual; the convention is 16,384 pictures, 128 patches of each and 4 times 128 directions. Host
memory: 588 bytes for a patch of RGB, twice that during the normalisation.

Both sets are looked at in the same places, picture by picture, which the published code is not: it
draws other places for the second set, and so finds two identical sets of a few pictures far apart.

Source: Karras et al., Progressive Growing of GANs (1710.10196), section 5.
"""

from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

PATCH = 7
SMALLEST = 16
SCALE = 1000.0
_TAPS = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def _smooth(x: Float[Array, "b h w c"], gain: float = 1.0) -> Float[Array, "b h w c"]:
    """Binomial 5x5 filter; borders are mirrored without repeating the outermost pixel."""
    for axis in (1, 2):
        size = x.shape[axis]
        padded = jnp.pad(x, [(2, 2) if i == axis else (0, 0) for i in range(4)], mode="reflect")
        x = sum(
            gain * tap * jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
            for i, tap in enumerate(_TAPS)
        )
    return x


def _double(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    b, h, w, c = x.shape
    stuffed = jnp.zeros((b, h, 2, w, 2, c), x.dtype).at[:, :, 0, :, 0].set(x)
    return _smooth(stuffed.reshape(b, 2 * h, 2 * w, c), gain=2.0)


def laplacian_pyramid(images: Float[Array, "b h w c"]) -> list[Float[Array, "b _ _ c"]]:
    """The details that each halving of the resolution removes, down to 16 px, and the remainder.

    Args:
        images: square pictures, a power of two and at least 16 px wide.

    Raises:
        ValueError: the pictures have another shape.
    """
    size = images.shape[1]
    if images.shape[2] != size or size < SMALLEST or size & (size - 1):
        raise ValueError(
            f"pictures must be square, a power of two and at least {SMALLEST} px, got "
            f"{images.shape}"
        )
    levels = []
    while images.shape[1] > SMALLEST:
        smaller = _smooth(images)[:, ::2, ::2]
        levels.append(images - _double(smaller))
        images = smaller
    return [*levels, images]


_pyramid = jax.jit(laplacian_pyramid)


def patches(level: np.ndarray, centres: Int[np.ndarray, "n 2"]) -> Float[np.ndarray, "n d"]:
    """Cuts out 7x7 patches.

    Args:
        level: [b, h, w, c].
        centres: (x, y), at least 3 px inside; an equal number for each picture, picture by picture.

    Returns:
        [n, c * 49], channel by channel and within a channel column by column, the order of the
        published code.
    """
    if len(centres) % len(level):
        raise ValueError(
            f"{len(centres)} centres cannot be divided evenly among {len(level)} pictures"
        )
    picture = np.arange(len(centres)) // (len(centres) // len(level))
    around = np.arange(PATCH) - PATCH // 2
    x, y = centres[:, 0, None, None] + around[:, None], centres[:, 1, None, None] + around
    return level[picture[:, None, None], y, x].transpose(0, 3, 1, 2).reshape(len(centres), -1)


def normalised(descriptors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Normalises every channel of a set's patches to mean 0 and standard deviation 1.

    Both are taken over all patches together.
    """
    x = descriptors.reshape(len(descriptors), -1, PATCH * PATCH)
    mean, deviation = (
        f(x, axis=(0, 2), keepdims=True, dtype=np.float64) for f in (np.mean, np.std)
    )
    deviation = np.where(deviation == 0, 1, deviation)  # a set of one plain colour has none
    return ((x - mean.astype(x.dtype)) / deviation.astype(x.dtype)).reshape(descriptors.shape)


def sliced_distance(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], directions: Float[np.ndarray, "d k"]
) -> float:
    """Mean distance of the sorted projections of two sets of equal size on directions.

    The directions need not have unit length.
    """
    if a.shape != b.shape:
        raise ValueError(f"sets of patches must have one shape, got {a.shape} and {b.shape}")
    unit = np.asarray(directions, np.float64)
    unit = (unit / np.linalg.norm(unit, axis=0)).astype(np.float32)
    # One direction per row: sorting reads contiguous memory.
    sorted_a, sorted_b = (np.sort(np.ascontiguousarray((x @ unit).T)) for x in (a, b))
    return float(np.abs(sorted_a - sorted_b).mean(dtype=np.float64))


def level_distance(
    a: Float[np.ndarray, "n d"],
    b: Float[np.ndarray, "n d"],
    repeats: Sequence[Float[np.ndarray, "d k"]],
) -> float:
    """The distance of two sets of patches of one level, times 1000.

    It is the mean over several sets of directions.

    Args:
        a: patches from `patches`, not normalised.
        b: likewise.
        repeats: sets of directions.
    """
    a, b = normalised(a), normalised(b)
    return SCALE * float(np.mean([sliced_distance(a, b, directions) for directions in repeats]))


def sliced_wasserstein(
    real: np.ndarray,
    fake: np.ndarray,
    key: PRNGKeyArray,
    patches_per_image: int = 128,
    repeats: int = 4,
    directions: int = 128,
    batch: int = 64,
) -> Mapping[str, float]:
    """Sliced Wasserstein distance of two sets of pictures, times 1000.

    Args:
        real: pictures [n, s, s, c] in 0..255.
        fake: likewise, as many.
        key: source of centres and directions; the centres of a picture depend only on its index,
            so that pictures of one index are looked at in the same places.
        patches_per_image: number of patches.
        repeats: number of sets of directions.
        directions: number of directions in a set.
        batch: pictures filtered at a time.

    Returns:
        The side of each level in pixels, as text, and "mean" -> distance.
    """
    if real.shape != fake.shape:
        raise ValueError(f"sets of pictures must have one shape, got {real.shape} and {fake.shape}")
    key_centres, key_directions = jax.random.split(key)
    sets = [_descriptors(images, key_centres, patches_per_image, batch) for images in (real, fake)]
    distances = {}
    for size in sets[0]:
        shape = (repeats, sets[0][size].shape[1], directions)
        drawn = np.asarray(jax.random.normal(jax.random.fold_in(key_directions, size), shape))
        distances[str(size)] = level_distance(sets[0][size], sets[1][size], list(drawn))
    return distances | {"mean": float(np.mean(list(distances.values())))}


def _descriptors(images: np.ndarray, key: Array, count: int, batch: int) -> dict[int, np.ndarray]:
    """Random patches of all levels, by the side of the level."""
    found: dict[int, list[np.ndarray]] = {}
    for start, part in _batches(images, batch):
        for level in _pyramid(jnp.asarray(part, jnp.float32)):
            size = level.shape[1]
            centres = _centres(jax.random.fold_in(key, size), start, len(part), count, size)
            found.setdefault(size, []).append(
                patches(np.asarray(level), np.asarray(centres).reshape(-1, 2))
            )
    return {size: np.concatenate(parts) for size, parts in found.items()}


def _batches(images: np.ndarray, batch: int) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(images), batch):
        yield start, images[start : start + batch]


def _centres(key: Array, start: int, pictures: int, count: int, size: int) -> Int[Array, "b n 2"]:
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(start, start + pictures))
    border = PATCH // 2
    return jax.vmap(lambda k: jax.random.randint(k, (count, 2), border, size - border))(keys)
