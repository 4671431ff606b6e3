"""Training of the DA classifier (2207.08134, section 3.3): which direction was applied?

config.model.network names the classifier. All of "resnet" is trained, on batches of `data.pairs`:
uint8 pictures "inverted" and "edited", and int32 "label". For "local" see `train.cells`. There is
one network and one phase, both called "classifier".
"""

import dataclasses
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from diffcam_jax.data import edit_samples, pairs
from diffcam_jax.data.augment import AugmentConfig, augment, flippable
from diffcam_jax.directions import importers
from diffcam_jax.editing.classifier import Classifier, load_classifier, save_classifier
from diffcam_jax.editing.diffcam import diff_cam
from diffcam_jax.errors import UserError
from diffcam_jax.faces.panel import heat_overlay, titled_grid
from diffcam_jax.files import model_folder
from diffcam_jax.nn.classifier import DiffClassifier, LocalClassifier, PairClassifier
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import to_unit
from diffcam_jax.pretrained import store
from diffcam_jax.train import cells, places
from diffcam_jax.train.state import Batch, Metrics, Net, TrainState, gradients, update
from diffcam_jax.train.trainer import Phase, Step, Trainer

NAME = "classifier"
NETWORKS = {"local": LocalClassifier, "resnet": DiffClassifier}


class PairSource:
    """The batches of one of several processes, and held-out samples.

    Args:
        source: of whole batches and samples.
        recipe: of the samples, with "size" and "strength".
        process: number of this process.
        processes: how many there are.

    Attributes:
        names: of the classes.
        fingerprint: of the pairs.
        recipe: of the samples.
        held_out: "samples", uint8 [n, 1 + N, s, s, 3]; picture 0 is I', picture 1 + c its edit c.
    """

    def __init__(
        self,
        source: pairs.OnlinePairs | pairs.CachedPairs | cells.CellSource,
        recipe: dict,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.names, self.fingerprint, self.recipe = source.names, source.fingerprint, recipe
        self.held_out = {"samples": np.stack([source.sample(i) for i in range(source.held_out)])}
        self._source, self._process, self._processes = source, process, processes

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        batch = self._source[step]
        size = len(batch["label"]) // self._processes
        return {name: array[self._process * size :][:size] for name, array in batch.items()}


def make_source(
    config: ConfigDict, batch_size: int, process: int = 0, processes: int = 1
) -> PairSource:
    """Opens the pairs of a configuration.

    Args:
        config: the whole configuration.
        batch_size: pairs that this process brings to a batch.
        process: number of this process.
        processes: how many there are.

    Raises:
        UserError: there are no such pairs.
    """
    whole = batch_size * processes
    if config.data.source == "online":
        toy = config.data.generator == "toy"
        editable = (
            edit_samples.toy_generator()
            if toy
            else edit_samples.editable_generator(importers.listed(config.data.directions))
        )
        recipe = edit_samples.Recipe(seed=config.seed, size=config.data.size)
        source = pairs.OnlinePairs(editable, recipe, whole, config.eval_size)
        return PairSource(
            _whole(config, source, recipe.size, whole),
            dataclasses.asdict(recipe),
            process,
            processes,
        )
    if config.data.source != "cached":
        raise UserError(
            f"config.data.source={config.data.source!r}: allowed for this trainer are cached and "
            "online"
        )
    folder = config.data.folder or store.cache_dir() / "pairs"
    cached = pairs.CachedPairs(folder, whole, config.eval_size, config.seed)
    return PairSource(
        _whole(config, cached, cached.recipe["size"], whole), cached.recipe, process, processes
    )


def _whole(
    config: ConfigDict, source: pairs.OnlinePairs | pairs.CachedPairs, size: int, batch_size: int
) -> pairs.OnlinePairs | pairs.CachedPairs | cells.CellSource:
    """Returns the pictures themselves, or the features of the local classifier's trunk."""
    if config.model.network != "local":
        return source
    model = make_model(config, source.names)
    variables = cells.initial_variables(model, config.pretrained, size, config.seed)
    settings = places.PlaceConfig(**{**config.places, "whole": tuple(config.places.whole)})
    return cells.CellSource(
        source, model, variables, batch_size, config.data.faces, config.seed, settings
    )


def make_model(config: ConfigDict, names: tuple[str, ...]) -> LocalClassifier | DiffClassifier:
    """Creates the classifier that config.model describes.

    Raises:
        UserError: there is no such network.
    """
    if config.model.network not in NETWORKS:
        raise UserError(
            f"config.model.network={config.model.network!r}: allowed are {', '.join(NETWORKS)}"
        )
    network = NETWORKS[config.model.network]
    own = {field.name for field in dataclasses.fields(network)}  # the other one's stay unread
    fields = {name: value for name, value in config.model.items() if name in own}
    if "rows" in fields:
        fields["rows"] = tuple(map(tuple, fields["rows"]))
    return network(**fields, num_classes=len(names))


def make_optimiser(
    learning_rate: float,
    steps: int,
    warmup: int,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.99),
) -> optax.GradientTransformation:
    """Creates AdamW with a cosine schedule down to 1e-7.

    The official rate is 1e-4, without warm-up and weight decay.

    Args:
        learning_rate: the highest one.
        steps: of the run.
        warmup: steps of a linear rise.
        weight_decay: of kernels only.
        betas: of Adam.
    """
    schedule = optax.warmup_cosine_decay_schedule(
        0.0 if warmup else learning_rate, learning_rate, warmup, steps, end_value=1e-7
    )

    def kernels(params: dict) -> dict:
        return jax.tree.map(lambda p: p.ndim > 1, params)

    return optax.adamw(schedule, *betas, weight_decay=weight_decay, mask=kernels)


