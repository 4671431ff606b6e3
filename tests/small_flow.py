"""A small random flow in a folder, as a training leaves it."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from diffcam_jax.files import model_folder
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.styleflow import StyleFlow
from tests.random_variables import random_variables

MEASURES = (
    {"score": "smiling", "mean": 0.3, "std": 0.3, "lowest": -0.5, "highest": 1.5},
    {"score": "yaw", "mean": 0.0, "std": 10.0, "lowest": -60.0, "highest": 60.0},
)


def write(
    folder: Path,
    rows: int,
    size: int,
    generator: str = "",
    layers: tuple[int, int] = (1, 4),
    conditions: tuple[dict, ...] = MEASURES,
) -> Path:
    """Writes a flow that knows to smile; returns its folder.

    Args:
        folder: to write.
        rows: of the generator's codes.
        size: of each row.
        generator: its hash.
        layers: half-open range of rows that change.
        conditions: see `flows.Measure`; "smiling" among them.
    """
    module = StyleFlow(size, (16,), len(conditions))
    variables = random_variables(module, jnp.zeros((1, 1, size)), jnp.zeros((1, len(conditions))))
    # A gentle flow, which the solver follows closely.
    variables["params"] = jax.tree.map(lambda leaf: 0.4 * leaf, variables["params"])
    held = Network(module, jax.tree.map(np.asarray, variables))
    smile = {
        "layers": layers,
        "range": (-2.0, 2.0),
        "classes": ("skin", "mouth"),
        "box": (0.4, 1.0, 0.1, 0.9),
        "score": "smiling",
        "move": 0.3,
        "step": 0.3,
        "normalisation": "a rise of 0.3 in the condition smiling",
    }
    edits = {
        "conditions": list(conditions),
        "rows": rows,
        "method": "a flow of random numbers",
        "attributes": {"smiling": smile},
    }
    about = {"kind": "styleflow", "edits": edits, "generator": generator, "licence": "none"}
    model_folder.save(folder, {"flow": held}, {}, about)
    return folder
