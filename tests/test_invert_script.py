"""`invert.py` from the command line on a tiny generator and encoder: every command end to end, and
one line for what goes wrong.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from diffcam_jax.applications import faces
from diffcam_jax.directions import Direction, save_directions
from diffcam_jax.faces import align
from diffcam_jax.files import codes as code_files
from diffcam_jax.files import model_folder, trees
from diffcam_jax.inversion import Inverter, tuned_files
from diffcam_jax.nn.indomain_encoder import InDomainEncoder, encoder_widths
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan1 import StyleGAN1Generator
from diffcam_jax.programs import invert
from tests.random_variables import random_variables

SIDE, ROWS, K = 64, 10, 512
GENERATOR = StyleGAN1Generator((4,) * 5, K, 1)
ENCODER = InDomainEncoder(encoder_widths(SIDE, 4, 4), ROWS, K)
NAMES = ("ann", "bob")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Networks in folders as a conversion writes them, aligned photographs, and their codes."""
    root = tmp_path_factory.mktemp("world")
    networks = {
        "generator": (GENERATOR, jnp.zeros((1, K))),
        "encoder": (ENCODER, jnp.zeros((1, SIDE, SIDE, 3))),
    }
    for role, (module, given) in networks.items():
        variables = jax.tree.map(np.asarray, random_variables(module, given))
        model_folder.save(root / role, {role: Network(module, variables)}, {}, {"kind": role})
        if role == "generator":
            digest = trees.tree_hash(variables["params"])
    rng = np.random.default_rng(0)
    (root / "photos").mkdir()
    for name in NAMES:
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(
            root / "photos" / f"{name}.png"
        )
    found = rng.normal(0, 0.3, (4, ROWS, K)).astype(np.float32)
    code_files.save(root / "two.safetensors", found[:2], digest, "mse", NAMES)
    code_files.save(root / "four.safetensors", found, digest, "mse", ["a", "b", "c", "../d"])
    code_files.save(root / "foreign.safetensors", found[:2], "0" * 64, "mse", NAMES)
    array = rng.normal(size=(ROWS, K)).astype(np.float32)
    smile = Direction("smile", array, (-2.0, 2.0), (0, ROWS), digest, "as it is", "by hand", "none")
    save_directions(root / "smile.safetensors", {"smile": smile})
    np.save(root / "large.npy", np.ones((18, K), np.float32))
    return root


def command(world: Path, out: Path, name: str, *rest: str) -> list[str]:
    places = {
        part: str(world / part)
        for part in ("two.safetensors", "four.safetensors", "foreign.safetensors", "photos")
    }
    places |= {f"{one}.png": str(world / "photos" / f"{one}.png") for one in NAMES}
    places |= {part: str(world / part) for part in ("smile.safetensors", "large.npy")} | {
        "ENCODER": str(world / "encoder")
    }
    return [
        name,
        *(places.get(part, part) for part in rest),
        "--generator",
        str(world / "generator"),
        "--out",
        str(out),
    ]


def sheet(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def fails(capsys, arguments: list[str], *words: str) -> None:
    assert invert.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1, said
    for word in words:
        assert word in said


# ---------------------------------------------------------------- every command


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["invert", "ann.png", "--method", "in_domain"],
            ["needs an encoder", "--encoder DIR", "--method prior"],
        ),
        (
            ["manipulate", "ann.png", "--direction", "smiling", "--method", "encoder"],
            ["needs an encoder"],
        ),
        (["invert", "ann.png", "--method", "in_domian"], ["did you mean in_domain"]),
        (
            ["invert", "ann.png", "--aligned", "--method", "pivotal_tuning"],
            ["supports StyleGAN2 and MobileStyleGAN"],
        ),
        (
            ["invert", "ann.png", "--method", "pivotal_tuning", "--restarts", "1"],
            ["omit restarts=1"],
        ),
        (
            ["mix", "ann.png", "--style", "bob.png", "--method", "pivotal_tuning"],
            ["a generator of its own, and mix"],
        ),
        (
            ["diffuse", "ann.png", "--context", "bob.png", "--method", "pivotal_tuning"],
            ["choose another --method"],
        ),
        (
            ["interpolate", "two.safetensors", "--method", "pivotal_tuning"],
            ["and interpolate draws"],
        ),
        (
            [
                "manipulate",
                "ann.png",
                "--direction",
                "smile.safetensors",
                "--method",
                "pivotal_tuning",
            ],
            ["and manipulate draws"],
        ),
        (["invert", "none.png"], ["none.png"]),
        (["invert", "ann.png", "--batch", "0"], ["--batch 0"]),
        (["invert", "ann.png", "--steps", "0"], ["--inversion-steps 0"]),
        (["invert", "ann.png", "--face", "0"], ["--face 0"]),
        (["invert", "ann.png", "--face", "all"], ["--face all", "give a number"]),
        (
            ["invert", "ann.png", "bob.png", "--landmarks", "five.txt"],
            ["--landmarks", "one photograph, and 2"],
        ),
        (["mix", "ann.png", "--style", "two.safetensors", "--landmarks", "none.txt"], ["none.txt"]),
        (["interpolate", "foreign.safetensors"], ["another generator"]),
        (["interpolate", "four.safetensors"], ["4 faces", "--grid"]),
        (["interpolate", "two.safetensors", "--steps", "-1"], ["--steps -1"]),
        (["interpolate", "smile.safetensors"], ["holds no inverted codes"]),
        (["manipulate", "two.safetensors", "--direction", "smiling"], ["another generator"]),
        (
            ["manipulate", "two.safetensors", "--direction", "large.npy"],
            ["18 rows of 512", "reads 10"],
        ),
        (
            [
                "manipulate",
                "two.safetensors",
                "--direction",
                "smile.safetensors",
                "--layers",
                "5-2",
            ],
            ["--layers 5-2"],
        ),
        (
            [
                "manipulate",
                "two.safetensors",
                "--direction",
                "smile.safetensors",
                "--layers",
                "8-12",
            ],
            ["layers 8 to 13"],
        ),
        (
            ["mix", "two.safetensors", "--style", "two.safetensors", "--from-layer", "11"],
            ["10 layers"],
        ),
        (
            ["diffuse", "ann.png", "--context", "bob.png", "--box", "200", "0", "60", "60"],
            ["--box 200 0 60 60"],
        ),
    ],
    ids=lambda value: " ".join(value[:1]) if value[0] in invert.COMMANDS else "",
)
def test_unusable_input(world, tmp_path, capsys, arguments, words):
    fails(capsys, command(world, tmp_path / "out", *arguments), *words)
    assert not list((tmp_path / "out").glob("*.png"))


def test_a_mask_of_another_size(world, tmp_path, capsys):
    Image.new("L", (100, 80), 255).save(tmp_path / "mask.png")
    flags = [
        "ann.png",
        "--context",
        "bob.png",
        "--aligned",
        "--method",
        "mse",
        "--mask",
        str(tmp_path / "mask.png"),
    ]
    fails(capsys, command(world, tmp_path, "diffuse", *flags), "100 x 80", "64 x 64")


@pytest.mark.weights
def test_a_picture_without_a_face(world, tmp_path, capsys):
    fails(
        capsys,
        command(world, tmp_path, "mix", "ann.png", "--style", "two.safetensors"),
        "ann.png",
        "no face",
        "--landmarks",
    )


def test_help_is_light(capsys):
    with pytest.raises(SystemExit) as leaving:
        invert.main(["diffuse", "--help"])
    assert leaving.value.code == 0 and "--context" in capsys.readouterr().out
