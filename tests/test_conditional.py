"""Conditional StyleGAN2: networks by NumPy, official files, and commands."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from convert_weights.__main__ import main
from convert_weights.state import read_state
from diffcam_jax.command import arguments
from diffcam_jax.editing import checkpoints
from diffcam_jax.errors import UserError
from diffcam_jax.files import codes as code_files
from diffcam_jax.files import model_folder, trees
from diffcam_jax.nn.latents import latent_stats
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from diffcam_jax.nn.stylegan2_discriminator import StyleGAN2Discriminator
from diffcam_jax.pretrained import networks as pretrained
from diffcam_jax.programs import edit, edit_flags, invert
from tests.fast import fast
from tests.invert_world import fails
from tests.naive_layers import field, normal_variables
from tests.plain_layers import leaky
from tests.random_variables import random_variables
from tests.test_convert_weights import entries
from tests.test_persistent_pickle import names as names  # a fixture
from tests.test_persistent_pickle import nested
from tests.test_stylegan2_layouts import ada_discriminator_shapes

CLASSES, K = 3, 8
GENERATOR = StyleGAN2Generator((8, 8, 8), K, 2, num_classes=CLASSES)  # 16 pixels, 6 rows
LABELS = np.eye(CLASSES, dtype=np.float32)[[2, 0, 1, 2]]
LABELS[3] = 0  # a picture of no class


def published(model, *inputs):
    """Variables as published ones are stored: standard normal, a mapping's a hundred times that."""
    variables = normal_variables(model, *inputs)
    for name, layer in variables["params"].items():
        if name.startswith("dense_"):
            layer.update({key: 100 * array for key, array in layer.items()})
    return variables


def second_moment(x):
    return x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-8)


def mapped(z, label, state):
    """The published mapping: official arrays [out, in], float64; z is None for a discriminator."""
    state = {key: value.astype(np.float64) for key, value in state.items()}
    embedded = label @ state["embed.weight"].T / np.sqrt(label.shape[1]) + state["embed.bias"]
    parts = [] if z is None else [second_moment(z.astype(np.float64))]
    x = np.concatenate([*parts, second_moment(embedded)], 1)
    for i in range(sum(key.endswith(".weight") for key in state) - 1):
        weight, bias = state[f"fc{i}.weight"], state[f"fc{i}.bias"]
        x = np.sqrt(2) * leaky(x @ weight.T * (0.01 / np.sqrt(x.shape[1])) + 0.01 * bias)
    return x


def official_mapping(params):
    """Our arrays of a mapping network in the official names and axes."""
    found = {}
    for name, layer in params.items():
        if name == "embed" or name.startswith("dense_"):
            official = name.replace("dense_", "fc")
            found[f"{official}.weight"] = np.asarray(layer["kernel"]).T
            found[f"{official}.bias"] = np.asarray(layer["bias"])
    return found


# ---------------------------------------------------------------- networks
def test_the_mapping_is_the_published_one():
    variables = published(GENERATOR, jnp.zeros((1, K)))
    assert variables["params"]["dense_0"]["kernel"].shape == (2 * K, K)
    z = field(4, K, seed=1)
    w = GENERATOR.apply(variables, z, jnp.asarray(LABELS), method="mapping")
    expected = mapped(np.asarray(z), LABELS, official_mapping(variables["params"]))
    np.testing.assert_allclose(w, expected, rtol=1e-3, atol=1e-4)
    of_two = GENERATOR.clone(chosen=2)
    w_of_two = of_two.apply(variables, z, method="mapping")
    np.testing.assert_allclose(w_of_two[0], w[0], rtol=1e-4)
    assert np.abs(w_of_two[1] - w[1]).max() > 1e-3
    pictures = fast(GENERATOR.apply)(variables, jnp.repeat(z[:1], 4, 0), jnp.asarray(LABELS))
    assert min(np.abs(pictures[i] - pictures[j]).max() for i in range(4) for j in range(i)) > 1e-3


