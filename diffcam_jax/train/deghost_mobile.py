"""Training of the small deghosting network (`nn.mobile_deghosting`) on edits whose right result is
known (`data.known_edits`).

Batches hold the fields of `known_edits.Pair`, uint8, at the network's `in_size`. Mask and blend are
those of the product (`editor.PRODUCT_CONFIG`), made on the device from the raw mask; so changing
them asks for another training and not for other data. The loss counts the region that the result is
pasted into (`EditConfig.paste`), and the rest with config.outside:

    pixel        absolute error, rounded off near zero, weighted by the region
    lpips        LPIPS-Alex of a square of config.crop pixels around the mask, of the result pasted into the truth

There is no discriminator: what is missing at 256 pixels is taken from I and T, and not invented.
The generator is the prior; it and LPIPS lie in the state without an optimiser.
"""

import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.data.ghosts import toy_ghost_world
from diffcam_jax.data.known_edits import KnownEdits, open_pairs, toy_pairs
from diffcam_jax.directions.space import generator_hash
from diffcam_jax.editing.compose import blend, refine
from diffcam_jax.editor.editor import PRODUCT_CONFIG
from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder
from diffcam_jax.nn.mobile_deghosting import MobileDeghoster, Views
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import quantise, to_unit
from diffcam_jax.pretrained import networks as pretrained
from diffcam_jax.train import held_out
from diffcam_jax.train.state import (
    Batch,
    Metrics,
    Net,
    TrainState,
    average,
    gradients,
    update,
    young,
)
from diffcam_jax.train.trainer import Phase, Source, Trainer

ROUNDING = 0.01  # of the absolute error, in the range of 2
LAST_RATE = 1e-6
SAMPLE_ROWS = 6


