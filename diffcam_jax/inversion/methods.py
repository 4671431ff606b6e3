"""The ways to invert, one record each; what differs between them is told here and nowhere else."""

import dataclasses
from collections.abc import Callable
from typing import Any

from diffcam_jax.inversion import judges
from diffcam_jax.inversion.judges import Loaded
from diffcam_jax.inversion.settings import (
    AnySettings,
    InversionConfig,
    Settings,
    TuningSettings,
)

# The one whose result is a generator for every photograph, not a code alone.
TUNING = "pivotal_tuning"


def _no_judges(settings: Any) -> tuple[Loaded, ...]:
    return ()


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to invert.

    Attributes:
        name: of the method.
        description: for people who choose.
        defaults: its settings; their type is that of the method.
        judges: settings -> what compares pictures besides their pixels; fetches its networks.
        from_encoder: whether a search begins at the encoder's code where there is an encoder; else
            at the mean code.
        needs_encoder: whether there has to be one, but for a search that is given its start.
        searches: whether codes are searched; else they are the encoder's.
        agrees: whether the encoder's agreement is part of the loss.
        has_prior: whether codes are held near the distribution of w.
        tunes: whether the generator moves.
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
        InversionConfig(),
        judges=lambda settings: (judges.lpips(),),
        has_prior=True,
    ),
    Method(
        "in_domain",
        "squared error, VGG16 and the encoder's agreement, from the encoder's code (2004.00049)",
        Settings(),
        judges=judges.in_domain,
        needs_encoder=True,
        agrees=True,
    ),
    Method(
        "image2stylegan",
        "squared error and four layers of VGG16, from the mean code (1904.03189)",
        Settings(steps=5000, perceptual=1.0, domain=0.0, patience=100),  # the paper's steps
        judges=judges.image2stylegan,
        from_encoder=False,
    ),
    Method(
        "mse",
        "squared error alone, from the encoder's code where there is one, else from the mean",
        Settings(perceptual=0.0, domain=0.0),
    ),
    Method(
        "encoder",
        "the encoder's code as it is; a traditional encoder is one with other weights",
        Settings(steps=0, perceptual=0.0, domain=0.0),
        needs_encoder=True,
        searches=False,
    ),
    Method(
        TUNING,
        "the generator moves around the encoder's code or that of prior (2106.05744)",
        TuningSettings(),
        tunes=True,
    ),
)

METHODS: dict[str, Method] = {method.name: method for method in _TABLE}
