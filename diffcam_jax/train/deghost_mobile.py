"""Training of the small deghosting network on edits whose correct result is known.

The network is `nn.mobile_deghosting`, batches hold the fields of `data.edit_pairs.Pair` at its
`in_size`, losses are in `deghost_mobile_losses`. There is no discriminator: what is missing at 256
pixels is taken from I and T, and not invented. The generator is the prior; it and LPIPS are in the
state without an optimiser.
"""

import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.data.edit_pair_source import KnownEdits, open_pairs
from diffcam_jax.data.edit_pairs import toy_pairs
from diffcam_jax.data.ghost_blends import toy_ghost_networks
from diffcam_jax.directions.space import generator_hash
from diffcam_jax.editing.compose import blend
from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder
from diffcam_jax.nn.mobile_deghosting import MobileDeghoster
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import quantise
from diffcam_jax.pretrained import networks as pretrained
from diffcam_jax.train import held_out
from diffcam_jax.train.deghost_mobile_losses import Losses, psnr_inside
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

LAST_RATE = 1e-6
SAMPLE_ROWS = 6


def make_source(
    config: ConfigDict, batch_size: int, process: int = 0, processes: int = 1
) -> KnownEdits:
    """Opens the pairs of config.data.folder; config.data.source "toy" makes some without a file.

    Args:
        config: the whole configuration.
        batch_size: pairs that this process brings to a batch.
        process: number of this process.
        processes: how many there are.

    Raises:
        UserError: another source, or no folder with pairs.
    """
    data = config.data
    if data.source == "toy":
        pairs = toy_pairs(config.eval_size + 8, data.size)
        found = pairs[config.eval_size :], pairs, {"name": "toy"}
    elif data.source != "known_edits":
        raise UserError(f"config.data.source={data.source!r}: choose known_edits or toy")
    elif not data.folder:
        raise UserError(
            "which pairs? write some with python -m diffcam_jax.data.known_edits and give "
            "--config.data.folder=DIR"
        )
    else:
        found = open_pairs(Path(data.folder))
    train, test, description = found
    return KnownEdits(
        train, test[: config.eval_size], description, batch_size, config.seed, process, processes
    )


