"""The fields that all configurations of a training share."""

from ml_collections import ConfigDict

from diffcam_jax.command.flags import Fields, check_fields
from diffcam_jax.errors import UserError

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


def check(config: ConfigDict, trainers: tuple[str, ...]) -> None:
    """Whether the common fields are there and make sense.

    Args:
        config: of a run.
        trainers: names that config.trainer may have.

    Raises:
        UserError: says which field does not.
    """
    check_fields(config, COMMON, "configs/diffcam_mobile.py")
    for name, allowed in (("trainer", trainers), ("precision", PRECISIONS)):
        if config[name] not in allowed:
            raise UserError(f"config.{name}={config[name]!r}: allowed are {', '.join(allowed)}")
