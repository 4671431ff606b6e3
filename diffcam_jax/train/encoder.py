"""Training of encoders for a frozen generator: pSp, e4e, ReStyle, in-domain, the baseline on
synthetic pairs, and the small one.

Batches hold "image", uint8 RGB [b, s, s, 3], aligned faces, brought to the encoder's size on the
device, and as far as the data have them "target", what the reconstruction is compared with instead,
and "code". Losses are named as their weights in config.loss:

    l2, lpips, identity, vgg  distances of picture and reconstruction (`encoder_networks.make_distances`)
    w_norm, delta             lengths of offsets and of e4e's deltas (`encoder_losses`)
    adversarial               e4e: of the codes up to the stage; in-domain: of the reconstruction
    code                      squared error of the codes of generated pictures
    whitened, prior           mobile: the same in standard deviations of the prior, and the code's own distance from the average in them

    kind         phases
    psp          e
    e4e          d, r1 (every 16 steps), e    on codes, those of the encoder from a pool
    restyle      e                            the sum over passes, nothing flows back from one to the one before
    indomain     e, d                         on pictures, R1 in every step
    traditional  e
    mobile       e                            the encoder's outputs are standard deviations until `export`

Frozen networks lie in the state under "frozen/NAME", without an optimiser: programs take them as
arguments, and a checkpoint is whole without the folders that they came from. Batch statistics are
those of one device's microbatch.

Sources: Richardson et al. (2008.00951), Tov et al. (2102.02766), Alaluf et al. (2104.02699), Zhu et
al. (2004.00049).
"""

import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.files import model_folder
from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.nn.e4e import Encoder4Editing
from diffcam_jax.nn.latents import sample_w, to_wplus
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import quantise
from diffcam_jax.pretrained import networks as pretrained
from diffcam_jax.train import encoder_adversaries, encoder_networks, held_out
from diffcam_jax.train.encoder_losses import delta_norm, w_norm
from diffcam_jax.train.encoder_passes import Inverter, Pass
from diffcam_jax.train.ranger import make_optimiser
from diffcam_jax.train.state import Batch, Metrics, Net, TrainState, gradients, update
from diffcam_jax.train.trainer import Phase, Source, Trainer

CODE_LOSSES = ("code", "whitened")
NAMES = {"mobile": "encoder_mobile.py"}  # configurations of a file of their own
SHOWN = 8  # pictures of the held-out batch that people get to see


