"""The combinations of inversion and directions that the paper shows, by official checkpoints.

Checkpoints have the official layout and random numbers, and are small. Each is converted by the
command, and edits a photograph by the editor's command line or the editor itself.
"""

import jax
import jax.numpy as jnp
import matplotlib.cbook
import numpy as np
import pytest
from PIL import Image

from convert_weights.__main__ import main as convert
from convert_weights.layouts import encoders, idinvert, stylegan2
from diffcam_jax.directions.__main__ import main as directions
from diffcam_jax.directions.importers import read_directions
from diffcam_jax.directions.space import generator_hash
from diffcam_jax.editing.edit import edit_batch
from diffcam_jax.editor import whole_edit
from diffcam_jax.editor.editor import Editor
from diffcam_jax.faces import scorers
from diffcam_jax.files import model_folder
from diffcam_jax.formats.torch_writer import write_torch
from diffcam_jax.nn.classifier import DiffClassifier
from diffcam_jax.nn.network import Network
from diffcam_jax.pretrained import networks as pretrained
from diffcam_jax.programs import edit
from tests import small_flow
from tests.fast import fast
from tests.random_variables import random_variables
from tests.test_encoder_layouts import LATERAL, body, dense
from tests.test_indomain_encoder import official_shapes
from tests.test_stylegan2_layouts import generator_shapes

K = 512
# Rows of W+ of generators of 64 and 256 pixels, and the sides. A face is found in 256 alone.
SIDES = {10: 64, 14: 256}
NAMES = ("age", "smiling")


def state(layout, *inputs) -> dict[str, np.ndarray]:
    """An official state dict of random numbers."""
    variables = random_variables(layout.module, *inputs)
    return layout.export(jax.tree.map(np.asarray, variables))


