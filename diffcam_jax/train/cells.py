"""Training of a classifier with local evidence, on the features of its frozen trunk.

The classifier is `nn.classifier.LocalClassifier`. Features of every face are computed once; a step
trains the head alone, which takes a CPU a tenth of a second. The loss is the sum of two cross
entropies: the paper's, on which direction was applied to the picture (2207.08134, section 3.3), and
one of every cell, which the paper does not have. With v the votes of a cell for the classes and
`none` a constant vote for "no edit here",

    loss of a cell = -q log softmax(v, none)[class] - (1 - q) log softmax(v, none)[no edit],

q from `train.places`. The constant makes a map flat where an edit acts: a cell that is certain of
the class votes little more than one that is half certain.
"""

import dataclasses
import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from diffcam_jax.data import pairs
from diffcam_jax.nn import network
from diffcam_jax.nn.classifier import LocalClassifier, PairClassifier
from diffcam_jax.ops.image import to_unit
from diffcam_jax.pretrained import store
from diffcam_jax.train import places
from diffcam_jax.train.state import Batch, Metrics, TrainState, gradients, update
from diffcam_jax.train.trainer import Step

HIDDEN_GRID = 4  # cells of the grid that edits are taken back in, a side


@dataclasses.dataclass(frozen=True)
class CellConfig:
    """Settings of the cells' loss; hashable.

    Attributes:
        weight: of the loss.
        emphasis: weight of all cells of a picture's edit together, relative to that of all cells.
        none: vote for "no edit here".
        sure: largest q.
        hide: probability that the edit is undone in random cells of a 4x4 grid (1704.04232).
    """

    weight: float = 1.0
    emphasis: float = 2.0
    none: float = 6.0
    sure: float = 0.95
    hide: float = 0.6


def initial_variables(model: PairClassifier, pretrained: str, size: int, seed: int) -> dict:
    """Initialises a classifier with a pretrained trunk.

    Args:
        model: the classifier.
        pretrained: name of the trunk's pretrained part; "" leaves the trunk random.
        size: side of the pictures.
        seed: of the random initialisation.
    """
    blank = jnp.zeros((1, size, size, 3))
    variables = network.initial_variables(model, jax.random.key(seed), blank, blank)
    if pretrained:
        tree, _ = store.load_pretrained(pretrained)
        for kind in ("params", "batch_stats"):
            variables[kind]["trunk"] = {
                name: jax.tree.map(jnp.asarray, tree[kind][name])
                for name in variables[kind]["trunk"]
            }
    return variables


def frozen_trunk(optimiser: optax.GradientTransformation) -> optax.GradientTransformation:
    """Restricts an optimiser to all but the trunk, which not even weight decay changes."""

    def labels(params: dict) -> dict:
        return {
            name: jax.tree.map(lambda _, n=name: n == "trunk", tree)
            for name, tree in params.items()
        }

    return optax.multi_transform({True: optax.set_to_zero(), False: optimiser}, labels)


class Face(NamedTuple):
    """What is kept of a face and its N edits.

    Attributes:
        features: [1 + N, g, g, c] in half precision; 0 is the unedited face.
        changes: `places.changes` of the edits, [2, N, g, g].
    """

    features: np.ndarray
    changes: np.ndarray


