"""What every protocol works with.

The settings, the networks, the instruments, the results so far, and what went wrong.
"""

import functools
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict
from tqdm import tqdm

from diffcam_jax.errors import UserError
from diffcam_jax.evaluation import pictures
from diffcam_jax.evaluation.instruments import Judge, PairMeasures, SetMeasures
from diffcam_jax.evaluation.networks import World, open_world
from diffcam_jax.evaluation.pictures import Item
from diffcam_jax.evaluation.store import Key, Store
from diffcam_jax.files import trees
from diffcam_jax.pretrained import networks as pretrained
from diffcam_jax.pretrained import parts as zoo


class Bench:
    """One run of an evaluation.

    Args:
        config: of the run, see configs/eval.
        store: of its results.
        part: (i, n) measures every n-th picture only, from the i-th on, counted from 1.

    Attributes:
        problems: what could not be measured -> why; a bad picture is listed, not fatal.
    """

    def __init__(self, config: ConfigDict, store: Store, part: tuple[int, int] = (1, 1)) -> None:
        self.config, self.store, self._part = config, store, part
        self.problems: dict[str, str] = {}

    @functools.cached_property
    def world(self) -> World:
        """The networks, opened when they are first needed."""
        return open_world(self.config)

    @functools.cached_property
    def devices(self) -> list[jax.Device]:
        """Those that measures run on."""
        return jax.local_devices()[: self.config.devices or None]

    @functools.cached_property
    def pairs(self) -> PairMeasures:
        """Measures of pairs of pictures."""
        return PairMeasures(self.config.pairs, self.devices, self.config.arcface)

    @functools.cached_property
    def sets(self) -> SetMeasures:
        """Measures of sets of pictures."""
        return SetMeasures(self.config.features, self.config.seed, self.devices, self.store)

    @functools.cached_property
    def judge(self) -> Judge:
        """Scores of attributes and the regions that they belong to."""
        return Judge(self.config.judge, self.world)

    @property
    def size(self) -> int:
        """Side of the pictures of a run: config.size, 0 is the generator's own."""
        return self.config.size or self.world.size

    def items(self, part: ConfigDict) -> list[Item]:
        """The pictures that a protocol's part of the configuration names."""
        prior = functools.cache(lambda: self.world.prior(self.config))
        found = []
        for text in part.sources:
            source, limit = pictures.parse_source(text)
            found += pictures.items(source, self.size, limit, self.config, prior)
        return self.own(found)

    def own(self, everything: Sequence) -> list:
        """What of everything belongs to the part that is measured."""
        number, count = self._part
        return list(everything[number - 1 :: count])

    def listing(self, name: str) -> "_Listing":
        """A block whose UserError is listed under a name instead of ending the run."""
        return _Listing(self.problems, name)

    def progress(self, what: Iterable, label: str, unit: str = "picture") -> Iterable:
        """A progress bar with the time left."""
        return tqdm(what, desc=label, unit=unit, dynamic_ncols=True, disable=None, file=sys.stderr)

    def once(self, key: Key, make: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Values that are measured unless they were before."""
        found = self.store.get(key)
        return self.store.put(key, make()) if found is None else found

    def settings(self, part: ConfigDict, **more: Any) -> dict[str, Any]:
        """What stands below a table: settings of the part, the seed, and the networks' hashes."""
        own = {name: _short(value) for name, value in part.items()}
        hashes = dict(self.world.hashes) | self.measuring
        return {"size": self.size} | own | more | {"seed": self.config.seed} | hashes

    @functools.cached_property
    def measuring(self) -> dict[str, str]:
        """The networks that measure -> the first 12 digits of their hash.

        Parts of the store are known by the hash of the archive that they come from.
        """
        parts = ["inception"] if self.config.features == "inception" else []
        parts += ["lpips"] if any(name.startswith("lpips") for name in self.pairs.names) else []
        parts += ["face_landmarker", "bisenet"] if self.config.judge == "faces" else []
        of_identity = {}
        if "identity" in self.pairs.names and self.config.arcface:
            network = pretrained.load(self.config.arcface).network("identity")
            of_identity = {"arcface": trees.tree_hash(network.variables)[:12]}
        elif "identity" in self.pairs.names:
            parts.append("sface")
        return {name: zoo.PARTS[name].archive.sha256[:12] for name in parts} | of_identity


class _Listing:
    """See `Bench.listing`."""

    def __init__(self, problems: dict[str, str], name: str) -> None:
        self._problems, self._name = problems, name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, UserError):
            self._problems[self._name] = str(error)
            return True
        return False


def groups(things: Iterable, size: int) -> Iterator[list]:
    """Things a few at a time, the last ones fewer; nothing is asked for before it is needed."""
    iterator = iter(things)
    while group := list(itertools.islice(iterator, size)):
        yield group


def _short(value: Any) -> Any:
    return "+".join(str(v) for v in value) if isinstance(value, tuple | list) else value
