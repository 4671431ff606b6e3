"""Edits by a flow that was trained on our own scores (`configs/styleflow.py`), as `edits.Edit`.

A face's condition is what its scores are. A code flows to the Gaussian under it and back under
another one, in which a single score is raised; only the rows of the attribute are taken over.

A flow may act on the leading principal axes of W only; what a code holds beside them stays. A
folder of kind "styleflow" says in config.json under "edits" which scores are the condition and
which attributes there are.
"""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffcam_jax.command.kept_jit import kept_jit
from diffcam_jax.directions.acts import WHOLE
from diffcam_jax.directions.record import MOST_ROWS, check_record
from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder, trees
from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.styleflow import StyleFlow, flow, inverse

KIND, ROLE = "styleflow", "flow"
_RECORD = ("range", "layers", "classes", "box", "score", "move", "ceiling")
Codes = Float[Array | np.ndarray, "b n k"]


class Measure(NamedTuple):
    """A number of the condition, and how it is normalised.

    Attributes:
        score: its name.
        mean: over the faces of the training.
        std: over the same.
        lowest: that a flow can be asked for; the faces of the training reach almost so far.
        highest: likewise.
    """

    score: str
    mean: float
    std: float
    lowest: float
    highest: float


@dataclasses.dataclass(frozen=True, eq=False)
class ConditionalFlow:
    """A flow, and what it needs to act on codes under scores.

    Attributes:
        network: a `StyleFlow`.
        measures: of the condition, in the network's order.
        mean: [k] code at the origin of the axes; None where there are none.
        axes: [k, f] orthonormal columns along which the flow acts; None acts on codes themselves.
    """

    network: Network
    measures: tuple[Measure, ...]
    mean: np.ndarray | None
    axes: np.ndarray | None

    @property
    def size(self) -> int:
        """Numbers of a row of a code."""
        return self.network.module.features if self.axes is None else len(self.axes)

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of its numbers, computed once."""
        frame = {} if self.axes is None else {"mean": self.mean, "axes": self.axes}
        return trees.tree_hash({"flow": dict(self.network.variables), **frame})

    def condition(self, scores: Mapping[str, np.ndarray]) -> Float[np.ndarray, "b c"]:
        """The scores of faces as a condition in their own units.

        Raises:
            UserError: a score is missing, NaN, or outside of the range of the training.
        """
        columns = []
        for measure in self.measures:
            name = measure.score
            if name not in scores:
                raise UserError(f"a flow needs the face's {name}, which was not measured")
            values = np.asarray(scores[name], np.float32)
            if not np.isfinite(values).all():
                raise UserError(
                    f"the face has no score of {name}, without which a flow cannot edit it; use "
                    "a linear direction"
                )
            if (values < measure.lowest).any() or (values > measure.highest).any():
                worst = values[np.argmax(np.abs(values - measure.mean))]
                raise UserError(
                    f"{name} of the face is {worst:g}, the flow knows faces from "
                    f"{measure.lowest:g} to {measure.highest:g}; use a linear direction"
                )
            columns.append(values)
        return np.stack(columns, axis=1)

    def carried(
        self, codes: Codes, source: Float[np.ndarray, "b c"], target: Float[np.ndarray, "b c"]
    ) -> Float[np.ndarray, "b n k"]:
        """Codes that flow to the Gaussian under one condition and back under another one.

        Raises:
            UserError: the way of a code could not be computed.
        """
        mean, std = (
            np.array([getattr(measure, name) for measure in self.measures], np.float32)
            for name in ("mean", "std")
        )
        frame = None if self.axes is None else (self.mean, self.axes)
        normal = ((condition - mean) / std for condition in (source, target))
        found = np.asarray(_carried(self.network, frame, jnp.asarray(codes, jnp.float32), *normal))
        if not np.isfinite(found).all():
            raise UserError(
                "the flow found no way for this face, whose code is unlike those of its training; "
                "use a linear direction"
            )
        return found


@dataclasses.dataclass(frozen=True, eq=False)
class FlowEdit:
    """One attribute of a flow; see `edits.Edit`.

    Attributes:
        name, range, layers, generator, normalisation, method, licence, classes, box, score, move,
            ceiling: see `Direction`.
        step: rise of the score in the condition at strength 1, in the score's own unit. It may
            differ from `move`, the rise that pictures then show.
        rows: of the generator's W+ codes.
        flow: that all attributes of a folder share.
    """

    name: str
    range: tuple[float, float]
    layers: tuple[int, int]
    generator: str
    normalisation: str
    method: str
    licence: str
    classes: tuple[str, ...]
    box: tuple[float, float, float, float]
    score: str
    move: float
    ceiling: float
    step: float
    rows: int
    flow: ConditionalFlow

    def __post_init__(self) -> None:
        check_record(self, self.rows)

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the scores whose values for the photograph `moved` needs."""
        return tuple(measure.score for measure in self.flow.measures)

    @property
    def sha256(self) -> str:
        """Hash of the numbers that decide what the edit does."""
        record = [self.flow.sha256, self.flow.measures, self.score, self.step, self.layers]
        return hashlib.sha256(json.dumps(record).encode()).hexdigest()

    def fitted(self, rows: int, size: int) -> "FlowEdit":
        """The same edit, if a generator with so many rows of so many numbers can take it.

        Raises:
            UserError: it cannot.
        """
        if size != self.flow.size or self.layers[1] > rows:
            raise UserError(
                f"the flow of {self.name} changes rows up to {self.layers[1]} of {self.flow.size} "
                f"numbers, the generator reads {rows} of {size}; train a flow of this generator"
            )
        return self

    def moved(
        self,
        codes: Codes,
        strength: float | Float[Array | np.ndarray, " b"],
        condition: Mapping[str, np.ndarray],
    ) -> Float[np.ndarray, "b n k"]:
        """Codes after the edit; rows outside of `layers` are the same bit for bit.

        Args:
            codes: W+.
            strength: of all or of each. Where it leads out of the range of the training, it leads
                to its end.
            condition: score -> its value for the picture of each code.

        Raises:
            UserError: see `ConditionalFlow.condition` and `ConditionalFlow.carried`.
        """
        source = self.flow.condition(condition)
        place = self.conditions.index(self.score)
        measure, target = self.flow.measures[place], source.copy()
        raised = source[:, place] + np.asarray(strength, np.float32) * np.float32(self.step)
        target[:, place] = np.clip(raised, measure.lowest, measure.highest)
        moved, rows = np.array(codes, np.float32), slice(*self.layers)
        moved[:, rows] = self.flow.carried(moved[:, rows], source, target)
        return moved