def pyramid(rows: int, side: int = 64) -> dict[str, tuple[int, ...]]:
    """Official shapes of a small encoder of 64 or more pixels with a head for each row."""
    shapes = body(3) | LATERAL
    halvings = (side // 16).bit_length() - 1
    for row in range(rows):
        for i in range(halvings + (row >= 3) + (row >= 7)):
            shapes[f"styles.{row}.convs.{2 * i}.weight"] = (32, 32, 3, 3)
            shapes[f"styles.{row}.convs.{2 * i}.bias"] = (32,)
        shapes |= dense(f"styles.{row}.linear", K, 32)
    return shapes


def inverter(kind: str, rows: int, side: int = 64) -> dict:
    """The checkpoint of pSp or e4e: an encoder with its generator and the mean code."""
    layout = {"psp": encoders.gradual, "e4e": encoders.encoder4editing}[kind](pyramid(rows, side))
    drawing = stylegan2.generator_rosinality(generator_shapes((4,) * (rows // 2), K, 1))
    parts = {
        "encoder": state(layout, jnp.zeros((1, side, side, 3))),
        "decoder": state(drawing, jnp.zeros((1, K))),
    }
    named = {f"{part}.{key}": x for part, found in parts.items() for key, x in found.items()}
    return {"state_dict": named, "latent_avg": np.zeros((rows, K), np.float32)}


def in_domain(rows: int) -> dict:
    """The checkpoints of in-domain inversion: a StyleGAN v1 and its encoder."""
    shapes = {f"synthesis.layer{i}.epilogue.bias": (4,) for i in range(rows)}
    drawing = idinvert.generator(shapes | {"mapping.dense0.fc.weight": (K, K)})
    reading = idinvert.encoder(official_shapes((4,) * 5, rows))
    picture = jnp.zeros((1, SIDES[rows], SIDES[rows], 3))
    return {"G": state(drawing, jnp.zeros((1, K))), "E": state(reading, picture)}


def converted(folder, kind: str, checkpoint: dict):
    write_torch(folder / f"{kind}.pt", checkpoint)
    to = folder / kind
    assert convert([kind, "--src", str(folder / f"{kind}.pt"), "--dst", str(to)]) == 0
    return to


def write_classifier(folder) -> None:
    """A classifier of two attributes, whose maps all show something."""
    blank = jnp.zeros((1, 64, 64, 3))
    model = DiffClassifier(18, 4, 2, 1)
    variables = jax.tree.map(np.asarray, random_variables(model, blank, blank))
    variables["params"]["fc"]["kernel"] = np.abs(variables["params"]["fc"]["kernel"])
    about = {"kind": "classifier", "classes": list(NAMES)}
    model_folder.save(folder, {"classifier": Network(model, variables)}, {}, about)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Programs are compiled quickly, which is most of the time."""
    compiled = fast(edit_batch.__wrapped__, static_argnames="config")
    monkeypatch.setattr(whole_edit, "edit_batch", compiled)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a classifier of two attributes, a photograph of a face, and one of noise."""
    root = tmp_path_factory.mktemp("paper")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(root / "noise.png")
    write_classifier(root / "classifier")
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        Image.open(file).convert("RGB").save(root / "face.png")
    return root


def edited(place, folder, source, *attributes) -> np.ndarray:
    """What the command makes of a photograph, which it takes as aligned."""
    given = ["--generator", folder, "--encoder", folder, "--classifier", place / "classifier"]
    given += ["--directions", source, "--aligned", "--out", place / f"out_{folder.name}"]
    given += [part for attribute in attributes for part in ("--attribute", attribute)]
    assert edit.main([str(x) for x in (place / "noise.png", *given)]) == 0
    return np.asarray(Image.open(place / f"out_{folder.name}" / "noise.png"))


def assert_edited(place, result) -> None:
    before = np.asarray(Image.open(place / "noise.png"))
    assert result.shape == before.shape and (result != before).any()


def test_psp_with_a_direction_of_stylegan2_distillation(place):
    folder = converted(place, "psp", inverter("psp", 10))
    (place / "distilled").mkdir()
    array = np.random.default_rng(0).standard_normal((10, K)).astype(np.float32)
    np.save(place / "distilled" / "age.npy", array)
    result = edited(place, folder, place / "distilled", "age=1")
    assert_edited(place, result)


def test_in_domain_inversion_with_a_boundary_of_interfacegan(place):
    folder = converted(place, "idinvert", in_domain(10))
    boundary = np.random.default_rng(1).standard_normal((1, K)).astype(np.float32)
    np.save(place / "age_boundary.npy", boundary / np.linalg.norm(boundary))
    out = place / "boundary.safetensors"
    given = ["import", place / "age_boundary.npy", "--name", "age", "--scale", "3", "--out", out]
    assert directions([str(x) for x in given]) == 0
    found = read_directions(out)["age"].fitted(10, K)
    np.testing.assert_allclose(np.linalg.norm(found.array, axis=1), 3, rtol=1e-5)
    result = edited(place, folder, out, "age=-1")
    assert_edited(place, result)


@pytest.mark.weights
def test_e4e_with_styleflow(place):
    """The condition is measured in the photograph, which has to show a face."""
    folder = converted(place, "e4e", inverter("e4e", 14))
    own = generator_hash(pretrained.load(folder).network("generator"))
    source = small_flow.write(place / "flow", 14, K, own, layers=(4, 6))
    editor = Editor.from_checkpoints(
        generator=folder, encoder=folder, classifier=place / "classifier", directions=[source]
    )
    photo = np.asarray(Image.open(place / "face.png"))
    result = editor.edit(photo, {"smiling": 1.0}, tune=0)
    scores = scorers.score(result.aligned[None], ["smiling", "yaw"])
    flow = editor.directions["smiling"]
    expected = flow.moved(result.latents[None], 1.0, scores)[0]
    changed = result.faces[0].edited_latents
    np.testing.assert_allclose(changed, expected, atol=1e-4)
    assert (changed != result.latents).any(1).tolist() == [4 <= row < 6 for row in range(14)]
    assert (result.edited != result.inverted).any()