class CellSource:
    """Batches of features, drawn with replacement: a pure function of the step.

    Args:
        source: of faces.
        model: the classifier, of which only the trunk is used.
        variables: of the classifier.
        batch_size: pairs in a batch.
        faces: number of faces to train on, at most.
        seed: of the order.
        config: of the places.
    """

    def __init__(
        self,
        source: pairs.OnlinePairs | pairs.CachedPairs,
        model: LocalClassifier,
        variables: dict,
        batch_size: int,
        faces: int,
        seed: int,
        config: places.PlaceConfig,
    ) -> None:
        self.names, self.fingerprint, self.held_out = (
            source.names,
            source.fingerprint,
            source.held_out,
        )
        self.sample = source.sample
        self._count = min(source.count, source.held_out + faces)
        self._batch_size, self._seed = batch_size, seed

        @jax.jit
        def features(images: UInt8[Array, "n h w 3"]) -> Float[Array, "n g g c"]:
            return model.apply(variables, to_unit(images), method="features").astype(jnp.float16)

        @functools.cache
        def face(index: int) -> Face:
            images = jnp.asarray(source.sample(index))
            changes = places.sample_changes(images, cell=places.CELL // model.enlarge)
            return Face(np.asarray(features(images)), np.asarray(changes))

        self._face = face
        every = (face(i).changes for i in range(source.held_out, self._count))
        self._places = places.learn(every, source.names, config)

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        numbers, labels = pairs.choose(
            self._seed, step, self._batch_size, self.held_out, self._count, len(self.names)
        )
        faces = [self._face(int(i)) for i in numbers]
        changes = np.stack(
            [face.changes[:, c] for face, c in zip(faces, labels, strict=True)], axis=1
        )
        return {
            "before": np.stack([face.features[0] for face in faces]),
            "after": np.stack(
                [face.features[1 + c] for face, c in zip(faces, labels, strict=True)]
            ),
            "place": self._places.prior(changes, labels),
            "label": labels,
        }


def cell_loss(
    votes: Float[Array, "b h w n"],
    place: Float[Array, "b h w"],
    classes: Int[Array, " b"],
    config: CellConfig,
) -> Float[Array, ""]:
    """Cross entropy of the cells, as the module describes it.

    Args:
        votes: evidence of each cell.
        place: q.
        classes: of the pairs.
        config: settings.
    """
    share = place[..., None]
    target = jnp.concatenate(
        [share * jax.nn.one_hot(classes, votes.shape[-1])[:, None, None], 1 - share], axis=-1
    )
    every = jnp.concatenate([votes, jnp.full_like(share, config.none)], axis=-1)
    emphasis = 1 + config.emphasis * place / (jnp.mean(place, axis=(1, 2), keepdims=True) + 1e-2)
    return jnp.mean(emphasis * optax.softmax_cross_entropy(every, target))


def hidden(
    key: PRNGKeyArray, shape: tuple[int, int, int], probability: float
) -> Float[Array, "b h w"]:
    """Draws masks that undo edits in 10 to 80 percent of a grid's cells, or in none.

    Args:
        key: of the draws.
        shape: of the masks.
        probability: that any cell of a picture is hidden.

    Returns:
        1 where an edit stays, 0 where it is undone.
    """
    which, share, cells = jax.random.split(key, 3)
    grid = (shape[0], HIDDEN_GRID, HIDDEN_GRID)
    gone = jax.random.uniform(cells, grid) < jax.random.uniform(
        share, (shape[0], 1, 1), minval=0.1, maxval=0.8
    )
    gone &= jax.random.uniform(which, (shape[0], 1, 1)) < probability
    for axis in (1, 2):
        gone = jnp.repeat(gone, -(-shape[axis] // HIDDEN_GRID), axis)
    return 1.0 - gone[:, : shape[1], : shape[2]]


def make_step(
    model: nn.Module,
    name: str,
    optimiser: optax.GradientTransformation,
    *,
    config: CellConfig,
    sign: int = 1,
    label_smoothing: float = 0.0,
    axis: str | None = None,
    accumulate: int = 1,
) -> Step:
    """Creates the training step on batches of `CellSource`.

    Args:
        model: the classifier.
        name: of the network in the state.
        optimiser: see `frozen_trunk`.
        config: of the cells' loss.
        sign: of the difference of features, see `editing.classifier.Classifier`.
        label_smoothing: of the picture's loss.
        axis: see `train.state.gradients`.
        accumulate: see `train.state.gradients`.
    """

    def step(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        net = state.nets[name]

        def loss(
            params: dict, batch: Batch, key: PRNGKeyArray
        ) -> tuple[Float[Array, ""], tuple[Metrics, dict]]:
            variables = {"params": params, **net.collections}
            stays = hidden(key, batch["place"].shape, config.hide)
            delta = sign * (
                batch["after"].astype(jnp.float32) - batch["before"].astype(jnp.float32)
            )
            logits, h = model.apply(variables, delta * stays[..., None], method="head")
            target = optax.smooth_labels(
                jax.nn.one_hot(batch["label"], logits.shape[-1]), label_smoothing
            )
            picture = optax.softmax_cross_entropy(logits, target).mean()
            votes = model.apply(variables, h, method="evidence")
            cell = cell_loss(votes, config.sure * batch["place"] * stays, batch["label"], config)
            accuracy = jnp.mean(jnp.argmax(logits, axis=-1) == batch["label"])
            metrics = {"accuracy": accuracy, "picture_loss": picture, "cell_loss": cell}
            return picture + config.weight * cell, (metrics, {})

        return update(
            state,
            name,
            optimiser,
            *gradients(loss, net.params, batch, key, axis=axis, accumulate=accumulate),
        )

    return step
