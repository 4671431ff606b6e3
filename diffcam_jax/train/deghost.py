"""Training of the deghosting network (2207.08134, section 3.4): blend with ghosts -> the picture as
it was.

Batches are one of two kinds, uint8 RGB [b, s, s, 3] with s the network's output:

    {"image", "target"}       blends that `data.ghosts` wrote, and what they were made of
    {"image"} or with "code"  pictures; their blends are made on the device, by frozen networks, with new edits in every step

The input is the blend, area-reduced to `in_size`. The loss is squared error, VGG16's conv4_3 before
its ReLU and a StyleGAN2 discriminator's opinion. One program updates both networks from the same
forward pass, as the official script does by updating one after the other with the same pictures. A
variant presets what paper and release do differently; each can be overridden alone:

                        official                 paper
    perceptual_weight   0.01                     0.8
    adversarial         "nonsaturating"          "minimax", log(1 - D)
    ghost.normalise     "minmax"                 "max"
    ghost.resize        "nearest"                "bilinear"

The paper prints the pixel loss as a norm over the number of pixels, which its other weights would
drown; both variants take the mean square.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.data import sources
from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder
from diffcam_jax.losses import picture as losses
from diffcam_jax.losses.adversarial import logistic_loss, nonsaturating_loss, r1_penalty
from diffcam_jax.metrics import pixel
from diffcam_jax.nn.deghosting import Deghoster
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator, config_widths
from diffcam_jax.nn.stylegan2_discriminator import StyleGAN2Discriminator
from diffcam_jax.nn.vgg import VGG16
from diffcam_jax.ops.image import quantise, resize
from diffcam_jax.pretrained import networks as pretrained
from diffcam_jax.train import deghost_mobile
from diffcam_jax.train.blends import Folder, OnTheFly, ghost_maker, networks_of
from diffcam_jax.train.state import Batch, Metrics, Net, TrainState, average, gradients, update
from diffcam_jax.train.trainer import Phase, Source, Trainer

VARIANTS = {
    "official": {
        "perceptual_weight": 0.01,
        "adversarial": "nonsaturating",
        "normalise": "minmax",
        "resize": "nearest",
    },
    "paper": {
        "perceptual_weight": 0.8,
        "adversarial": "minimax",
        "normalise": "max",
        "resize": "bilinear",
    },
}
# The deghosting network's side of the game, for each fake's logit.
ADVERSARIAL = {"nonsaturating": nonsaturating_loss, "minimax": lambda fake: -jax.nn.softplus(fake)}
PERCEPTUAL_TAP = "conv4_3"
LAST_RATE = 1e-7
BEST_PSNR = 100.0  # stands for equal pictures, whose ratio is infinite
SAMPLE_ROWS = 4
Tree = Mapping[str, Any]


def make_source(
    config: ConfigDict, batch_size: int, process: int = 0, processes: int = 1
) -> Source:
    """The data of a run, see `data.sources.make_source`.

    Those of the small network are of a kind of their own.
    """
    kind = deghost_mobile if config.model.get("kind") == "mobile" else sources
    return kind.make_source(config, batch_size, process, processes)


def build(config: ConfigDict, data: Source, axis: str | None) -> Trainer:
    """The trainer of a configuration (`configs/deghost.py`, `configs/deghost_mobile.py`).

    Args:
        config: the whole configuration.
        data: batches of one of the kinds above, and `held_out` ones to measure with.
        axis: of devices to average over.

    Raises:
        UserError: a field has a value that cannot be, or networks or data do not fit.
    """
    if config.model.get("kind") == "mobile":
        return deghost_mobile.build(config, data, axis)
    chosen = choices(config)
    deghoster, prior = deghosting_network(config.model)
    if data.held_out["image"].shape[1] != deghoster.out_size:
        raise UserError(
            f"the pictures have {data.held_out['image'].shape[1]} pixels, the network gives "
            f"{deghoster.out_size}; make "
            f"config.data.size and config.model.out_size equal"
        )
    cam = {name: chosen[name] for name in ("normalise", "resize")}
    maker = (
        Folder()
        if "target" in data.held_out
        else ghost_maker(networks_of(config), config.ghost, cam, data)
    )
    judge = discriminating_network(config, deghoster) if config.adversarial_weight else None
    frozen = {
        **maker.networks,
        **({"vgg": perceptual_network()} if chosen["perceptual_weight"] else {}),
    }
    task = Task(config, chosen, deghoster, None if judge is None else judge.module, maker)
    adam = optax.adam(
        optax.cosine_decay_schedule(
            config.learning_rate, config.steps, LAST_RATE / config.learning_rate
        ),
        *config.betas,
    )
    optimiser = (
        adam
        if config.model.train_prior
        else optax.multi_transform({"train": adam, "keep": optax.set_to_zero()}, prior_apart)
    )
    run = functools.partial(gradients, axis=axis, accumulate=config.accumulate)

    def create() -> TrainState:
        # The default generator of random numbers takes the compiler minutes for so many small
        # arrays.
        keys = jax.random.split(jax.random.key(config.seed, impl="unsafe_rbg"))
        blank = jnp.zeros((1, deghoster.in_size, deghoster.in_size, 3))
        variables = with_prior(jax.jit(deghoster.init)(keys[0], blank), prior)
        nets = {"deghoster": Net.create(variables, optimiser)}
        if judge is not None:
            blank = jnp.zeros((1, deghoster.out_size, deghoster.out_size, 3))
            variables = _copied(judge.variables) or jax.jit(judge.module.init)(keys[1], blank)
            nets["discriminator"] = Net.create(variables, adam)
        # Copies: a step gives its state's memory away.
        nets |= {name: Net.create(_copied(network.variables)) for name, network in frozen.items()}
        return TrainState.create(nets, config.seed, ("deghoster",) if config.ema else ())

    def train(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        params = {
            name: state.nets[name].params
            for name in ("deghoster", "discriminator")
            if name in state.nets
        }
        grads, metrics, _ = run(functools.partial(task.loss, state), params, batch, key)
        state, metrics = update(
            state,
            "deghoster",
            optimiser,
            grads["deghoster"],
            {**metrics, "loss": metrics["restoration"]},
        )
        if judge is not None:
            own = {"loss": metrics["d_loss"]}
            state, own = update(state, "discriminator", adam, grads["discriminator"], own)
            metrics["d_grad_norm"] = own["grad_norm"]
        del metrics["restoration"]
        return (average(state, "deghoster", config.ema) if config.ema else state), metrics

    def train_r1(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        loss = functools.partial(task.r1_loss, state, config.r1_gamma / 2 * config.r1_every)
        grads, metrics, _ = run(loss, state.nets["discriminator"].params, batch, key)
        return update(state, "discriminator", adam, grads, metrics)

    def export(state: TrainState, folder: Path) -> Any:
        description = {
            "kind": "deghost",
            "source": f"train.py, {config.name}, {int(state.step)} steps of {config.batch_size} "
            "pictures",
            "licence": "that of the pictures and the networks it was trained with",
            "variant": config.variant,
        }
        variables = jax.device_get(task.variables(state))
        model_folder.save(folder, {"deghoster": Network(deghoster, variables)}, {}, description)

    phases = [Phase("train", train)]
    if judge is not None and config.r1_gamma:
        phases.append(Phase("r1", train_r1, config.r1_every))
    look = HeldOut(task, data.held_out, config, lpips=bool(chosen["perceptual_weight"]))
    return Trainer(create, tuple(phases), look.rows, look.measure, export, next_command(config))


# -------------------------------------------------------------------------------------------------------
# the losses
class Task:
    """The networks in training with their losses.

    Args:
        config, chosen: the configuration, and what `choices` made of it.
        deghoster, discriminator: the modules; no discriminator, no adversarial loss.
        maker: gives blends and targets.
    """

    def __init__(
        self,
        config: ConfigDict,
        chosen: Mapping[str, Any],
        deghoster: Deghoster,
        discriminator: StyleGAN2Discriminator | None,
        maker: Folder | OnTheFly,
    ) -> None:
        self.deghoster, self.discriminator, self.maker = deghoster, discriminator, maker
        self._config, self._chosen = config, chosen
        self._half = config.precision == "bfloat16"

    def loss(
        self, state: TrainState, params: dict, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Array, tuple[Metrics, dict]]:
        """The sum of both networks' losses, each with a gradient by its own parameters only."""
        config, chosen = self._config, self._chosen
        fused, target = self.maker.pair(state.nets, batch, key)
        net = dict(params["deghoster"])
        if not config.model.train_prior:
            net["generator"] = jax.lax.stop_gradient(net["generator"])
        fake = self.restore({"params": net, **state.nets["deghoster"].collections}, fused)
        metrics = {"mse": losses.mse(fake, target).mean()}
        total = config.pixel_weight * metrics["mse"]
        if chosen["perceptual_weight"]:
            trunk = functools.partial(self._features, state.nets["vgg"].params)
            metrics["perceptual"] = losses.perceptual(fake, target, trunk).mean()
            total += chosen["perceptual_weight"] * metrics["perceptual"]
        if self.discriminator is None:
            return total, ({**metrics, "restoration": total}, {})
        judge = self._judge(len(fake))
        held = jax.lax.stop_gradient(params["discriminator"])
        metrics["adversarial"] = ADVERSARIAL[chosen["adversarial"]](judge(held, fake)).mean()
        total += config.adversarial_weight * metrics["adversarial"]
        own, given = params["discriminator"], jax.lax.stop_gradient(fake)
        metrics["d_loss"] = logistic_loss(judge(own, target), judge(own, given)).mean()
        return total + metrics["d_loss"], ({**metrics, "restoration": total}, {})

    def r1_loss(
        self, state: TrainState, weight: float, params: dict, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Array, tuple[Metrics, dict]]:
        """R1 on the pictures that blends are compared with."""
        target = self.maker.target(batch, key)
        penalty = r1_penalty(functools.partial(self._judge(len(target)), params), target).mean()
        return weight * penalty, ({"penalty": penalty}, {})

    def restore(self, variables: Tree, fused: Float[Array, "b s s 3"]) -> Float[Array, "b s s 3"]:
        """The network's picture of a blend.

        In half precision that is the encoder; prior and decoder stay in single.
        """
        small, params = resize(fused, (self.deghoster.in_size,) * 2, "area"), variables["params"]
        if self._half:
            small = small.astype(jnp.bfloat16)
            params = {
                name: tree if name == "generator" else _halved(tree)
                for name, tree in params.items()
            }
        return self.deghoster.apply({**variables, "params": params}, small).astype(jnp.float32)

    def variables(self, state: TrainState) -> dict:
        """Of the deghosting network, averaged where a moving average is kept."""
        net = state.nets["deghoster"]
        return (
            {**net.variables, "params": state.ema["deghoster"]}
            if self._config.ema
            else net.variables
        )

    def _features(self, params: dict, x: Float[Array, "b s s 3"]) -> list[Array]:
        if self._half:
            params, x = _halved(params), x.astype(jnp.bfloat16)
        found = VGG16((PERCEPTUAL_TAP,)).apply({"params": params}, x)
        return [found[PERCEPTUAL_TAP].astype(jnp.float32)]

    def _judge(self, count: int) -> Callable[[dict, Array], Array]:
        group = self.discriminator.group
        if count > group and count % group:
            raise UserError(
                f"the discriminator compares {group} pictures at a time and a device's "
                f"microbatch has {count}; choose "
                f"config.batch_size so that it is at most {group}, or a multiple"
            )
        return lambda params, x: self.discriminator.apply({"params": params}, x)[:, 0]