@kept_jit
def _carried(
    network: Network,
    frame: tuple[Array, Array] | None,
    codes: Array,
    source: Array,
    target: Array,
) -> Array:
    if frame is None:
        return inverse(network, flow(network, codes, source)[0], target)
    mean, axes = frame
    numbers = (codes - mean) @ axes
    found = inverse(network, flow(network, numbers, source)[0], target)
    return codes + (found - numbers) @ axes.T


def load_flow(folder: str | Path) -> dict[str, FlowEdit]:
    """The attributes of a folder that `configs/styleflow.py` wrote.

    Raises:
        UserError: the folder is missing or damaged, holds something else, or a flow whose
            condition are not scores of this project, as the official one.
    """
    loaded = model_folder.load(folder)
    kind = loaded.config.get("kind")
    if kind != KIND:
        raise UserError(f"{folder} is a folder of kind {kind!r}, not of a flow; give a flow's")
    if "edits" not in loaded.config:
        raise UserError(
            f"the flow in {folder} does not say how its conditions are measured (no edits in "
            "config.json); use it from Python, by diffcam_jax.directions.official_flows.moved"
        )
    try:
        return edits_of(loaded)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, UserError) as error:
        raise UserError(
            f"{folder} holds no sound flow ({type(error).__name__}: {error}); train it again"
        ) from error


def edits_of(folder: ModelFolder) -> dict[str, FlowEdit]:
    """The attributes of a folder of kind "styleflow" with an entry "edits".

    Raises:
        ValueError: entries that do not belong together or are not finite. KeyError, TypeError:
            entries are missing or of another type.
    """
    given = folder.config["edits"]
    flow_ = _flow_of(folder, given["conditions"])
    rows = given["rows"]
    if not isinstance(rows, int) or not 1 <= rows <= MOST_ROWS:
        raise ValueError(f"{rows} rows")
    made = {}
    for name, entry in given["attributes"].items():
        record = {
            key: tuple(entry[key]) if isinstance(entry[key], list) else entry[key]
            for key in _RECORD
            if key in entry
        }
        record = {"classes": (), "box": WHOLE, "ceiling": math.inf, **record}
        about = {key: str(folder.config.get(key, "")) for key in ("generator", "licence")}
        about |= {"normalisation": str(entry["normalisation"]), "method": str(given["method"])}
        if record["score"] not in {measure.score for measure in flow_.measures}:
            raise ValueError(f"{name}: {record['score']!r} is no condition of this flow")
        step = float(entry["step"])
        if not 0 < step < math.inf:
            raise ValueError(f"{name}: {step} is no step")
        made[name] = FlowEdit(name, **record, **about, step=step, rows=rows, flow=flow_)
    return made


def _flow_of(folder: ModelFolder, conditions: Any) -> ConditionalFlow:
    network = folder.network(ROLE)
    module = network.module
    if not isinstance(module, StyleFlow):
        raise ValueError(f"a {type(module).__name__} is no flow")
    measures = tuple(
        Measure(str(one["score"]), *(float(one[key]) for key in Measure._fields[1:]))
        for one in conditions
    )
    for score, *numbers in measures:
        _, std, lowest, highest = numbers
        if not np.isfinite(numbers).all() or not std > 0 or not lowest < highest:
            raise ValueError(f"the condition {score} has no sound range")
    if len(measures) != module.conditions or len({m.score for m in measures}) < len(measures):
        raise ValueError(f"{len(measures)} conditions of a flow that takes {module.conditions}")
    arguments = jnp.zeros((1, 1, module.features)), jnp.zeros((1, module.conditions))
    expected = jax.eval_shape(module.init, jax.random.key(0), *arguments)
    variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), dict(network.variables))
    if jax.tree.map(np.shape, variables) != jax.tree.map(np.shape, dict(expected)):
        raise ValueError("its parameters are not those of the network that config.json names")
    axes, mean = folder.arrays.get("axes"), folder.arrays.get("mean")
    if axes is not None and (
        np.ndim(axes) != 2 or axes.shape[1] != module.features or np.shape(mean) != axes.shape[:1]
    ):
        raise ValueError(f"axes of shape {np.shape(axes)} and a mean of shape {np.shape(mean)}")
    leaves = [*jax.tree.leaves(variables), *(leaf for leaf in (axes, mean) if leaf is not None)]
    if not all(np.isfinite(np.asarray(leaf, np.float32)).all() for leaf in leaves):
        raise ValueError("some of its numbers are not finite")
    frame = [None if leaf is None else np.asarray(leaf, np.float32) for leaf in (mean, axes)]
    return ConditionalFlow(Network(module, variables), measures, *frame)
