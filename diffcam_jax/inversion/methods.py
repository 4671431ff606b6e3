"""The methods of inversion, one record each; their differences are described only here."""

import dataclasses
from collections.abc import Callable
from typing import Any

from diffcam_jax.inversion import judges
from diffcam_jax.inversion.judges import Loaded
from diffcam_jax.inversion.settings import (
    AnySettings,
    PriorSettings,
    SearchSettings,
    TuningSettings,
)

# The method that also returns a tuned generator for every photograph.
TUNING = "pivotal_tuning"


def _no_judges(settings: Any) -> tuple[Loaded, ...]:
    return ()


@dataclasses.dataclass(frozen=True)
class Method:
    """A method of inversion.

    Attributes:
        name: of the method.
        description: for users who choose.
        defaults: its settings; their type is that of the method.
        judges: settings -> comparisons of pictures besides their pixels; fetches their networks.
        from_encoder: whether a search begins at the encoder's code, if there is an encoder;
            otherwise it begins at the mean code.
        needs_encoder: whether an encoder is required, except for a search with given start codes.
        searches: whether codes are searched; otherwise they are the encoder's.
        agrees: whether the encoder's agreement is part of the loss.
        has_prior: whether codes are kept near the distribution of w.
        tunes: whether the generator is tuned.
    """

    name: str
    description: str
    defaults: AnySettings
    judges: Callable[[Any], tuple[Loaded, ...]] = _no_judges
    from_encoder: bool = True
    needs_encoder: bool = False
    searches: bool = True
    agrees: bool = False
    has_prior: bool = False
    tunes: bool = False


_TABLE = (
    Method(
        "prior",
        "the product's own: LPIPS and squared error under a prior on w, from the mean code (or an "
        "encoder's)",
        PriorSettings(),
        judges=lambda settings: (judges.lpips(),),
        has_prior=True,
    ),
    Method(
        "in_domain",
        "squared error, VGG16 and the encoder's agreement, from the encoder's code (2004.00049)",
        SearchSettings(),
        judges=judges.in_domain,
        needs_encoder=True,
        agrees=True,
    ),
    Method(
        "image2stylegan",
        "squared error and four layers of VGG16, from the mean code (1904.03189)",
        SearchSettings(steps=5000, perceptual=1.0, domain=0.0, patience=100),  # the paper's steps
        judges=judges.image2stylegan,
        from_encoder=False,
    ),
    Method(
        "mse",
        "only squared error, from the encoder's code if there is one, else from the mean",
        SearchSettings(perceptual=0.0, domain=0.0),
    ),
    Method(
        "encoder",
        "the encoder's code without a search; a traditional encoder has other weights",
        SearchSettings(steps=0, perceptual=0.0, domain=0.0),
        needs_encoder=True,
        searches=False,
    ),
    Method(
        TUNING,
        "the generator is tuned around the encoder's code or that of prior (2106.05744)",
        TuningSettings(),
        tunes=True,
    ),
)

METHODS: dict[str, Method] = {method.name: method for method in _TABLE}
