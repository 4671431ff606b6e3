"""The protocols of an evaluation on toy networks, and on folders of networks."""

import dataclasses
import importlib
import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from diffcam_jax import inversion
from diffcam_jax.errors import UserError
from diffcam_jax.evaluation import in_domain, runner, settings
from diffcam_jax.evaluation.bench import Bench
from diffcam_jax.evaluation.networks import open_world
from diffcam_jax.evaluation.pictures import items
from diffcam_jax.evaluation.store import opened
from diffcam_jax.files import model_folder
from diffcam_jax.files.trees import tree_hash
from diffcam_jax.inversion import TuningSettings
from diffcam_jax.nn.indomain_encoder import InDomainEncoder
from diffcam_jax.nn.network import Network
from tests.random_variables import random_variables

PROTOCOLS = ("reconstruction", "editing", "masks", "in_domain", "directions")


def config(name, **changes):
    made = importlib.import_module(f"configs.eval.{name}").get_config("debug")
    made.update(changes)
    settings.check(made)
    return made


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_runs_on_toys_and_goes_on(tmp_path, name):
    made = config(name)
    first = runner.evaluate(made, tmp_path, [], "command")
    assert first.problems == {} and first.sections
    measured = (tmp_path / "metrics.jsonl").read_text()
    for section in first.sections:
        ours = [table for table in section.tables if not table.published]
        assert all(table.rows and table.settings["seed"] == 0 for table in ours)
        assert (name == "directions") or ours
    page = (tmp_path / "report.html").read_text()
    assert "data:image" in page and "http" not in page
    again = runner.evaluate(made, tmp_path, [], "command")
    assert again.sections == first.sections and (tmp_path / "metrics.jsonl").read_text() == measured


def test_the_papers_order_is_read_off_what_was_measured():
    measured = {
        "in_domain": {"a": {"mse": 0.02, "seconds": 9.0}, "b": {"mse": 0.04, "seconds": 11.0}},
        "encoder": {"a": {"mse": 0.05, "seconds": 0.1}, "b": {"mse": 0.07, "seconds": 0.1}},
        "image2stylegan": {"a": {"mse": 0.01, "seconds": 5.0}},
    }
    edits = {
        "in_domain": [{"moved": 1.0, "kept": 0.6}, {"moved": 3.0, "kept": float("nan")}],
        "image2stylegan": [{"moved": 1.0, "kept": 0.8}],
    }
    (table,) = in_domain._order(measured, edits, {})
    assert [row[1:] for row in table.rows] == [
        ["0.0300", "0.0600", "yes"],
        ["5.0000", "5.0000", "no"],
        ["10.0000", "5.0000", "no"],
    ]
    assert in_domain._order({"mse": {}}, {"mse": []}, {}) == []


def test_too_few_pictures_for_a_split(tmp_path):
    made = config("editing")
    made.editing.sources = ("generated:6",)
    with pytest.raises(
        UserError, match=r"6 pictures have a score of a; a share of 0\.33 of them is 1, at least 4"
    ):
        runner.evaluate(made, tmp_path / "out", [], "command")


def test_folders_of_a_generator_and_an_encoder_open_and_are_measured(tmp_path):
    """As a run of train.py leaves them.

    The directions that ship are not this generator's, and nobody asks for them.
    """
    toy = open_world(config("masks")).generator
    encoder = InDomainEncoder(widths=(8, 8, 8, 8, 16), rows=10, latent_size=8)
    random = Network(encoder, random_variables(encoder, jnp.zeros((1, 64, 64, 3))))
    model_folder.save(tmp_path / "generator", {"generator": toy}, {}, {"kind": "toy"})
    model_folder.save(tmp_path / "encoder", {"encoder": random}, {}, {"kind": "toy"})
    made = config(
        "reconstruction", generator=str(tmp_path / "generator"), encoder=str(tmp_path / "encoder")
    )
    made.reconstruction.methods = ("encoder", "mse")
    document = runner.evaluate(made, tmp_path / "out", [], "command")
    table = document.sections[0].tables[0]
    assert [row[0] for row in table.rows] == ["encoder", "mse"] and document.problems == {}
    assert table.settings["encoder"] == tree_hash(random.variables)[:12]
    with pytest.raises(UserError, match="no direction and class for a"):
        made.editing = config("editing").editing
        made.protocols = ("editing",)
        runner.evaluate(made, tmp_path / "other", [], "command")


