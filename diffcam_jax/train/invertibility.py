"""Training of the alignment network of invertibility decomposition (2212.09262).

`invertibility_passes` decomposes batches, `invertibility_losses` has the losses. Levels are added
one after the other (config.stages); every stage is a phase of its own with its own program. The
moving average of the alignment network is evaluated and exported. With an adversarial loss a
StyleGAN2 discriminator is trained along; config.adv_grad="official" follows the release, where this
loss is added without a gradient for the alignment network.
"""

import functools
import itertools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.data import occluders, sources
from diffcam_jax.directions.space import generator_hash
from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder, trees
from diffcam_jax.losses import picture as losses
from diffcam_jax.losses.adversarial import logistic_loss, nonsaturating_loss
from diffcam_jax.metrics.masks import iou
from diffcam_jax.nn.network import Network, initial_variables
from diffcam_jax.nn.stylegan2 import config_widths
from diffcam_jax.nn.stylegan2_discriminator import StyleGAN2Discriminator, batch_logits
from diffcam_jax.ops.image import quantise
from diffcam_jax.train import held_out
from diffcam_jax.train.invertibility_losses import Losses
from diffcam_jax.train.invertibility_passes import BatchDecomposer, load_edits, load_networks
from diffcam_jax.train.invertibility_start import correlated
from diffcam_jax.train.state import (
    Batch,
    Metrics,
    Net,
    TrainState,
    average,
    gradients,
    update,
    warmed_up,
)
from diffcam_jax.train.trainer import Phase, Source, Trainer

SAMPLE_ROWS = 6


def make_source(
    config: ConfigDict, batch_size: int, process: int = 0, processes: int = 1
) -> Source:
    """Opens the data of a run, with held-out pictures of objects that training never shows.

    Args:
        config: the whole configuration.
        batch_size: samples that this process brings to a batch.
        process: number of this process.
        processes: how many there are.

    Raises:
        UserError: see `data.sources.make_source`.
    """
    data = sources.make_source(config, batch_size, process, processes)
    if config.data.get("masks", False):
        pairs = [
            occluders.held_out(picture, kind, np.random.default_rng((config.seed, number)))
            for number, (picture, kind) in enumerate(
                zip(data.held_out["image"], itertools.cycle(occluders.HELD_OUT))
            )
        ]
        images, masks = (np.stack(part) for part in zip(*pairs, strict=True))
        data.held_out = {**data.held_out, "image": images, "mask": masks}
    return data