def test_the_discriminator_projects_on_its_label():
    conditional = StyleGAN2Discriminator((6, 4), num_classes=CLASSES, mapping_layers=2)
    images = field(4, 8, 8, 3)
    params = published(conditional, images[:1])["params"]
    assert StyleGAN2Discriminator((6, 4), num_classes=CLASSES).mapping_layers == 8
    logits = fast(conditional.apply)({"params": params}, images, jnp.asarray(LABELS))
    plain, features = StyleGAN2Discriminator((6, 4)), []
    judge = fast(plain.apply)
    shared = {k: v for k, v in params.items() if k != "embed" and not k.startswith("dense_")}
    for i in range(6):  # one logit for each feature, by the discriminator without labels
        one = {name: array[..., i : i + 1] for name, array in params["final_linear_1"].items()}
        features.append(judge({"params": {**shared, "final_linear_1": one}}, images)[:, 0])
    on = mapped(None, LABELS, official_mapping(params))
    expected = (np.stack(features, 1) * on).sum(1, keepdims=True) / np.sqrt(6)
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)


def test_without_a_label_there_is_one_line():
    variables = random_variables(GENERATOR, jnp.zeros((1, K)))
    with pytest.raises(UserError, match=r"draws 3 classes .* from 0 to 2: .*--class N"):
        jax.jit(latent_stats, static_argnums=0)(GENERATOR, variables, jax.random.key(0))
    draw = functools.partial(GENERATOR.apply, method="synthesis")
    jax.eval_shape(draw, variables, jnp.zeros((1, K)))  # a code needs no label
    judge = StyleGAN2Discriminator((4, 4), num_classes=CLASSES, mapping_layers=1)
    images = jnp.zeros((1, 8, 8, 3))
    with pytest.raises(UserError, match="conditional"):
        judge.apply(random_variables(judge, images), images)