def test_a_tuned_generator_of_each_picture_has_a_row_of_its_own(tmp_path, monkeypatch):
    """Without LPIPS, which needs a file; the pivots are those of the toy encoder."""
    settings = TuningSettings(steps=4, rate=0.2, lpips=0.0)
    tuning = dataclasses.replace(inversion.METHODS[inversion.TUNING], defaults=settings)
    monkeypatch.setitem(inversion.METHODS, inversion.TUNING, tuning)
    made = config("reconstruction", aligner="toy", inversion_steps=6)
    made.reconstruction.methods = ("encoder", "pivotal_tuning")
    first = runner.evaluate(made, tmp_path, [], "command")
    assert first.problems == {}
    ours, *theirs = first.sections[0].tables
    assert [row[:2] for row in ours.rows] == [["encoder", "5"], ["pivotal_tuning", "5"]]
    place = ours.columns.index("MSE")
    encoder, tuned = (float(row[place].split()[0]) for row in ours.rows)
    assert tuned < 0.9 * encoder and any("tuned to each picture" in note for note in ours.notes)
    published = {cell for table in theirs for row in table.rows for cell in row}
    assert {"PTI", "DHR", "SFE"} <= published
    measured = (tmp_path / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in measured.splitlines()]
    made_of = [x for x in lines if (x["protocol"], x["subject"]) == ("codes", "pivotal_tuning")]
    assert len(made_of) == 5 and all(x["steps"] == 6 and x["seconds"] > 0 for x in made_of)
    assert runner.evaluate(made, tmp_path, [], "command").sections == first.sections
    assert (tmp_path / "metrics.jsonl").read_text() == measured


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("in_domain", "methods", ("mse", "pivotal_tuning")),
        ("editing", "codes", ("known", "pivotal_tuning")),
        ("masks", "codes", ("known", "pivotal_tuning")),
        ("invertibility", "method", "pivotal_tuning"),
    ],
)
def test_protocols_that_move_codes_refuse_tuned_generators(tmp_path, name, field, value):
    made = config(name)
    made[name][field] = value
    with pytest.raises(UserError, match="draws with one; measure it by reconstruction") as error:
        runner.evaluate(made, tmp_path, [], "command")
    assert "\n" not in str(error.value)


def test_a_damaged_picture_of_a_folder_is_listed_and_the_rest_measured(tmp_path):
    (tmp_path / "faces").mkdir()
    for i in range(3):
        Image.fromarray(np.full((64, 64, 3), 80 * i, np.uint8)).save(
            tmp_path / "faces" / f"{i}.png"
        )
    (tmp_path / "faces" / "1.png").write_bytes(b"no picture")
    made = config("reconstruction", folder=str(tmp_path / "faces"))
    made.reconstruction.sources = ("folder",)
    document = runner.evaluate(made, tmp_path / "out", [], "command")
    assert list(document.problems) == ["1.png"] and document.sections[0].tables[0].rows[0][1] == "2"


def test_generated_pictures_are_those_of_their_codes(tmp_path):
    made = config("masks")
    with opened(tmp_path) as store:
        bench = Bench(made, store)
        few, more = (
            items("generated", 64, n, made, lambda: bench.world.prior(made)) for n in (2, 3)
        )
        for a, b in zip(few, more):
            np.testing.assert_array_equal(a.read(), b.read())
        np.testing.assert_array_equal(more[2].read(), bench.world.draw(more[2].code()[None], 64)[0])
    assert not np.array_equal(more[0].read(), more[1].read())


@pytest.mark.weights
def _nothing_drawn():
    raise AssertionError("photographs are not drawn")


def test_photographs_with_licences_of_their_own_are_measured_but_never_shown(tmp_path):
    made = config("reconstruction")
    made.reconstruction.sources = ("photographs:2",)
    document = runner.evaluate(made, tmp_path, [], "command")
    table = document.sections[0].tables[0]
    assert table.rows[0][1] == "2"
    assert all(
        figure.suffix == "png" for figure in document.sections[0].figures
    )  # plots only, no sheet of pictures
    found = items("photographs", 64, 0, made, _nothing_drawn)
    assert len(found) == 11 and not any(item.shown for item in found)
    assert all(item.shown for item in items("public_domain", 64, 0, made, _nothing_drawn))
