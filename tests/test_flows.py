"""Attributes of a trained flow: rows, ends of the range, files, and bad input."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.directions.edits import Edit
from diffcam_jax.directions.flows import load_flow
from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder, trees
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.styleflow import StyleFlow, flow, inverse
from tests.random_variables import random_variables

ROWS, SIZE, FEATURES = 6, 5, 3
CONDITIONS = [
    {"score": "smiling", "mean": 0.4, "std": 0.2, "lowest": 0.0, "highest": 1.0},
    {"score": "age", "mean": 30.0, "std": 12.0, "lowest": -5.0, "highest": 90.0},
]
ATTRIBUTES = {
    "old": {
        "layers": [1, 4],
        "range": [-2.0, 1.5],
        "classes": ["skin"],
        "box": [0.1, 0.9, 0.0, 1.0],
        "score": "age",
        "move": 15.0,
        "step": 20.0,
        "ceiling": 74.0,
        "normalisation": "20 years",
    },
    "smiling": {
        "layers": [0, 2],
        "range": [-1.0, 1.0],
        "score": "smiling",
        "move": 0.3,
        "step": 0.3,
        "normalisation": "0.3",
    },
}


def network():
    module = StyleFlow(FEATURES, (6,), len(CONDITIONS))
    variables = random_variables(module, jnp.zeros((1, 1, FEATURES)), jnp.zeros((1, 2)))
    variables["params"] = jax.tree.map(lambda leaf: 0.5 * leaf, variables["params"])
    return Network(module, variables)


def config(**changes):
    edits = {"rows": ROWS, "method": "by hand", "conditions": CONDITIONS, "attributes": ATTRIBUTES}
    about = {"kind": "styleflow", "generator": "abc", "licence": "free"}
    return about | {"edits": edits | changes}


def arrays():
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.normal(0, 1, (SIZE, SIZE)))[0][:, :FEATURES]
    return {"mean": np.arange(SIZE, dtype=np.float32) / SIZE, "axes": axes.astype(np.float32)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("flow")
    model_folder.save(place, {"flow": network()}, arrays(), config())
    return place


@pytest.fixture(scope="module")
def edits(folder):
    return load_flow(folder)


@pytest.fixture(scope="module")
def given():
    codes = np.random.default_rng(2).normal(0, 1, (2, ROWS, SIZE)).astype(np.float32)
    return codes, {"smiling": np.array([0.1, 0.7]), "age": np.array([21.0, 60.0])}


def test_the_record_is_that_of_the_file(edits):
    old = edits["old"]
    assert list(edits) == list(ATTRIBUTES) and all(isinstance(e, Edit) for e in edits.values())
    assert (old.layers, old.range, old.classes) == ((1, 4), (-2.0, 1.5), ("skin",))
    assert (old.score, old.move, old.step, old.ceiling) == ("age", 15.0, 20.0, 74.0)
    assert (old.generator, old.licence, old.method) == ("abc", "free", "by hand")
    assert old.conditions == ("smiling", "age") and edits["smiling"].ceiling == np.inf
    assert old.sha256 != edits["smiling"].sha256 and len(old.sha256) == 64


def test_a_code_flows_back_under_a_raised_score(edits, given):
    """Written out with the network's own functions; age 60 and 1.5 steps of 20 end at 90."""
    codes, scores = given
    frame, whole = arrays(), network()
    numbers = (codes - frame["mean"]) @ frame["axes"]
    normal = [(scores["smiling"] - 0.4) / 0.2, (scores["age"] - 30) / 12]
    source = np.stack(normal, 1).astype(np.float32)
    target = source.copy()
    target[:, 1] = (np.array([21.0 + 10.0, 90.0]) - 30) / 12
    z, _ = jax.jit(flow)(whole, numbers, source)
    step = (jax.jit(inverse)(whole, z, target) - numbers) @ frame["axes"].T
    found = edits["old"].moved(codes, np.array([0.5, 1.5]), scores)
    np.testing.assert_array_equal(found[:, [0, 4, 5]], codes[:, [0, 4, 5]])
    np.testing.assert_allclose(found[:, 1:4], (codes + step)[:, 1:4], atol=3e-4)
    assert np.abs(found - codes)[:, 1:4].max() > 0.01
    # What lies beside the axes stays.
    rest = np.eye(SIZE) - frame["axes"] @ frame["axes"].T
    np.testing.assert_allclose(found @ rest, codes @ rest, atol=1e-5)


