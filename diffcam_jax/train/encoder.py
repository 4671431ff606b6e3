"""Training of encoders for a frozen generator: what all kinds have in common.

Batches hold "image", aligned faces as uint8 RGB [b, s, s, 3], which are resized to the encoder's
side on the device. Some data add "target", the pictures that reconstructions are compared with in
place of the images, and "code", the W+ codes [b, n, k] that they were drawn from.

Losses are named as their weights in config.loss: those of pictures are in `distances`, those of
codes in `encoder_losses`; "adversarial" is the kind's own. Each kind is a module of its own, which
describes with a `Kind` how it differs:

    psp          Richardson et al. (2008.00951)
    e4e          Tov et al. (2102.02766)
    restyle      Alaluf et al. (2104.02699)
    indomain     Zhu et al. (2004.00049), and its baseline on synthetic pairs, traditional
    mobile       the small encoder of the embedded generator

Frozen networks are in the state under "frozen/NAME", without an optimiser: programs take them as
arguments, and a checkpoint is complete without the folders that they came from. Batch statistics
are those of one device's microbatch.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.errors import UserError, suggestion
from diffcam_jax.files import model_folder
from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.nn.latents import sample_w, to_wplus, wplus_rows
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import quantise
from diffcam_jax.pretrained import networks as pretrained
from diffcam_jax.train import encoder_networks, held_out
from diffcam_jax.train.distances import make_distances
from diffcam_jax.train.encoder_losses import CODE_LOSSES, NEED_CODES, whitened_error
from diffcam_jax.train.encoder_passes import Inverter, Pass
from diffcam_jax.train.ranger import make_optimiser
from diffcam_jax.train.state import Batch, Metrics, Net, TrainState, gradients, update
from diffcam_jax.train.trainer import Phase, Source, Trainer

SHOWN = 8  # held-out pictures on a sheet of samples
Variables = dict[str, Any]


class Adversary(NamedTuple):
    """A discriminator that is trained along, "discriminator" in the state.

    Attributes:
        create: key -> the network, and arrays for `TrainState.extra`.
        loss: (state, the encoder's pass) -> the encoder's adversarial loss.
        phases: updates of the discriminator.
    """

    create: Callable[[PRNGKeyArray], tuple[Net, dict[str, Any]]]
    loss: Callable[[TrainState, Pass], Float[Array, ""]]
    phases: tuple[Phase, ...]


@dataclasses.dataclass(frozen=True)
class Kind:
    """How one kind of encoder differs from the others.

    Attributes:
        config: file and mode of its configuration.
        fields: of the configuration or its model, which only this kind reads.
        make_encoder: (config.model, rows, features) -> the module.
        absolute: codes are absolute, not offsets from the average code.
        initialised: (encoder, variables, mean, deviation of the codes) -> initial variables.
        carried: (folder of the generator, inverter, mean code, seed) -> `TrainState.extra`.
        imported: (variables of an exported encoder, extra) -> variables of one in training.
        exported: (variables, state, inverter) -> variables as other programs use them.
        adversary: (config, folder of the generator, inverter, axis) -> what is trained along.
        encoder_first: the encoder's phase comes before those of the adversary.
    """

    config: str
    fields: frozenset[str]
    make_encoder: Callable[[ConfigDict, int, int], nn.Module]
    absolute: bool = False
    initialised: Callable[[nn.Module, Variables, Array, Array], Variables] = lambda _, v, *__: v
    carried: Callable[[ModelFolder, Inverter, Array, int], dict[str, Any]] = lambda *_: {}
    imported: Callable[[Variables, Mapping[str, Any]], Variables] = lambda v, _: v
    exported: Callable[[Variables, TrainState, Inverter], Variables] = lambda v, *_: v
    adversary: Callable[[ConfigDict, ModelFolder, Inverter, str | None], Adversary] | None = None
    encoder_first: bool = False


def build(kind: Kind, config: ConfigDict, data: Source, axis: str | None) -> Trainer:
    """Builds the trainer of a configuration (`configs/encoder.py`, `configs/encoder_mobile.py`).

    Args:
        kind: of the encoder.
        config: the whole configuration.
        data: batches, and `held_out` ones to measure by.
        axis: of devices to average over.

    Raises:
        UserError: a field has a value that is not possible, or weights are not available.
    """
    if not kind.fields <= {*config, *config.model}:
        raise UserError(
            f"config.model.kind={config.model.kind}: this configuration is of another kind; take "
            f"configs/{kind.config}"
        )
    folder = encoder_networks.load_generator(config.generator)
    generator = folder.network("generator")
    rows, features = wplus_rows(generator.module), generator.module.latent_size
    encoder = kind.make_encoder(config.model, rows, features)
    inverter = Inverter(config, encoder, generator.module)
    distances = make_distances(config)
    optimiser = make_optimiser(config.optimiser, config.steps)
    adversary = kind.adversary(config, folder, inverter, axis) if kind.adversary else None
    run = functools.partial(gradients, axis=axis, accumulate=config.accumulate)
    weights = {name: weight for name, weight in config.loss.items() if weight}
    known = [*distances, *CODE_LOSSES, *(["adversarial"] if adversary else [])]
    if unknown := sorted(weights.keys() - set(known)):
        raise UserError(f"config.loss.{unknown[0]} is unknown; {suggestion(unknown[0], known)}")

    def create() -> TrainState:
        keys = jax.random.split(jax.random.key(config.seed))
        mean, std = encoder_networks.code_moments(folder, config.seed)
        extra = {"latent_avg": jnp.zeros(features) if kind.absolute else mean}
        extra |= kind.carried(folder, inverter, mean, config.seed)
        picture = jnp.zeros((1, inverter.reads, inverter.reads, inverter.channels))
        variables = encoder_networks.initialise(encoder, keys[0], picture)
        variables = kind.initialised(encoder, variables, mean, std)
        if config.model.get("start"):
            begun = pretrained.load(config.model.start)
            if "encoder" in begun.networks:
                variables = encoder_networks.same_encoder(variables, begun)
                variables = kind.imported(variables, extra)
            else:
                variables = encoder_networks.same_body(variables, begun)
        # Copies: the state is donated from step to step, and the folder's arrays must outlive that.
        nets = {"frozen/generator": Net.create(jax.tree.map(jnp.array, generator.variables))}
        nets["encoder"] = Net.create(variables, optimiser)
        for name, (tree, _) in distances.items():
            if tree:
                nets[f"frozen/{name}"] = Net.create(jax.tree.map(jnp.array, tree))
        if adversary is not None:
            nets["discriminator"], more = adversary.create(keys[1])
            extra |= more
        return TrainState.create(nets, config.seed, extra=extra)

    def distance(state: TrainState, name: str, pred: Array, target: Array) -> Float[Array, " b"]:
        tree, function = distances[name]
        return function(state.nets[f"frozen/{name}"].variables if tree else {}, pred, target)

    def term(
        state: TrainState, name: str, found: Pass, images: Array, target: Array | None
    ) -> Float[Array, ""]:
        if name in distances:
            return distance(state, name, found.picture, images).mean()
        if name == "adversarial":
            return adversary.loss(state, found)
        return CODE_LOSSES[name](found.codes, target, state.extra).mean()

    def examples(
        state: TrainState, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Array, Array, Array | None]:
        """Pictures, what reconstructions are compared with, and codes where a loss needs them.

        Codes are those of the batch where the data are a generator's; else pictures of random codes
        take the place of the batch.
        """
        by_code = not weights.keys().isdisjoint(NEED_CODES)
        if "code" in batch or not by_code:
            images, codes = inverter.prepare(batch["image"]), batch["code"] if by_code else None
            codes = to_wplus(codes, inverter.rows) if by_code and codes.ndim == 2 else codes
            return images, inverter.prepare(batch["target"]) if "target" in batch else images, codes
        frozen = state.nets["frozen/generator"].variables
        codes = sample_w(generator.module, frozen, key, len(batch["image"]))
        codes = to_wplus(codes, inverter.rows) if codes.ndim == 2 else codes
        images = inverter.draw(frozen, codes)
        return images, images, codes

    def train(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        def loss(
            params: Any, batch: Batch, key: PRNGKeyArray
        ) -> tuple[Array, tuple[Metrics, dict]]:
            images, wanted, target = examples(state, batch, key)
            passes, changed = inverter.passes(state, params, images, True)
            total, terms = jnp.float32(0), {}
            for found in passes:
                terms = {name: term(state, name, found, wanted, target) for name in weights}
                total = total + sum(weights[name] * value for name, value in terms.items())
            return total, (terms, changed)

        grads, metrics, changed = run(loss, state.nets["encoder"].params, batch, key)
        return update(state, "encoder", optimiser, grads, metrics, changed)

    @jax.jit
    def reconstruct(
        state: TrainState, images: Array, codes: Array | None = None
    ) -> tuple[list[Array], dict[str, Array]]:
        images = inverter.prepare(images)
        passes, _ = inverter.passes(state, state.nets["encoder"].params, images, False)
        values = {name: distance(state, name, passes[-1].picture, images) for name in distances}
        if codes is not None and "whitening" in state.extra:
            values["whitened"] = whitened_error(passes[-1].codes - codes, state.extra["whitening"])
        columns = [images, *(found.picture for found in passes)]
        return [quantise(column) for column in columns], values

    def evaluate(state: TrainState) -> dict[str, float]:
        means = held_out.means(
            lambda batch: reconstruct(state, batch["image"], batch.get("code"))[1],
            data.held_out,
            config.batch_size,
        )
        return {**means, "score": -means.get("lpips", means["l2"])}

    def samples(state: TrainState) -> dict[str, np.ndarray]:
        columns = reconstruct(state, data.held_out["image"][:SHOWN])[0]
        return {"reconstructions": held_out.sheet(columns)}

    def export(state: TrainState, workdir: Path) -> dict[str, Any]:
        variables = jax.tree.map(np.asarray, state.nets["encoder"].variables)
        content = {
            "kind": config.model.kind,
            "source": f"trained by this project, {int(state.step)} steps",
            "generator": config.generator or "mobile_stylegan_ffhq",
            "licence": folder.config.get("licence", ""),
            "training": json.loads(config.to_json_best_effort()),
        }
        network = Network(encoder, kind.exported(variables, state, inverter))
        arrays = {"latent_avg": np.asarray(state.extra["latent_avg"])}
        return model_folder.save(workdir, {"encoder": network}, arrays, content)

    phase = Phase("e", train)
    others = () if adversary is None else adversary.phases
    return Trainer(
        create=create,
        phases=(phase, *others) if kind.encoder_first else (*others, phase),
        samples=samples,
        evaluate=evaluate,
        export=export,
        next_command=_next_command(kind, config),
    )


def _next_command(kind: Kind, config: ConfigDict) -> str:
    if config.generator == "toy":  # no photograph looks like its pictures
        return f"python train.py --config configs/{kind.config} --workdir RUN"
    place = f" --generator {config.generator}" if config.generator else ""
    return f"python edit.py --encoder {{workdir}}{place} PHOTO --attribute smiling=1"
