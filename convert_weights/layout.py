"""A table that maps the entries of an official checkpoint to the leaves of our variables.

A `Layout` belongs to one network of one checkpoint. For every leaf of our tree it names the
official key and an invertible rearrangement of the array; all other entries of the official file
are matched by an explicit rule with its reason. Conversion, export and the strict check of both
directions all follow from that one table.
"""

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from diffcam_jax.errors import UserError, closest

Path = tuple[str, ...]
Shapes = Mapping[str, tuple[int, ...]]


class Transform(NamedTuple):
    """A lossless rearrangement of an official array to ours, and its inverse."""

    forward: Callable[[np.ndarray], np.ndarray]
    inverse: Callable[[np.ndarray], np.ndarray]


COPY = Transform(lambda a: a, lambda a: a)
# torch stores kernels OIHW, flax HWIO; dense kernels [out, in] and [in, out].
CONV = Transform(lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1))
DENSE = Transform(lambda a: a.T, lambda a: a.T)


def dense_of_map(channels: int, height: int, width: int) -> Transform:
    """A dense kernel on a flattened feature map: torch flattens [c, h, w], we flatten [h, w, c]."""
    return Transform(
        lambda a: a.reshape(-1, channels, height, width).transpose(2, 3, 1, 0).reshape(-1, len(a)),
        lambda a: (
            a.reshape(height, width, channels, -1).transpose(3, 2, 0, 1).reshape(a.shape[1], -1)
        ),
    )


def dropping(*axes: int, then: Transform = COPY) -> Transform:
    """Removes axes of length 1, then applies another transform."""
    return Transform(
        lambda a: then.forward(a.squeeze(axes)),
        lambda a: np.expand_dims(then.inverse(a), axes),
    )


class Origin(NamedTuple):
    """The official entry that a leaf comes from: its key and the rearrangement."""

    key: str
    transform: Transform = COPY


@dataclass(frozen=True)
class Layout:
    """One network of one official checkpoint.

    Attributes:
        module: our network, whose constructor arguments are inferred from the checkpoint's shapes.
        init: the tree of shapes of its variables, a function without arguments (traced, nothing is
            computed).
        source: path of a leaf of our variables, for instance ("params", "conv1", "kernel") ->
            `Origin`.
        ignored: regular expression that matches whole keys -> why they are not needed.
        constants: regular expression -> the value that the key must hold, for buffers that are
            constants of the code.
        summary: what was inferred, for people: "1024 px, channel multiplier 2, 18 styles".
    """

    module: nn.Module
    init: Callable[[], Mapping[str, Any]]
    source: Callable[[Path], Origin]
    ignored: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    summary: str = ""

    @functools.cached_property
    def sources(self) -> dict[Path, tuple[Origin, tuple[int, ...]]]:
        """Every leaf's official entry and our shape, by its path.

        Computed once, since tracing a large network takes seconds.
        """
        leaves = jax.tree_util.tree_leaves_with_path(jax.eval_shape(self.init))
        return {
            path: (self.source(path), leaf.shape)
            for path, leaf in ((_names(p), x) for p, x in leaves)
        }

    def faults(self, shapes: Shapes) -> list[str]:
        """Everything that prevents a checkpoint of these shapes from fitting; empty if it fits."""
        found: list[str] = []
        used = {source.key for source, _ in self.sources.values()}
        extra = [key for key in shapes if key not in used and self.reason(key) is None]
        missing = sorted(used - shapes.keys())
        for path, (source, shape) in self.sources.items():
            if source.key not in shapes:
                near = closest(source.key, extra)
                found.append(f"{source.key} is missing" + (f" (nearest: {near})" if near else ""))
                continue
            expected = source.transform.inverse(np.broadcast_to(np.float32(0), shape)).shape
            if tuple(shapes[source.key]) != expected:
                found.append(
                    f"{source.key} is {tuple(shapes[source.key])} instead of {expected}, for "
                    f"{'/'.join(path)}"
                )
        for key in extra:
            near = closest(key, missing)
            found.append(f"{key} is left over" + (f" (nearest: {near})" if near else ""))
        return found

    def reason(self, key: str) -> str | None:
        """Why a key is not needed, or None when no rule names it."""
        for pattern, why in self.ignored.items():
            if re.fullmatch(pattern, key):
                return why
        return (
            "a filter that is a constant of the network"
            if any(re.fullmatch(pattern, key) for pattern in self.constants)
            else None
        )

    def convert(self, state: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Converts an official state dict to our variables.

        Args:
            state: official key -> array; half precision is widened.

        Returns:
            {"params": ..., and other collections}, float32.

        Raises:
            UserError: names every entry that is missing, left over, of another shape, or not the
                constant that it must be.
        """
        faults = self.faults({key: array.shape for key, array in state.items()})
        for pattern, value in self.constants.items():
            for key in [key for key in state if re.fullmatch(pattern, key)]:
                array = np.asarray(state[key], np.float32)
                if array.shape[-value.ndim :] != value.shape or not np.allclose(
                    array, value, atol=1e-6
                ):
                    faults.append(f"{key} is not the filter that is a constant of this network")
        if faults:
            raise UserError(
                f"the checkpoint does not fit {type(self.module).__name__}: {'; '.join(faults)}"
            )
        tree: dict[str, Any] = {}
        for path, (source, _) in self.sources.items():
            node = tree
            for name in path[:-1]:
                node = node.setdefault(name, {})
            array = source.transform.forward(np.asarray(state[source.key], np.float32))
            node[path[-1]] = np.asarray(array, order="C")
        return tree

    def export(self, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Converts our variables to the official state dict, without the keys that were ignored."""
        state = {}
        for path, (source, _) in self.sources.items():
            leaf = variables
            for name in path:
                leaf = leaf[name]
            state[source.key] = np.asarray(source.transform.inverse(np.asarray(leaf)), order="C")
        return state


def _names(path: tuple) -> Path:
    return tuple(str(key.key) for key in path)


BATCH_NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
BATCH_COUNTERS = {
    r"(.+\.)?num_batches_tracked": "counts training steps; the statistics' momentum is fixed here"
}


def torch_leaf(prefix: str, leaf: str, ndim: int) -> Origin:
    """The usual names of torch.nn for a leaf of a flax layer.

    Args:
        prefix: official name of the layer, without the last dot.
        leaf: "kernel", "bias", "scale", "mean", "var" or "negative_slope".
        ndim: axes of our array, to distinguish a convolution's kernel from a dense one.
    """
    if leaf == "kernel":
        return Origin(f"{prefix}.weight", CONV if ndim == 4 else DENSE)
    return Origin(f"{prefix}.{'weight' if leaf == 'negative_slope' else BATCH_NORM[leaf]}")