# ----------------------------------------------------------------------------------------------------
# looking at it
class HeldOut:
    """Held-out blends, restored: pictures and numbers.

    Blends made on the fly are the same ones each time.

    Args:
        task: networks and losses.
        batch: held-out data.
        config: the configuration.
        lpips: measure LPIPS as well.
    """

    def __init__(
        self, task: Task, batch: dict[str, np.ndarray], config: ConfigDict, lpips: bool
    ) -> None:
        self._task, self._batch = task, batch
        self._size = min(config.batch_size, len(batch["image"]))
        self._key = jax.random.fold_in(jax.random.key(config.seed), 1)
        self._lpips = pretrained.load("lpips").network("lpips_alex") if lpips else None

        @jax.jit
        def look(
            variables: dict, nets: dict, lpips: dict | None, batch: Batch, key: PRNGKeyArray
        ) -> dict[str, Array]:
            fused, target = task.maker.pair(nets, batch, key)
            pictures = {"fused": fused, "restored": task.restore(variables, fused).clip(-1, 1)}
            found = {
                f"lpips_{name}": self._distance(lpips, x, target)
                for name, x in pictures.items()
                if lpips
            }
            return {
                name: quantise(x) for name, x in {"original": target, **pictures}.items()
            } | found

        self._look = look

    def rows(self, state: TrainState) -> dict[str, np.ndarray]:
        """Rows of original, blend, restored picture."""
        found = self._chunk(state, 0)
        rows = zip(
            *(found[name][:SAMPLE_ROWS] for name in ("original", "fused", "restored")), strict=True
        )
        return {"restored": np.concatenate([np.concatenate(row, 1) for row in rows])}

    def measure(self, state: TrainState) -> dict[str, float]:
        """PSNR and LPIPS of restored pictures and, as the baseline, of the blends.

        "score" is the restored pictures' PSNR.
        """
        values: dict[str, list[float]] = {}
        for first in range(0, len(self._batch["image"]), self._size):
            found = self._chunk(state, first)
            for name in ("restored", "fused"):
                ratio = np.minimum(pixel.psnr(found[name], found["original"]), BEST_PSNR)
                values.setdefault(f"psnr_{name}", []).extend(ratio)
                if self._lpips is not None:
                    values.setdefault(f"lpips_{name}", []).extend(found[f"lpips_{name}"])
        means = {name: float(np.mean(numbers)) for name, numbers in values.items()}
        return {**means, "score": means["psnr_restored"]}

    def _chunk(self, state: TrainState, first: int) -> dict[str, np.ndarray]:
        part = {name: array[first : first + self._size] for name, array in self._batch.items()}
        count = len(part["image"])
        # A short last part is filled up, so that one program does for all.
        part = {
            name: np.concatenate([x, np.repeat(x[-1:], self._size - count, 0)])
            for name, x in part.items()
        }
        nets = {
            name: net.replace(opt_state=None)
            for name, net in state.nets.items()
            if name != "deghoster"
        }
        weights = None if self._lpips is None else self._lpips.variables
        found = self._look(
            self._task.variables(state), nets, weights, part, jax.random.fold_in(self._key, first)
        )
        return {name: np.asarray(array)[:count] for name, array in found.items()}

    def _distance(self, variables: dict, a: Array, b: Array) -> Float[Array, " b"]:
        return self._lpips.module.apply(variables, a, b)


