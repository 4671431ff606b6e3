"""What the command that inverts refuses, in one line."""

import pytest
from PIL import Image

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
