"""A scorer learned from labels: what it learns, what it refuses, and directions fitted to it."""

import numpy as np
import pytest
from numpy.random import default_rng

from diffcam_jax.directions import label_scorer, load_directions
from diffcam_jax.directions.__main__ import main
from diffcam_jax.domain import health
from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder, trees
from tests import toy_domain
from tests.test_directions_fit import network

COUNT = 48


@pytest.fixture(scope="module")
def discs():
    """Pictures of discs [n, s, s, 3], how red they are, and numbers that nothing shows."""
    red, wide = default_rng(1).uniform(size=(2, COUNT))
    pictures = [np.asarray(toy_domain.draw(*one)) for one in zip(red, wide, range(COUNT))]
    return np.stack(pictures), red, default_rng(2).normal(size=COUNT)


@pytest.fixture(scope="module")
def learned(discs):
    pictures, red, nothing = discs
    labels = {"red": np.where(np.arange(COUNT) < 5, np.nan, red), "nothing": nothing}
    return label_scorer.fit([pictures[:32], pictures[32:]], labels)


def test_it_scores_what_pictures_show_and_knows_what_they_do_not(learned, discs):
    pictures, red, _ = discs
    assert learned.right["red"] > 0.9 and abs(learned.right["nothing"]) < 0.5
    unlabelled = label_scorer.as_scorer(learned).score(pictures[:5], ["red"])["red"]
    np.testing.assert_allclose(unlabelled, red[:5], atol=0.2)
    assert np.corrcoef(unlabelled, red[:5])[0, 1] > 0.9


def test_a_score_does_not_depend_on_the_other_pictures(learned, discs):
    scorer = label_scorer.as_scorer(learned)
    together = scorer.score(discs[0][:20], ["nothing", "red"])
    alone = scorer.score(discs[0][18:19], ["red"])
    np.testing.assert_allclose(alone["red"], together["red"][18:19], atol=1e-4)


def test_it_is_read_as_it_was_written(learned, tmp_path):
    label_scorer.save(tmp_path / "scorer.safetensors", learned)
    read = label_scorer.load(tmp_path / "scorer.safetensors")
    assert read.names == learned.names and read.right == learned.right
    np.testing.assert_array_equal(read.kernel, learned.kernel)


def test_labels_that_no_picture_shows_are_named(learned, tmp_path):
    label_scorer.save(tmp_path / "scorer.safetensors", learned)
    told = health.scorer(tmp_path)
    shown = learned._replace(right={"red": 0.9, "nothing": 0.4})
    label_scorer.save(tmp_path / "scorer.safetensors", shown)
    assert health.scorer(tmp_path) == ""
    assert (learned.right["nothing"] < health.TOLD) == ("nothing" in told) and "red" not in told


def test_too_few_numbers_are_refused(discs):
    labels = {"red": np.where(np.arange(COUNT) < 9, discs[1], np.nan)}
    with pytest.raises(UserError, match="red: 9 pictures have a number, at least 10"):
        label_scorer.fit([discs[0]], labels)


@pytest.mark.parametrize(
    "damage",
    [
        {"kernel": np.zeros((3, 2), np.float32)},
        {"offset": np.array([np.nan, 0], np.float32)},
        {"mean": np.zeros((2, 2), np.float32)},
    ],
)
def test_a_damaged_file_is_refused(learned, tmp_path, damage):
    label_scorer.save(tmp_path / "s.safetensors", learned._replace(**damage))
    with pytest.raises(UserError, match="is no scorer of labels"):
        label_scorer.load(tmp_path / "s.safetensors")
    trees.save(tmp_path / "other.safetensors", {"x": np.zeros(1)}, {"kind": "directions"})
    with pytest.raises(UserError, match="is no scorer of labels"):
        label_scorer.load(tmp_path / "other.safetensors")


def test_directions_are_fitted_to_it(learned, tmp_path, capsys):
    folder, file = tmp_path / "generator", tmp_path / "s.safetensors"
    model_folder.save(folder, {"generator": network("a w per layer")}, {}, {"kind": "stylegan1"})
    label_scorer.save(file, learned)
    given = ["fit", f"--generator={folder}", f"--scorer={file}", "--samples=48", "--tries=4"]
    given += ["--attributes", "red", "--out", str(tmp_path / "d.safetensors")]
    assert main(given) == 0
    (direction,) = load_directions(tmp_path / "d.safetensors").values()
    assert direction.name == direction.score == "red" and "48 samples" in direction.method
    assert main([*given, "--labels=x.csv"]) == 2
    assert "leave --labels out" in capsys.readouterr().err
    assert main([*given, "--attributes", "rad"]) == 2
    assert "no scorer is called 'rad'; did you mean red" in capsys.readouterr().err
