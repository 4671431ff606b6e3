"""Folders with an alignment network: what fits, what is refused, and edits by `Editor` and
`edit.py` that keep what is out of domain.
"""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from diffcam_jax.directions.space import generator_hash
from diffcam_jax.editing import checkpoints
from diffcam_jax.editing.alignment import aligner_for, settings_of
from diffcam_jax.editing.compose import MaskConfig
from diffcam_jax.editing.config import DECOMPOSING, METHODS, EditConfig
from diffcam_jax.editing.decomposition import Decomposer
from diffcam_jax.editor import stages
from diffcam_jax.editor.editor import Editor
from diffcam_jax.errors import UserError
from diffcam_jax.faces.panel import GAP, HEADER, TILE
from diffcam_jax.faces.photo import read_photo
from diffcam_jax.files import model_folder, trees
from diffcam_jax.nn.classifier import DiffClassifier
from diffcam_jax.nn.mobile_encoder import MobileEncoder
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network
from diffcam_jax.pretrained import networks as pretrained
from diffcam_jax.pretrained import store
from diffcam_jax.programs import edit
from tests.random_variables import random_variables
from tests.small_decomposition import NARROW, decomposed, fixed

SIZE, ROWS, SIDES = 64, 10, (16, 32)
GENERATOR = MobileStyleGAN((8, 8, 8, 8), mapping_layers=1)
BODY = ((1, 8, 1, 1), (2, 8, 1, 2), (2, 8, 1, 2), (2, 8, 1, 2), (2, 8, 1, 2))
ENCODER = MobileEncoder(ROWS, 32, 512, 8, 8, 8, 2, 4, 8, BODY)
SETTINGS = settings_of(ENCODER, SIDES)
CLASSIFIER = DiffClassifier(18, 4, 2, 1, (1, 2, 2, 1))
CONFIG = EditConfig(
    classifier_size=SIZE, mask=MaskConfig(low=0.2, high=0.8), domain=MaskConfig(low=0.1, high=0.2)
)
PICTURE = jnp.zeros((1, SIZE, SIZE, 3))


