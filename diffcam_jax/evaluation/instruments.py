"""The instruments of all protocols.

Measures of pairs, measures of sets, and the judge of attributes and regions.

Every instrument has a stand-in that needs no file, for trying a protocol out: features "thumbnail"
and judge "channels". What they give is labelled as such and never called FID or identity.
"""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt8

from diffcam_jax.directions.recipe import ATTRIBUTES
from diffcam_jax.errors import UserError
from diffcam_jax.evaluation.networks import World
from diffcam_jax.evaluation.store import Store
from diffcam_jax.metrics.attributes import scores as attribute_scores
from diffcam_jax.metrics.bootstrap import Interval
from diffcam_jax.metrics.features import InceptionFeatures
from diffcam_jax.metrics.frechet import ENOUGH, frechet_interval
from diffcam_jax.metrics.kernel import kid_interval
from diffcam_jax.metrics.manifold import precision_recall
from diffcam_jax.metrics.masks import regions
from diffcam_jax.metrics.thumbnails import ThumbnailFeatures

NEIGHBOURS = 3  # of precision and recall
LPIPS_SIDE = SWD_SIDE = 256
# Protocols measure a few pictures at a time, so that little is lost when a run is cut short: small
# batches waste nothing.
AT_A_TIME = 4

Pictures = UInt8[np.ndarray, "n h w 3"]


class Measure(NamedTuple):
    """How a number is shown.

    Attributes:
        label: head of its column.
        digits: decimals.
    """

    label: str
    digits: int


PAIRS = {
    "mse": Measure("MSE", 4),
    "psnr": Measure("PSNR dB", 2),
    "ssim": Measure("SSIM", 3),
    "ms_ssim": Measure("MS-SSIM", 3),
    "lpips_vgg": Measure("LPIPS-VGG", 3),
    "lpips_alex": Measure("LPIPS-Alex", 3),
    "identity": Measure("ID", 3),
}
# What the Frechet and the kernel distance of some features are called.
FEATURES = {
    "inception": ("FID", "KID"),
    "thumbnail": ("Frechet distance of thumbnails", "kernel distance of thumbnails"),
}


class PairMeasures:
    """Measures of pairs of uint8 pictures, one value for each pair.

    Networks are loaded when they are first needed.

    Args:
        names: of `PAIRS`.
        devices: to run networks on.
        arcface: folder of converted ArcFace weights for "identity"; "" takes the stored SFace.

    Raises:
        UserError: an unknown name.
    """

    def __init__(
        self, names: Sequence[str], devices: Sequence[jax.Device], arcface: str = ""
    ) -> None:
        if unknown := [name for name in names if name not in PAIRS]:
            raise UserError(
                f"config.pairs: no measure is called {', '.join(unknown)}; there are "
                f"{', '.join(PAIRS)}"
            )
        self.names, self._devices, self._arcface = tuple(names), list(devices), arcface

    def __call__(self, a: Pictures, b: Pictures) -> list[dict[str, float]]:
        """The values of every pair by name.

        NaN where a measure has none (no face, pictures too small).

        Args:
            a: pictures.
            b: as many, of the same shape.
        """
        columns = {name: self._measure(name)(a, b) for name in self.names}
        return [{name: float(values[i]) for name, values in columns.items()} for i in range(len(a))]

    def __getitem__(self, name: str) -> Callable[[Pictures, Pictures], Float[np.ndarray, " n"]]:
        """One measure by its name, whether it was asked for or not."""
        return self._measure(name)

    @functools.cache  # noqa: B019
    def _measure(self, name: str) -> Callable[[Pictures, Pictures], Float[np.ndarray, " n"]]:
        from diffcam_jax.metrics import pixel
        from diffcam_jax.metrics.identity import Identity
        from diffcam_jax.metrics.perceptual import Lpips

        if name == "identity":
            return Identity(self._arcface or None, self._devices, AT_A_TIME)
        if name.startswith("lpips_"):
            return Lpips(name.removeprefix("lpips_"), LPIPS_SIDE, self._devices, batch=AT_A_TIME)
        return functools.partial(_where_possible, getattr(pixel, name))


def _where_possible(measure: Callable, a: Pictures, b: Pictures) -> Float[np.ndarray, " n"]:
    """NaN for pictures that are too small for a measure's window."""
    try:
        return np.asarray(measure(a, b), np.float64)
    except ValueError:
        return np.full(len(a), math.nan)


class SetScore(NamedTuple):
    """How far two sets of pictures are apart.

    Attributes:
        frechet: the Frechet distance of features with its confidence interval.
        kid: kernel distance times 1000 with its own.
        precision, recall: of the second set with the first as the truth.
        counts: pictures in each; below four of them all numbers are NaN.
    """

    frechet: Interval
    kid: Interval
    precision: float
    recall: float
    counts: tuple[int, int]

    @property
    def few(self) -> bool:
        """Whether the Frechet distance must not be the headline."""
        return min(self.counts) < ENOUGH


