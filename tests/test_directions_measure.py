"""Where directions may act and how far they usually move: records, files, names, measurement."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

from diffcam_jax.directions import (
    Direction,
    load_directions,
    make,
    recipe,
    save_directions,
    scoring,
    space,
)
from diffcam_jax.directions.__main__ import main
from diffcam_jax.directions.acts import HEAD, REGIONS, WHOLE, acts, shipped_name
from diffcam_jax.directions.importers import import_direction, import_folder
from diffcam_jax.directions.measure import PSI, SEED, markdown_table, measured
from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder, trees
from diffcam_jax.nn.conventions import CLASSES
from tests.test_directions_fit import SIZE, network, redness


def direction(name: str = "smiling", rows: int = 6, **fields) -> Direction:
    array = np.random.default_rng(7).standard_normal((rows, SIZE)).astype(np.float32)
    return Direction(name, array, (-2.0, 1.5), (0, rows), "", "", "", "", **fields)


# ---------------------------------------------------------------- records and files


def test_a_file_keeps_where_and_how_far(tmp_path):
    path = tmp_path / "d.safetensors"
    region = {"classes": ("skin", "hair"), "box": (0.25, 0.5, 0.0, 1.0)}
    full = direction(**region, score="age", move=12.5, ceiling=40.0)
    save_directions(path, {"full": full, "bare": direction("bare")})
    read = load_directions(path)
    for found, known in ((read["full"], full), (read["bare"], direction("bare"))):
        ours = (found.classes, found.box, found.score, found.move, found.ceiling)
        assert ours == (known.classes, known.box, known.score, known.move, known.ceiling)
    assert read["bare"].ceiling == math.inf and "Infinity" not in json.dumps(trees.load(path)[1])


def test_a_file_of_before_loads_with_defaults(tmp_path):
    path = tmp_path / "d.safetensors"
    save_directions(path, {"old": direction("old")})
    params, metadata = trees.load(path)
    for field in ("classes", "box", "score", "move"):
        del metadata["directions"]["old"][field]
    trees.save(path, params, metadata)
    read = load_directions(path)["old"]
    assert (read.classes, read.box, read.score, read.move) == ((), WHOLE, "", 0.0)
    assert read.ceiling == math.inf and read.sha256 == direction("old").sha256


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": ("skin", "brow")}, "class is called brow; known are background"),
        ({"box": (0.5, 0.5, 0.0, 1.0)}, "is not .top, bottom, left, right."),
        ({"box": (0.0, 1.0, 0.9, 0.1)}, "is not .top, bottom, left, right."),
        ({"box": (-0.1, 1.0, 0.0, 1.0)}, "fractions from 0 to 1"),
        ({"box": (0.0, math.nan, 0.0, 1.0)}, "fractions from 0 to 1"),
        ({"move": -1.0}, "a finite move of at least 0"),
        ({"move": math.nan}, "a finite move of at least 0"),
        ({"ceiling": math.nan}, "and a ceiling"),
        ({"ceiling": -math.inf}, "and a ceiling"),
    ],
)
def test_a_record_that_is_not_valid(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        direction(**fields)
    path = tmp_path / "d.safetensors"
    save_directions(path, {"old": direction("old")})
    params, metadata = trees.load(path)
    metadata["directions"]["old"] |= fields
    trees.save(path, params, metadata)
    with pytest.raises(UserError, match=message):
        load_directions(path)


# ---------------------------------------------------------------- names


def test_every_shipped_attribute_has_a_region():
    assert set(REGIONS) >= set(recipe.ATTRIBUTES)
    assert set(HEAD) == set(CLASSES) - {"background", "cloth", "hat", "earring", "necklace"}
    for name, region in REGIONS.items():
        direction(name, classes=region.classes, box=region.box)  # is valid
        assert region.classes and len(set(region.classes)) == len(region.classes)


@pytest.mark.parametrize(
    ("name", "shipped"),
    [
        ("Smiling", "smiling"),
        ("Old", "old"),
        ("Mouth_Open", "mouth_open"),
        ("mouth-open", "mouth_open"),
        ("Bushy Eyebrows", "bushy_eyebrows"),
        ("Narrow_Eyes", "eyes_closed"),
        ("age", "old"),
        ("Wings", None),
    ],
)
def test_regions_by_name(name, shipped):
    assert acts(name) == (REGIONS[shipped] if shipped else None)
    assert shipped_name(name) == (shipped or "wings")


def test_imports_know_their_region_by_name(tmp_path):
    for name in ("Narrow_Eyes", "Wings"):
        np.save(tmp_path / f"{name}.npy", np.ones((18, 512)))
    found = import_folder(tmp_path)
    assert (found["Narrow_Eyes"].classes, found["Narrow_Eyes"].box) == REGIONS["eyes_closed"][:2]
    assert (found["Wings"].classes, found["Wings"].box) == ((), WHOLE)
    assert import_direction(tmp_path / "Wings.npy", "Eyeglasses").box == REGIONS["eyeglasses"].box


# ---------------------------------------------------------------- measurement


def test_usual_move_by_hand():
    before = np.array([0.0, 1.0, 2.0, 3.0, np.nan, 0.5])
    after = np.array([2.0, 2.0, 2.5, 3.0, 9.0, np.nan])
    # Samples with both scores: 0, 1, 2, 3; the lower half rises by 2 and 1.
    assert make.usual_move(before, after) == pytest.approx((1.5, 2.5 + 0.7 * 0.5))
    for falls in (before - 1, np.full(6, np.nan)):
        assert make.usual_move(before, falls) == (0.0, math.inf)


def own_scorer() -> scoring.Scorer:
    functions = {"smiling": redness, "eyes_closed": redness, "age": lambda x: x.mean((1, 2, 3))}
    return scoring.own(functions)


@pytest.mark.parametrize("kind", ["stylegan2", "a w per layer"])
def test_measured_on_fresh_faces(kind):
    generator = network(kind)
    given = {
        "smiling": direction("smiling"),
        "Narrow_Eyes": direction("Narrow_Eyes"),
        "old": direction("old", classes=("hair",)),
        "wings": direction("wings", classes=("hair",), score="span", move=2.0, ceiling=3.0),
    }
    made = measured(generator, given, own_scorer(), 10)
    assert list(made) == list(given)
    for name, found in made.items():
        np.testing.assert_array_equal(found.array, given[name].array)
        assert (found.range, found.layers) == (given[name].range, given[name].layers)
    assert [made[name].score for name in made] == ["smiling", "eyes_closed", "age", "span"]
    assert (made["old"].classes, made["old"].box) == REGIONS["old"][:2]
    # What no scorer knows stays as its record says.
    for field in dataclasses.fields(Direction)[1:]:
        assert getattr(made["wings"], field.name) is getattr(given["wings"], field.name)

    centre = space.code_space(generator).mean
    drawn = space.draw(generator, jax.random.key(SEED), 10)
    codes = np.broadcast_to(centre + PSI * (drawn - centre), (10, 6, SIZE))
    moved = codes + given["smiling"].array
    pictures = (scoring.draw_pictures(generator, c, progress=False) for c in (codes, moved))
    before, after = map(redness, pictures)
    rise = np.mean((after - before)[np.argsort(before)[:5]])
    found = made["smiling"]
    assert found.move == pytest.approx(max(rise, 0), rel=1e-5)
    assert found.ceiling == (pytest.approx(np.quantile(after, 0.9)) if rise > 0 else math.inf)
    assert (made["Narrow_Eyes"].move, made["Narrow_Eyes"].ceiling) == (found.move, found.ceiling)


def test_measure_command(tmp_path, capsys, monkeypatch):
    generator = network("stylegan2")
    model_folder.save(tmp_path / "g", {"generator": generator}, {}, {"kind": "stylegan2"})
    given, out = tmp_path / "given.safetensors", tmp_path / "new.safetensors"
    save_directions(given, {"smiling": direction("smiling"), "wings": direction("wings")})
    monkeypatch.setattr(scoring, "built_in", own_scorer)
    command = ["measure", "--directions", str(given), "--generator", str(tmp_path / "g")]
    assert main([*command, "--out", str(out), "--count", "6"]) == 0
    made, told = load_directions(out), capsys.readouterr().out
    for name, known in load_directions(given).items():
        assert made[name].sha256 == known.sha256
    assert made["smiling"].score == "smiling" and made["smiling"].box == REGIONS["smiling"].box
    assert markdown_table(made) in told and f"wrote {out}" in told
    assert "| wings | the whole head | whole | none | unknown | unknown |" in told
    assert main([*command, "--out", str(tmp_path / "none.safetensors"), "--count", "1"]) == 2
    assert "give at least 2" in capsys.readouterr().err
    assert not (tmp_path / "none.safetensors").exists()


def test_measure_refuses_another_generator(tmp_path, capsys):
    foreign = dataclasses.replace(direction(), generator="b")
    save_directions(tmp_path / "d.safetensors", {"x": foreign})
    networks = {"generator": network("stylegan2")}
    model_folder.save(tmp_path / "g", networks, {}, {"kind": "stylegan2"})
    command = ["measure", "--directions", str(tmp_path / "d.safetensors"), "--out", "o.safetensors"]
    assert main([*command, "--generator", str(tmp_path / "g")]) == 2
    assert "another generator" in capsys.readouterr().err
