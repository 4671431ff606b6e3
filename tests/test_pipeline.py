"""Converted networks working together: which fit, what the official pipeline gives, and what is
refused.
"""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs.deghost import get_config
from diffcam_jax.data import sources
from diffcam_jax.directions import importers
from diffcam_jax.editing import checkpoints, pipeline
from diffcam_jax.editor.editor import Editor
from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder
from diffcam_jax.inversion import PriorSettings
from diffcam_jax.nn.classifier import DiffClassifier
from diffcam_jax.nn.deghosting import Deghoster
from diffcam_jax.nn.mobile_encoder import MobileEncoder
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.psp import IntoW, IntoWPlus
from diffcam_jax.nn.restyle import BackboneEncoder
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from diffcam_jax.ops.image import resize
from diffcam_jax.pretrained import networks as pretrained
from diffcam_jax.pretrained import store
from diffcam_jax.programs import edit
from diffcam_jax.train import deghost
from tests.random_variables import random_variables

BODY = {"counts": (1, 1, 1, 1), "widths": (8, 8, 8, 8), "squeeze": 4}
SIZE, ROWS = 64, 10
PICTURE, SIX = jnp.zeros((1, 256, 256, 3)), jnp.zeros((1, 256, 256, 6))
NETWORKS = {
    "generator": (StyleGAN2Generator((8,) * 5, mapping_layers=1), (jnp.zeros((1, 512)),)),
    "large": (StyleGAN2Generator((8,) * 6, mapping_layers=1), (jnp.zeros((1, 512)),)),
    "encoder": (IntoWPlus(ROWS, pool=2, **BODY), (PICTURE,)),
    "restyle": (BackboneEncoder(ROWS, size=32, **BODY), (SIX[:, :32, :32],)),
    "classifier": (DiffClassifier(18, 4, 2, 1), (PICTURE[:, :64, :64],) * 2),
    "deghoster": (
        Deghoster(16, (8,) * 5, blocks=1, rrdb_width=8, growth=4, image_width=8),
        (jnp.zeros((1, 16, 16, 3)),),
    ),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Each network in a folder of its own, as a conversion writes it.

    And two directions in theirs.
    """
    root = tmp_path_factory.mktemp("models")
    arrays = {"latent_avg": np.random.default_rng(3).normal(0, 0.3, 512).astype(np.float32)}
    for name, (module, inputs) in NETWORKS.items():
        variables = jax.tree.map(np.asarray, random_variables(module, *inputs))
        if name == "classifier":
            variables["params"]["fc"]["kernel"] = np.abs(variables["params"]["fc"]["kernel"])
        role = {"large": "generator", "restyle": "encoder"}.get(name, name)
        config = {"kind": name, "classes": ["Smiling", "Old"]}
        model_folder.save(root / name, {role: Network(module, variables)}, arrays, config)
    (root / "directions").mkdir()
    for name in ("Smiling", "Old"):
        array = np.random.default_rng(len(name)).standard_normal((18, 512))
        array[ROWS:] = 0
        np.save(root / "directions" / f"{name}.npy", array)
    return root


def official(folders, **others):
    names = {
        "generator": "generator",
        "encoder": "encoder",
        "classifier": "classifier",
        "deghoster": "deghoster",
    }
    paths = {role: folders / name for role, name in (names | others).items() if name}
    return checkpoints.from_checkpoints(**paths)


def photograph():
    return np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def test_the_official_pipeline(folders):
    networks = official(folders)
    editor = Editor.from_checkpoints(
        **{r: folders / r for r in ("generator", "encoder", "classifier", "deghoster")},
        directions=folders / "directions",
    )
    pixels = photograph()
    result = editor.edit(pixels, {"Smiling": 1.0}, aligned=True)
    face = result.faces[0]

    # I' is the generator's picture of the encoder's code, T that of the code moved by the direction
    # of norm 20.
    image = jnp.asarray(pixels[None] / np.float32(127.5) - 1)
    module, variables = networks.encoder.network
    offsets = jax.jit(module.apply)(variables, resize(image, (256, 256), "bilinear"))[0]
    np.testing.assert_allclose(
        face.latents, offsets + networks.encoder.latent_avg, rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        face.edited_latents - face.latents,
        editor.directions["Smiling"].array[:ROWS],
        rtol=1e-4,
        atol=1e-4,
    )
    assert np.linalg.norm(editor.directions["Smiling"].array) == pytest.approx(20, rel=1e-5)

    # The deghosting network reads the blend at 16 pixels; its picture replaces the photograph only
    # where the mask reaches.
    deghoster, deghoster_variables = networks.deghoster
    small = resize(jnp.asarray(face.fused[None] / np.float32(127.5) - 1), (16, 16), "area")
    expected = np.asarray(jax.jit(deghoster.apply)(deghoster_variables, small))[0].clip(-1, 1)
    assert np.abs(face.deghosted / 127.5 - 1 - expected).mean() < 0.02
    outside = face.paste_mask == 0
    np.testing.assert_array_equal(result.image[outside], pixels[outside])
    assert (face.paste_mask >= (face.mask > 0.2)).all()
    assert result.report["weights"]["encoder"] and result.report["weights"]["deghoster"]

    blend = editor.edit(pixels, {"Smiling": 1.0}, aligned=True, deghost=False).faces[0]
    assert blend.deghosted is None
    np.testing.assert_array_equal(blend.paste_mask, face.mask)
    full = blend.mask == 1
    np.testing.assert_allclose(blend.source[full], blend.edited[full] / 255, atol=0.003)


def test_what_ships_goes_with_the_embedded_generator_alone(folders, tmp_path, monkeypatch):
    """Stand-ins of the right shapes in the place of the folders that ship."""
    monkeypatch.setattr(checkpoints, "_SHIPPED", tmp_path)
    monkeypatch.setattr(checkpoints, "shipped", checkpoints.shipped.__wrapped__)
    small = NETWORKS["generator"][0]
    params = jax.tree.map(np.asarray, random_variables(small, jnp.zeros((1, 512))))["params"]
    monkeypatch.setattr(store, "load_pretrained", lambda name: (params, {}))
    monkeypatch.setattr(pretrained, "MobileStyleGAN", lambda **given: small)
    others = {"classifier": folders / "classifier"}
    assert checkpoints.resolve().encoder is None
    bare = checkpoints.from_checkpoints(**others)
    assert bare.generator.module == small and bare.encoder is None and bare.deghoster is None
    for role, name in (("encoder", checkpoints.ENCODER), ("deghoster", checkpoints.DEGHOSTER)):
        shutil.copytree(folders / role, tmp_path / name)
    networks = checkpoints.from_checkpoints(**others)
    assert checkpoints.resolve().encoder == checkpoints.ENCODER and networks.encoder.rows == ROWS
    assert networks.deghoster.module == NETWORKS["deghoster"][0]
    assert checkpoints.from_checkpoints(encoder=folders / "restyle", **others).encoder.steps == 5
    own = checkpoints.from_checkpoints(generator=folders / "generator", **others)
    assert own.encoder is None and own.deghoster is None
    assert checkpoints.resolve(generator=folders / "generator").encoder is None


def test_gradients_pass_through_an_encoder_that_was_trained_with_frozen_blocks(folders, tmp_path):
    rows = ((1, 8, 1, 1), (2, 8, 1, 2), (2, 8, 1, 2), (2, 8, 1, 2), (2, 8, 1, 2))
    module = MobileEncoder(ROWS, 32, 512, 8, 8, 8, 2, 4, 8, rows, frozen=3)
    picture = jnp.asarray(np.random.default_rng(2).uniform(-1, 1, (1, 32, 32, 3)), jnp.float32)
    variables = jax.tree.map(np.asarray, random_variables(module, picture))
    model_folder.save(tmp_path, {"encoder": Network(module, variables)}, {}, {"kind": "mobile"})
    networks = official(folders, encoder=tmp_path, deghoster="")
    slope = jax.grad(lambda x: pipeline.encode(networks, x).sum())(picture)
    assert float(jnp.abs(slope).max()) > 0
    np.testing.assert_allclose(
        pipeline.encode(networks, picture),
        jax.jit(module.apply)(variables, picture),
        rtol=1e-4,
        atol=1e-5,
    )


def test_restyle_takes_several_passes(folders):
    networks = official(folders, encoder="restyle", deghoster="")
    assert networks.encoder.steps == 5
    codes = pipeline.encode(networks, jnp.asarray(photograph()[None] / np.float32(127.5) - 1))
    assert codes.shape == (1, ROWS, 512) and bool(jnp.isfinite(codes).all())


def test_an_encoder_into_w_fits_every_generator(folders, tmp_path):
    module = IntoW(**BODY)
    network = Network(module, jax.tree.map(np.asarray, random_variables(module, PICTURE)))
    model_folder.save(tmp_path, {"encoder": network}, {}, {"kind": "psp"})
    for generator, rows in (("generator", ROWS), ("large", 12)):
        networks = checkpoints.from_checkpoints(
            generator=folders / generator, encoder=tmp_path, classifier=folders / "classifier"
        )
        codes = pipeline.encode(networks, PICTURE)
        assert codes.shape == (1, rows, 512)
        np.testing.assert_array_equal(codes, np.broadcast_to(codes[:, :1], codes.shape))


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (
            {"generator": "large", "deghoster": ""},
            "the encoder gives 10 rows of W\\+, the generator of 128 pixels reads 12",
        ),
        (
            {"generator": "large", "encoder": ""},
            "deghosting network draws 64 pixels, the generator 128",
        ),
        ({"generator": "classifier"}, "has no generator"),
        ({"deghoster": "missing"}, "is not a folder of converted weights"),
    ],
)
def test_networks_that_do_not_fit_are_refused(folders, others, message):
    with pytest.raises(UserError, match=message):
        official(folders, **others)


def test_directions_of_a_larger_generator_are_refused(folders, tmp_path):
    networks = {role: folders / role for role in ("generator", "classifier")}
    np.save(tmp_path / "Smiling.npy", np.random.default_rng(0).standard_normal((18, 512)))
    with pytest.raises(UserError, match="direction Smiling has 18 rows"):
        Editor.from_checkpoints(**networks, directions=tmp_path)
    # The same vector in every row is a direction in W, which any generator can follow.
    np.save(tmp_path / "Smiling.npy", np.random.default_rng(0).standard_normal((1, 512)))
    fitted = Editor.from_checkpoints(**networks, directions=tmp_path).directions["Smiling"].array
    np.testing.assert_array_equal(fitted, np.broadcast_to(fitted[:1], (ROWS, 512)))


def test_damaged_folders_are_refused(folders, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folders / "generator" / name).read_bytes())
    other = (folders / "encoder" / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(other)
    with pytest.raises(UserError, match="do not belong together"):
        model_folder.load(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UserError, match="is damaged"):
        model_folder.load(tmp_path)


def test_the_script_with_folders(folders, tmp_path, capsys):
    Image.fromarray(photograph()).save(tmp_path / "a.png")
    flags = [
        f"--{role}={folders / role}" for role in ("generator", "encoder", "classifier", "deghoster")
    ]
    arguments = [
        str(tmp_path / "a.png"),
        "--aligned",
        "--stages",
        "--directions",
        str(folders / "directions"),
        *flags,
    ]
    assert edit.main([*arguments, "--attribute", "Smiling=1", "--out", str(tmp_path / "out")]) == 0
    names = {path.name for path in (tmp_path / "out" / "a").iterdir()}
    assert {
        "aligned.png",
        "inverted.png",
        "edited.png",
        "mask.png",
        "fused.png",
        "deghosted.png",
        "stages.png",
    } <= names
    assert edit.main([*arguments, "--attribute", "Beard=1", "--out", str(tmp_path / "out")]) == 2
    assert "unknown attribute 'Beard'" in capsys.readouterr().err
    wrong = [flag.replace("encoder=", "encoder=/nowhere") for flag in flags]
    assert (
        edit.main(
            [*arguments[:-4], *wrong, "--attribute", "Smiling=1", "--out", str(tmp_path / "out")]
        )
        == 2
    )


def test_a_run_of_the_deghoster_is_opened_by_the_script(folders, tmp_path):
    """What training leaves in its folder restores blends of the same generator."""
    config = get_config("debug")
    config.update_from_flattened_dict({"data.size": SIZE, "model.out_size": SIZE, "steps": 1})
    trainer = deghost.build(config, sources.make_source(config, config.batch_size), None)
    trainer.export(trainer.create(), tmp_path / "run")
    Image.fromarray(photograph()).save(tmp_path / "a.png")
    flags = [
        f"--{role}={folders / role}"
        for role in ("generator", "encoder", "classifier", "directions")
    ]
    flags += [
        f"--deghoster={tmp_path / 'run'}",
        "--aligned",
        "--stages",
        "--attribute",
        "Smiling=1",
    ]
    assert edit.main([str(tmp_path / "a.png"), *flags, "--out", str(tmp_path / "out")]) == 0
    restored, fused = (
        np.asarray(Image.open(tmp_path / f"out/a/{name}.png")) for name in ("deghosted", "fused")
    )
    opened = pretrained.load(tmp_path / "run").network("deghoster")
    small = resize(jnp.asarray(fused / 127.5 - 1, jnp.float32)[None], (16, 16), "area")
    expected = jax.jit(opened.module.apply)(opened.variables, small)[0]
    assert np.abs(restored / 127.5 - 1 - np.clip(expected, -1, 1)).mean() < 0.02


@pytest.mark.weights
def test_without_an_encoder_codes_are_found_by_optimisation(folders, tmp_path, monkeypatch):
    cache = store.cache_dir()
    networks = official(folders, encoder="", deghoster="")
    lpips = store.load_pretrained("lpips")
    monkeypatch.setenv("DIFFCAM_HOME", str(tmp_path))
    monkeypatch.setattr(store, "load_pretrained", lambda name: lpips)
    directions = importers.read_directions(folders / "directions")
    codes = Editor(networks, directions).invert(photograph(), PriorSettings(steps=2))
    assert codes.shape == (ROWS, 512) and np.isfinite(codes).all() and cache != store.cache_dir()


@pytest.mark.weights
@pytest.mark.parametrize("name", ["mobile_stylegan_ffhq", "lpips", "inception", "bisenet", "sface"])
def test_parts_of_the_store_are_opened_alike(name):
    model = pretrained.load(name)
    assert model.networks and model.config["kind"] == name
    with pytest.raises(UserError, match="no encoder"):
        model.network("encoder")
