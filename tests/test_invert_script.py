"""`invert.py` from the command line on a tiny generator and encoder: every command end to end, and
one line for what goes wrong.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from diffcam_jax.applications import faces
from diffcam_jax.faces import align
from diffcam_jax.files import codes as code_files
from diffcam_jax.files import model_folder, trees
from diffcam_jax.inversion import Inverter, tuned_files
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network
from diffcam_jax.programs import invert
from tests.invert_world import (  # noqa: F401
    ENCODER,
    GENERATOR,
    NAMES,
    ROWS,
    SIDE,
    K,
    command,
    fails,
    sheet,
    world,
)
from tests.random_variables import random_variables


def test_landmarks_say_where_the_face_is(world, tmp_path):
    """A photograph of 100 pixels whose one corner holds what counts.

    `align` is asked for the same crop.
    """
    pixels = np.random.default_rng(5).integers(0, 256, (100, 120, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    points = np.array([[40.0, 40.0], [62.0, 41.0], [51.0, 52.0], [43.0, 64.0], [60.0, 64.0]])
    np.savetxt(tmp_path / "five.txt", points)
    flags = [
        str(tmp_path / "wide.png"),
        "--landmarks",
        str(tmp_path / "five.txt"),
        "--method",
        "mse",
    ]
    out = tmp_path / "out"
    flags += ["--inversion-steps", "1", "--steps", "2", "--direction", "smile.safetensors"]
    assert invert.main(command(world, out, "manipulate", *flags)) == 0
    crop = np.rint(align.crop(pixels, align.ffhq_quad(points), SIDE) * 255).astype(np.uint8)
    again = faces.read_face(tmp_path / "wide.png", SIDE, faces.Choice(points=points))
    np.testing.assert_array_equal(again, crop)
    assert sheet(out / "manipulate_wide.png").shape[1] == 3 * 240 + 4 * 6


def test_a_run_that_was_stopped_goes_on_from_the_codes_it_found(world, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFCAM_HOME", str(tmp_path / "home"))
    flags = [
        "ann.png",
        "bob.png",
        "--aligned",
        "--method",
        "mse",
        "--inversion-steps",
        "2",
        "--steps",
        "2",
    ]
    flags += ["--direction", "smile.safetensors", "--batch", "1"]
    made = []

    def stopped(self, images, *rest):
        if made:
            raise KeyboardInterrupt
        made.append(len(images))
        return search(self, images, *rest)

    search = Inverter.__call__
    monkeypatch.setattr(Inverter, "__call__", stopped)
    assert invert.main(command(world, tmp_path / "out", "manipulate", *flags)) == 130
    made.clear()
    assert invert.main(command(world, tmp_path / "out", "manipulate", *flags)) == 0
    assert made == [1] and len(list((tmp_path / "home" / "codes").iterdir())) == 2


@pytest.mark.weights
def test_invert_a_folder(world, tmp_path, capsys):
    (world / "photos" / "page.png").write_text("no picture")
    try:
        flags = [
            "photos",
            "--aligned",
            "--encoder",
            "ENCODER",
            "--method",
            "encoder",
            "--batch",
            "2",
        ]
        assert invert.main(command(world, tmp_path, "invert", *flags)) == 1
    finally:
        (world / "photos" / "page.png").unlink()
    said = capsys.readouterr()
    assert (
        "page.png" in said.err and "next: python invert.py manipulate" in said.out.splitlines()[-1]
    )

    studio = faces.Studio.open(world / "generator", world / "encoder")
    found = code_files.load(tmp_path / "codes.safetensors", studio.hash, ROWS)
    assert found.names == NAMES and found.method == "encoder"
    report = json.loads((tmp_path / "invert.json").read_text())
    assert list(report["failed"]) == ["page.png"] and list(report["photographs"]) == list(NAMES)
    for index, name in enumerate(NAMES):
        drawn = sheet(tmp_path / "reconstructions" / f"{name}.png")
        np.testing.assert_array_equal(drawn, studio.draw(found.codes[index : index + 1])[0])
        photograph = sheet(world / "photos" / f"{name}.png")
        error = (((drawn - photograph.astype(float)) / 127.5) ** 2).mean()
        assert report["photographs"][name]["mse"] == pytest.approx(error, abs=1e-5)
        assert (
            report["photographs"][name]["lpips"] > 0
            and (tmp_path / "strips" / f"{name}.png").exists()
        )
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.weights
def test_invert_by_a_generator_that_is_tuned_to_each_photograph(world, tmp_path, capsys):
    module, out = MobileStyleGAN((4,) * 4, K, 1), tmp_path / "out"
    variables = jax.tree.map(np.asarray, random_variables(module, jnp.zeros((1, K))))
    generator = {"generator": Network(module, variables)}
    model_folder.save(tmp_path / "mobile", generator, {}, {"kind": "generator"})
    flags = ["--aligned", "--method", "pivotal_tuning", "--steps", "3"]
    flags += ["--generator", str(tmp_path / "mobile"), "--encoder", str(world / "encoder")]
    assert invert.main(["invert", str(world / "photos"), *flags, "--out", str(out)]) == 0
    assert "--method pivotal_tuning --steps 6" in capsys.readouterr().out.splitlines()[-1]
    studio = faces.Studio.open(tmp_path / "mobile", world / "encoder")
    found = code_files.load(out / "codes.safetensors", studio.hash, ROWS)
    assert found.names == NAMES and found.method == "pivotal_tuning"
    report = json.loads((out / "invert.json").read_text())
    for code, name in zip(found.codes, NAMES):
        own = tuned_files.load(out / f"{name}.tuned.safetensors", studio.hash)
        tuned = {path: changes[None] for path, changes in own.items()}
        again = studio.draw(code[None], tuned=tuned)[0]
        drawn = sheet(out / "reconstructions" / f"{name}.png")
        np.testing.assert_array_equal(drawn, again)
        assert not np.array_equal(again, studio.draw(code[None])[0])
        photograph = sheet(world / "photos" / f"{name}.png").astype(float)
        error = ((photograph - drawn) ** 2).mean() / 127.5**2
        assert report["photographs"][name]["mse"] == pytest.approx(error, abs=1e-5)
    header = trees.load(out / f"{NAMES[0]}.tuned.safetensors")[1]
    assert header["settings"]["steps"] == 3 and not list(out.rglob(".*"))


def test_interpolate_codes(world, tmp_path, capsys):
    assert (
        invert.main(
            command(
                world, tmp_path, "interpolate", "two.safetensors", "--steps", "1", "--frames", "2"
            )
        )
        == 0
    )
    assert str(tmp_path / "interpolate.png") in capsys.readouterr().out.splitlines()[-1]
    assert sheet(tmp_path / "interpolate.png").shape[1] == 3 * 320 + 4 * 6
    for suffix in ("gif", "webp"):
        with Image.open(tmp_path / f"interpolate.{suffix}") as image:
            assert image.n_frames == 4 and image.info["loop"] == 0 and image.size == (SIDE, SIDE)


def test_interpolate_between_four_corners(world, tmp_path):
    flags = ["four.safetensors", "--grid", "--steps", "1", "--frames", "1"]
    assert invert.main(command(world, tmp_path, "interpolate", *flags)) == 0
    assert sheet(tmp_path / "interpolate.png").shape[1] == 3 * 200 + 4 * 6


def test_manipulate_a_photograph_and_a_code(world, tmp_path, capsys):
    flags = ["ann.png", "--aligned", "--method", "mse", "--steps", "3", "--inversion-steps", "2"]
    flags += ["--direction", "smile.safetensors", "--layers", "2-5"]
    assert invert.main(command(world, tmp_path, "manipulate", *flags)) == 0
    assert sheet(tmp_path / "manipulate_ann.png").shape[1] == 4 * 240 + 5 * 6
    report = json.loads((tmp_path / "manipulate.json").read_text())
    assert report["strengths"] == [-3, 0, 3] and report["layers"] == [2, 6]
    # A name in a file of codes does not lead out of the folder.
    flags = ["four.safetensors", "--steps", "2", "--direction", "smile.safetensors"]
    assert invert.main(command(world, tmp_path / "out", "manipulate", *flags)) == 0
    assert (tmp_path / "out" / "manipulate_.._d.png").exists()


def test_mix(world, tmp_path):
    flags = ["two.safetensors", "--style", "four.safetensors", "--from-layer", "4"]
    assert invert.main(command(world, tmp_path, "mix", *flags)) == 0
    mixed = sheet(tmp_path / "mix.png")
    assert mixed.shape == (3 * (240 + 26 + 6), 5 * 240 + 6 * 6, 3)
    report = json.loads((tmp_path / "mix.json").read_text())
    assert report["content"] == list(NAMES) and len(report["style"]) == 4


def test_an_option_of_several_photographs_given_twice_adds_up():
    styles = invert.parse(
        ["mix", "a.png", "--style", "b.png", "c.png", "--style", "d.png", "--out", "out"]
    ).style
    assert [path.name for path in styles] == ["b.png", "c.png", "d.png"]


def test_diffuse(world, tmp_path):
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[10:30, 10:30] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    flags = ["ann.png", "--context", "bob.png", "--aligned", "--method", "mse", "--steps", "2"]
    assert (
        invert.main(
            command(
                world, tmp_path / "out", "diffuse", *flags, "--mask", str(tmp_path / "mask.png")
            )
        )
        == 0
    )
    assert sheet(tmp_path / "out" / "diffuse.png").shape == (2 * (240 + 26 + 6), 2 * 240 + 3 * 6, 3)
    assert (tmp_path / "out" / "diffuse_stitched.png").exists()
    studio = faces.Studio.open(world / "generator")
    assert code_files.load(tmp_path / "out" / "diffuse.safetensors", studio.hash).names == (
        "ann_in_bob",
    )


# ---------------------------------------------------------------- what goes wrong