def build(config: ConfigDict, data: Source, axis: str | None) -> Trainer:
    """Builds the trainer of a configuration (`configs/invertibility_mobile.py` and the like).

    Args:
        config: the whole configuration.
        data: batches as in `invertibility_passes`, and `held_out` pictures to measure by.
        axis: of devices to average over.

    Raises:
        UserError: a field has a value that is not possible, or networks do not fit together.
    """
    networks, folders = load_networks(config)
    generator, encoder = networks.generator, networks.encoder.network
    aligner, levels = networks.aligner.module, networks.aligner.module.sides
    stages = stages_of(config, levels, generator.module.resolution)
    *_, (_, _, finest, size) = stages
    if config.adv_grad not in ("on", "official"):
        raise UserError(f"config.adv_grad={config.adv_grad!r}: choose on or official")
    decompose = BatchDecomposer(config, networks, load_edits(config, generator.module))
    terms = Losses(config, len(levels))
    if config.correlated and (config.model.multiplier == 1 or config.model.normalised):
        raise UserError(
            "config.correlated is for config.model.multiplier below 1 and normalised=False; set "
            "it to 0"
        )
    optimiser, judging = (
        make_optimiser(options) for options in (config.optimiser, config.discriminator.optimiser)
    )
    run = functools.partial(gradients, axis=axis, accumulate=config.accumulate)
    judge = discriminator(config, size) if config.loss.get("adversarial") else None
    if judge is not None and any(stage[-1] != size for stage in stages):
        raise UserError(
            "a discriminator judges pictures of one size; set config.loss.adversarial=0 or one "
            "size in config.stages"
        )

    def create() -> TrainState:
        # The default random number generator takes long to compile for so many small arrays.
        keys = jax.random.split(jax.random.key(config.seed, impl="unsafe_rbg"))
        maps = [
            [jnp.zeros((1, side, side, width)) for side, width in zip(levels, widths)]
            for widths in (aligner.features, aligner.inputs)
        ]
        params = initial_variables(aligner, keys[0], *maps)["params"]
        if config.correlated:
            params = correlated(networks, params, config.seed, config.correlated)
        nets = {"aligner": Net.create({"params": params}, optimiser)}
        if judge is not None:
            blank = jnp.zeros((1, size, size, 3))
            nets["discriminator"] = Net.create(initial_variables(judge, keys[1], blank), judging)
        # Copies: a step gives its state's memory away.
        frozen = {"generator": generator.variables, "encoder": encoder.variables, **terms.frozen}
        for name, variables in frozen.items():
            nets[f"frozen/{name}"] = Net.create(jax.tree.map(jnp.array, variables))
        extra = {"latent_avg": jnp.array(networks.encoder.latent_avg)}
        return TrainState.create(nets, config.seed, ("aligner",), extra)

    def logits(variables: dict, pictures: Float[Array, "b s s 3"]) -> Array:
        return batch_logits(judge, variables, pictures)

    def opinion(state: TrainState, pictures: Float[Array, "b s s 3"]) -> Array:
        if config.adv_grad == "official":
            pictures = jax.lax.stop_gradient(pictures)
        return nonsaturating_loss(logits(state.nets["discriminator"].variables, pictures))

    def train(
        state: TrainState, batch: Batch, key: PRNGKeyArray, largest: int, size: int
    ) -> tuple[TrainState, Metrics]:
        frozen = {name: state.nets[f"frozen/{name}"].variables for name in terms.frozen}

        def loss(
            params: Any, batch: Batch, key: PRNGKeyArray
        ) -> tuple[Array, tuple[Metrics, dict]]:
            found = decompose(state, params, batch, key, largest, size)
            adversary = None if judge is None else functools.partial(opinion, state)
            total, values = terms(found, frozen, adversary)
            return total, ({**values, "mask": found.masks[-1].mean()}, {})

        grads, metrics, _ = run(loss, state.nets["aligner"].params, batch, key)
        state, metrics = update(state, "aligner", optimiser, grads, metrics)
        return average(state, "aligner", warmed_up(config.ema, state.step)), metrics

    def train_judge(
        state: TrainState, batch: Batch, key: PRNGKeyArray, largest: int, size: int
    ) -> tuple[TrainState, Metrics]:
        def loss(
            params: Any, batch: Batch, key: PRNGKeyArray
        ) -> tuple[Array, tuple[Metrics, dict]]:
            found = decompose(state, state.nets["aligner"].params, batch, key, largest, size)
            variables = {**state.nets["discriminator"].variables, "params": params}
            real, fake = logits(variables, found.wanted), logits(variables, found.image)
            return logistic_loss(real, fake).mean(), (
                {"real": real.mean(), "fake": fake.mean()},
                {},
            )

        grads, metrics, _ = run(loss, state.nets["discriminator"].params, batch, key)
        return update(state, "discriminator", judging, grads, metrics)

    @jax.jit
    def look(state: TrainState, batch: Batch) -> tuple[list[Array], dict[str, Array | None]]:
        found = decompose(state, state.ema["aligner"], batch, None, finest, size)
        masks = [
            jnp.broadcast_to(2 * x[..., None] - 1, found.wanted.shape)
            for x in (found.masks[-1], found.truth)
            if x is not None
        ]
        numbers = {
            "mse": losses.mse(found.generated, found.wanted),
            "mask": found.masks[-1].mean((1, 2)),
        }
        return [
            quantise(x) for x in (found.wanted, found.generated, *masks, found.image)
        ], numbers | {
            "found": found.masks[-1],
            "truth": found.truth,
        }

    def evaluate(state: TrainState) -> dict[str, float]:
        def measure(batch: held_out.Arrays) -> dict[str, np.ndarray]:
            numbers = jax.device_get(look(state, batch)[1])
            masks, truth = numbers.pop("found"), numbers.pop("truth")
            return numbers if truth is None else {**numbers, "iou": iou(masks, truth >= 0.5)}

        means = held_out.means(measure, data.held_out, config.batch_size)
        return {**means, "score": means.get("iou", -means["mse"])}

    def samples(state: TrainState) -> dict[str, np.ndarray]:
        columns = look(state, {name: array[:SAMPLE_ROWS] for name, array in data.held_out.items()})[
            0
        ]
        return {"decompositions": held_out.sheet(columns)}

    def export(state: TrainState, folder: Path) -> Any:
        content = {
            "kind": "invertibility",
            "source": f"trained by this project, {int(state.step)} steps",
            "generator": config.generator or "mobile_stylegan_ffhq",
            "generator_sha256": generator_hash(folders[0].network("generator")),
            "encoder_sha256": trees.tree_hash(encoder.variables),
            "data": getattr(data, "description", {}),
            "licence": "that of the generator's pictures: non-commercial research",
            "training": json.loads(config.to_json_best_effort()),
        }
        halved = jax.tree.map(
            lambda leaf: np.asarray(leaf, np.float16), {"params": state.ema["aligner"]}
        )
        return model_folder.save(folder, {"aligner": Network(aligner, halved)}, {}, content)

    phases = []
    for since, until, *sides in stages:
        at = dict(zip(("largest", "size"), sides, strict=True))
        if judge is not None:
            phases.append(
                Phase("d", functools.partial(train_judge, **at), since=since, until=until)
            )
        phases.append(Phase("g", functools.partial(train, **at), since=since, until=until))
    following = "python edit.py --method both --aligner {workdir} PHOTO --attribute smiling=1"
    return Trainer(create, tuple(phases), samples, evaluate, export, following)