# -------------------------------------------------------------------------------------------------------
# the networks
def choices(config: ConfigDict) -> dict[str, Any]:
    """What the variant presets, with what is overridden.

    Raises:
        UserError: no such variant, adversarial loss or precision.
    """
    if config.variant not in VARIANTS:
        raise UserError(f"config.variant={config.variant!r}: choose official or paper")
    if config.precision not in ("float32", "bfloat16"):
        raise UserError(f"config.precision={config.precision!r}: choose float32 or bfloat16")
    own = {
        "perceptual_weight": config.perceptual_weight,
        "adversarial": config.adversarial,
        "normalise": config.ghost.normalise,
        "resize": config.ghost.resize,
    }
    chosen = VARIANTS[config.variant] | {
        name: value for name, value in own.items() if value is not None
    }
    allowed = {
        "adversarial": tuple(ADVERSARIAL),
        "normalise": ("minmax", "max"),
        "resize": ("nearest", "bilinear"),
    }
    for name, values in allowed.items():
        if chosen[name] not in values:
            raise UserError(f"{name}={chosen[name]!r}: choose {' or '.join(values)}")
    return chosen


def deghosting_network(model: ConfigDict) -> tuple[Deghoster, dict | None]:
    """The network of a configuration, and the variables of its prior.

    Widths are the prior's, where there is one.

    Raises:
        UserError: sizes that cannot be, or a prior of another size or kind.
    """
    inner, outer = model.in_size, model.out_size
    if inner & (inner - 1) or outer & (outer - 1) or not 4 <= inner < outer:
        raise UserError(
            f"config.model.in_size={inner}, out_size={outer}: two powers of two from 4 on, the "
            "second larger"
        )
    form = {
        name: model[name] for name in ("blocks", "rrdb_width", "growth", "image_width", "remat")
    }
    if not model.prior:
        widths = config_widths(outer, model.channel_multiplier, model.channel_max)
        return Deghoster(inner, widths, model.latent_size, model.mapping_layers, **form), None
    module, variables = pretrained.load(model.prior).network("generator")
    if not isinstance(module, StyleGAN2Generator):
        raise UserError(
            f"{model.prior} holds a {type(module).__name__}; the prior has to be a StyleGAN2"
        )
    if module.resolution != outer:
        raise UserError(
            f"the prior draws {module.resolution} pixels, config.model.out_size is {outer}; make "
            "them equal"
        )
    return Deghoster(
        inner, module.widths, module.latent_size, module.mapping_layers, **form
    ), variables


