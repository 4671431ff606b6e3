"""The fields of an evaluation's configuration; a mistake becomes one line."""

from ml_collections import ConfigDict

from diffcam_jax.errors import UserError
from diffcam_jax.evaluation import PROTOCOLS

# Fields of every configuration: type and least value.
COMMON: dict[str, tuple[type | tuple[type, ...], float | None]] = {
    "name": (str, None),
    "protocols": (tuple, None),
    "seed": (int, 0),
    "devices": (int, 0),
    "generator": (str, None),
    "encoder": (str, None),
    "classifier": (str, None),
    "deghoster": (str, None),
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
    for name, (kind, least) in COMMON.items():
        if name not in config:
            raise UserError(f"the config has no field {name}; add it, see configs/eval/all.py")
        value = config[name]
        if not isinstance(value, kind):
            raise UserError(f"config.{name}={value!r} has the wrong type; see configs/eval/all.py")
        if least is not None and value < least:
            raise UserError(f"config.{name}={value} is too small; give {least:g} or more")
    if config.size & (config.size - 1):
        raise UserError(f"config.size={config.size} is no power of two; take one, or 0 for the generator's own")
    for name in config.protocols:
        if name not in PROTOCOLS:
            raise UserError(f"config.protocols: no protocol is called {name!r}; there are {', '.join(PROTOCOLS)}")
        if name not in config:
            raise UserError(f"config.protocols names {name}, but there are no settings for it (config.{name})")