def make_source(
    config: ConfigDict, batch_size: int, process: int = 0, processes: int = 1
) -> KnownEdits:
    """The pairs of config.data.folder, or with config.data.source "toy" some that need no file.

    Arguments as in `data.sources.make_source`.

    Raises:
        UserError: another source, no folder is named, or it holds none.
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
    """The trainer of a configuration (`configs/deghost_mobile.py`).

    Args:
        config: the whole configuration.
        data: batches of pairs, and `held_out` ones to measure by.
        axis: of devices to average over.

    Raises:
        UserError: sizes that cannot be, or pairs of another generator.
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
    task = Task(config, deghoster, generator.module, lpips)
    optimiser = optax.adam(
        optax.cosine_decay_schedule(
            config.learning_rate, config.steps, LAST_RATE / config.learning_rate
        ),
        *config.betas,
    )
    run = functools.partial(gradients, axis=axis, accumulate=config.accumulate)

    def create() -> TrainState:
        # The default generator of random numbers takes the compiler long for so many small arrays.
        key = jax.random.key(config.seed, impl="unsafe_rbg")
        first = {name: jnp.asarray(array[:1]) for name, array in data.held_out.items()}
        # Copies: a step gives its state's memory away.
        nets = {"generator": Net.create(jax.tree.map(jnp.array, generator.variables))}
        views = task.views(first)[0]
        init = jax.jit(
            lambda key, views, prior: deghoster.init(key, views, generator.module, prior)
        )
        nets["deghoster"] = Net.create(init(key, views, nets["generator"].variables), optimiser)
        if lpips is not None:
            nets["lpips"] = Net.create(jax.tree.map(jnp.array, lpips.variables))
        return TrainState.create(nets, config.seed, ("deghoster",) if config.ema else ())

    def train(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        grads, metrics, _ = run(
            functools.partial(task.loss, state), state.nets["deghoster"].params, batch, key
        )
        state, metrics = update(state, "deghoster", optimiser, grads, metrics)
        return (
            average(state, "deghoster", young(config.ema, state.step)) if config.ema else state
        ), metrics

    @jax.jit
    def look(state: TrainState, batch: Batch) -> tuple[list[Array], dict[str, Array]]:
        views, truth, region = task.views(batch)
        params = state.ema["deghoster"] if config.ema else state.nets["deghoster"].params
        restored = task.restore(state, params, views).clip(-1, 1)
        numbers = {}
        for name, found in (("restored", restored), ("fused", views.fused)):
            numbers[f"psnr_{name}"] = psnr_inside(found, truth, region)
            if lpips is not None:
                numbers[f"lpips_{name}"] = task.distance(state, blend(truth, found, region), truth)
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


# -------------------------------------------------------------------------------------------------------
# the losses
class Task:
    """The network with its losses.

    Args:
        config: the configuration.
        deghoster, generator: the modules.
        lpips: its network, where the loss has it.
    """

    def __init__(
        self, config: ConfigDict, deghoster: MobileDeghoster, generator: Any, lpips: Network | None
    ) -> None:
        self._config, self._deghoster, self._generator, self._lpips = (
            config,
            deghoster,
            generator,
            lpips,
        )

    def views(self, batch: Batch) -> tuple[Views, Float[Array, "b s s 3"], Float[Array, "b s s"]]:
        """What the network sees, the truth, and the region that the result is pasted into."""
        original, inverted, edited, truth = (
            to_unit(batch[name]) for name in ("original", "inverted", "edited", "truth")
        )
        found, config = batch["mask"].astype(jnp.float32) / 255, PRODUCT_CONFIG
        mask = refine(found, config.mask)
        views = Views(
            blend(original, edited.clip(-1, 1), mask),
            original,
            inverted,
            edited,
            mask,
            batch["code"],
        )
        return views, truth, refine(mask, config.paste)

    def restore(self, state: TrainState, params: Any, views: Views) -> Float[Array, "b s s 3"]:
        """The network's picture."""
        return self._deghoster.apply(
            {"params": params}, views, self._generator, state.nets["generator"].variables
        )

    def distance(
        self, state: TrainState, a: Float[Array, "b s s 3"], b: Float[Array, "b s s 3"]
    ) -> Float[Array, " b"]:
        """LPIPS."""
        return self._lpips.module.apply(state.nets["lpips"].variables, a, b)

    def loss(
        self, state: TrainState, params: Any, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Array, tuple[Metrics, dict]]:
        """The weighted sum, a mean over the batch; nothing in it is random."""
        config = self._config
        views, truth, region = self.views(batch)
        restored = self.restore(state, params, views)
        error = (jnp.sqrt((restored - truth) ** 2 + ROUNDING**2) - ROUNDING).mean(-1)
        metrics = {"pixel": (error * (region + config.outside)).mean()}
        total = config.loss.pixel * metrics["pixel"]
        if self._lpips is not None:
            pasted = blend(truth, restored, region)
            pair = cropped(
                jnp.concatenate([pasted, truth], -1), region, min(config.crop, truth.shape[1])
            )
            metrics["lpips"] = self.distance(state, *jnp.split(pair, 2, axis=-1)).mean()
            total += config.loss.lpips * metrics["lpips"]
        return total, (metrics, {})


def cropped(
    x: Float[Array, "b h h c"], mask: Float[Array, "b h h"], side: int
) -> Float[Array, "b s s c"]:
    """A square of every picture around its mask's centre of mass."""
    size = x.shape[1]
    places, whole = jnp.arange(size, dtype=jnp.float32), jnp.maximum(mask.sum((1, 2)), 1e-6)
    centres = ((mask.sum(3 - axis) @ places) / whole for axis in (1, 2))
    rows, columns = (
        jnp.clip(centre - side / 2, 0, size - side).astype(jnp.int32) for centre in centres
    )
    return jax.vmap(lambda y, i, j: jax.lax.dynamic_slice(y, (i, j, 0), (side, side, y.shape[-1])))(
        x, rows, columns
    )


def psnr_inside(
    found: Float[Array, "b h w 3"], truth: Float[Array, "b h w 3"], region: Float[Array, "b h w"]
) -> Float[Array, " b"]:
    """Peak signal-to-noise ratio in dB of pictures in [-1, 1], pixels weighted by the region.

    NaN without a region.
    """
    error = ((found - truth) ** 2).mean(-1)
    return 10 * jnp.log10(4 * region.sum((1, 2)) / (error * region).sum((1, 2)))


# -------------------------------------------------------------------------------------------------------
# the networks
def load_generator(source: str) -> Network:
    """The prior: a folder's, with "" the embedded one, with "toy" that of `known_edits.toy_pairs`.

    Raises:
        UserError: no such folder, or its generator is no MobileStyleGAN.
    """
    if source == "toy":
        return toy_ghost_world().generator
    network = pretrained.load(source or "mobile_stylegan_ffhq").network("generator")
    if not isinstance(network.module, MobileStyleGAN):
        raise UserError(
            f"{source} holds a {type(network.module).__name__}, the small deghosting network "
            "needs a MobileStyleGAN; "
            f"configs/deghost.py trains one for other generators"
        )
    return network


def make_network(model: ConfigDict, generator: Network) -> MobileDeghoster:
    """The network of a configuration around a generator.

    Raises:
        UserError: sizes that make none.
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
            f"prior_side={model.prior_side}: there is one "
            "width for every side from half of in_size down to 4, and prior_side is one of them "
            "that the generator has"
        )
    size, digest = generator.module.resolution, generator_hash(generator)
    return MobileDeghoster(
        model.in_size, size, tuple(model.widths), model.prior_side, model.rank, digest
    )