def discriminating_network(config: ConfigDict, deghoster: Deghoster) -> Network:
    """The discriminator at the network's output: from a folder, or a new one (without variables).

    Raises:
        UserError: that of the folder takes pictures of another size.
    """
    if not config.model.discriminator:
        return Network(StyleGAN2Discriminator(deghoster.widths), {})
    network = pretrained.load(config.model.discriminator).network("discriminator")
    if network.module.resolution != deghoster.out_size:
        raise UserError(
            f"the discriminator takes {network.module.resolution} pixels, the network gives "
            f"{deghoster.out_size}; leave "
            f"config.model.discriminator empty for a new one"
        )
    return network


def perceptual_network() -> Network:
    """VGG16 as torchvision trained it, up to the layer that is compared."""
    trunk = pretrained.load("lpips").network("lpips_vgg").variables["params"]["trunk"]
    params = {name: layer for name, layer in trunk.items() if name <= PERCEPTUAL_TAP}
    return Network(VGG16((PERCEPTUAL_TAP,)), {"params": params})


def with_prior(variables: dict, prior: dict | None) -> dict:
    """The deghosting network's variables with those of a converted generator inside."""
    if prior is None:
        return variables
    return {name: {**tree, "generator": _copied(prior[name])} for name, tree in variables.items()}


def prior_apart(params: Tree) -> dict[str, str]:
    """Labels of the optimiser: what lies in the prior is kept, the rest is trained."""
    return {name: "keep" if name == "generator" else "train" for name in params}


def next_command(config: ConfigDict) -> str:
    """How to edit with the trained network; it has to be as large as the generator."""
    size, folder = config.model.out_size, networks_of(config)["generator"]
    if folder in ("", "toy") and size != 1024:
        folder = f"FOLDER_OF_A_GENERATOR_OF_{size}_PIXELS"
    generator = f" --generator {folder}" if folder not in ("", "toy") else ""
    return (
        f"python edit.py PHOTO --deghoster {{workdir}}{generator} --attribute smiling=1 --out out"
    )


def _copied(tree: Tree) -> dict:
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), dict(tree))


def _halved(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tree)
