"""The fields that all configurations of a training share."""

from ml_collections import ConfigDict

from diffcam_jax.command.flags import Fields, check_fields
from diffcam_jax.errors import UserError
from diffcam_jax.train.registry import name_of

COMMON: Fields = {
    "name": (str, None),
    "trainer": (str, None),
    "seed": (int, 0),
    "steps": (int, 0),
    "batch_size": (int, 1),
    "accumulate": (int, 1),
    "devices": (int, 0),
    "precision": (str, None),
    "checkpoint_every": (int, 0),
    "keep": (int, 1),
    "eval_every": (int, 0),
    "sample_every": (int, 0),
    "log_every": (int, 0),
    "eval_size": (int, 1),
    "patience_nan": (int, 1),
    "data": (ConfigDict, None),
    "model": (ConfigDict, None),
}
PRECISIONS = ("float32", "bfloat16")


def check(config: ConfigDict) -> None:
    """Checks that the common fields are there and make sense.

    Args:
        config: of a run.

    Raises:
        UserError: names the field that does not.
    """
    check_fields(config, COMMON, "configs/base.py")
    name_of(config)
    if config.precision not in PRECISIONS:
        allowed = ", ".join(PRECISIONS)
        raise UserError(f"config.precision={config.precision!r}: allowed are {allowed}")
