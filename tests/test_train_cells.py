"""Training on cells: the loss, hidden edits, a trunk that stays, batches of features, learning."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.diffcam_mobile import get_config
from diffcam_jax.data.pairs import CachedPairs
from diffcam_jax.editing.classifier import load_classifier
from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.nn.classifier import DiffClassifier, LocalClassifier
from diffcam_jax.train import cells, places, settings
from diffcam_jax.train.cells import CellConfig, cell_loss, hidden
from diffcam_jax.train.diffcam import NAME, build, make_model, make_optimiser, make_source
from diffcam_jax.train.state import Net, TrainState

MODEL = LocalClassifier(
    num_classes=3, width=8, layers=1, stem=4, rows=((1, 4, 1, 1), (2, 4, 1, 2), (2, 4, 1, 2))
)


def face(index):
    """A picture and three edits: edit c is a bright square at a place of its own."""
    rng = np.random.default_rng(index)
    pictures = np.repeat(rng.integers(0, 128, (1, 64, 64, 3), np.uint8), 4, axis=0)
    for c in range(3):
        pictures[1 + c, 8 + 16 * c : 24 + 16 * c, 24:40, c] += 100
    return pictures


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    np.save(folder / "00000.npy", np.stack([face(i) for i in range(16)]))
    (folder / "index.json").write_text(
        json.dumps({"classes": ["a", "b", "c"], "recipe": {"size": 64}})
    )
    variables = cells.initial_variables(MODEL, "", 64, 0)
    faces = CachedPairs(folder, batch_size=6, held_out=2)
    return cells.CellSource(faces, MODEL, variables, 6, 4, 1, places.PlaceConfig()), variables


def test_cell_loss_is_cross_entropy_with_a_class_for_nothing():
    rng = np.random.default_rng(1)
    votes, place, classes = rng.normal(size=(2, 4, 4, 3)), rng.random((2, 4, 4)), np.array([2, 0])
    every = np.concatenate([votes, np.full((2, 4, 4, 1), 1.5)], -1)
    logs = every - np.log(np.exp(every).sum(-1, keepdims=True))
    own = np.stack([logs[0, ..., 2], logs[1, ..., 0]])
    weight = 1 + 0.5 * place / (place.mean((1, 2), keepdims=True) + 1e-2)
    expected = (weight * -(place * own + (1 - place) * logs[..., 3])).mean()
    given = (jnp.asarray(x, jnp.float32) for x in (votes, place))
    found = cell_loss(*given, jnp.asarray(classes), CellConfig(emphasis=0.5, none=1.5))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_hidden_edits():
    stays = np.asarray(hidden(jax.random.key(0), (200, 8, 8), 0.6))
    grid = stays.reshape(200, 4, 2, 4, 2)
    assert set(np.unique(stays)) == {0, 1} and (grid == grid[:, :, :1, :, :1]).all()
    untouched = stays.all((1, 2)).mean()
    assert 0.3 < untouched < 0.55  # 40 percent, and those of the rest that lose no cell by chance
    assert hidden(jax.random.key(0), (3, 7, 9), 1.0).shape == (3, 7, 9)
    np.testing.assert_array_equal(hidden(jax.random.key(0), (3, 8, 8), 0.0), 1)


def test_batches_are_features_of_the_faces_and_depend_on_the_step_alone(source):
    data, variables = source
    batch = data[3]
    assert (
        batch["before"].shape == batch["after"].shape == (6, 8, 8, 20)
        and batch["before"].dtype == np.float16
    )
    assert batch["place"].shape == (6, 8, 8) and batch["label"].shape == (6,)
    for name, array in data[3].items():
        np.testing.assert_array_equal(array, batch[name])
    assert (data[4]["label"] != batch["label"]).any()
    samples = [
        jnp.asarray(face(i), jnp.float32) / 127.5 - 1 for i in range(2, 6)
    ]  # 2 are held out, 4 wanted
    features = [np.asarray(MODEL.apply(variables, s, method="features")) for s in samples]
    for before, after, label in zip(batch["before"], batch["after"], batch["label"], strict=True):
        fits = [
            np.abs(f[0] - before).max() < 0.01 and np.abs(f[1 + label] - after).max() < 0.01
            for f in features
        ]
        assert sum(fits) == 1


@pytest.mark.nightly
def test_it_learns_the_places_and_leaves_the_trunk(source):
    data, variables = source
    optimiser = cells.frozen_trunk(make_optimiser(1e-2, 60, 2, 0.1))
    config = CellConfig(none=2.0, hide=0.0)
    step = jax.jit(cells.make_step(MODEL, NAME, optimiser, config=config))
    state = TrainState.create({NAME: Net.create(variables, optimiser)}, seed=0)
    for i in range(60):
        state, metrics = step(state, data[i], jax.random.key(i))
    assert metrics["accuracy"] > 0.8
    trained = state.nets[NAME].variables
    jax.tree.map(
        np.testing.assert_array_equal, trained["params"]["trunk"], variables["params"]["trunk"]
    )
    assert (
        trained["params"]["layer_0"]["kernel"] != variables["params"]["layer_0"]["kernel"]
    ).any()
    images = jnp.asarray(face(0), jnp.float32) / 127.5 - 1
    _, h = MODEL.apply(trained, jnp.broadcast_to(images[:1], images[1:].shape), images[1:])
    votes = np.asarray(MODEL.apply(trained, h, method="evidence"))
    for c in range(3):
        row, _ = np.unravel_index(votes[c, ..., c].argmax(), (8, 8))
        assert 2 * c <= row <= 2 * c + 3


def test_frozen_optimiser_decays_nothing_of_the_trunk():
    params = {"trunk": {"kernel": jnp.ones((2, 2))}, "fc": {"kernel": jnp.ones((2, 2))}}
    optimiser = cells.frozen_trunk(make_optimiser(0.1, 10, 0, 0.5))
    updates, _ = optimiser.update(
        jax.tree.map(jnp.zeros_like, params), optimiser.init(params), params
    )
    after = optax.apply_updates(params, updates)
    np.testing.assert_array_equal(after["trunk"]["kernel"], 1)
    assert (after["fc"]["kernel"] < 1).all()


def test_the_trainer_of_the_configuration_exports_a_classifier(tmp_path):
    config = get_config("debug")
    data = make_source(config, config.batch_size)
    trainer = build(config, data, None)
    state = trainer.create()
    state, metrics = jax.jit(trainer.phases[0].step)(state, data[0], jax.random.key(0))
    assert np.isfinite(metrics["loss"])
    trainer.export(state, tmp_path)
    path = tmp_path / "diffcam_mobile.safetensors"
    assert load_classifier(path).network.module == make_model(config, data.names)
    assert trees.load(path)[1]["recipe"]["training"]["seed"] == 0


def test_each_network_takes_the_fields_that_are_its_own():
    config = get_config("debug")
    config.model.network = "resnet"
    assert make_model(config, ("a", "b")) == DiffClassifier(width=8, num_classes=2)


def test_a_warm_up_longer_than_the_run_is_one_clear_line():
    config = get_config("debug")
    config.warmup = config.steps
    with pytest.raises(UserError, match=r"config.warmup=4: give fewer than config.steps"):
        settings.check(config)


def test_an_unknown_network_is_one_clear_line():
    config = get_config("debug")
    config.model.network = "vit"
    with pytest.raises(UserError, match=r"network=.vit.: allowed are local, resnet"):
        make_model(config, ("a",))
