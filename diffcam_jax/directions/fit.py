"""Fits boundaries to scored codes and conditions them on each other.

Codes are in any coordinates, flattened to [n, d] (see `space`); a boundary is in those it was
fitted in. There are three ways to its normal:

* svm: separates the highest from the lowest scores, as InterFaceGAN does;
* centroids: from the mean code of the lowest to that of the highest scores, as StyleGAN2
  distillation does;
* regression: the ridge regression of all scores, by their ranks.

Source: Shen et al., Interpreting the Latent Space of GANs (1907.10786); Viazovetskyi et al.,
StyleGAN2 Distillation for Feed-forward Image Manipulation (2003.03581), section 3.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import norm, rankdata
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score, precision_recall_curve
from sklearn.svm import LinearSVC

from diffcam_jax.errors import UserError

FEWEST = 10
METHODS = ("svm", "centroids", "regression")
# Of the ridge regression, for coordinates of unit variance: hundreds of weights are fitted to a few
# thousand samples.
RIDGE = 300.0


@dataclasses.dataclass(frozen=True, eq=False)
class Boundary:
    """Separating direction of one attribute.

    Attributes:
        normal: [d] unit vector towards higher scores.
        offset: of the decision codes . normal + offset, positive on the side of higher scores.
        accuracy: fraction of held-out extreme samples on the right side.
        remaining: fraction of the samples between the extremes on the right side, according to the
            score halfway between the classes' means; NaN when there are none.
        samples: number of samples the SVM was trained on.
    """

    normal: np.ndarray
    offset: float
    accuracy: float
    remaining: float
    samples: int

    def decision(self, codes: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """Signed distance of codes from the boundary."""
        return codes @ self.normal + self.offset


@dataclasses.dataclass(frozen=True, eq=False)
class Curves:
    """A boundary as a classifier.

    Attributes:
        precision: [m + 1], by ascending threshold; the last value is 1.
        recall: [m + 1], by ascending threshold; the last value is 0.
        thresholds: [m] decision values from which a sample counts as positive.
        average_precision: area under the curve, without interpolation.
        positives: fraction of samples that have the attribute, the precision of chance.
    """

    precision: np.ndarray
    recall: np.ndarray
    thresholds: np.ndarray
    average_precision: float
    positives: float


def fit_boundary(
    codes: Float[np.ndarray, "n d"],
    scores: Float[np.ndarray, " n"],
    ratio: float = 0.25,
    count: int | None = None,
    penalty: float = 1e-3,
    seed: int = 0,
    method: str = "svm",
    ranked: bool = True,
) -> Boundary:
    """The boundary between the samples with the highest scores and those with the lowest.

    It is fitted to 70 % of them and tested on 30 %; a regression also sees those between.

    Args:
        codes: in the coordinates of the boundary.
        scores: NaN where a sample could not be scored.
        ratio: fraction of the scored samples taken from each end, in (0, 0.5] (InterFaceGAN: 0.02
            of half a million).
        count: number of samples from each end, instead of a ratio.
        penalty: C of the SVM; small, since hundreds of weights are fitted to a few thousand
            samples.
        seed: of the split.
        method: one of `METHODS`.
        ranked: whether a regression is one of ranks. Those of rare attributes, such as eyeglasses,
            are the noise of the many faces without: their scores themselves tell more.

    Raises:
        UserError: a class has fewer than 10 samples, or the scores of both overlap.

    Reference:
        Shen et al., Interpreting the Latent Space of GANs (1907.10786), section 4.1.
    """
    valid = np.flatnonzero(np.isfinite(scores))
    wanted = int(len(valid) * ratio) if count is None else count
    order = valid[np.argsort(scores[valid], kind="stable")]
    low, high = order[:wanted], order[len(order) - wanted :]
    levels = np.unique(scores[valid])
    if len(levels) == 2:  # labels: the rarer of them decides how many there are of each
        low, high = (order[scores[order] == level] for level in levels)
        wanted = min(wanted, len(low), len(high))
        low, high = low[:wanted], high[:wanted]
    if wanted < FEWEST:
        raise UserError(
            f"{len(valid)} scored samples give {wanted} for each class, at least {FEWEST} are "
            "needed; score more of them or use a larger ratio"
        )
    if 2 * wanted > len(valid):
        raise UserError(
            f"{wanted} samples for each class of {len(valid)} scored ones overlap; use at most half"
        )
    if scores[low].max() >= scores[high].min():
        raise UserError(
            f"the {wanted} lowest and the {wanted} highest scores overlap at "
            f"{scores[high].min():g}; use fewer of each"
        )
    chosen = np.concatenate([low, high])
    labels = np.repeat([0, 1], wanted)
    train, held_out = np.split(
        np.random.default_rng(seed).permutation(2 * wanted), [int(0.7 * 2 * wanted)]
    )
    between = np.setdiff1d(valid, chosen)
    if method == "svm":
        svm = LinearSVC(C=penalty, dual=False, random_state=seed)
        normal = svm.fit(codes[chosen[train]], labels[train]).coef_[0]
    elif method == "centroids":
        seen = codes[chosen[train]]
        normal = seen[labels[train] == 1].mean(0) - seen[labels[train] == 0].mean(0)
    else:
        seen = np.concatenate([chosen[train], between])
        target = by_rank(scores[seen]) if ranked else by_size(scores[seen])
        normal = Ridge(RIDGE).fit(codes[seen], target).coef_
    length = np.linalg.norm(normal)
    if method == "svm":
        offset = float(svm.intercept_[0] / length)
    else:  # halfway between the means of both classes
        along = codes[chosen[train]] @ normal / length
        offset = -(along[labels[train] == 1].mean() + along[labels[train] == 0].mean()) / 2
    boundary = Boundary(
        (normal / length).astype(np.float32), float(offset), np.nan, np.nan, len(train)
    )
    halfway = (scores[low].mean() + scores[high].mean()) / 2

    def right(rows: np.ndarray, truth: np.ndarray) -> float:
        found = boundary.decision(codes[rows]) > 0
        return float(np.mean(found == truth)) if len(rows) else float("nan")

    return dataclasses.replace(
        boundary,
        accuracy=right(chosen[held_out], labels[held_out] == 1),
        remaining=right(between, scores[between] > halfway),
    )


def by_rank(scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The normal distribution's quantiles at the scores' ranks: few large ones do not decide."""
    return norm.ppf((rankdata(scores) - 0.5) / len(scores))


