"""Fitting directions on any generator with any scores: planted directions, closed forms,
scikit-learn, tiny networks.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from diffcam_jax.directions import make, recipe, scoring, space
from diffcam_jax.directions.acts import WHOLE
from diffcam_jax.directions.calibration import calibrate, clean_range
from diffcam_jax.directions.fit import attribute_curves, condition, fit_boundary
from diffcam_jax.directions.plans import Attribute, Fitting
from diffcam_jax.errors import UserError
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan1 import StyleGAN1Generator
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from tests.random_variables import random_variables

SIZE = 16
MODULES = {
    "embedded's kind": MobileStyleGAN((8, 8, 8), SIZE, 1),  # 32 pixels, 8 rows
    "stylegan2": StyleGAN2Generator((8, 8, 8), SIZE, 1),  # 16 pixels, 6 rows
    "a w per layer": StyleGAN1Generator((8, 8, 8), SIZE, 1),
}


@functools.cache
def network(name: str) -> Network:
    module = MODULES[name]
    variables = random_variables(module, jnp.zeros((1, SIZE)), seed=3)
    if (
        name != "embedded's kind"
    ):  # mapping networks with a learning rate of 0.01 hold weights of a size of 100
        for layer in (v for k, v in variables["params"].items() if k.startswith("dense")):
            layer["kernel"] = 100 * layer["kernel"]
    return Network(module, variables)


def redness(pictures: np.ndarray) -> np.ndarray:
    return pictures[..., 0].mean((1, 2)) - pictures[..., 2].mean((1, 2))


# ---------------------------------------------------------------- boundaries


def planted(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal(d)
    return rng.standard_normal((n, d)).astype(np.float32), normal / np.linalg.norm(normal)


def test_svm_finds_a_planted_direction():
    codes, normal = planted(3000, 64)
    scores = np.tanh(codes @ normal)
    scores[::50] = np.nan
    boundary = fit_boundary(codes, scores, ratio=0.25)
    assert boundary.normal @ normal > 0.97
    assert boundary.accuracy > 0.95 and 0.8 < boundary.remaining < 1
    assert np.linalg.norm(boundary.normal) == pytest.approx(1, abs=1e-5)
    assert boundary.samples == int(0.7 * 2 * int(2940 * 0.25))
    assert np.mean((boundary.decision(codes) > 0) == (codes @ normal > 0)) > 0.9
    assert fit_boundary(codes, scores, count=100).samples == 140
    assert np.isnan(fit_boundary(codes, scores, ratio=0.5).remaining)


def test_rare_labels_are_weighed_against_as_many_others():
    codes, normal = planted(2000, 16)
    labels = (codes @ normal > 1.5).astype(float)  # about 7 %
    boundary = fit_boundary(codes, labels, ratio=0.25)
    assert boundary.samples == int(0.7 * 2 * int(labels.sum()))
    assert boundary.normal @ normal > 0.9 and boundary.remaining > 0.6


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        (np.arange(30.0), {}, "30 scored samples give 7 for each class, at least 10"),
        (np.where(np.arange(200) < 5, 1.0, 0.0), {}, "5 for each class"),
        (np.full(200, 3.0), {}, "overlap at 3"),
        (np.full(200, np.nan), {}, "0 scored samples"),
        (np.arange(200.0), {"count": 150}, "use at most half"),
        (np.repeat([0.0, 1.0, 2.0], [10, 180, 10]), {}, "overlap at 1"),
    ],
)
def test_scores_that_tell_nothing_apart(scores, options, message):
    with pytest.raises(UserError, match=message):
        fit_boundary(np.zeros((len(scores), 4), np.float32), scores, **options)


@given(st.integers(0, 6), st.integers(0, 2**16), st.booleans())
def test_condition_is_orthogonal_to_all_conditions(count, seed, twice):
    rng = np.random.default_rng(seed)
    normal, others = (
        rng.standard_normal(32).astype(np.float32),
        list(rng.standard_normal((count, 32))),
    )
    kept = condition(normal, others + others if twice else others)
    assert np.linalg.norm(kept) == pytest.approx(1, abs=1e-5)
    for other in others:
        assert abs(kept @ other) < 1e-5
    if others:  # by projection on an orthonormal basis
        basis = np.linalg.qr(np.stack(others).T)[0]
        rest = normal - basis @ (basis.T @ normal)
        np.testing.assert_allclose(kept, rest / np.linalg.norm(rest), atol=1e-5)


def test_condition_refuses_nothing_left():
    normal = np.eye(4, dtype=np.float32)[0]
    with pytest.raises(UserError, match="nothing is left"):
        condition(normal, [2 * normal])


def test_curves_of_a_boundary():
    codes, normal = planted(400, 8)
    noisy = codes @ normal + 0.5 * np.random.default_rng(1).standard_normal(400) > 0.3
    perfect = attribute_curves(codes, codes @ normal > 0.3, normal)
    assert perfect.average_precision == pytest.approx(1)
    curves = attribute_curves(codes, noisy, normal)
    # Precision and recall by their definitions, at every threshold.
    decision = (codes * normal).sum(1)
    for precision, recall, threshold in zip(curves.precision, curves.recall, curves.thresholds):
        found = decision >= threshold
        assert precision == pytest.approx((found & noisy).sum() / found.sum())
        assert recall == pytest.approx((found & noisy).sum() / noisy.sum())
    steps = -np.diff(curves.recall) @ curves.precision[:-1]
    assert curves.average_precision == pytest.approx(steps)
    assert curves.positives == noisy.mean() < curves.average_precision
    # A boundary per row on W+ codes, and a fitted one with its offset, which moves thresholds only.
    rows = np.repeat(codes[:, None], 3, 1)
    np.testing.assert_allclose(
        attribute_curves(rows, noisy, np.tile(normal, (3, 1))).precision, curves.precision
    )
    fitted = fit_boundary(codes, codes @ normal)
    expected = precision_recall_curve(noisy, codes @ fitted.normal)
    np.testing.assert_allclose(attribute_curves(codes, noisy, fitted).recall, expected[1])
    with pytest.raises(UserError, match="does not fit codes"):
        attribute_curves(rows, noisy, normal[:4])
    with pytest.raises(UserError, match="labels are the same"):
        attribute_curves(codes, np.ones(400, bool), normal)


# ---------------------------------------------------------------- coordinates


@pytest.mark.parametrize("rows", [1, 3])
def test_whitening_and_back(rows):
    rng = np.random.default_rng(0)
    codes = np.stack(
        [rng.standard_normal((500, 8)) @ rng.standard_normal((8, 8)) + 3 for _ in range(rows)], 1
    )
    values, vectors = zip(*(np.linalg.eigh(np.cov(codes[:, r].T)) for r in range(rows)))
    own = space.CodeSpace(codes.mean(0), np.stack(vectors), np.stack(values))
    u = own.coordinates(codes)
    for row in range(rows):
        np.testing.assert_allclose(np.cov(u[:, 8 * row : 8 * row + 8].T), np.eye(8), atol=1e-6)
    normal = rng.standard_normal(8 * rows)
    normal /= np.linalg.norm(normal)
    moved = own.coordinates(codes + own.step(normal))
    # One standard deviation in a row on average.
    np.testing.assert_allclose(moved - u, np.tile(np.sqrt(rows) * normal, (500, 1)), atol=1e-4)


def test_a_plain_step_is_one_standard_deviation():
    rng = np.random.default_rng(0)
    codes = (rng.standard_normal((4000, 8)) @ rng.standard_normal((8, 8)))[:, None]
    values, vectors = np.linalg.eigh(np.cov(codes[:, 0].T))
    plain = space.CodeSpace(codes.mean(0), vectors[None], values[None], whitened=False)
    normal = np.eye(8)[2]
    step = plain.step(normal)[0]
    np.testing.assert_allclose(step, normal * codes[:, 0, 2].std(ddof=1), rtol=1e-5)
    centred = codes[:, 0] - codes[:, 0].mean(0)
    u = plain.coordinates(codes)
    np.testing.assert_allclose(u * (centred.std() / u.std()), centred, rtol=1e-6)
    assert u.var(0).mean() == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("name", MODULES)
def test_codes_of_every_generator(name):
    generator = network(name)
    rows = 6 if name == "a w per layer" else 1
    codes = space.draw(generator, jax.random.key(5), 400)
    assert codes.shape == (400, rows, SIZE)
    np.testing.assert_allclose(space.draw(generator, jax.random.key(5), 7), codes[:7], atol=1e-5)
    own = space.code_space(generator, draws=400)
    half = space.truncated(codes, own.mean, 0.5)
    np.testing.assert_allclose(half - own.mean, 0.5 * (codes - own.mean), atol=1e-5)


def test_rows_that_share_one_w_count_once():
    module = StyleGAN1Generator((8, 8, 8), SIZE, 1, repeat_w=True)
    generator = Network(module, random_variables(module, jnp.zeros((1, SIZE))))
    assert space.draw(generator, jax.random.key(0), 3).shape == (3, 1, SIZE)


# ---------------------------------------------------------------- strength


def test_calibration_stops_where_the_shift_is_reached():
    codes = np.zeros((4, 18, 512), np.float32)
    step = np.zeros((18, 512), np.float32)
    step[3, 0] = 1.0
    attribute = recipe.ATTRIBUTES["smiling"]
    found = calibrate(attribute, step, codes, spread=2.0, score=lambda rows: rows[:, 3, 0])
    assert found == pytest.approx(2.0 * attribute.shift)
    saturated = calibrate(
        attribute, step, codes, spread=1.0, score=lambda rows: np.minimum(rows[:, 3, 0], 0.5)
    )
    assert saturated <= attribute.most
    lost = calibrate(
        attribute, step, codes, 2.0, lambda rows: np.where(rows[:, 3, 0] > 2, np.nan, rows[:, 3, 0])
    )
    assert lost == 1.5  # the furthest at which a picture still had a score
    with pytest.raises(UserError, match="none of the 4 samples"):
        calibrate(attribute, step, codes, 1.0, lambda rows: np.full(len(rows), np.nan))


def test_clean_range_ends_where_a_face_is_lost():
    array = np.zeros((18, 512), np.float32)
    array[0, 0] = 1.0
    codes = np.zeros((3, 18, 512), np.float32)
    codes[2, 0, 1] = 1.0  # has no face to lose

    def score(rows):
        return np.where(
            (rows[:, 0, 0] > 2.2) | (rows[:, 0, 0] < -1.2) | (rows[:, 0, 1] > 0), np.nan, 1.0
        )

    assert clean_range(array, codes, score) == (-1.0, 2.0)
    assert clean_range(array, codes[2:], score) == (-1.0, 1.0)


# ---------------------------------------------------------------- the whole way, with functions as
# scorers


@pytest.mark.parametrize(
    ("name", "whitened"), [*((name, True) for name in MODULES), ("a w per layer", False)]
)
def test_a_function_of_pictures_becomes_a_direction(name, whitened, tmp_path, capsys):
    generator, seen = network(name), []

    def counted(pictures):
        assert pictures.dtype == np.uint8
        seen.append(len(pictures))
        return redness(pictures)

    scorer = scoring.own({"red": counted, "bright": lambda pictures: pictures.mean((1, 2, 3))})
    rows = wplus_rows(generator.module)
    attributes = {"red": Attribute("red", (1, rows), ("bright",), shift=1.0)}
    fitting = Fitting(whitened)
    made, boundaries = recipe.fit_scored(
        generator, attributes, tmp_path, scorer, 300, 1, 8, 0.8, fitting
    )
    direction = made["red"]
    assert direction.array.shape == (rows, SIZE) and direction.layers == (1, rows)
    assert direction.generator == space.generator_hash(generator)
    assert not direction.array[0].any() and direction.array[1:].any(1).all()
    assert boundaries["red"].accuracy > 0.8
    assert "held-out extremes" in capsys.readouterr().out
    # Fresh samples become redder.
    codes = space.truncated(
        space.draw(generator, jax.random.key(9), 40), space.code_space(generator).mean, 0.8
    )
    base = np.broadcast_to(codes, (40, rows, SIZE))
    before, after = (
        redness(scoring.draw_pictures(generator, c, progress=False))
        for c in (base, base + direction.array)
    )
    assert np.mean(after > before) > 0.8
    # Its record says how far the score usually goes.
    assert direction.score == "red" and 0 < direction.move < np.max(after - before)
    assert before.min() < direction.ceiling < 255
    assert (direction.classes, direction.box) == ((), WHOLE)
    # A second run finds all scores on disk, those of the trials, too, and the same directions.
    seen.clear()
    again, _ = recipe.fit_scored(generator, attributes, tmp_path, scorer, 300, 1, 8, 0.8, fitting)
    assert not seen
    np.testing.assert_array_equal(again["red"].array, direction.array)


def test_scoring_goes_on_where_it_stopped(tmp_path):
    generator, calls = network("stylegan2"), []

    def score(name, fail_at=10**9):
        def function(pictures):
            calls.append(name)
            if len(calls) > fail_at:
                raise KeyboardInterrupt
            return redness(pictures)

        return function

    codes = space.draw(generator, jax.random.key(0), 2 * scoring.PART + 12)
    with pytest.raises(KeyboardInterrupt):
        scoring.scored_codes(generator, codes, scoring.own({"a": score("a", 2)}), ["a"], tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    calls.clear()
    both = scoring.own({"a": score("a"), "b": score("b")})
    first = scoring.scored_codes(generator, codes, both, ["a"], tmp_path)
    assert calls == ["a"]
    second = scoring.scored_codes(generator, codes, both, ["a", "b"], tmp_path)
    assert calls == ["a", "b", "b", "b"]
    np.testing.assert_array_equal(first["a"], second["b"])
    np.testing.assert_array_equal(
        first["a"], redness(scoring.draw_pictures(generator, codes, progress=False))
    )
    scoring.scored_codes(generator, codes + 1, both, ["a"], tmp_path)
    assert calls[4:] == ["a"] * 3
    with pytest.raises(UserError, match="return one number for each"):
        scoring.scored_codes(
            generator, codes, scoring.own({"c": lambda pictures: np.zeros(2)}), ["c"], tmp_path
        )
    with pytest.raises(UserError, match="no scorer is called 'redd'"):
        scoring.own({"red": redness}).check(["redd"])


def test_codes_and_layers_of_another_generator_are_refused():
    generator = network("a w per layer")
    scores = {"x": np.arange(100.0)}
    for shape in ((100, 6, 8), (100, 8, SIZE), (100, 1, SIZE)):
        with pytest.raises(UserError, match="the generator reads 6 of 16"):
            make.make_directions(
                generator, {"x": Attribute("x", (0, 6))}, np.zeros(shape, np.float32), scores
            )
    with pytest.raises(UserError, match="choose from 0 to 6"):
        make.make_directions(
            generator, {"x": Attribute("x", (0, 7))}, np.zeros((100, 6, SIZE), np.float32), scores
        )


def test_the_shipped_recipe_reads_what_its_attributes_name():
    needed = make.needed_scores(recipe.ATTRIBUTES)
    assert "skin_lightness" in needed and "age" in needed and "old" not in needed
    assert "roll" not in needed
    clipped = recipe.shipped_attributes(network("stylegan2"))
    assert clipped["smiling"].layers == (2, 6) and clipped["yaw"].layers == (0, 4)
