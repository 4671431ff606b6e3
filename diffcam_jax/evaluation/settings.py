"""The fields that all configurations of an evaluation share."""

from ml_collections import ConfigDict

from diffcam_jax.command.flags import Fields, check_fields
from diffcam_jax.errors import UserError
from diffcam_jax.evaluation import PROTOCOLS

COMMON: Fields = {
    "name": (str, None),
    "protocols": (tuple, None),
    "seed": (int, 0),
    "devices": (int, 0),
    "generator": (str, None),
    "encoder": (str, None),
    "classifier": (str, None),
    "deghoster": (str, None),
    "aligner": (str, None),
    "directions": (str, None),
    "arcface": (str, None),
    "folder": (str, None),
    "prepared": (str, None),
    "psi": ((int, float), 0),
    "size": (int, 0),
    "inversion_steps": (int, 0),
    "pairs": (tuple, None),
    "features": (str, None),
    "judge": (str, None),
    "bootstrap": (int, 0),
}


def check(config: ConfigDict) -> None:
    """Whether the common fields are there and make sense.

    Raises:
        UserError: says which field does not.
    """
    check_fields(config, COMMON, "configs/eval/all.py")
    if config.size & (config.size - 1):
        raise UserError(
            f"config.size={config.size} is no power of two; take one, or 0 for the generator's own"
        )
    for name in config.protocols:
        if name not in PROTOCOLS:
            raise UserError(
                f"config.protocols: no protocol is called {name!r}; there are "
                f"{', '.join(PROTOCOLS)}"
            )
        if name not in config:
            raise UserError(
                f"config.protocols names {name}, but there are no settings for it (config.{name})"
            )
