"""Train the Diff-CAM classifier.

    python train.py --config configs/diffcam_mobile.py --workdir RUN [--config.steps=3000 ...]

A run continues from its last checkpoint; a finished one only exports again. The result is RUN/NAME.safetensors.
"""

import dataclasses
import functools
import json
import os
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from diffcam_jax import weights
from diffcam_jax.checkpoint import Checkpoints
from diffcam_jax.compilation import keep_compiled_programs
from diffcam_jax.data import pairs
from diffcam_jax.data.augment import AugmentConfig
from diffcam_jax.diffcam import CamConfig, diff_cam, load_classifier, save_classifier
from diffcam_jax.errors import UserError
from diffcam_jax.nn.classifier import DiffClassifier
from diffcam_jax.report import Report, overlay, save_grid
from diffcam_jax.train.diffcam import make_optimiser, make_step, sample_logits
from diffcam_jax.train.loop import fit
from diffcam_jax.train.state import TrainState

_CONFIG = config_flags.DEFINE_config_file("config", "configs/diffcam_mobile.py", "Configuration file.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")


def train(config, workdir: pathlib.Path) -> dict:
    """Run or continue a training; returns the final metadata of the exported classifier."""
    keep_compiled_programs()
    began = time.perf_counter()

    # ------------------------------------------------------------------------------------------------ data
    if config.data.source == "online":
        toy = config.data.generator == "toy"
        world = pairs.toy_world() if toy else pairs.pretrained_world(config.data.directions or None)
        recipe = pairs.Recipe(seed=config.seed, size=config.data.size)
        source = pairs.OnlinePairs(world, recipe, config.batch_size, config.data.held_out)
        recipe = dataclasses.asdict(recipe)
    else:
        folder = config.data.folder or weights.cache_dir() / "pairs"
        source = pairs.CachedPairs(folder, config.batch_size, config.data.held_out, config.seed)
        recipe = source.recipe
    names = source.names

    # ------------------------------------------------------------------------------------------------ network
    model = DiffClassifier(**config.model, num_classes=len(names))
    optimiser = make_optimiser(config.learning_rate, config.steps, config.warmup, config.weight_decay)
    blank = jnp.zeros((1, recipe["size"], recipe["size"], 3))
    variables = jax.jit(model.init)(jax.random.key(config.seed), blank, blank)
    state = TrainState.create(variables, optimiser, config.seed)
    step = make_step(
        model,
        optimiser,
        names,
        augmentation=AugmentConfig(**config.augment),
        sided=tuple(config.sided),
        sign=config.sign,
        label_smoothing=config.label_smoothing,
    )

    # ------------------------------------------------------------------------------------------------ evaluation
    logits_of = jax.jit(functools.partial(sample_logits, model, sign=config.sign))
    masks_of = jax.jit(functools.partial(diff_cam, model, config=CamConfig(sign=config.sign)))

    def accuracy(variables: dict) -> dict[str, float]:
        samples = (jnp.asarray(source.sample(i)) for i in range(source.held_out))
        right = np.mean([np.argmax(logits_of(variables, s), axis=1) == np.arange(len(names)) for s in samples], axis=0)
        each = {f"accuracy/{name}": float(share) for name, share in zip(names, right, strict=True)}
        return {"accuracy": float(right.mean()), **each}

    def draw_masks(variables: dict, path: pathlib.Path) -> None:
        rows = []
        for i in range(min(4, source.held_out)):
            sample = source.sample(i)
            images = jnp.asarray(sample, jnp.float32) / 127.5 - 1
            before = jnp.broadcast_to(images[:1], images[1:].shape)
            masks = np.asarray(masks_of(variables, before, images[1:], jnp.arange(len(names))).mask)
            rows += [list(sample), [sample[0], *map(overlay, sample[1:], masks)]]
        save_grid(path, rows, ["inverted", *names])

    def evaluate(state: TrainState) -> dict[str, float]:
        draw_masks(state.variables, workdir / f"masks_{int(state.step):06d}.png")
        return accuracy(state.variables)

    # ------------------------------------------------------------------------------------------------ training
    with Checkpoints(workdir / "checkpoints", config.checkpoint_every) as checkpoints:
        state = checkpoints.restore(state)
        with Report(workdir, int(state.step), config.steps) as report:
            state = fit(
                state,
                step,
                source,
                config.steps,
                report=report,
                checkpoints=checkpoints,
                log_every=config.log_every,
                evaluate=evaluate,
                eval_every=config.eval_every,
            )

    # ------------------------------------------------------------------------------------------------ export
    path = workdir / f"{config.name}.safetensors"
    metadata = {
        **source.fingerprint,
        "strength": recipe["strength"],
        "sign": config.sign,
        "size": recipe["size"],
        "recipe": {"pairs": recipe, "training": json.loads(config.to_json())},
        "steps": int(state.step),
    }
    save_classifier(path, model, state.variables, metadata)
    metadata["accuracy"] = accuracy(load_classifier(path).variables)  # of the rounded weights, as they ship
    save_classifier(path, model, state.variables, metadata)
    print(
        f"{config.name}: {int(state.step)} steps, held-out accuracy {metadata['accuracy']['accuracy']:.3f} over "
        f"{len(names)} classes, {path.stat().st_size / 1e6:.1f} MB, {time.perf_counter() - began:.0f} s; "
        f"next: look at {workdir}/masks_*.png, the classifier is {path}"
    )
    return metadata


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}")
    logging.set_verbosity(logging.WARNING)  # orbax reports every file at the level below
    try:
        if not _WORKDIR.value:
            raise UserError("no folder for the run; add --workdir DIR")
        workdir = pathlib.Path(_WORKDIR.value)
        try:
            workdir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make {workdir} ({os.strerror(error.errno)}); choose another --workdir") from error
        train(_CONFIG.value, workdir)
    except UserError as error:
        print(f"train.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    app.run(main)