class SetMeasures:
    """Measures of sets by their features.

    Args:
        features: "inception", or "thumbnail" (a stand-in without weights).
        seed: of the subsets.
        devices: to run the network on.
        store: keeps features that were made.
    """

    def __init__(
        self, features: str, seed: int, devices: Sequence[jax.Device], store: Store
    ) -> None:
        if features not in FEATURES:
            raise UserError(f"config.features={features!r}: allowed are {', '.join(FEATURES)}")
        self.kind, self._seed, self._devices, self._store = features, seed, list(devices), store

    @property
    def labels(self) -> tuple[str, str]:
        """What the Frechet and the kernel distance of these features are called."""
        return FEATURES[self.kind]

    def features(
        self, name: str, source: str, pictures: Callable[[], Iterable[np.ndarray]]
    ) -> Float[np.ndarray, "n d"]:
        """Features of a set, kept in the store.

        Args:
            name: of the set.
            source: what its pictures are (names, settings); other pictures need another one.
            pictures: uint8 [h, w, 3] each.
        """
        return self._store.array(f"{self.kind}_{name}", source, lambda: self._network(pictures()))

    @functools.cached_property
    def _network(self) -> Callable[[Iterable[np.ndarray]], np.ndarray]:
        return (ThumbnailFeatures if self.kind == "thumbnail" else InceptionFeatures)(self._devices)

    def __call__(
        self, truth: Float[np.ndarray, "n d"], found: Float[np.ndarray, "m d"]
    ) -> SetScore:
        """Distances of two sets of features."""
        counts = (len(truth), len(found))
        frechet = kernel = Interval(math.nan, math.nan, math.nan, min(counts))
        precision = recall = math.nan
        if min(counts) > NEIGHBOURS:
            frechet = frechet_interval(truth, found, seed=self._seed)
            kernel = kid_interval(truth, found, seed=self._seed)
            kernel = Interval(*(1000 * number for number in kernel[:3]), kernel.count)
            precision, recall = precision_recall(truth, found, NEIGHBOURS)
        return SetScore(frechet, kernel, precision, recall, counts)


def swd(truth: Pictures, found: Pictures, seed: int) -> float:
    """Sliced Wasserstein distance times 1000, mean over levels.

    NaN for sets that differ in shape or are no power of two wide.

    Pictures wider than 256 are averaged down to it, the size of the papers' generator.
    """
    from diffcam_jax.data.pictures import resize_square
    from diffcam_jax.metrics.swd import SMALLEST, sliced_wasserstein

    side = truth.shape[1] if len(truth) else 0
    if truth.shape != found.shape or truth.shape[2] != side or side < SMALLEST or side & (side - 1):
        return math.nan
    if side > SWD_SIDE:
        truth, found = (
            np.stack([resize_square(p, SWD_SIDE) for p in part]) for part in (truth, found)
        )
    return sliced_wasserstein(truth, found, jax.random.key(seed))["mean"]


class Judge:
    """Attributes of pictures as numbers, and the region of a picture that an attribute belongs to.

    Args:
        kind: "faces" (scorers and face parsing), or "channels" (a stand-in: mean colours and thirds
            of the picture).
        world: its directions are the attributes there are.

    Raises:
        UserError: an unknown kind.
    """

    def __init__(self, kind: str, world: World) -> None:
        if kind not in ("faces", "channels"):
            raise UserError(f"config.judge={kind!r}: allowed are faces and channels")
        self.kind, self._names = kind, list(world.directions)

    def scores(
        self, pictures: Pictures, attributes: Sequence[str]
    ) -> dict[str, Float[np.ndarray, " n"]]:
        """Attribute -> its score for every picture; NaN without a face.

        Raises:
            UserError: there is no scorer for an attribute.
        """
        if self.kind == "channels":
            means = pictures.mean((1, 2))
            return {name: means[:, self._names.index(name) % 3] for name in attributes}
        if unknown := [name for name in attributes if name.lower() not in ATTRIBUTES]:
            raise UserError(
                f"no scorer for the attribute {', '.join(unknown)}; there are "
                f"{', '.join(ATTRIBUTES)}"
            )
        of = {name: ATTRIBUTES[name.lower()].score for name in attributes}
        found = attribute_scores(pictures, sorted(set(of.values())))
        return {name: found[score] for name, score in of.items()}

    def regions(
        self, pictures: Pictures, attributes: Sequence[str]
    ) -> dict[str, Bool[np.ndarray, "n s s"]]:
        """Attribute -> the part of each picture that it belongs to.

        On a grid of 256, with the stand-in on the picture's own.

        Raises:
            UserError: no region is known for an attribute.
        """
        if self.kind == "channels":
            thirds = np.arange(pictures.shape[2]) * 3 // pictures.shape[2]
            columns = {name: thirds == self._names.index(name) % 3 for name in attributes}
            return {name: np.broadcast_to(c, pictures.shape[:3]) for name, c in columns.items()}
        found = regions(pictures, [name.lower() for name in attributes])
        return {name: found[name.lower()] for name in attributes}
