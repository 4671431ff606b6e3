"""Finding directions: by centroids and regressions, by names for components, by comparisons."""

import json
import math

import numpy as np
import pytest

from diffcam_jax.directions import (
    Direction,
    balance,
    compare,
    explore,
    make,
    recipe,
    scoring,
    searches,
    validate,
)
from diffcam_jax.directions.__main__ import main
from diffcam_jax.directions.effects import Effect
from diffcam_jax.directions.fit import METHODS, by_rank, by_size, condition, fit_boundary
from diffcam_jax.directions.plans import Attribute, Trial
from diffcam_jax.directions.storage import load_directions
from diffcam_jax.errors import UserError
from diffcam_jax.nn.latents import wplus_rows
from tests.test_directions_fit import SIZE, network, planted, redness


def direction(name: str, **changes) -> Direction:
    array = np.ones((18, 512), np.float32)
    values = dict(range=(-2.0, 2.0), layers=(0, 18), generator="", normalisation="", method="made")
    return Direction(name, array, **(values | dict(licence="none") | changes))


# ---------------------------------------------------------------- fits


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_a_planted_direction(method):
    codes, normal = planted(3000, 64)
    scores = np.exp(codes @ normal)  # few large ones
    scores[::50] = np.nan
    found = fit_boundary(codes, scores, method=method)
    assert found.normal @ normal > 0.95 and found.accuracy > 0.95
    assert np.linalg.norm(found.normal) == pytest.approx(1, abs=1e-5)
    assert np.mean((found.decision(codes) > 0) == (codes @ normal > 0)) > 0.9


def test_centroids_by_hand():
    """All extremes are at two places: the way from the one to the other, and the middle of it."""
    low, high = np.array([1.0, 2.0, 0.0]), np.array([4.0, 6.0, 0.0])
    codes = np.concatenate([np.tile(low, (20, 1)), np.tile(high, (20, 1))])
    found = fit_boundary(codes, np.arange(40.0), 0.5, method="centroids")
    np.testing.assert_allclose(found.normal, [0.6, 0.8, 0], atol=1e-6)
    assert found.decision((low + high)[None] / 2)[0] == pytest.approx(0, abs=1e-5)
    assert found.accuracy == 1


def test_ranks_and_sizes():
    ranks = by_rank(np.array([5.0, -1.0, 1000.0, 7.0]))
    assert np.argsort(ranks).tolist() == [1, 0, 3, 2] and ranks.sum() == pytest.approx(0)
    assert ranks.max() == pytest.approx(1.1503, abs=1e-4)  # the 7/8 quantile
    sizes = by_size(np.r_[np.zeros(99), 1.0])
    assert sizes.max() == 4 and sizes[0] == pytest.approx(-0.01 / np.sqrt(0.01 * 0.99))


def test_slack_leaves_some_of_what_resembles():
    normal, other = np.array([0.8, 0.6]), np.array([0.0, 2.0])
    np.testing.assert_allclose(condition(normal, [other]), [1, 0], atol=1e-6)
    kept = condition(normal, [other], slack=1.0)  # half of the component is removed
    np.testing.assert_allclose(kept, np.array([0.8, 0.3]) / np.hypot(0.8, 0.3), atol=1e-6)


# ---------------------------------------------------------------- side effects


def test_additions_cancel_side_effects():
    """A frown that closes the eyes gets some opened ones; what acts elsewhere is left alone."""
    own = {"frown": "frown", "eyes_closed": "eyes_closed", "smiling": "smiling"}
    nothing = dict.fromkeys((*balance.still("frown"), "frown"), 0.0)
    effects = {
        "frown": nothing | {"frown": 1.0, "eyes_closed": 0.8, "smiling": 0.5},
        "eyes_closed": nothing | {"eyes_closed": 2.0},
        "smiling": nothing | {"smiling": 1.0},
    }
    found = balance.additions(effects, own, "frown")
    assert set(found) == {"eyes_closed"}
    assert found["eyes_closed"] == pytest.approx(-0.4 / (1 + balance.COST))


def test_what_goes_along_is_added_and_counts_in_the_strength(tmp_path):
    generator = network("stylegan2")
    rows = wplus_rows(generator.module)
    scorer = scoring.own({"red": redness, "bright": lambda pictures: pictures.mean((1, 2, 3))})
    attributes = {
        "red": Attribute("red", (0, rows), shift=0.5, along=(("bright", 0.5),)),
        "bright": Attribute("bright", (0, rows)),
    }
    trial = Trial(scorer, 6)
    codes = make.trial_codes(generator, trial)
    steps = np.random.default_rng(0).normal(0, 0.3, (2, rows, SIZE)).astype(np.float32)
    records = ((-2.0, 2.0), (0, rows), "", "", "made", "none")
    made = {n: Direction(n, step, *records) for n, step in zip(attributes, steps, strict=True)}
    spreads = {
        name: float(score.std())
        for name, score in make.scored(generator, trial, ["red", "bright"])(codes).items()
    }
    made = balance.balanced(generator, made, attributes, spreads, trial)
    np.testing.assert_allclose(
        made["red"].array / np.linalg.norm(made["red"].array),
        (steps[0] + 0.5 * steps[1]) / np.linalg.norm(steps[0] + 0.5 * steps[1]),
        atol=1e-6,
    )
    assert made["red"].method.endswith("balanced by 0 others, with 0.5 of bright")
    assert made["bright"].method.endswith("balanced by 0 others")