def build(config: ConfigDict, data: Source, axis: str | None) -> Trainer:
    """The trainer of a configuration (`configs/encoder.py`).

    Args:
        config: the whole configuration.
        data: batches, and `held_out` ones to measure by.
        axis: of devices to average over.

    Raises:
        UserError: a value that cannot be, or weights that are not to be had.
    """
    kind, folder = config.model.kind, encoder_networks.load_generator(config.generator)
    generator = folder.network("generator")
    encoder = encoder_networks.make_encoder(config, generator.module)
    inverter = Inverter(config, encoder, generator.module)
    distances = encoder_networks.make_distances(config)
    optimiser = make_optimiser(config.optimiser, config.steps)
    adversary = encoder_adversaries.make(config, folder, inverter, axis)
    run = functools.partial(gradients, axis=axis, accumulate=config.accumulate)
    weights = {name: weight for name, weight in config.loss.items() if weight}

    def create() -> TrainState:
        keys = jax.random.split(jax.random.key(config.seed))
        mean, std = encoder_networks.code_moments(folder, config.seed)
        absolute = kind in ("indomain", "traditional")
        extra: dict[str, Any] = {
            "latent_avg": jnp.zeros(generator.module.latent_size) if absolute else mean
        }
        # Copies: the state is donated from step to step, and the folder's arrays must outlive that.
        nets = {"frozen/generator": Net.create(jax.tree.map(jnp.array, generator.variables))}
        if kind == "mobile":
            extra["whitening"], extra["colouring"] = encoder_networks.whitening(folder, config.seed)
        if kind == "restyle":
            code = jnp.broadcast_to(mean, (1, inverter.rows, mean.shape[-1]))
            extra["avg_image"] = jax.jit(inverter.draw)(nets["frozen/generator"].variables, code)
        picture = jnp.zeros((1, inverter.reads, inverter.reads, 6 if kind == "restyle" else 3))
        variables = encoder_networks.initial_encoder(encoder, keys[0], picture, mean, std)
        if config.model.get("start"):
            variables = started(variables, pretrained.load(config.model.start), extra)
        nets["encoder"] = Net.create(variables, optimiser)
        for name, (tree, _) in distances.items():
            if tree:
                nets[f"frozen/{name}"] = Net.create(jax.tree.map(jnp.array, tree))
        if adversary is not None:
            net, carried = adversary.create(keys[1])
            nets["discriminator"], extra = net, {**extra, **carried}
        return TrainState.create(nets, config.seed, extra=extra)

    def distance(state: TrainState, name: str, pred: Array, target: Array) -> Float[Array, " b"]:
        tree, function = distances[name]
        return function(state.nets[f"frozen/{name}"].variables if tree else {}, pred, target)

    def whitened(state: TrainState, difference: Array) -> Float[Array, " b"]:
        return ((difference @ state.extra["whitening"]) ** 2).mean((1, 2))

    def term(
        state: TrainState, name: str, found: Pass, images: Array, target: Array | None
    ) -> Float[Array, ""]:
        """One part of the loss, its mean over the batch."""
        if name in distances:
            return distance(state, name, found.picture, images).mean()
        if name == "w_norm":
            return w_norm(found.codes, state.extra["latent_avg"]).mean()
        if name == "delta":
            return delta_norm(found.codes).mean()
        if name == "adversarial":
            return adversary.loss(state, found)
        if name == "whitened":
            return whitened(state, found.codes - target).mean()
        if name == "prior":
            return whitened(state, found.codes - state.extra["latent_avg"]).mean()
        return ((found.codes - target) ** 2).mean()

    def given(
        state: TrainState, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Array, Array, Array | None]:
        """Pictures, what reconstructions are compared with, and codes where a loss needs them:
        those of the batch where the data are a
        generator's, else drawn here."""
        by_code = not weights.keys().isdisjoint(CODE_LOSSES)
        if "code" in batch or not by_code:
            images, codes = inverter.prepare(batch["image"]), batch["code"] if by_code else None
            codes = to_wplus(codes, inverter.rows) if by_code and codes.ndim == 2 else codes
            return images, inverter.prepare(batch["target"]) if "target" in batch else images, codes
        frozen = state.nets["frozen/generator"].variables
        codes = sample_w(generator.module, frozen, key, len(batch["image"]))
        codes = to_wplus(codes, inverter.rows) if codes.ndim == 2 else codes
        images = inverter.draw(frozen, codes)
        return images, images, codes

    def encoder_step(
        state: TrainState, batch: Batch, key: PRNGKeyArray
    ) -> tuple[TrainState, Metrics]:
        def loss(
            params: Any, batch: Batch, key: PRNGKeyArray
        ) -> tuple[Array, tuple[Metrics, dict]]:
            images, wanted, target = given(state, batch, key)
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
            values["whitened"] = whitened(state, passes[-1].codes - codes)
        return [
            quantise(picture) for picture in [images, *(found.picture for found in passes)]
        ], values

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
        if isinstance(encoder, Encoder4Editing):
            variables = without_deltas(variables, int(inverter.stage(state.step)))
        if kind == "mobile":
            variables = shipped(variables, state.extra["colouring"])
        content = {
            "kind": kind,
            "source": f"trained by this project, {int(state.step)} steps",
            "generator": config.generator or "mobile_stylegan_ffhq",
            "licence": folder.config.get("licence", ""),
            "training": json.loads(config.to_json_best_effort()),
        }
        arrays = {"latent_avg": np.asarray(state.extra["latent_avg"])}
        return model_folder.save(workdir, {"encoder": Network(encoder, variables)}, arrays, content)

    phase = Phase("e", encoder_step)
    phases = () if adversary is None else adversary.phases
    place = f" --generator {config.generator}" if config.generator else ""
    following = f"python edit.py --encoder {{workdir}}{place} PHOTO --attribute smiling=1"
    if config.generator == "toy":  # no photograph looks like its pictures
        following = f"python train.py --config configs/{NAMES.get(kind, f'encoder.py:{kind}')} --workdir RUN"
    return Trainer(
        create=create,
        phases=(phase, *phases) if kind == "indomain" else (*phases, phase),
        samples=samples,
        evaluate=evaluate,
        export=export,
        next_command=following,
    )


def started(
    variables: dict[str, Any], folder: ModelFolder, extra: dict[str, Any]
) -> dict[str, Any]:
    """An encoder that begins as the one in a folder, or with the body there."""
    if "encoder" not in folder.networks:
        return encoder_networks.start_body(variables, folder)
    variables = encoder_networks.start_encoder(variables, folder)
    return (
        encoder_networks.in_basis(variables, extra["whitening"])
        if "whitening" in extra
        else variables
    )


def shipped(variables: dict[str, Any], colouring: Float[Array, "k k"]) -> dict[str, Any]:
    """The small encoder as others use it: outputs in W+, parameters in half precision, statistics
    in full.
    """
    variables = encoder_networks.in_basis(variables, colouring)
    return {
        **variables,
        "params": jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), variables["params"]),
    }


def without_deltas(variables: dict[str, Any], stage: int) -> dict[str, Any]:
    """An e4e encoder whose heads behind a stage give nothing: their turn has not come, and they are
    as they were made.
    """
    params = {
        name: {**layer, "linear": jax.tree.map(np.zeros_like, layer["linear"])}
        if name.startswith("styles_") and int(name.removeprefix("styles_")) > stage
        else layer
        for name, layer in variables["params"].items()
    }
    return {**variables, "params": params}
