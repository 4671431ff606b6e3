"""StyleGAN2 trained with labels, and where the labels come from."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

from configs import stylegan2_64
from diffcam_jax.data.toy import SHAPES, ToyPictures
from diffcam_jax.errors import UserError
from diffcam_jax.pretrained import networks as pretrained
from diffcam_jax.train.checkpoint import Checkpoints
from diffcam_jax.train.stylegan2 import build, make_source
from tests.fast import fast
from tests.test_persistent_pickle import names as names  # a fixture


class Labelled:
    """A few coloured shapes and their names, the same in every step."""

    def __init__(self):
        records = [ToyPictures(4, 8, seed=0)[i] for i in range(4)]
        self.batch = {name: np.stack([r[name] for r in records]) for name in records[0]}
        self.held_out, self.classes = self.batch, SHAPES

    def __getitem__(self, step):
        return self.batch


def tiny(**changes):
    config = stylegan2_64.get_config("debug")
    config.update(changes)
    config.model.num_classes, config.model.channel_max, config.model.latent_size = 3, 4, 8
    return config


def test_two_steps_with_labels_and_the_second_of_them_resumed(tmp_path):
    data = Labelled()
    whole = build(tiny(), data, None)
    first = whole.create()
    for phase in whole.phases:
        jax.eval_shape(phase.step, first, data[0], jax.random.key(0))
    trainer = build(tiny(r1_gamma=0.0, path_weight=0.0, ada="off"), data, None)
    phases = [
        (phase, fast(lambda s, b, p=phase, n=n: p.step(s, b, s.phase_key(n))))
        for n, phase in enumerate(trainer.phases)
    ]

    def step(state):
        for phase, run in phases:
            if phase.due(int(state.step)):
                state, metrics = run(state, data[0])
                assert np.isfinite(list(map(float, metrics.values()))).all()
        return state.replace(step=state.step + 1)

    once = step(first)
    # Adam moves what has a gradient: the label matters to both networks.
    for name in ("generator", "discriminator"):
        moved = jax.tree.map(
            jnp.subtract, once.nets[name].params["embed"], first.nets[name].params["embed"]
        )
        assert float(optax.tree.norm(moved)) > 1e-4
    with Checkpoints(tmp_path / "checkpoints", 1) as kept:
        kept.save(1, once)
        kept.wait()
        again = jax.device_put(jax.device_get(kept.restore(first)))
    for a, b in zip(jax.tree.leaves(step(once)), jax.tree.leaves(step(again)), strict=True):
        np.testing.assert_array_equal(a, b)
    trainer.export(once, tmp_path / "run")
    model = pretrained.load(tmp_path / "run")
    assert model.config["labels"] == list(SHAPES) and model.arrays["latent_avg"].shape == (8,)
    assert model.network("generator").module.num_classes == 3
    assert trainer.samples(once)["ema"].shape == (32, 64, 3)


@pytest.mark.parametrize(
    ("count", "labels", "words"),
    [(1, "dataset.json", "have 3 classes; give 3"), (3, "", "every picture needs one class")],
)
def test_classes_that_do_not_fit_the_networks(tmp_path, count, labels, words):
    pictures(tmp_path)
    config = tiny()
    config.model.num_classes = count
    config.data.update({"source": "folder", "folder": str(tmp_path)})
    config.data.labels = labels and str(tmp_path / labels)
    with pytest.raises(UserError, match=words):
        make_source(config, 2)


def pictures(folder):
    """Two pictures in folders of classes, and their labels in NVIDIA's and our form."""
    for number, name in enumerate(("cat/a.png", "dog/b.png")):
        (folder / name).parent.mkdir()
        Image.new("RGB", (64, 64), (number, 0, 0)).save(folder / name)
    rows = {"labels": [["cat/a.png", 2], ["dog/b.png", 0]]}
    (folder / "dataset.json").write_text(json.dumps(rows))
    (folder / "labels.csv").write_text("a.png,9\nb.png,10\n")


@pytest.mark.parametrize(
    ("labels", "expected", "classes"),
    [
        ("folders", {0: 0, 1: 1}, ("cat", "dog")),
        ("labels.csv", {0: 0, 1: 1}, ("9", "10")),
        ("dataset.json", {0: 2, 1: 0}, ("0", "1", "2")),
    ],
)
def test_labels_of_a_folder(tmp_path, labels, expected, classes):
    pictures(tmp_path)
    config = tiny()
    config.data.update({"source": "folder", "folder": str(tmp_path), "test_share": 0.0})
    config.data.labels = labels if labels == "folders" else str(tmp_path / labels)
    source = make_source(config, 2)
    assert source.classes == classes
    batch = source[0]
    found = {int(image[0, 0, 0]): int(n) for image, n in zip(batch["image"], batch["label"])}
    assert found == expected


@pytest.mark.parametrize(
    "text",
    ['{"labels": null}', "[]", '{"labels": [["a.png", -1]]}', '{"labels": [["a.png", [1]]]}'],
)
def test_a_dataset_json_without_classes(tmp_path, text):
    pictures(tmp_path)
    (tmp_path / "dataset.json").write_text(text)
    config = tiny()
    config.data.update({"source": "folder", "folder": str(tmp_path)})
    config.data.labels = str(tmp_path / "dataset.json")
    with pytest.raises(UserError, match=r"dataset\.json: no labels in it"):
        make_source(config, 2)


def test_a_picture_outside_of_the_folders_of_classes(tmp_path):
    pictures(tmp_path)
    (tmp_path / "cat" / "a.png").rename(tmp_path / "a.png")
    config = tiny()
    config.data.update({"source": "folder", "folder": str(tmp_path), "labels": "folders"})
    with pytest.raises(UserError, match=r"a\.png lies in no folder of a class"):
        make_source(config, 2)
