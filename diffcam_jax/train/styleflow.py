"""Training of StyleFlow on scored codes of a generator (2008.02401, section 4).

The flow learns the density of codes under the scores of their pictures, by maximum likelihood.
There is one network and one phase, both called "flow".
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.directions import flows
from diffcam_jax.directions.recipe import LICENCE
from diffcam_jax.directions.scoring import draw_pictures
from diffcam_jax.directions.space import generator_hash
from diffcam_jax.faces.panel import titled_grid
from diffcam_jax.files import model_folder
from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.nn.network import Network, initial_variables
from diffcam_jax.nn.styleflow import (
    StyleFlow,
    Trace,
    exact_trace,
    flow,
    hutchinson,
    log_likelihood,
    training_flow,
)
from diffcam_jax.train import held_out, styleflow_edits
from diffcam_jax.train.diffcam import make_optimiser
from diffcam_jax.train.state import Batch, Metrics, Net, TrainState, gradients, update
from diffcam_jax.train.styleflow_codes import ScoredCodes, open_scorer, score_pool, scores_folder
from diffcam_jax.train.trainer import Phase, Trainer

NAME = flows.ROLE
SAMPLE_ROWS = 2
make_source = score_pool


def trace_of(kind: str, key: PRNGKeyArray, codes: Float[Array, "b r f"]) -> Trace:
    """How the divergence of a batch is computed.

    Args:
        kind: "exact", or "hutchinson" for an estimate by one random vector of signs for each code.
        key: of the random vectors.
        codes: of the batch.
    """
    if kind == "exact":
        return exact_trace
    keys = jax.random.split(key, len(codes))
    signs = functools.partial(jax.random.rademacher, shape=codes.shape[1:], dtype=jnp.float32)
    return hutchinson(jax.vmap(signs)(keys))


def build(config: ConfigDict, data: ScoredCodes, axis: str | None) -> Trainer:
    """Builds the trainer of a configuration (`configs/styleflow.py`).

    Args:
        config: the whole configuration.
        data: of `make_source`.
        axis: of devices to average over.

    Raises:
        UserError: an edit does not fit the conditions or the generator.
    """
    generator, scorer = open_scorer(config)
    held, names = data.held_out, tuple(config.conditions)
    rows, features = held["code"].shape[1:]
    module = StyleFlow(features, tuple(config.model.widths), len(names), config.model.blocks)
    optimiser = make_optimiser(
        config.learning_rate, config.steps, config.warmup, config.weight_decay
    )
    plans = tuple(map(tuple, config.edits))
    method = f"StyleFlow on {config.data.faces} faces (seed {config.data.seed})"
    planned = styleflow_edits.planned(plans, data, wplus_rows(generator.module), method)

    def create() -> TrainState:
        arguments = jnp.zeros((1, rows, features)), jnp.zeros((1, len(names)))
        variables = initial_variables(module, jax.random.key(config.seed), *arguments)
        return TrainState.create({NAME: Net.create(variables, optimiser)}, config.seed)

    def step(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        net = state.nets[NAME]

        def loss(params: Any, batch: Batch, key: PRNGKeyArray) -> tuple[Array, tuple[dict, dict]]:
            network = Network(module, {"params": params, **net.collections})
            codes = batch["code"]
            z, change, after = training_flow(
                network, codes, batch["condition"], trace_of(config.trace, key, codes)
            )
            return -log_likelihood(z, change).mean() / features, ({}, {"batch_stats": after})

        found = gradients(loss, net.params, batch, key, axis=axis, accumulate=config.accumulate)
        return update(state, NAME, optimiser, *found)

    @jax.jit
    def likelihoods(variables: dict, codes: Array, condition: Array) -> Array:
        trace = trace_of(config.trace, jax.random.key(config.seed), codes)
        z, change = flow(Network(module, variables), codes, condition, trace)
        return -log_likelihood(z, change).mean(1) / features

    def evaluate(state: TrainState) -> dict[str, float]:
        variables = state.nets[NAME].variables

        def measure(part: Mapping[str, np.ndarray]) -> dict[str, Array]:
            return {
                "nll": likelihoods(variables, part["code"], part["condition"]),
                "nll_of_another_face": likelihoods(variables, part["code"], part["other"]),
            }

        arrays = {**held, "other": np.roll(held["condition"], 1, axis=0)}
        numbers = held_out.means(measure, arrays, config.batch_size)
        return {**numbers, "score": -numbers["nll"]}

    def folder_of(state: TrainState) -> ModelFolder:
        variables = jax.device_get(state.nets[NAME].variables)
        halved = jax.tree.map(lambda leaf: leaf.astype(np.float16), variables["params"])
        network = Network(module, {**variables, "params": halved})
        frame = data.frame
        arrays = (
            {}
            if frame.axes is None
            else {"mean": frame.mean, "axes": frame.axes.astype(np.float16)}
        )
        about = {
            "kind": flows.KIND,
            "generator": generator_hash(generator),
            "licence": "as the generator" if config.generator else LICENCE,
            "edits": planned,
        }
        return ModelFolder({NAME: network}, arrays, about)

    def sheet(state: TrainState) -> dict[str, np.ndarray]:
        edits = flows.edits_of(folder_of(state))
        codes, scores = data.faces(SAMPLE_ROWS)
        wide = np.broadcast_to(codes, (len(codes), wplus_rows(generator.module), codes.shape[2]))
        moved = [edit.moved(wide, 1.0, scores) for edit in edits.values()]
        columns = [draw_pictures(generator, part, progress=False) for part in (wide, *moved)]
        return {"edits": titled_grid(list(zip(*columns)), ["face", *edits])}

    def export(state: TrainState, workdir: Path) -> dict:
        folder = folder_of(state)
        about = {
            **folder.config,
            "source": f"trained by this project: configs/{config.name}.py, {int(state.step)} steps "
            f"of {config.batch_size} on {config.data.faces} faces of the generator",
            "training": json.loads(config.to_json()),
            "steps": int(state.step),
            "measured": {name: value for name, value in evaluate(state).items() if name != "score"},
        }
        if config.tries and plans:
            trial = styleflow_edits.Trial.draw(
                generator,
                scorer,
                config.tries,
                config.data.seed + 1,
                config.data.psi,
                scores_folder(config),
            )
            about["edits"] = styleflow_edits.measured(folder, trial)
        return model_folder.save(workdir, folder.networks, folder.arrays, about)

    command = "python edit.py --demo --directions {workdir}"
    if plans:
        command += f" --attribute {plans[0][0]}=1"
    return Trainer(create, (Phase(NAME, step),), sheet, evaluate, export, command)