def stages_of(
    config: ConfigDict, levels: tuple[int, ...], resolution: int
) -> list[tuple[int, int | None, int, int]]:
    """Reads the stages of a configuration.

    Args:
        config: the whole configuration.
        levels: sides of the alignment network's levels.
        resolution: of the generator.

    Returns:
        Of every stage its first step, the first step of the next one (None at the end), the side of
        its finest level, and that of its pictures.

    Raises:
        UserError: no stage at step 0, stages out of order, a level that does not exist, or pictures
            of a side that the generator does not draw.
    """
    firsts = [stage[0] for stage in config.stages]
    if not firsts or firsts[0] != 0 or sorted(set(firsts)) != firsts:
        raise UserError(f"config.stages={config.stages}: steps begin at 0 and rise")
    for _, level, size in config.stages:
        if level not in levels or size < level or size > resolution or resolution % size:
            raise UserError(
                f"config.stages: level {level}, pictures of {size} pixels; levels are {levels}, "
                f"pictures are as large as the level or larger, up to {resolution}"
            )
    ends = [*firsts[1:], None]
    return [
        (first, end, level, size)
        for (first, level, size), end in zip(config.stages, ends, strict=True)
    ]


def make_optimiser(options: ConfigDict) -> optax.GradientTransformation:
    """Creates Adam, whose rate is multiplied by `decay` once in `every` steps."""
    rate = optax.exponential_decay(
        options.learning_rate, options.every, options.decay, staircase=True
    )
    return optax.adam(rate, options.b1, options.b2)


def discriminator(config: ConfigDict, size: int) -> StyleGAN2Discriminator:
    """Creates StyleGAN2's discriminator for pictures of a side."""
    options = config.discriminator
    return StyleGAN2Discriminator(config_widths(size, options.multiplier, options.width))
