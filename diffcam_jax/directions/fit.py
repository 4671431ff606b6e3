"""Fits boundaries to scored codes and conditions them on each other, as in InterFaceGAN.

Codes are in any coordinates, flattened to [n, d] (see `space`); a boundary is in those it was
fitted in.

Source: Shen et al., Interpreting the Latent Space of GANs (1907.10786).
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float
from sklearn.metrics import average_precision_score, precision_recall_curve
from sklearn.svm import LinearSVC

from diffcam_jax.errors import UserError

FEWEST = 10


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
) -> Boundary:
    """Separates the samples with the highest scores from those with the lowest by a linear SVM.

    It is trained on 70 % of them and tested on 30 %.

    Args:
        codes: in the coordinates of the boundary.
        scores: NaN where a sample could not be scored.
        ratio: fraction of the scored samples taken from each end, in (0, 0.5] (InterFaceGAN: 0.02
            of half a million).
        count: number of samples from each end, instead of a ratio.
        penalty: C of the SVM; small, since hundreds of weights are fitted to a few thousand
            samples.
        seed: of the split.

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
    svm = LinearSVC(C=penalty, dual=False, random_state=seed).fit(
        codes[chosen[train]], labels[train]
    )
    between = np.setdiff1d(valid, chosen)
    halfway = (scores[low].mean() + scores[high].mean()) / 2
    remaining = svm.score(codes[between], scores[between] > halfway) if len(between) else np.nan
    length = np.linalg.norm(svm.coef_[0])
    return Boundary(
        normal=(svm.coef_[0] / length).astype(np.float32),
        offset=float(svm.intercept_[0] / length),
        accuracy=float(svm.score(codes[chosen[held_out]], labels[held_out])),
        remaining=float(remaining),
        samples=len(train),
    )


def condition(normal: Float[np.ndarray, " d"], others: list[np.ndarray]) -> Float[np.ndarray, " d"]:
    """Conditional manipulation: removes the components of a normal in the span of the others.

    The coefficients c of the others N solve their Gram system (N N^T) c = N normal, by least
    squares, so that linearly dependent others do no harm.

    Args:
        normal: direction to keep.
        others: any number of directions [d] of attributes that should not change.

    Returns:
        Unit vector, orthogonal to all of `others`.

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