def test_what_goes_along_is_fitted_too_where_nobody_asked_for_it():
    smile = recipe.ATTRIBUTES["smiling"]
    assert list(recipe._companions({"smiling": smile}, 12)) == ["mouth_open"]
    assert recipe._companions({"smiling": smile}, 12)["mouth_open"].layers == (2, 12)
    assert recipe._companions({"smiling": smile, "mouth_open": smile}, 12) == {}


def entry(**changes):
    shift = {"smiling": 1.2, "squint": 0.9, "age": 0.1, "hat": 0.0, "yaw": -0.3}
    return {
        "shift": shift,
        "identity": 0.8,
        "outside": 0.4,
        "own": "smiling",
        "right_way": 1.0,
        "room": 1.5,
    } | changes


def test_crosstalk_leaves_out_what_is_tied():
    assert validate.crosstalk(entry())[:2] == [("yaw", -0.3), ("age", 0.1)]
    assert validate.crosstalk(entry(own=""))[0] == ("smiling", 1.2)
    table = validate.markdown_table({"directions": {"smiling": entry(), "x": entry(own="")}})
    assert "| smiling | +1.20 | +1.50 | 100% | yaw -0.30, age +0.10 | 0.80 | 0.40 |" in table
    assert "| x | none | none | none | smiling +1.20" in table
    assert validate.own_score(direction("Old", score="age")) == "age"
    assert (
        validate.own_score(direction("old")) == "age" and validate.own_score(direction("x")) == ""
    )


def test_outside_share():
    effect = Effect({}, np.ones(3), np.array([4.0, 6.0, np.nan]), np.array([1.0, 1.0, np.nan]))
    assert effect.outside_share() == pytest.approx(0.2)


# ---------------------------------------------------------------- comparison


def test_shared_attributes():
    a, b = {"x": direction("x"), "y": direction("y")}, {"y": direction("y")}
    assert compare.shared({"a": a, "b": b}, []) == ["y"]
    with pytest.raises(UserError, match="b has no direction x"):
        compare.shared({"a": a, "b": b}, ["x"])
    with pytest.raises(UserError, match="a, c have no attribute in common"):
        compare.shared({"a": {"x": direction("x")}, "c": b}, [])


def test_a_comparison_has_means():
    results = {"a": {"x": [1.0, 1.0, 0.2, 0.9, 0.5], "y": [2.0, 0.8, 0.4, 0.7, math.nan]}}
    lines = compare.markdown_table(results).splitlines()
    assert lines[2] == "| x | a | +1.00 | 100% | 0.20 | 0.90 | 0.50 |"
    assert lines[4] == "| mean | a | +1.50 | 90% | 0.30 | 0.80 | 0.50 |"


def test_kept_numbers_belong_to_their_edits(tmp_path):
    about = {"samples": 3, "edits": {"x": "abc"}}
    path = tmp_path / "kept.json"
    assert searches._kept(path, about) is None
    path.write_text(json.dumps(about | {"results": {"x": [1.0]}}))
    assert searches._kept(path, about) == {"x": [1.0]}
    assert searches._kept(path, about | {"samples": 4}) is None
    path.write_text("{")
    assert searches._kept(path, about) is None


# ---------------------------------------------------------------- names for components


def test_a_component_is_named_by_what_it_raises():
    shifts = (("eyes_closed", -1.5), ("age", 0.2))
    found = explore._named(explore.Proposal(direction("sefa_0"), "sefa_0", shifts, 0.9), {})
    assert found.direction.name == "eyes_closed" and found.direction.array[0, 0] == -1
    assert found.shifts[0] == ("eyes_closed", 1.5) and "left_eye" in found.direction.classes
    taken = {"eyes_closed": 1}
    again = explore._named(explore.Proposal(direction("sefa_1"), "sefa_1", shifts, 0.9), taken)
    assert again.direction.name == "eyes_closed_2" and taken["eyes_closed"] == 2
    small = explore.Proposal(direction("sefa_2"), "sefa_2", (("age", 0.2),), 0.9)
    assert explore._named(small, {}) is small
    assert "| sefa_2 | sefa_2 | age +0.20 | 0.90 |" in explore.markdown_table([small])


@pytest.mark.weights
def test_explore_command(tmp_path, capsys):
    command = ["explore", "--components", "2", "--faces", "2", "--out", str(tmp_path)]
    assert main([*command, "--method", "sefa", "--layers", "3", "7", "--length", "3"]) == 0
    made = load_directions(tmp_path / "explored.safetensors")
    assert len(made) == 2 and all(d.layers == (3, 7) for d in made.values())
    table = (tmp_path / "explored.md").read_text()
    assert all(f"| {name} |" in table for name in made) and "sefa_1" in table
    assert (tmp_path / "explored.jpg").stat().st_size > 10_000
    assert "wrote" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["explore", "--components", "0"], "at least one of --components"),
        (["explore", "--faces", "1"], "two --faces"),
        (["compare", "--directions", "a", "--samples", "1"], "--samples 1: give at least 2"),
    ],
)
def test_bad_searches_are_one_line(tmp_path, capsys, command, message):
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error and not (tmp_path / "out").exists()