def random(module, *inputs, seed=0):
    return jax.tree.map(np.asarray, random_variables(module, *inputs, seed=seed))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Networks that belong together, others that do not, and two directions of which the classifier
    knows one.
    """
    root = tmp_path_factory.mktemp("models")
    arrays = {"latent_avg": np.random.default_rng(3).normal(0, 0.3, 512).astype(np.float32)}

    def save(name, role, module, variables, **config):
        model_folder.save(
            root / name, {role: Network(module, variables)}, arrays, {"kind": name, **config}
        )
        return Network(module, variables)

    def seeded(name, role, module, *inputs, **config):
        found = [save(name, role, module, random(module, *inputs), **config)]
        save(f"other_{name}", role, module, random(module, *inputs, seed=9), **config)
        return found[0]

    generator = seeded("generator", "generator", GENERATOR, jnp.zeros((1, 512)))
    encoder = seeded("encoder", "encoder", ENCODER, PICTURE)
    # Positive weights over positive activations: every map has something to show.
    judging = random(CLASSIFIER, PICTURE, PICTURE)
    judging["params"]["fc"]["kernel"] = np.abs(judging["params"]["fc"]["kernel"])
    save("classifier", "classifier", CLASSIFIER, judging, classes=["Smiling", "Old"])

    aligner = aligner_for(GENERATOR, ENCODER, SETTINGS, sides=SIDES, cycles=1, **NARROW)
    hashes = {
        "generator_sha256": generator_hash(generator),
        "encoder_sha256": trees.tree_hash(encoder.variables),
    }

    def aligning(name, module=aligner, mask=None, **config):
        maps = [
            [jnp.zeros((1, s, s, c)) for s, c in zip(module.sides, of)]
            for of in (module.features, module.inputs)
        ]
        network = Network(module, random(module, *maps))
        network = network if mask is None else fixed(network, (0.3, -0.2), mask)
        save(name, "aligner", module, jax.tree.map(np.asarray, network.variables), **config)

    aligning("aligner", **hashes)
    aligning("everything", mask=60.0)
    aligning("other_features", aligner.clone(features=(8, 4)))
    aligning("other_inputs", aligner.clone(inputs=(8, 4)))
    (root / "directions").mkdir()
    for name in ("Smiling", "Beard"):
        np.save(
            root / "directions" / f"{name}.npy",
            np.random.default_rng(len(name)).standard_normal((ROWS, 512)),
        )
    return root


def opened(folders, **others):
    names = {
        role: role for role in ("generator", "encoder", "classifier", "directions", "aligner")
    } | others
    return {role: folders / name for role, name in names.items() if name}


@pytest.fixture(scope="module")
def editor(folders):
    return Editor.from_checkpoints(CONFIG, method="both", **opened(folders))


def photograph():
    return np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def test_what_is_out_of_domain_stays_the_photographs(folders, editor):
    pixels = photograph()
    everything = Editor.from_checkpoints(
        CONFIG, method="both", **opened(folders, aligner="everything")
    )
    result = everything.edit(pixels, {"Smiling": 1.0}, aligned=True)
    np.testing.assert_array_equal(result.image, pixels)
    assert (result.domain == 1).all() and result.report["untouched_share"] == 1.0
    assert (
        result.report["method"] == "both"
        and result.report["faces"][0]["out_of_domain_share"] == 1.0
    )

    found = editor.edit(pixels, {"Smiling": 1.0}, aligned=True)
    alone = editor.edit(pixels, {"Smiling": 1.0}, aligned=True, config=CONFIG)
    face, other = found.faces[0], alone.faces[0]
    assert face.domain.shape == (SIZE, SIZE) and other.domain is None and other.cam_mask is None
    np.testing.assert_allclose(face.cam_mask, other.mask, atol=1e-5)
    np.testing.assert_allclose(face.mask, np.minimum(other.mask, 1 - face.domain), atol=1e-5)
    np.testing.assert_array_equal(found.image[face.domain == 1], pixels[face.domain == 1])
    share = found.report["faces"][0]["out_of_domain_share"]
    assert share == pytest.approx(face.domain.mean(), abs=1e-6) and 0 < share < 1
    assert (
        alone.report["faces"][0]["out_of_domain_share"] is None
        and alone.report["method"] == "diffcam"
    )
    stored = model_folder.load(folders / "aligner").network("aligner")
    assert found.report["weights"]["aligner"] == trees.tree_hash(stored.variables)


def test_invertibility_is_the_blend_of_the_decomposition_and_asks_no_classifier(folders, editor):
    pixels, networks = photograph(), editor.networks
    config = EditConfig(classifier_size=SIZE, method="invertibility")
    face = editor.edit(pixels, {"Beard": 1.0}, aligned=True, config=config).faces[0]
    parts = networks.generator, networks.encoder, networks.aligner.network, SETTINGS
    images = jnp.asarray(pixels[None] / np.float32(127.5) - 1)
    delta = jnp.asarray(editor.directions["Beard"].array)[None]
    assert networks.aligner.settings == SETTINGS
    found = decomposed(Decomposer(*parts), images, delta)
    np.testing.assert_allclose(face.domain, found.mask[0], atol=1e-3)
    m = np.asarray(found.mask[0])[..., None]
    blend = m * np.asarray(images[0]) + (1 - m) * np.asarray(found.generated[0]).clip(-1, 1)
    assert np.abs(face.fused / 127.5 - 1 - blend).max() < 0.02
    assert face.report["classifier"] == {} and face.cam_mask is None
    with pytest.raises(UserError, match="the classifier does not know Beard"):
        editor.edit(pixels, {"Beard": 1.0}, aligned=True)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"generator": "other_generator"}, "trained with another generator"),
        ({"encoder": "other_encoder"}, "trained with another encoder"),
        (
            {"aligner": "other_features"},
            r"generators of \(8, 4\) channels at \(16, 32\) pixels, this one has \(8, 8\)",
        ),
        (
            {"aligner": "other_inputs"},
            r"reads maps of \(8, 4\) channels, MobileEncoder has \(8, 8\)",
        ),
        ({"aligner": "encoder"}, "has no aligner"),
        ({"encoder": ""}, "give the encoder that it was trained with"),
        ({"aligner": ""}, "method both needs an alignment network"),
        ({"aligner": "", "generator": "nowhere"}, "method both needs an alignment network"),
    ],
)
def test_what_does_not_belong_together_is_refused_in_one_line(folders, others, message):
    with pytest.raises(UserError, match=message) as caught:
        Editor.from_checkpoints(CONFIG, method="both", **opened(folders, **others))
    assert "\n" not in str(caught.value) and "; " in str(caught.value)


def test_methods_are_checked_by_the_editor_itself(folders, editor):
    networks, directions = editor.networks, editor.directions
    assert Editor(networks, directions).config.method == "diffcam"
    assert Editor(networks, directions, method="cam").config.method == "cam"
    with pytest.raises(UserError, match="no method is called 'diff'; there are diffcam, grad_cam"):
        Editor(networks, directions, method="diff")
    without = networks.replace(aligner=None)
    with pytest.raises(UserError, match="method invertibility needs an alignment network"):
        Editor(without, directions, CONFIG, "invertibility")
    with pytest.raises(UserError, match="method both needs an alignment network"):
        Editor(without, directions).edit(
            photograph(), {"Smiling": 1.0}, aligned=True, config=editor.config
        )
    with pytest.raises(UserError, match="give the encoder that it was trained with"):
        Editor(networks.replace(encoder=None), directions)


def test_what_ships_goes_with_the_networks_that_ship_alone(folders, tmp_path, monkeypatch):
    """Stand-ins of the right shapes in the place of the folders that ship."""
    monkeypatch.setattr(checkpoints, "_SHIPPED", tmp_path)
    monkeypatch.setattr(checkpoints, "shipped", checkpoints.shipped.__wrapped__)
    params = model_folder.load(folders / "generator").network("generator").variables["params"]
    monkeypatch.setattr(store, "load_pretrained", lambda name: (params, {}))
    monkeypatch.setattr(pretrained, "MobileStyleGAN", lambda **given: GENERATOR)
    judge = {"classifier": folders / "classifier"}

    def aligner(**given):
        return checkpoints.from_checkpoints(**given, **judge).aligner

    shutil.copytree(folders / "aligner", tmp_path / checkpoints.ALIGNER)
    assert checkpoints.resolve().aligner is None and aligner() is None
    shutil.copytree(folders / "encoder", tmp_path / checkpoints.ENCODER)
    assert checkpoints.resolve().aligner == checkpoints.ALIGNER
    assert aligner().network.module.sides == SIDES
    for role in ("generator", "encoder"):
        own = {role: folders / role}
        assert checkpoints.resolve(**own).aligner is None and aligner(**own) is None
    given = {"encoder": folders / "encoder", "aligner": folders / "everything"}
    assert checkpoints.resolve(**given).aligner == given["aligner"]
    assert aligner(**given).generator == ""


def flags(folders, **others):
    return [f"--{role}={path}" for role, path in opened(folders, **others).items()]


def test_the_script_shows_both_masks(folders, editor, tmp_path):
    Image.fromarray(photograph()).save(tmp_path / "a.png")
    arguments = [str(tmp_path / "a.png"), *flags(folders), "--aligned", "--stages"]
    common = {"aligned", "inverted", "edited", "mask", "fused", "result", "stages", "out_of_domain"}
    for method, names in (("both", common | {"cam_mask"}), ("invertibility", common)):
        out = tmp_path / method
        assert (
            edit.main([*arguments, "--attribute=Smiling=1", f"--method={method}", f"--out={out}"])
            == 0
        )
        assert {path.stem for path in (out / "a").iterdir()} == names
        report = json.loads((out / "a.json").read_text())
        aligner = editor.networks.aligner.network
        assert report["method"] == method
        assert report["weights"]["aligner"] == trees.tree_hash(aligner.variables)
        grey = {
            name: np.asarray(Image.open(out / "a" / f"{name}.png"))[..., 0] / 255
            for name in names - {"stages"}
        }
        assert report["faces"][0]["out_of_domain_share"] == pytest.approx(
            grey["out_of_domain"].mean(), abs=0.003
        )
        acts = np.minimum(grey.get("cam_mask", 1.0), 1 - grey["out_of_domain"])
        np.testing.assert_allclose(grey["mask"], acts, atol=0.005)


def test_the_panel_lays_each_mask_over_the_face(editor, tmp_path):
    result, photo = editor.edit(photograph(), {"Smiling": 1.0}, aligned=True), tmp_path / "a.png"
    Image.fromarray(photograph()).save(photo)
    stages.write_stages(tmp_path / "a", read_photo(photo), result)
    panel = np.asarray(Image.open(tmp_path / "a" / "stages.png"))
    labels = [
        "photograph",
        "aligned",
        "inverted",
        "edited",
        "cam",
        "domain",
        "mask",
        "fused",
        "result",
    ]
    assert panel.shape[1] == len(labels) * (TILE + GAP) + GAP
    for label, mask in (
        ("cam", result.faces[0].cam_mask),
        ("domain", result.domain),
        ("mask", result.mask),
    ):
        left = GAP + labels.index(label) * (TILE + GAP)
        picture = result.aligned.astype(float)
        dim, tint = 0.45 * picture, 0.55 * picture + 0.45 * np.array([255.0, 140.0, 0.0])
        expected = np.round(dim + (tint - dim) * mask[..., None]).astype(np.uint8)
        expected = Image.fromarray(expected).resize((TILE, TILE), Image.Resampling.LANCZOS)
        shown = panel[HEADER : HEADER + TILE, left : left + TILE]
        assert np.abs(shown.astype(int) - np.asarray(expected)).max() <= 2, label


def test_the_script_tells_at_once_what_is_missing(folders, tmp_path, capsys):
    Image.fromarray(photograph()).save(tmp_path / "a.png")
    common = [str(tmp_path / "a.png"), "--attribute=smiling=1", f"--out={tmp_path / 'out'}"]
    for added, words in (
        (["--method=both", "--encoder=nowhere"], "method both needs an alignment network"),
        (
            ["--method=invertibility", "--generator=nowhere", "--encoder=nowhere"],
            "give --aligner DIR",
        ),
        (
            [f"--aligner={folders / 'aligner'}"],
            "is of no use to --method diffcam; add --method both",
        ),
        (["--method=both", "--aligner=nowhere"], "nowhere is not a folder"),
    ):
        assert edit.main([*common, *added]) == 2
        told = capsys.readouterr().err
        assert told.startswith("error: ") and told.count("\n") == 1 and words in told
    for method in (*METHODS, *DECOMPOSING):
        assert edit.edit_flags.parse(["a.png", "--method", method]).method == method
