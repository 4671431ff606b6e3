"""The weights that come with the project: their sizes, that they belong together, and that they say
how they were made.
"""

import json

import numpy as np
import pytest

from diffcam_jax.directions import load_directions
from diffcam_jax.directions.acts import REGIONS
from diffcam_jax.directions.flows import load_flow
from diffcam_jax.directions.recipe import ATTRIBUTES
from diffcam_jax.editing import checkpoints, pipeline
from diffcam_jax.files import model_folder, trees

MEGABYTES = {checkpoints.ENCODER: 12, checkpoints.DEGHOSTER: 5, checkpoints.ALIGNER: 2}
FLOW = "styleflow_mobile"


def shipped_files():
    return [path for path in checkpoints._SHIPPED.rglob("*.safetensors")]


def test_all_that_ships_is_below_24_megabytes():
    assert sum(path.stat().st_size for path in shipped_files()) < 24e6
    for name, most in MEGABYTES.items():
        assert (checkpoints._SHIPPED / name / "model.safetensors").stat().st_size < most * 1e6


@pytest.mark.parametrize("name", [*sorted(MEGABYTES), FLOW])
def test_a_folder_says_how_it_was_made(name):
    config = json.loads((checkpoints._SHIPPED / name / "config.json").read_text())
    training = config["training"]
    assert training["steps"] > 0 and "seed" in training and config["measured"] and config["licence"]
    assert str(training["steps"]) in config["source"]
    folder = model_folder.load(checkpoints._SHIPPED / name)
    (role,) = config["networks"]
    leaves = list(trees.flatten(folder.network(role).variables["params"]).values())
    assert all(np.isfinite(np.asarray(leaf, np.float32)).all() for leaf in leaves)
    assert sum(leaf.size for leaf in leaves) <= config["parameters"][role]


def test_the_flow_is_small_and_says_what_its_attributes_do():
    assert (checkpoints._SHIPPED / FLOW / "model.safetensors").stat().st_size < 4e6
    edits = load_flow(checkpoints._SHIPPED / FLOW)
    assert len(edits) == 8 and len({edit.generator for edit in edits.values()}) == 1
    for name, edit in edits.items():
        assert edit.name == name and edit.score in edit.conditions and edit.classes
        assert edit.move > 0 and edit.step > 0 and np.isfinite(edit.ceiling)
        assert edit.range[0] <= -1 and edit.range[1] >= 1


def test_directions_say_where_they_act_and_how_far():
    shipped = load_directions()
    assert list(shipped) == list(ATTRIBUTES) and len(shipped) >= 28
    for name, direction in shipped.items():
        assert direction.classes and (direction.classes, direction.box) == REGIONS[name][:2]
        assert direction.score == ATTRIBUTES[name].score
        assert direction.move > 0 and np.isfinite(direction.ceiling)


@pytest.mark.weights
def test_what_ships_belongs_together():
    networks = checkpoints.from_checkpoints()
    pipeline.check(networks)
    assert (
        networks.encoder is not None
        and networks.deghoster is not None
        and networks.aligner is not None
    )
    directions = checkpoints.fit_directions(load_directions(), networks.generator)
    assert set(directions) == set(networks.classifier.names)
