"""A domain's description: written, read, and hostile; what an editor of a domain changes."""

import dataclasses
import json

import numpy as np
import pytest

from diffcam_jax.command.arguments import directions, networks
from diffcam_jax.editing.config import VARIANTS
from diffcam_jax.editor.editor import Editor
from diffcam_jax.errors import UserError
from diffcam_jax.faces.align import centre_quad
from diffcam_jax.faces.photo import read_photo
from diffcam_jax.faces.samples import hopper
from diffcam_jax.files import domain
from diffcam_jax.files.domain import Domain
from diffcam_jax.programs import edit_flags
from tests import small_editor

CARS = Domain("cars", 128, "square", padding=(0.25, 0.25, 0.0, 0.125), licence="mine")
PLACES = {role: role for role in ("generator", "encoder", "classifier")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("cars")
    small_editor.flags(root)
    domain.write(root, CARS, PLACES, "directions.safetensors")
    return root


def test_it_is_read_as_it_was_written(folder):
    found, places = domain.read(folder)
    assert found == CARS
    assert places == {
        **{role: folder / role for role in PLACES},
        "directions": folder / "directions.safetensors",
    }


def test_masks_keep_a_cell_away_from_padding_alone():
    inside = CARS.inside(16)
    assert inside[5:11, :13].all() and inside.sum() == 6 * 13
    assert dataclasses.replace(CARS, padding=(0.0, 0.0, 0.0, 0.0)).inside(4).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "later version"),
        ({"padding": [0.6, 0.4, 0, 0]}, "leaves nothing"),
        ({"padding": "none"}, "is damaged"),
        ({"crop": "box"}, "crop 'box'"),
        ({"crop": ["whole"]}, "crop .'whole'. or"),
        ({"size": 3.5}, "size 3.5"),
        ({"parsing": 1}, "parsing 1"),
        ({"name": 7}, "name and licence"),
        ({"wheels": 4}, "is damaged"),
        ({"tune": -1}, "tune -1 is no number from 0"),
        ({"tune": True}, "tune True"),
        ({"directions": "a\0b"}, "directions is at no place"),
        ({"networks": {"generator": "../elsewhere"}}, "generator lies outside of the folder"),
        ({"networks": {"wheel": "w"}}, "no network is called 'wheel'"),
        ({"directions": "/etc/passwd"}, "directions lies outside of the folder"),
    ],
)
def test_damaged_and_hostile_descriptions(folder, tmp_path, change, words):
    content = json.loads((folder / domain.FILE).read_text())
    (tmp_path / domain.FILE).write_text(json.dumps(content | change))
    with pytest.raises(UserError, match=words):
        domain.read(tmp_path)


def test_no_description(tmp_path):
    with pytest.raises(
        UserError, match=r"holds no domain\.json; a domain is made by diffcam-domain"
    ):
        domain.read(tmp_path)
    with pytest.raises(UserError, match="no pretrained editor is called 'cats'"):
        Editor.from_pretrained("cats")


def test_flags_take_networks_of_the_domain_unless_they_are_given(folder, tmp_path):
    options = edit_flags.parse(["p.png", "--domain", str(folder), "--encoder", str(tmp_path)])
    assert networks(options) == {
        "generator": folder / "generator",
        "encoder": tmp_path,
        "classifier": folder / "classifier",
    }
    assert directions(options) == [folder / "directions.safetensors"]


def test_a_folder_of_before_takes_the_usual_steps_of_tuning(tmp_path):
    domain.write(tmp_path, domain.Domain("cars", 64, "square", tune=100), {}, "directions")
    kind, _ = domain.read(tmp_path)
    assert (kind.tune, kind.tune_quickly) == (100, 34)
    content = json.loads((tmp_path / domain.FILE).read_text())
    del content["tune"]
    (tmp_path / domain.FILE).write_text(json.dumps(content))
    assert domain.read(tmp_path)[0].tune == domain.FACES.tune == 20


@pytest.mark.parametrize("tune", [0, 1])
def test_edits_stay_in_the_centred_square_and_off_its_padding(folder, tune):
    editor = Editor.from_pretrained(folder, config=VARIANTS["product"])
    photo = small_editor.photograph(size=(160, 200))
    assert centre_quad(160, 200)[0].tolist() == [20, 0]
    result = editor.edit(photo, {"smiling": 2.0}, tune=tune, cache=False)
    changed = (result.image != photo).any(-1)
    assert changed.any()
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert rows.min() >= 40 and rows.max() < 120  # a quarter above and below is padding
    assert columns.min() >= 20 and columns.max() < 160  # and an eighth on the right


def test_an_edit_made_elsewhere_is_not_taken_into_the_padding(folder):
    photo = read_photo(hopper()).pixels  # 600 x 512, so that the square begins in row 44
    edited = photo.copy()
    for top in (80, 280):
        edited[top : top + 60, 200:280] = 255 - edited[top : top + 60, 200:280]
    editor = Editor.from_pretrained(folder, config=VARIANTS["product"])
    result = editor.blend(photo, edited)
    rows = np.flatnonzero((result.image != photo).any((1, 2)))
    assert 172 < rows.min() < 300 < rows.max() < 428  # rows 172 to 427 are no padding
