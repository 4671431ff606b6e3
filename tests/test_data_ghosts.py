"""Training pictures of the deghosting network: Eq. 7, folders that are resumed, the command."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.data import ghosts
from diffcam_jax.data.augment import AugmentConfig
from diffcam_jax.data.ghost_blends import (
    GhostConfig,
    disturb,
    draw_edits,
    make_ghosts,
    toy_ghost_networks,
)
from diffcam_jax.data.ghosts import write
from diffcam_jax.data.toy import ToyPictures
from diffcam_jax.editing import diffcam
from diffcam_jax.errors import UserError
from diffcam_jax.faces import photo
from diffcam_jax.files import model_folder
from diffcam_jax.nn.classifier import DiffClassifier
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.psp import IntoWPlus
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from tests.random_variables import random_variables

CONFIG = GhostConfig(classifier_size=32, strength=(0.5, 1.5))


@pytest.fixture(scope="module")
def toy():
    return toy_ghost_networks()


def codes(count):
    return jnp.broadcast_to(jax.random.normal(jax.random.key(1), (count, 1, 8)), (count, 18, 8))


def pictures(count):
    toys = ToyPictures(count, 32, 0)
    return np.stack([toys[i]["image"] for i in range(count)])


def test_equation_7(toy):
    images, w = jnp.asarray(pictures(3) / 127.5 - 1, jnp.float32), codes(3)
    edits, strengths = jnp.array([2, 0, 1]), jnp.array([0.5, 1.0, 1.5])
    made = make_ghosts(toy, images, w, edits, strengths, CONFIG)

    @jax.jit
    def parts(toy, directions):
        shifted = w + strengths[:, None, None] * directions
        before, after = (toy.generator(x, method="synthesis", size=32) for x in (w, shifted))
        return after, diffcam.diff_cam(toy.classifier, before, after, edits).mask

    after, mask = map(np.asarray, parts(toy, toy.directions[edits]))
    edited, folded = np.clip(after, -1, 1), np.where(mask > 0.5, 1 - mask, mask)
    np.testing.assert_allclose(made.mask, folded, atol=1e-3)
    assert (
        made.mask.max() <= 0.5
        and (mask > 0.9).any()
        and not np.allclose(edited[0], edited[1], atol=0.1)
    )
    m = np.asarray(made.mask)[..., None]
    np.testing.assert_allclose(made.fused, edited * m + np.asarray(images) * (1 - m), atol=1e-4)
    untouched = np.asarray(made.mask) == 0  # beside the mask, and at its core
    assert untouched.any() and not untouched.all()
    np.testing.assert_array_equal(np.asarray(made.fused)[untouched], np.asarray(images)[untouched])


def test_edits_are_drawn_evenly(toy):
    edits, strengths = draw_edits(jax.random.key(0), toy, 300, CONFIG)
    assert np.bincount(edits, minlength=3).min() > 60
    assert 0.5 <= strengths.min() < 0.6 and 1.4 < strengths.max() <= 1.5
    assert (draw_edits(jax.random.key(0), toy, 5, GhostConfig())[1] == 1).all()


def test_disturbed_samples_differ_but_do_not_move():
    images = jnp.asarray(pictures(8) / 127.5 - 1, jnp.float32)
    only = AugmentConfig(flip=0.0, shift=0, colour=0.0, blur=0.0, occlude=1.0, hide=0.0)
    changed = np.asarray(disturb(jax.random.key(0), images, only) != images).any(-1)
    assert (changed.mean((1, 2)) > 0.005).all() and changed.mean() < 0.25
    assert np.abs(disturb(jax.random.key(0), images) - images).mean((1, 2, 3)).min() > 0.01


def read_toy(name):
    if name == "broken":
        raise UserError("broken: the file is empty")
    index = int(name)
    return pictures(4)[index], np.asarray(codes(4)[index])


NAMES = ["0", "broken", "1", "2", "3"]


def content(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*.*")
        if not p.name.startswith(".")
    }


def test_a_folder_is_resumed_to_the_same_bytes(toy, tmp_path, monkeypatch):
    skipped = write(toy, NAMES, read_toy, tmp_path / "whole", 5, CONFIG)
    assert skipped == {"broken": "broken: the file is empty"}
    whole = content(tmp_path / "whole")
    assert set(whole) == {
        "index.json",
        *(f"{k}/{i}.png" for k in ("image", "target") for i in range(4)),
    }

    written, written_before = photo.write_photo, []

    def killed(path, pixels):
        if len(written_before) == 3:  # the second pair has its target and no blend
            raise KeyboardInterrupt
        written_before.append(path)
        written(path, pixels)

    monkeypatch.setattr(photo, "write_photo", killed)
    with pytest.raises(KeyboardInterrupt):
        write(toy, NAMES, read_toy, tmp_path / "cut", 5, CONFIG)
    assert len(content(tmp_path / "cut")) == 1 + 3
    monkeypatch.setattr(photo, "write_photo", written)
    first = (tmp_path / "cut/image/0.png").stat().st_mtime_ns
    write(toy, NAMES[::-1], read_toy, tmp_path / "cut", 5, CONFIG)  # nor does the order matter
    assert content(tmp_path / "cut") == whole
    assert (tmp_path / "cut/image/0.png").stat().st_mtime_ns == first
    with pytest.raises(UserError, match="other networks or another recipe"):
        write(toy, NAMES, read_toy, tmp_path / "cut", 6, CONFIG)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Converted networks of 64 pixels and one direction."""
    root = tmp_path_factory.mktemp("models")
    body = {"counts": (1, 1, 1, 1), "widths": (8, 8, 8, 8), "squeeze": 4}
    networks = {
        "generator": (StyleGAN2Generator((8,) * 5, mapping_layers=1), (jnp.zeros((1, 512)),)),
        "encoder": (IntoWPlus(10, pool=2, **body), (jnp.zeros((1, 256, 256, 3)),)),
        "classifier": (DiffClassifier(18, 4, 1, 1), (jnp.zeros((1, 64, 64, 3)),) * 2),
    }
    for role, (module, inputs) in networks.items():
        variables = jax.tree.map(np.asarray, random_variables(module, *inputs))
        model_folder.save(
            root / role,
            {role: Network(module, variables)},
            {},
            {"kind": role, "classes": ["Smiling"]},
        )
    (root / "directions").mkdir()
    np.save(root / "directions/Smiling.npy", np.random.default_rng(0).standard_normal((1, 512)))
    return root


