"""How the shipped directions are made: which score, which layers, what is held still, how strong an edit is."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from diffcam_jax.directions import Direction
from diffcam_jax.directions.fit import Boundary, condition, fit_boundary, unwhitened, whitened
from diffcam_jax.latents import WPLUS_ROWS, LatentStats, sample_w, to_wplus, truncate
from diffcam_jax.ops.image import quantise
from diffcam_jax.weights import replacing

# Side of the pictures that are scored; the parsing network sees 512.
SCORE_SIZE = 512
PSI = 0.8
# Codes are the first of so many draws: a run with more samples begins with those of a smaller one.
POOL = 4000
LICENCE = "non-commercial research, as the FFHQ generator they were fitted on"


@dataclasses.dataclass(frozen=True)
class Attribute:
    """Recipe of one direction.

    Attributes:
      score: name in `scorers` of the score that it raises.
      layers: half-open range of W+ rows it may change.
      still: attributes whose directions are projected out.
      among: (score, lowest, highest) limits of the samples it is fitted on: no eyes behind sunglasses, beards among men.
      shift: rise of the mean score at strength 1, in standard deviations of the score over the samples.
      most: largest allowed step, in prior standard deviations along the direction.
    """

    score: str
    layers: tuple[int, int]
    still: tuple[str, ...]
    shift: float
    among: tuple[tuple[str, float, float], ...] = ()
    most: float = 4.0


NO_GLASSES = ("eyeglasses", -np.inf, 0.05)
MEN = ("gender", 0.0, np.inf)
ATTRIBUTES = {
    "smiling": Attribute("smiling", (2, 9), ("gender", "old", "eyeglasses", "yaw", "skin_lightness"), 1.5),
    "mouth_open": Attribute("mouth_open", (2, 9), ("smiling", "gender", "old", "yaw"), 1.8),
    "eyes_closed": Attribute(
        "eyes_closed", (3, 9), ("smiling", "old", "eyeglasses", "yaw", "gender"), 3.0, (NO_GLASSES,)
    ),
    "old": Attribute("age", (2, 14), ("eyeglasses", "gender", "smiling", "yaw", "skin_lightness"), 1.6),
    "gender": Attribute("gender", (0, 10), ("old", "smiling", "eyeglasses", "yaw", "skin_lightness"), 1.5),
    "eyeglasses": Attribute("eyeglasses", (0, 7), ("old", "gender", "smiling", "yaw"), 2.0),
    "beard": Attribute("beard", (3, 11), ("old", "eyeglasses", "smiling", "skin_lightness"), 1.8, (NO_GLASSES, MEN)),
    "bushy_eyebrows": Attribute(
        "bushy_eyebrows", (4, 12), ("gender", "hair_color", "eyeglasses", "skin_lightness"), 1.8, (NO_GLASSES,)
    ),
    "hair_color": Attribute("hair_color", (7, 16), ("old", "gender", "smiling", "skin_lightness"), 1.5),
    "yaw": Attribute("yaw", (0, 4), ("smiling", "gender", "old"), 1.0),
}
# Scores that have no direction of their own but are held still by some.
CONTROLS = ("skin_lightness",)


@functools.partial(jax.jit, static_argnames=("model", "size"))
def draw_uint8(model, params: dict, codes: jax.Array, size: int) -> jax.Array:
    """Pictures of codes as uint8 [b, size, size, 3]."""
    return quantise(model.apply({"params": params}, codes, method="synthesis", size=size))


def draw_codes(model, params: dict, codes: np.ndarray, batch: int = 4, progress: bool = True) -> np.ndarray:
    """Pictures of any number of codes, a few at a time.

    Args:
      codes: [n, 512] or [n, 18, 512].
      batch: how many are drawn at once; one program is compiled for it.
      progress: show a bar.

    Returns:
      uint8 [n, SCORE_SIZE, SCORE_SIZE, 3].
    """
    pictures = []
    for start in tqdm(range(0, len(codes), batch), desc="drawing", unit="batch", disable=not progress, leave=False):
        part = codes[start : start + batch]
        padded = np.concatenate([part, np.repeat(part[-1:], batch - len(part), 0)])
        pictures.append(np.asarray(draw_uint8(model, params, jnp.asarray(padded), SCORE_SIZE))[: len(part)])
    return np.concatenate(pictures)


def score_codes(model, params: dict, codes: np.ndarray, names: list[str], progress: bool = True) -> dict:
    """Scores of the pictures of codes: name (see `scorers`) -> [n] float32, NaN where there is no face."""
    from diffcam_jax import scorers

    return scorers.score(draw_codes(model, params, codes, progress=progress), names)


def scored_samples(
    model, params: dict, stats: LatentStats, count: int, seed: int, work: Path
) -> tuple[np.ndarray, dict]:
    """Draws and scores samples; finished parts of 100 are kept in `work`, so that an interrupted run goes on.

    Returns:
      (codes [n, 512], name -> scores [n]).
    """
    w = sample_w(model, {"params": params}, jax.random.key(seed), POOL)
    codes = np.asarray(truncate(w, stats.mean, PSI))[:count]
    names = sorted({*CONTROLS, *(attribute.score for attribute in ATTRIBUTES.values())})
    parts = []
    for start in tqdm(range(0, count, 100), desc="samples", unit="x100"):
        path = work / f"scores_{seed}_{start:06d}.npz"
        if not path.exists():
            scores = score_codes(model, params, codes[start : start + 100], names, progress=False)
            with replacing(path) as file:
                np.savez(file, **scores)
        with np.load(path) as part:
            parts.append({name: part[name] for name in names})
    return codes, {name: np.concatenate([part[name] for part in parts]) for name in names}


def fit_boundaries(codes: np.ndarray, scores: dict, stats: LatentStats) -> dict[str, Boundary]:
    """Whitened boundary of every attribute and control, before conditioning."""
    u = whitened(codes, *(np.asarray(a) for a in (stats.mean, stats.eigenvectors, stats.eigenvalues)))
    boundaries = {name: fit_boundary(u, scores[name]) for name in CONTROLS}
    for name, attribute in ATTRIBUTES.items():
        own = scores[attribute.score]
        for other, lowest, highest in attribute.among:
            own = np.where((scores[other] >= lowest) & (scores[other] <= highest), own, np.nan)
        boundaries[name] = fit_boundary(u, own)
    return boundaries


def conditioned_steps(boundaries: dict[str, Boundary], stats: LatentStats) -> dict[str, np.ndarray]:
    """Steps [18, 512] of one prior standard deviation along each conditioned direction, zero outside its layers."""
    steps = {}
    for name, attribute in ATTRIBUTES.items():
        normal = condition(boundaries[name].normal, [boundaries[other].normal for other in attribute.still])
        step = unwhitened(normal, np.asarray(stats.eigenvectors), np.asarray(stats.eigenvalues))
        rows = np.zeros((WPLUS_ROWS, 512), np.float32)
        rows[slice(*attribute.layers)] = step
        steps[name] = rows
    return steps


def calibrate(
    attribute: Attribute,
    step: np.ndarray,
    codes: np.ndarray,
    spread: float,
    score: Callable[[np.ndarray], np.ndarray],
    ladder: tuple[float, ...] = (1.5, 3.0, 4.5),
) -> float:
    """Length of strength 1: where the mean score has risen by `attribute.shift` standard deviations.

    Only samples in the lower half of the score count: who smiles already cannot smile much more.

    Args:
      attribute: its recipe.
      step: [18, 512], one prior standard deviation.
      codes: [n, 512] samples to try it on.
      spread: standard deviation of the score over the prior.
      score: codes [n, 18, 512] -> scores [n].
      ladder: lengths that are tried, ascending.

    Returns:
      Length in prior standard deviations, at most `attribute.most`.
    """
    base = np.asarray(to_wplus(jnp.asarray(codes)))
    before = score(base)
    low = before <= np.nanmedian(before)
    base, before = base[low], before[low]
    lengths, rises = [0.0], [0.0]
    for length in ladder:
        after = score(base + length * step)
        lengths.append(length)
        rises.append(float(np.nanmean(after - before)) / spread)
        if rises[-1] >= attribute.shift:
            break
    # Interpolation needs ascending values; a score that saturates keeps its best rise.
    return float(min(np.interp(attribute.shift, np.maximum.accumulate(rises), lengths), attribute.most))


def clean_range(
    array: np.ndarray,
    codes: np.ndarray,
    score: Callable[[np.ndarray], np.ndarray],
    ladder: tuple[float, ...] = (2.0, 1.5),
) -> tuple[float, float]:
    """Strengths between which every sample still shows a face that the landmarker finds.

    Args:
      array: [18, 512] direction at strength 1.
      codes: [n, 512] samples to try it on.
      score: codes [n, 18, 512] -> scores [n], NaN without a face.
      ladder: strengths that are tried, descending; below the last one 1 is taken as clean.

    Returns:
      (lowest, highest).
    """
    base = np.asarray(to_wplus(jnp.asarray(codes)))

    def furthest(sign: float) -> float:
        clean = (strength for strength in ladder if np.isfinite(score(base + sign * strength * array)).all())
        return sign * next(clean, 1.0)

    return furthest(-1.0), furthest(1.0)


def make_directions(model, params: dict, generator: str, samples: int, seed: int, tries: int, work: Path):
    """The whole recipe: scored samples, boundaries, conditioning, calibration.

    Args:
      model, params: generator.
      generator: hash of its parameters.
      samples: number of scored samples.
      seed: of the samples; the calibration uses the next one.
      tries: samples each strength is calibrated on.
      work: folder of the scores, which makes the run resumable.

    Returns:
      (name -> Direction, name -> Boundary).
    """
    from diffcam_jax.latents import latent_stats

    stats = latent_stats(model, {"params": params}, jax.random.key(0))
    codes, scores = scored_samples(model, params, stats, samples, seed, work)
    boundaries = fit_boundaries(codes, scores, stats)
    fresh = np.asarray(truncate(sample_w(model, {"params": params}, jax.random.key(seed + 1), tries), stats.mean, PSI))
    directions = {}
    for name, step in conditioned_steps(boundaries, stats).items():
        attribute = ATTRIBUTES[name]

        def score(rows: np.ndarray, name: str = attribute.score) -> np.ndarray:
            return score_codes(model, params, rows, [name], progress=False)[name]

        length = calibrate(attribute, step, fresh, float(np.nanstd(scores[attribute.score])), score)
        print(
            f"{name}: held-out accuracy {boundaries[name].accuracy:.3f}, strength 1 = {length:.2f} standard deviations"
        )
        array = (length * step).astype(np.float32)
        directions[name] = Direction(
            name=name,
            array=array,
            range=clean_range(array, fresh[:16], lambda rows: score(rows, "smiling")),
            layers=attribute.layers,
            generator=generator,
            normalisation=f"{length:.4f} prior standard deviations (aim: {attribute.score} rises by {attribute.shift} of its own)",
            method=f"linear SVM in whitened W on {samples} samples (seed {seed}, truncation {PSI}), "
            f"conditioned on {', '.join(attribute.still)}",
            licence=LICENCE,
        )
    return directions, boundaries
