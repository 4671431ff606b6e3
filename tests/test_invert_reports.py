"""What `invert.py` writes never replaces what it did not itself write for the same input."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder
from diffcam_jax.nn.network import Network
from diffcam_jax.programs import claims, invert
from tests.invert_world import (  # noqa: F401
    GENERATOR,
    ROWS,
    SIDE,
    K,
    command,
    encoder_widths,
    fails,
    world,
)
from tests.random_variables import random_variables

SMILE = ["--direction", "smile.safetensors", "--steps", "2"]
MIX = ["two.safetensors", "--style", "four.safetensors"]
QUICK = ["--aligned", "--method", "mse", "--inversion-steps", "1"]
INTERPOLATE = ["--steps", "1", "--frames", "1"]


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("arguments", "taken"),
    [
        (["interpolate", "two.safetensors", *INTERPOLATE], "interpolate.gif"),
        (["manipulate", "two.safetensors", *SMILE], "manipulate_ann.png"),
        (["mix", *MIX], "mix.json"),
        (["diffuse", "ann.png", "--context", "bob.png", *QUICK], "diffuse.safetensors"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_files_of_others_stay_and_own_ones_are_drawn_anew(
    world, tmp_path, capsys, arguments, taken
):
    (theirs := tmp_path / taken).write_text('{"inputs": 3, "files": ["mix.png"]}')
    before = listing(tmp_path)
    call = command(world, tmp_path, *arguments)
    fails(capsys, call, taken, "no earlier result", "--out")
    assert listing(tmp_path) == before
    theirs.unlink()
    assert invert.main(call) == 0
    first = listing(tmp_path)
    report = json.loads(first[f"{arguments[0]}.json"])
    assert sorted([*report["files"], f"{arguments[0]}.json"]) == sorted(first)
    for name in report["files"]:
        (tmp_path / name).write_bytes(b"old")
    assert invert.main(call) == 0
    again = listing(tmp_path)
    assert set(again) == set(first) and b"old" not in again.values()


def test_other_inputs_of_the_same_names_are_refused(world, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    theirs = str(shutil.copy(world / "two.safetensors", tmp_path / "other"))
    out = tmp_path / "out"
    assert invert.main(command(world, out, "manipulate", "two.safetensors", *SMILE)) == 0
    capsys.readouterr()
    before = listing(out)
    fails(
        capsys,
        command(world, out, "manipulate", theirs, *SMILE),
        "manipulate.json",
        f"no earlier result of {theirs}",
    )
    assert listing(out) == before


def test_an_input_is_never_replaced(world, tmp_path, capsys):
    photo = str(shutil.copy(world / "photos" / "ann.png", tmp_path / "mix.png"))
    before = listing(tmp_path)
    flags = ["--style", "two.safetensors", *QUICK]
    fails(capsys, command(world, tmp_path, "mix", photo, *flags), photo, "would replace it")
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    fails(capsys, command(world, link, "mix", photo, *flags), photo, "would replace it")
    link.unlink()
    assert listing(tmp_path) == before


def test_sheets_in_a_folder_are_no_photographs(world, tmp_path):
    folder = shutil.copytree(world / "photos", tmp_path / "photos")
    call = command(world, folder, "interpolate", str(folder), *QUICK, *INTERPOLATE)
    assert invert.main(call) == 0
    assert claims.is_sheet(folder / "interpolate.png", folder)
    assert not claims.is_sheet(folder / "ann.png", folder)
    assert not claims.is_sheet(folder / "interpolate.png", world)
    assert invert.main(call) == 0


def outputs(out: Path, *inputs: str) -> claims.Outputs:
    files = [f"{kind}/{Path(name).stem}.png" for name in inputs for kind in ("strips", "codes")]
    return claims.Outputs(out, "invert", tuple(map(Path, inputs)), tuple(files))


def test_a_folder_that_has_grown_and_a_run_that_was_killed(tmp_path):
    outputs(tmp_path, "1/a.jpg").claim()
    (tmp_path / "strips").mkdir()
    (tmp_path / "strips" / "a.png").write_bytes(b"result")
    outputs(tmp_path, "1/a.jpg", "1/b.jpg").claim()
    with pytest.raises(UserError, match=r"invert\.json: is there, and is no earlier result of 2/a"):
        outputs(tmp_path, "2/a.jpg").check()
    with pytest.raises(UserError, match="no earlier result"):  # the codes of b would be lost
        outputs(tmp_path, "1/a.jpg").check()
    outputs(tmp_path, "1/a.jpg", "1/b.jpg").finish({"method": "mse"})
    report = json.loads((tmp_path / "invert.json").read_text())
    assert report["files"] == ["strips/a.png"] and report["method"] == "mse"
    (tmp_path / "strips" / "b.png").write_bytes(b"theirs")  # the name was given up
    with pytest.raises(UserError, match=r"strips/b\.png: is there"):
        outputs(tmp_path, "1/a.jpg", "1/b.jpg").claim()


def test_a_file_in_the_place_of_a_folder_and_a_name_too_long(tmp_path):
    (tmp_path / "strips").write_bytes(b"theirs")
    with pytest.raises(UserError, match="strips: is there"):
        outputs(tmp_path, "a.jpg").check()
    with pytest.raises(UserError, match="too long"):
        outputs(tmp_path / "new", "a" * 252 + ".jpg").check()


@pytest.mark.parametrize("report", [{"photo": "invert.jpg", "settings": {}}, {"inputs": []}])
def test_a_report_of_a_photograph_with_the_name_of_a_command(tmp_path, report):
    (tmp_path / "invert.json").write_text(json.dumps(report))
    with pytest.raises(UserError, match=r"invert\.json: is there"):
        outputs(tmp_path, "a.jpg").check()


@pytest.mark.parametrize(
    ("width", "average", "word"),
    [(512, (256,), "latent_avg"), (256, (512,), "codes of 256")],
)
def test_codes_of_another_width(world, tmp_path, capsys, width, average, word):
    from diffcam_jax.nn.indomain_encoder import InDomainEncoder

    module = InDomainEncoder(encoder_widths(SIDE, 4, 4), ROWS, width)
    variables = random_variables(module, jnp.zeros((1, SIDE, SIDE, 3)))
    network = Network(module, jax.tree.map(np.asarray, variables))
    arrays = {"latent_avg": np.zeros(average, np.float32)}
    model_folder.save(tmp_path / "encoder", {"encoder": network}, arrays, {"kind": "encoder"})
    flags = ["ann.png", "--aligned", "--method", "mse", "--encoder", str(tmp_path / "encoder")]
    flags += ["--style", "bob.png"]
    fails(capsys, command(world, tmp_path / "out", "mix", *flags), word)
    assert not list((tmp_path / "out").iterdir())
