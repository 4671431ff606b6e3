"""Inversion: the codes of photographs, by encoder or search, and the generators tuned to them.

    found = inversion.invert(generator, encoder, images, method="in_domain")
    found.codes                     # W+ [b, n, k]

Pictures float32 [b, s, s, 3] RGB in [-1, 1], aligned as the generator's; codes W+ [b, n, k] with n
= 2 log2(side) - 2. Works for every generator with `mapping` and `synthesis` (StyleGAN v1,
StyleGAN2, MobileStyleGAN); "pivotal_tuning", whose `found.tuned` holds the changes of the
generator, for the latter two. `METHODS` names the ways, `settings` holds their constants and those
of a refinement (`settings=REFINEMENT`), `judges` what compares pictures, `optimise` the loop that
all share; `code_files` and `tuned_files` keep on disk what was found.
"""

from diffcam_jax.inversion.inverter import Inversion, Inverter, invert
from diffcam_jax.inversion.methods import METHODS, TUNING, Method
from diffcam_jax.inversion.settings import (
    REFINEMENT,
    AnySettings,
    InversionConfig,
    Settings,
    TuningSettings,
)

__all__ = [
    "METHODS",
    "REFINEMENT",
    "TUNING",
    "AnySettings",
    "Inversion",
    "InversionConfig",
    "Inverter",
    "Method",
    "Settings",
    "TuningSettings",
    "invert",
]
