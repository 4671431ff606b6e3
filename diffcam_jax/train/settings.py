"""Checks the whole configuration of a training before anything starts."""

from ml_collections import ConfigDict

from diffcam_jax.command import rules
from diffcam_jax.errors import UserError
from diffcam_jax.train import encoder_fields, fields
from diffcam_jax.train.registry import name_of

# The keys are those of `registry.TRAINERS`.
TABLES: dict[str, rules.Table] = {
    "stylegan2": fields.STYLEGAN2,
    "diffcam": fields.DIFFCAM,
    "deghost": fields.DEGHOST,
    "deghost/mobile": fields.DEGHOST_MOBILE,
    "encoder/psp": encoder_fields.PSP,
    "encoder/e4e": encoder_fields.E4E,
    "encoder/restyle": encoder_fields.RESTYLE,
    "encoder/indomain": encoder_fields.INDOMAIN,
    "encoder/traditional": encoder_fields.TRADITIONAL,
    "encoder/mobile": encoder_fields.ENCODER_MOBILE,
    "invertibility": encoder_fields.INVERTIBILITY,
    "styleflow": fields.STYLEFLOW,
}
_EXAMPLES = {"deghost/mobile": "deghost_mobile", "encoder/mobile": "encoder_mobile"}
_EXAMPLES |= {"diffcam": "diffcam_mobile", "invertibility": "invertibility_mobile"}


def check(config: ConfigDict) -> None:
    """Checks that every field is there, is known, and has a type and a value that make sense.

    Args:
        config: of a run.

    Raises:
        UserError: names the field that does not, and what to give.
    """
    for name in ("trainer", "model"):  # they say which table is the right one
        if name not in config:
            raise UserError(f"the config has no field {name}; add it, see configs/base.py")
    rules.check_field(config, "trainer", fields.COMMON["trainer"], "configs/base.py")
    if not isinstance(config.model, ConfigDict):
        raise UserError(f"config.model={config.model!r} is no section; see configs/encoder.py")
    if "kind" in config.model:
        rules.check_field(config.model, "kind", rules.text(), "configs/encoder.py", "config.model")
    trainer = name_of(config)
    example = _EXAMPLES.get(trainer, trainer.partition("/")[0])
    rules.check(config, TABLES[trainer], f"configs/{example}.py")
    if config.get("warmup", 0) >= config.steps:
        raise UserError(
            f"config.warmup={config.warmup}: give fewer than config.steps, which are {config.steps}"
        )