def make_step(
    model: DiffClassifier,
    optimiser: optax.GradientTransformation,
    names: tuple[str, ...],
    *,
    augmentation: AugmentConfig,
    sided: tuple[str, ...] = ("yaw",),
    sign: int = 1,
    label_smoothing: float = 0.0,
    axis: str | None = None,
    accumulate: int = 1,
) -> Step:
    """Creates the training step on batches of pictures.

    Args:
        model: the classifier.
        optimiser: of all its parameters.
        names: classes in the order of the labels.
        augmentation: of the pairs.
        sided: classes whose mirror image is another edit.
        sign: of the difference of features, see `editing.classifier.Classifier`.
        label_smoothing: of the loss.
        axis: see `train.state.gradients`.
        accumulate: see `train.state.gradients`.
    """

    def step(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        net = state.nets[NAME]

        def loss(
            params: dict, batch: Batch, key: PRNGKeyArray
        ) -> tuple[Float[Array, ""], tuple[Metrics, dict]]:
            pictures = (to_unit(batch[name]) for name in ("inverted", "edited"))
            may_flip = flippable(batch["label"], names, sided)
            inverted, edited = augment(key, *pictures, may_flip, augmentation)
            (logits, _), changed = model.apply(
                {"params": params, **net.collections},
                inverted,
                edited,
                sign=sign,
                train=True,
                mutable=["batch_stats"],
            )
            target = optax.smooth_labels(
                jax.nn.one_hot(batch["label"], len(names)), label_smoothing
            )
            accuracy = jnp.mean(jnp.argmax(logits, axis=-1) == batch["label"])
            return optax.softmax_cross_entropy(logits, target).mean(), (
                {"accuracy": accuracy},
                changed,
            )

        return update(
            state,
            NAME,
            optimiser,
            *gradients(loss, net.params, batch, key, axis=axis, accumulate=accumulate),
        )

    return step


def sample_logits(
    model: PairClassifier, variables: dict, pictures: UInt8[Array, "_ h w 3"], sign: int = 1
) -> Float[Array, "n n"]:
    """Scores the edits of a held-out sample; the features of I' are computed once.

    Args:
        model: the classifier.
        variables: of the classifier.
        pictures: I', then its edits in the order of the classes.
        sign: of the difference of features.

    Returns:
        Row c holds the logits of edit c.
    """
    images = to_unit(pictures)
    features = model.apply(variables, images, method="features")
    return model.apply(variables, sign * (features[1:] - features[:1]), method="head")[0]


def build(config: ConfigDict, data: PairSource, axis: str | None) -> Trainer:
    """Builds the trainer of a configuration (`configs/diffcam_mobile.py`).

    Args:
        config: the whole configuration.
        data: of `make_source`.
        axis: of devices to average over.

    Raises:
        UserError: a precision other than float32.
    """
    if config.precision != "float32":
        raise UserError(f"config.precision={config.precision!r}: this trainer has float32 only")
    names, samples = data.names, data.held_out["samples"]
    model, local = make_model(config, names), config.model.network == "local"
    optimiser = make_optimiser(
        config.learning_rate, config.steps, config.warmup, config.weight_decay
    )
    common = {
        "sign": config.sign,
        "label_smoothing": config.label_smoothing,
        "axis": axis,
        "accumulate": config.accumulate,
    }
    if local:
        optimiser = cells.frozen_trunk(optimiser)
        step = cells.make_step(
            model, NAME, optimiser, config=cells.CellConfig(**config.cells), **common
        )
    else:
        augmentation = AugmentConfig(**config.augment)
        step = make_step(
            model, optimiser, names, augmentation=augmentation, sided=tuple(config.sided), **common
        )
    logits_of = jax.jit(functools.partial(sample_logits, model, sign=config.sign))
    masks_of = jax.jit(diff_cam)

    def create() -> TrainState:
        variables = cells.initial_variables(
            model, config.pretrained if local else "", data.recipe["size"], config.seed
        )
        return TrainState.create({NAME: Net.create(variables, optimiser)}, config.seed)

    def accuracy(variables: dict) -> dict[str, float]:
        classes = np.arange(len(names))
        right = np.mean(
            [np.argmax(logits_of(variables, jnp.asarray(s)), axis=1) == classes for s in samples],
            axis=0,
        )
        each = {f"accuracy/{name}": float(share) for name, share in zip(names, right, strict=True)}
        return {"accuracy": float(right.mean()), **each}

    def draw_masks(state: TrainState) -> dict[str, np.ndarray]:
        rows = []
        for sample in samples[:4]:
            images = jnp.asarray(to_unit(sample))
            before = jnp.broadcast_to(images[:1], images[1:].shape)
            judge = Classifier(Network(model, state.nets[NAME].variables), names, config.sign)
            masks = np.asarray(masks_of(judge, before, images[1:], jnp.arange(len(names))).mask)
            rows += [list(sample), [sample[0], *map(heat_overlay, sample[1:], masks)]]
        return {"masks": titled_grid(rows, ["inverted", *names])}

    def evaluate(state: TrainState) -> dict[str, float]:
        numbers = accuracy(state.nets[NAME].variables)
        return {**numbers, "score": numbers["accuracy"]}

    def export(state: TrainState, workdir: Path) -> dict:
        metadata = {
            **data.fingerprint,
            "strength": data.recipe["strength"],
            "sign": config.sign,
            "size": data.recipe["size"],
            "recipe": {"pairs": data.recipe, "training": json.loads(config.to_json())},
            "steps": int(state.step),
        }
        path = workdir / f"{config.name}.safetensors"
        network = Network(model, jax.device_get(state.nets[NAME].variables))
        save_classifier(path, network, metadata)
        # Measured on the rounded weights, as they ship.
        metadata["accuracy"] = accuracy(load_classifier(path).network.variables)
        save_classifier(path, network, metadata)
        return model_folder.save(workdir, {NAME: network}, {}, {"kind": "diffcam", **metadata})

    command = f"python edit.py --demo --attribute {names[0]}=1 --classifier {{workdir}}"
    return Trainer(create, (Phase(NAME, step),), draw_masks, evaluate, export, command)