def build(config: ConfigDict, data: Source, axis: str | None) -> Trainer:
    """Builds the trainer of a configuration (`configs/deghost_mobile.py`).

    Args:
        config: the whole configuration.
        data: batches of pairs, and `held_out` ones to measure by.
        axis: of devices to average over.

    Raises:
        UserError: impossible sizes, or pairs of another generator.
    """
    generator = load_generator(config.generator)
    deghoster = make_network(config.model, generator)
    size, rows = data.held_out["original"].shape[1], data.held_out["code"].shape[1]
    if size != deghoster.in_size:
        raise UserError(
            f"the pairs have {size} pixels, the network reads {deghoster.in_size}; set "
            "config.model.in_size"
        )
    if rows < generator.module.num_styles:
        raise UserError(
            f"the pairs' codes have {rows} rows, the generator reads {generator.module.num_styles}"
        )
    lpips = pretrained.load("lpips").network("lpips_alex") if config.loss.lpips else None
    losses = Losses(config, deghoster, generator.module, lpips)
    optimiser = optax.adam(
        optax.cosine_decay_schedule(
            config.learning_rate, config.steps, LAST_RATE / config.learning_rate
        ),
        *config.betas,
    )
    run = functools.partial(gradients, axis=axis, accumulate=config.accumulate)

    def create() -> TrainState:
        # The default random number generator takes long to compile for so many small arrays.
        key = jax.random.key(config.seed, impl="unsafe_rbg")
        first = {name: jnp.asarray(array[:1]) for name, array in data.held_out.items()}
        # Copies: a step gives its state's memory away.
        nets = {"generator": Net.create(jax.tree.map(jnp.array, generator.variables))}
        views = losses.views(first)[0]
        init = jax.jit(
            lambda key, views, prior: deghoster.init(key, views, generator.module, prior)
        )
        nets["deghoster"] = Net.create(init(key, views, nets["generator"].variables), optimiser)
        if lpips is not None:
            nets["lpips"] = Net.create(jax.tree.map(jnp.array, lpips.variables))
        return TrainState.create(nets, config.seed, ("deghoster",) if config.ema else ())

    def train(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        grads, metrics, _ = run(
            functools.partial(losses.loss, state), state.nets["deghoster"].params, batch, key
        )
        state, metrics = update(state, "deghoster", optimiser, grads, metrics)
        return (
            average(state, "deghoster", warmed_up(config.ema, state.step)) if config.ema else state
        ), metrics

    @jax.jit
    def look(state: TrainState, batch: Batch) -> tuple[list[Array], dict[str, Array]]:
        views, truth, region = losses.views(batch)
        params = state.ema["deghoster"] if config.ema else state.nets["deghoster"].params
        restored = losses.restore(state, params, views).clip(-1, 1)
        numbers = {}
        for name, found in (("restored", restored), ("fused", views.fused)):
            numbers[f"psnr_{name}"] = psnr_inside(found, truth, region)
            if lpips is not None:
                numbers[f"lpips_{name}"] = losses.distance(
                    state, blend(truth, found, region), truth
                )
        return [quantise(x) for x in (views.original, views.fused, restored, truth)], numbers

    def evaluate(state: TrainState) -> dict[str, float]:
        means = held_out.means(
            lambda batch: look(state, batch)[1], data.held_out, config.batch_size
        )
        return {**means, "score": means["psnr_restored"]}

    def samples(state: TrainState) -> dict[str, np.ndarray]:
        columns = look(state, {name: array[:SAMPLE_ROWS] for name, array in data.held_out.items()})[
            0
        ]
        return {"restored": held_out.sheet(columns)}

    def export(state: TrainState, folder: Path) -> Any:
        params = state.ema["deghoster"] if config.ema else state.nets["deghoster"].params
        content = {
            "kind": "deghost_mobile",
            "source": f"trained by this project, {int(state.step)} steps",
            "generator": config.generator or "mobile_stylegan_ffhq",
            "generator_sha256": deghoster.prior,
            "pairs": getattr(data, "description", {}),
            "licence": "that of the generator's pictures: non-commercial research",
            "training": json.loads(config.to_json_best_effort()),
        }
        halved = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), params)
        return model_folder.save(
            folder, {"deghoster": Network(deghoster, {"params": halved})}, {}, content
        )

    place = f" --generator {config.generator}" if config.generator else ""
    following = f"python edit.py --deghoster {{workdir}}{place} PHOTO --attribute smiling=1"
    return Trainer(create, (Phase("train", train),), samples, evaluate, export, following)


def load_generator(source: str) -> Network:
    """Loads the prior, a MobileStyleGAN.

    Args:
        source: a folder, "" for the embedded generator, "toy" for that of `edit_pairs.toy_pairs`.

    Raises:
        UserError: no such folder, or its generator is no MobileStyleGAN.
    """
    if source == "toy":
        return toy_ghost_networks().generator
    network = pretrained.load(source or "mobile_stylegan_ffhq").network("generator")
    if not isinstance(network.module, MobileStyleGAN):
        raise UserError(
            f"{source} holds a {type(network.module).__name__}, the small deghosting network "
            "needs a MobileStyleGAN; configs/deghost.py trains one for other generators"
        )
    return network


def make_network(model: ConfigDict, generator: Network) -> MobileDeghoster:
    """Creates the network of a configuration around a generator.

    Raises:
        UserError: impossible sizes.
    """
    sides = [model.in_size >> (i + 1) for i in range(len(model.widths))]
    levels = generator.module.widths
    if (
        model.in_size != 4 << len(model.widths)
        or model.prior_side not in sides
        or model.prior_side > 2 << len(levels)
    ):
        raise UserError(
            f"config.model.in_size={model.in_size}, {len(model.widths)} widths, "
            f"prior_side={model.prior_side}: give one width for every side from half of in_size "
            "down to 4, and as prior_side one of these sides that the generator has"
        )
    size, digest = generator.module.resolution, generator_hash(generator)
    return MobileDeghoster(
        model.in_size, size, tuple(model.widths), model.prior_side, model.rank, digest
    )
