"""Inversion: the codes of photographs, by encoder or search, and the generators tuned to them.

    found = inversion.invert(generator, encoder, images, method="in_domain")
    found.codes                     # W+ [b, n, k]

Pictures are float32 [b, s, s, 3] RGB in [-1, 1], aligned like the generator's; codes are W+
[b, n, k] with n = 2 log2(side) - 2. This works for every generator with `mapping` and `synthesis`
(StyleGAN v1, StyleGAN2, MobileStyleGAN); "pivotal_tuning", whose `found.tuned` holds the changes of
the generator, for the latter two. `METHODS` lists the methods, `settings` holds their constants and
those of a refinement (`settings=REFINEMENT`), `judges` the perceptual comparisons, `optimise` the
common loop; `files.codes` and `tuned_files` store results on disk.
"""

from diffcam_jax.inversion.inverter import Inversion, Inverter, invert
from diffcam_jax.inversion.methods import METHODS, TUNING, Method
from diffcam_jax.inversion.settings import (
    REFINEMENT,
    AnySettings,
    PriorSettings,
    SearchSettings,
    TuningSettings,
)

__all__ = [
    "METHODS",
    "REFINEMENT",
    "TUNING",
    "AnySettings",
    "Inversion",
    "Inverter",
    "Method",
    "PriorSettings",
    "SearchSettings",
    "TuningSettings",
    "invert",
]