def test_no_strength_changes_nothing_and_too_much_leads_to_the_end(edits, given):
    codes, scores = given
    np.testing.assert_allclose(edits["old"].moved(codes, 0.0, scores), codes, atol=3e-4)
    far, end = (edits["smiling"].moved(codes, s, scores) for s in (90.0, np.array([3.0, 1.0])))
    np.testing.assert_allclose(far, end, atol=3e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"age": np.array([21.0, np.nan])}, "no score of age"),
        ({"age": np.array([21.0, 91.0])}, "age of the face is 91, the flow knows faces from -5 to"),
        ({"smiling": None}, "needs the face's smiling"),
    ],
)
def test_a_face_unlike_those_of_the_training_is_refused(edits, given, changes, words):
    codes, scores = given
    scores = {name: value for name, value in (scores | changes).items() if value is not None}
    with pytest.raises(UserError, match=words):
        edits["old"].moved(codes, 1.0, scores)


def test_another_generator_is_refused(edits):
    assert edits["old"].fitted(ROWS, SIZE) is edits["old"]
    for rows, size in ((3, SIZE), (ROWS, SIZE + 1)):
        with pytest.raises(UserError, match="train a flow of this generator"):
            edits["old"].fitted(rows, size)


def without(entry, key):
    return {name: value for name, value in entry.items() if name != key}


OLD, AGE = ATTRIBUTES["old"], CONDITIONS[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"conditions": CONDITIONS[:1]},
        {"conditions": [CONDITIONS[0], CONDITIONS[0]]},
        {"conditions": [CONDITIONS[0], without(AGE, "std")]},
        {"conditions": [CONDITIONS[0], AGE | {"std": 0.0}]},
        {"conditions": [CONDITIONS[0], AGE | {"mean": float("nan")}]},
        {"conditions": [CONDITIONS[0], AGE | {"highest": -9.0}]},
        {"conditions": "smiling"},
        {"attributes": []},
        {"attributes": {"old": without(OLD, "score")}},
        {"attributes": {"old": without(OLD, "step")}},
        {"attributes": {"old": OLD | {"step": -1.0}}},
        {"attributes": {"old": OLD | {"step": [1.0]}}},
        {"attributes": {"old": OLD | {"score": "yaw"}}},
        {"attributes": {"old": OLD | {"layers": [4, 9]}}},
        {"attributes": {"old": OLD | {"layers": [1]}}},
        {"attributes": {"old": OLD | {"layers": [0.5, 2.5]}}},
        {"attributes": {"old": OLD | {"classes": ["wings"]}}},
        {"attributes": {"old": OLD | {"range": [1.0, float("inf")]}}},
        {"rows": 10**9},
        {"rows": "6"},
    ],
    ids=str,
)
def test_a_record_that_makes_no_sense_is_one_line(folder, tmp_path, changes):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    entries = json.loads((tmp_path / "config.json").read_text())
    entries["edits"] |= changes
    (tmp_path / "config.json").write_text(json.dumps(entries))
    with pytest.raises(UserError, match="holds no sound flow") as refusal:
        load_flow(tmp_path)
    assert "\n" not in str(refusal.value)


def nan_weights(tree):
    tree["flow"]["params"]["sqrt_end_time_0"] = np.float32(np.nan)


def nan_axes(tree):
    tree["arrays"]["axes"][0, 0] = np.nan


def short_axes(tree):
    tree["arrays"]["axes"] = tree["arrays"]["axes"][:, :2]


def no_mean(tree):
    del tree["arrays"]["mean"]


def other_shapes(tree):
    tree["flow"]["batch_stats"]["norms_0"]["mean"] = np.zeros(FEATURES + 1, np.float32)


def no_statistics(tree):
    del tree["flow"]["batch_stats"]


@pytest.mark.parametrize(
    "damage", [nan_weights, nan_axes, short_axes, no_mean, other_shapes, no_statistics]
)
def test_arrays_that_make_no_sense_are_one_line(folder, tmp_path, damage):
    tree, metadata = trees.load(folder / "model.safetensors")
    damage(tree)
    trees.save(tmp_path / "model.safetensors", tree, metadata)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(UserError, match="holds no sound flow") as refusal:
        load_flow(tmp_path)
    assert "\n" not in str(refusal.value)


def test_folders_of_something_else_are_refused(tmp_path):
    model_folder.save(tmp_path / "a", {"flow": network()}, {}, {"kind": "stylegan2"})
    with pytest.raises(UserError, match="of kind 'stylegan2', not of a flow"):
        load_flow(tmp_path / "a")
    model_folder.save(tmp_path / "b", {"flow": network()}, {}, {"kind": "styleflow"})
    with pytest.raises(UserError, match="does not say how its conditions are measured"):
        load_flow(tmp_path / "b")
    with pytest.raises(UserError, match="not a folder of converted weights"):
        load_flow(tmp_path / "c")