# ---------------------------------------------------------------- official files
def official():
    """NVIDIA's names of a conditional generator of 64 pixels and its discriminator."""
    rng = np.random.default_rng(3)
    generator = entries("stylegan2_ada", divide=64)
    width = len(generator["mapping.w_avg"])
    shapes = {"mapping.fc0.weight": (width, 2 * width)}
    shapes |= {"mapping.embed.weight": (width, 10), "mapping.embed.bias": (width,)}
    generator |= {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
    generator["mapping.fc0.weight"] *= 100
    shapes = ada_discriminator_shapes((6, 6, 4)) | {"b4.out.weight": (6, 6), "b4.out.bias": (6,)}
    shapes |= {"mapping.embed.weight": (6, 10), "mapping.embed.bias": (6,)}
    for i in range(3):
        shapes |= {f"mapping.fc{i}.weight": (6, 6), f"mapping.fc{i}.bias": (6,)}
    taps = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64
    judge = {
        k: taps if k.endswith("resample_filter") else rng.standard_normal(s).astype(np.float32)
        for k, s in shapes.items()
    }
    return generator, judge


def part(state, prefix="mapping."):
    found = {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}
    return {key: value for key, value in found.items() if key != "w_avg"}


def test_a_conditional_pickle_is_converted_there_and_back(names, tmp_path):
    generator, judge = official()
    content = {"G_ema": nested(names, generator), "D": nested(names, judge), "augment_pipe": None}
    source, folder, back = (tmp_path / name for name in ("cifar10.pkl", "ada", "back.pt"))
    source.write_bytes(pickle.dumps(content, 3))
    assert main(["auto", "--src", str(source), "--dst", str(folder)]) == 0
    model = pretrained.load(folder)
    drawing, judging = model.network("generator"), model.network("discriminator")
    assert drawing.module.num_classes == judging.module.num_classes == 10
    assert judging.module.mapping_layers == 3
    np.testing.assert_array_equal(model.arrays["latent_avg"], generator["mapping.w_avg"])
    label = np.eye(10, dtype=np.float32)[[7, 1]]
    z = np.random.default_rng(4).standard_normal((2, drawing.module.latent_size))
    w = drawing(jnp.asarray(z, jnp.float32), jnp.asarray(label), method="mapping")
    np.testing.assert_allclose(w, mapped(z, label, part(generator)), rtol=1e-3, atol=1e-4)
    given = judging.variables, jnp.zeros((2, 16, 16, 3)), jnp.asarray(label)
    assert jax.eval_shape(judging.module.apply, *given).shape == (2, 1)
    assert main(["export", "--src", str(folder), "--dst", str(back)]) == 0
    before, after = read_state(source).arrays, read_state(back).arrays
    assert after.keys() == before.keys()
    assert all(after[key].tobytes() == array.tobytes() for key, array in before.items())


def test_a_mean_code_that_the_file_lacks_is_that_of_all_classes(names, tmp_path):
    generator, _ = official()
    del generator["mapping.w_avg"]
    (tmp_path / "g.pkl").write_bytes(pickle.dumps({"G_ema": nested(names, generator)}, 3))
    assert main(["auto", "--src", str(tmp_path / "g.pkl"), "--dst", str(tmp_path / "g")]) == 0
    model = pretrained.load(tmp_path / "g")
    z = np.random.default_rng(5).standard_normal((20_000, len(model.arrays["latent_avg"])))
    label = np.eye(10)[np.arange(len(z)) % 10]
    expected = mapped(z, label, part(generator)).mean(0)
    np.testing.assert_allclose(model.arrays["latent_avg"], expected, atol=0.05)


# ---------------------------------------------------------------- commands
@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A conditional generator and a photograph."""
    root = tmp_path_factory.mktemp("conditional")
    variables = jax.tree.map(np.asarray, published(GENERATOR, jnp.zeros((1, K))))
    network = {"generator": Network(GENERATOR, variables)}
    model_folder.save(root / "generator", network, {}, {"kind": "stylegan2_ada"})
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(root / "me.png")
    return root


def call(folder, out, *flags):
    photo, other = str(folder / "me.png"), str(folder / "me.png")
    given = ["diffuse", photo, "--context", other, "--aligned", "--method", "image2stylegan"]
    given += ["--steps", "1", "--no-cache", "--generator", str(folder / "generator")]
    return [*given, "--out", str(out), *flags]


def test_the_class_decides_where_a_search_begins(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("diffcam_jax.applications.faces.SHEET_SIDE", 16)
    fails(capsys, call(folder, tmp_path / "none"), "draws 3 classes", "--class N")
    found = []
    for chosen in ("0", "2"):
        flags = ["--class", chosen, "--method", "mse"]
        assert invert.main(call(folder, tmp_path / chosen, *flags)) == 0
        assert f"--class {chosen}" in capsys.readouterr().out
        network = checkpoints.from_checkpoints(generator=folder / "generator").generator
        digest = trees.tree_hash(network.variables["params"])
        found.append(code_files.load(tmp_path / chosen / "diffuse.safetensors", digest).codes)
    assert np.abs(found[0] - found[1]).max() > 0.1


@pytest.mark.parametrize(
    ("chosen", "of", "words"),
    [("3", True, "from 0 to 2"), ("two", True, "the number"), ("0", False, "has no classes")],
)
def test_a_class_that_is_not_there(folder, tmp_path, capsys, chosen, of, words):
    flags = call(folder, tmp_path / "out", "--class", chosen)
    if not of:
        module = GENERATOR.clone(num_classes=0)
        variables = jax.tree.map(np.asarray, random_variables(module, jnp.zeros((1, K))))
        network = {"generator": Network(module, variables)}
        model_folder.save(tmp_path / "plain", network, {}, {"kind": "stylegan2"})
        flags += ["--generator", str(tmp_path / "plain")]
    fails(capsys, flags, f"--class {chosen}", words)


def test_edit_refuses_a_class_that_is_no_number(folder, tmp_path, capsys):
    given = [str(folder / "me.png"), "--attribute", "smiling=1", "--out", str(tmp_path / "out")]
    assert edit.main([*given, "--generator", str(folder / "generator"), "--class", "two"]) == 2
    assert "--class two: give the number" in capsys.readouterr().err
    parsed = edit_flags.parse([*given, "--class", "2"])
    assert arguments.networks(parsed) == {"chosen": "2"}
    assert arguments.networks_again(parsed) == " --class 2"