def test_the_command(folders, tmp_path, capsys):
    flags = [f"--{role}={folders / role}" for role in ("generator", "classifier", "directions")]
    (tmp_path / "src").mkdir()
    rng = np.random.default_rng(0)
    originals = {
        name: rng.integers(0, 256, shape, np.uint8)
        for name, shape in (("a", (64, 64, 3)), ("b", (64, 80, 3)))
    }
    for name, pixels in originals.items():
        photo.write_photo(tmp_path / f"src/{name}.png", pixels)
    arguments = [
        f"--src={tmp_path / 'src'}",
        f"--out={tmp_path / 'out'}",
        f"--encoder={folders / 'encoder'}",
        *flags,
    ]
    assert ghosts.main(arguments) == 0
    captured = capsys.readouterr()
    assert (
        "1 pairs of 64 pixels" in captured.out
        and "skipped b: 80x64 pixels are not square" in captured.err
    )
    np.testing.assert_array_equal(
        photo.read_photo(tmp_path / "out/target/a.png").pixels, originals["a"]
    )
    assert (photo.read_photo(tmp_path / "out/image/a.png").pixels != originals["a"]).any()

    assert ghosts.main([f"--out={tmp_path / 'drawn'}", "--samples=2", "--seed=3", *flags]) == 0
    files = sorted(str(p.relative_to(tmp_path / "drawn")) for p in tmp_path.glob("drawn/*/*"))
    assert files == [
        "image/000000.png",
        "image/000001.png",
        "target/000000.png",
        "target/000001.png",
    ]

    for wrong, message in (
        ([], "say where pictures come from"),
        (["--samples=1", "--size=48"], "give a half, a quarter"),
    ):
        assert ghosts.main([f"--out={tmp_path / 'none'}", *wrong, *flags]) == 2
        assert message in capsys.readouterr().err
