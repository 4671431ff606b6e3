"""What is to be made: recipes of attributes, ways to fit them, and samples to try them on."""

import dataclasses
from pathlib import Path

from diffcam_jax.directions.scoring import Scorer
from diffcam_jax.directions.sensitivity import Sensitivity
from diffcam_jax.directions.stylespace import Channels


@dataclasses.dataclass(frozen=True)
class Attribute:
    """Recipe of one direction.

    Attributes:
        score: name of the score that it raises.
        layers: half-open range of W+ rows it may change.
        still: attributes, or scores, whose directions are projected out.
        shift: rise of the mean score at strength 1, in standard deviations of the score over the
            samples.
        among: (score, lowest, highest) limits of the samples on which it is fitted: no eyes behind
            sunglasses, beards among men.
        most: largest allowed step, in prior standard deviations along the direction.
        apart: those of `still` whose restricted steps are removed from the restricted step of the
            attribute, too: what darkens the surroundings of an eye also adds glasses.
        restricted: whether its step may be restricted to its region, and balanced. What changes a
            whole head is not, since no small step tells where it leads.
        method: of its boundary, instead of that of the `Fitting`.
        along: (attribute, share) whose balanced directions are added: a smile that opens no mouth
            shows teeth through lips.
    """

    score: str
    layers: tuple[int, int]
    still: tuple[str, ...] = ()
    shift: float = 1.5
    among: tuple[tuple[str, float, float], ...] = ()
    most: float = 4.0
    apart: tuple[str, ...] = ()
    restricted: bool = True
    method: str = ""
    along: tuple[tuple[str, float], ...] = ()


@dataclasses.dataclass(frozen=True)
class Fitting:
    """How boundaries are fitted and steps are measured.

    Attributes:
        whitened: fit in whitened coordinates; False is InterFaceGAN's way.
        ratio: see `fit.fit_boundary`.
        count: see `fit.fit_boundary`.
        length: strength 1 in prior standard deviations where no scorer can calibrate it.
        licence: of the directions.
        samples: description of the samples on which they were fitted.
        method: of the boundaries, one of `fit.METHODS`.
        slack: see `fit.condition`.
        sensitivity: of the generator. Steps of attributes whose region is known by name are then
            restricted to it, see `local`.
        channels: of the generator. Such steps are then made of a few of them, see `stylespace`.
    """

    whitened: bool = True
    ratio: float = 0.25
    count: int | None = None
    length: float = 2.0
    licence: str = "as the generator"
    samples: str = ""
    method: str = "svm"
    slack: float = 0.0
    sensitivity: Sensitivity | None = None
    channels: Channels | None = None


@dataclasses.dataclass(frozen=True)
class Trial:
    """New samples on which strengths are calibrated.

    Attributes:
        scorer: of their pictures.
        count: number of samples.
        seed: of the draws; another one than that of the fitted samples.
        psi: their truncation.
        face: the score that tells whether a picture is still clean; None uses the attribute's own.
        work: folder of their scores, from which an interrupted run continues; None keeps none.
    """

    scorer: Scorer
    count: int = 32
    seed: int = 2
    psi: float = 0.8
    face: str | None = None
    work: Path | None = None