def by_size(scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Scores in standard deviations from their mean, between -2 and 4."""
    return np.clip((scores - scores.mean()) / max(scores.std(), 1e-12), -2, 4)


def condition(
    normal: Float[np.ndarray, " d"], others: list[np.ndarray], slack: float = 0.0
) -> Float[np.ndarray, " d"]:
    """Conditional manipulation: removes the components of a normal in the span of the others.

    The coefficients c of the others N solve their Gram system (N N^T) c = N normal, by least
    squares, so that linearly dependent others do no harm.

    Args:
        normal: direction to keep.
        others: any number of directions [d] of attributes that should not change.
        slack: added to the diagonal of the Gram system of unit vectors. Dozens of others that
            resemble each other and the normal would else leave little but the errors of all.

    Returns:
        Unit vector, orthogonal to all of `others` without slack.

    Raises:
        UserError: nothing is left.

    Reference:
        Shen et al., Interpreting the Latent Space of GANs (1907.10786), section 3.2, for any number
        of conditions.
    """
    rest = np.asarray(normal, np.float64)
    size = np.linalg.norm(rest)
    if others:
        basis = np.stack(others).astype(np.float64)
        if slack:
            basis = basis / np.linalg.norm(basis, axis=1, keepdims=True)
            gram = basis @ basis.T + slack * np.eye(len(basis))
            rest = rest - np.linalg.solve(gram, basis @ rest) @ basis
        else:
            rest = rest - np.linalg.lstsq(basis.T, rest, rcond=None)[0] @ basis
    length = np.linalg.norm(rest)
    if length <= 1e-6 * size:
        raise UserError(
            "a direction lies in the span of its conditions: nothing is left of it; use fewer "
            "conditions"
        )
    return (rest / length).astype(np.float32)


def attribute_curves(
    codes: Float[np.ndarray, "n ..."],
    labels: Bool[np.ndarray, " n"],
    boundary: Boundary | np.ndarray,
) -> Curves:
    """Precision and recall of a boundary that separates codes with an attribute from those without.

    This is the semantic analysis of in-domain inversion: boundaries of the prior on inverted codes
    of real pictures.

    Args:
        codes: in the coordinates of a `Boundary` [n, d]; or W+ codes [n, rows, k] for an array.
        labels: which pictures have the attribute.
        boundary: a `Boundary`, or an array [k] or [rows, k] (of a file, a `Direction`) by which
            codes are multiplied.

    Raises:
        UserError: the boundary has another size than the codes, or all labels are the same.

    Reference:
        Zhu et al., In-Domain GAN Inversion (2004.00049), section 4.1.
    """
    array = boundary.normal if isinstance(boundary, Boundary) else boundary
    if array.shape not in ((), codes.shape[-1:], (1, codes.shape[-1]), codes.shape[1:]):
        raise UserError(
            f"a boundary of {array.shape} does not fit codes of {codes.shape[1:]}; use those of "
            "one generator"
        )
    if not labels.any() or labels.all():
        raise UserError(
            f"all {len(labels)} labels are the same; precision and recall need samples with and "
            "without"
        )
    if isinstance(boundary, Boundary):
        decision = boundary.decision(codes)
    else:
        decision = (codes * boundary).reshape(len(codes), -1).sum(1)
    precision, recall, thresholds = precision_recall_curve(labels, decision)
    return Curves(
        precision,
        recall,
        thresholds,
        float(average_precision_score(labels, decision)),
        float(np.mean(labels)),
    )
