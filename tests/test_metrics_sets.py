"""Kernel distance, precision and recall, bootstrap and editing consistency, against SciPy,
scikit-learn, loops and simulation.
"""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors

from diffcam_jax.errors import UserError
from diffcam_jax.metrics import bootstrap, kernel, latents, manifold
from diffcam_jax.metrics.frechet import Statistics, frechet_distance, frechet_interval, statistics


def normal(n, d, seed=0, shift=0.0, scale=1.0):
    return np.random.default_rng(seed).standard_normal((n, d)) * scale + shift


# KID


def test_kernel_is_that_of_scikit_learn():
    a, b = normal(6, 5), normal(4, 5, 1)
    np.testing.assert_allclose(
        kernel.polynomial(a, b), polynomial_kernel(a, b, degree=3, gamma=1 / 5, coef0=1)
    )


def unbiased(a, b):
    """The estimator of Gretton et al. (2012), eq. 3, pair by pair."""

    def k(x, y):
        return (x @ y / len(x) + 1) ** 3

    n, m = len(a), len(b)
    within_a = sum(k(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_b = sum(k(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_a + within_b - 2 * np.mean([k(x, y) for x in a for y in b])


def test_kid_without_subsets_is_the_unbiased_estimator():
    a, b = normal(12, 4), normal(9, 4, 1, 0.5)
    found = kernel.kid_interval(a, b)
    assert found.value == pytest.approx(unbiased(a, b), rel=1e-12)
    assert found.low < found.value < found.high and found.count == 9


def test_kid_of_subsets_as_large_as_the_sets_has_no_spread():
    a, b = normal(20, 4), normal(20, 4, 1, 0.5)
    mean, deviation = kernel.kid(a, b, subsets=3, size=1000)
    assert mean == pytest.approx(unbiased(a, b), rel=1e-12) and deviation < 1e-12


def test_kid_of_subsets_spreads_about_that_of_all():
    a, b = normal(700, 4), normal(600, 4, 1, 0.5)
    mean, deviation = kernel.kid(a, b, subsets=200, size=50, seed=3)
    assert abs(mean - kernel.kid_interval(a, b, repeats=2).value) < 3 * deviation / np.sqrt(200)
    assert kernel.kid(a, b, 200, 50, 3) == (mean, deviation) != kernel.kid(a, b, 200, 50, 4)


def test_kid_of_one_distribution_is_zero_on_average_and_may_be_negative():
    found = [
        kernel.kid(normal(40, 3, 2 * i), normal(40, 3, 2 * i + 1), subsets=1)[0] for i in range(200)
    ]
    assert min(found) < 0 < max(found)
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(200)


# Precision and recall


def neighbourhoods(queries, members, k):
    """By scikit-learn: a query is in when some member is no farther than that member's k-th
    neighbour.
    """
    radii = NearestNeighbors(n_neighbors=k + 1).fit(members).kneighbors(members)[0][:, -1]
    distances = np.linalg.norm(queries[:, None] - members, axis=-1)
    return (distances <= radii).any(1)


def test_within_is_that_of_scikit_learns_neighbours(monkeypatch):
    monkeypatch.setattr(manifold, "_ROWS", 7)  # several stripes
    real, generated = normal(40, 3), normal(30, 3, 1, 0.8)
    expected = neighbourhoods(generated, real, 3)
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(manifold.within(generated, real, 3), expected)
    found = manifold.precision_recall(real, generated)
    assert found == (expected.mean(), neighbourhoods(real, generated, 3).mean())


def test_precision_and_recall_of_a_mode_and_of_strangers():
    both = np.concatenate([normal(100, 2), normal(100, 2, 1, 50)])
    half = manifold.precision_recall(both, normal(100, 2, 2))
    assert half.precision > 0.85 and 0.4 < half.recall < 0.55
    assert manifold.precision_recall(both, normal(50, 2, 3, 500)) == (0, 0)
    assert manifold.precision_recall(both, both) == (1, 1)


# Confidence intervals


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_interval_is_scipys(statistic):
    values = np.random.default_rng(0).exponential(size=41)
    ours = bootstrap.interval(values, lambda x: getattr(np, statistic)(x, 1), resamples=20000)
    theirs = scipy.stats.bootstrap(
        (values,),
        getattr(np, statistic),
        n_resamples=20000,
        method="BCa",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert ours.value == getattr(np, statistic)(values) and ours.count == 41
    np.testing.assert_allclose(ours[1:3], theirs, atol=0.03)


def test_pairs_are_resampled_together():
    """Two methods that differ by 1 on every picture differ by 1 in every resample, however the
    pictures differ.
    """
    first = np.random.default_rng(0).normal(0, 100, 30)
    found = bootstrap.interval(
        np.stack([first, first + 1], 1), lambda x: (x[..., 1] - x[..., 0]).mean(1)
    )
    np.testing.assert_allclose(found[:3], 1, atol=1e-9)


def test_intervals_hold_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(0)
    found = [
        bootstrap.interval(rng.exponential(size=40), seed=i, level=0.8, resamples=400)
        for i in range(300)
    ]
    held = np.mean([low < 1 < high for _, low, high, _ in found])
    assert abs(held - 0.8) < 3 * np.sqrt(0.8 * 0.2 / 300) + 0.02


def test_interval_of_hardly_anything():
    assert bootstrap.interval(np.array([np.nan, 2.0, np.nan]))[::3] == (2.0, 1)
    assert np.isnan(bootstrap.interval(np.array([2.0])).low) and np.isnan(
        bootstrap.interval(np.zeros(0)).value
    )
    assert bootstrap.interval(np.full(5, 3.0)) == (3, 3, 3, 5)
    found = bootstrap.interval(
        np.array([[1, 2], [np.nan, 3], [3, 4], [5, 6]]), lambda x: x.mean((1, 2))
    )
    assert found.count == 3 and found.value == 3.5
    values = np.random.default_rng(0).normal(size=20)
    assert (
        bootstrap.interval(values, seed=1)
        == bootstrap.interval(values, seed=1)
        != bootstrap.interval(values, seed=2)
    )


def test_an_infinite_value_makes_the_mean_infinite_and_the_lower_end_may_still_be_a_number():
    found = bootstrap.interval(
        np.array([np.inf, 20.0, 21.0, 22.0, 23.0, 24.0, 25.0, 26.0]), resamples=200
    )
    assert found.value == found.high == np.inf and 20 <= found.low <= 26
    assert bootstrap.interval(np.array([np.inf, np.inf])) == (np.inf, np.inf, np.inf, 2)


def test_large_sets_are_resampled_in_parts(monkeypatch):
    values = np.random.default_rng(0).normal(size=50)
    whole = bootstrap.interval(values, resamples=3000)
    monkeypatch.setattr(bootstrap, "_NUMBERS_AT_A_TIME", 500)
    np.testing.assert_allclose(bootstrap.interval(values, resamples=3000), whole, atol=0.03)


def test_halves():
    halves = bootstrap.half_samples(9, 500, 0)
    assert halves.shape == (500, 9) and np.all(halves.sum(1) == 4)
    np.testing.assert_allclose(halves.mean(0), 4 / 9, atol=0.08)


@pytest.mark.parametrize(
    ("measure", "repeats"), [(frechet_interval, 40), (kernel.kid_interval, 200)]
)
def test_intervals_of_sets_are_as_wide_as_the_measure_spreads(measure, repeats):
    """The half-width over repetitions of the whole experiment against the spread of the value
    itself.
    """
    found = [
        measure(normal(120, 3, 2 * i), normal(160, 3, 2 * i + 1, 0.7, 1.3), repeats, level=0.6827)
        for i in range(80)
    ]
    spread = np.std([x.value for x in found])
    assert np.mean([(x.high - x.low) / 2 for x in found]) == pytest.approx(spread, rel=0.2)
    truth = np.mean([x.value for x in found])
    assert 0.55 < np.mean([x.low < truth < x.high for x in found]) < 0.82


def test_frechet_halves_are_the_frechet_distance():
    """More vectors than features, and fewer.

    The halves are computed in another way than the value.
    """
    from diffcam_jax.metrics import frechet

    for n, d in ((60, 5), (6, 40)):
        a, b = normal(n, d), normal(n + 3, d, 1, 0.3, 2)
        assert frechet._distance(a, b) == pytest.approx(
            frechet_distance(statistics(a), statistics(b)), rel=1e-6
        )


def test_frechet_interval_is_about_the_value_of_everything():
    a, b = normal(50, 4), normal(40, 4, 1, 1)
    found = frechet_interval(a, b)
    covariance = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    assert found.value == pytest.approx(
        frechet_distance(
            *(Statistics(x.mean(0), c) for x, c in zip((a, b), covariance, strict=True))
        )
    )
    assert (found.low + found.high) / 2 == pytest.approx(found.value) and found.count == 40


def test_too_few_pictures_are_named():
    one, two, d = normal(1, 3), normal(2, 3), normal(10, 3)
    for call, message in (
        (lambda: statistics(one), "at least 2 pictures of each set, got 1"),
        (lambda: frechet_interval(d, normal(3, 3)), "at least 4 pictures of each set, got 3"),
        (lambda: kernel.kid(one, d), "KID needs at least 2 pictures of each set, got 1"),
        (lambda: kernel.kid_interval(d, two), "KID needs at least 4 pictures of each set, got 2"),
        (lambda: manifold.precision_recall(d, two), "more than 3 pictures of each set, got 2"),
    ):
        with pytest.raises(UserError, match=message):
            call()


# Latent editing consistency


def test_lec_of_known_codes():
    codes = np.zeros((3, 2, 4))
    again = codes.copy()
    again[0, 0, :2], again[1] = (3, 4), 1
    np.testing.assert_allclose(latents.lec(codes, again), [5, np.sqrt(8), 0])
    with pytest.raises(ValueError, match=r"one shape, got \(3, 2, 4\) and \(2, 2, 4\)"):
        latents.lec(codes, again[:2])


def test_trimmed_mean_leaves_one_per_cent_out_at_either_end():
    values = np.arange(101.0)
    values[[0, 100]] = -1e9, 1e9
    assert latents.trimmed_mean(np.random.default_rng(0).permutation(values)) == pytest.approx(
        np.arange(1, 100).mean()
    )
    many = np.random.default_rng(1).normal(size=(4, 1000))
    expected = [scipy.stats.trim_mean(row, 0.01) for row in many]
    np.testing.assert_allclose(latents.trimmed_mean(many), expected, atol=1e-3)
    assert bootstrap.interval(many[0], latents.trimmed_mean).value == pytest.approx(
        expected[0], abs=1e-3
    )
