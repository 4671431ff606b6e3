"""The trainers by name: `config.trainer`, followed by "/" and `config.model.kind` where it has one.

A trainer is a module of this package with two functions:

    make_source(config, batch_size, process, processes) -> Source     its data
    build(config, data, axis) -> Trainer                              networks and phases

To add one, write the module and a line in `TRAINERS`. Modules are imported when they are asked for:
each brings the networks that it trains.
"""

import importlib
from collections.abc import Callable
from typing import NamedTuple

from ml_collections import ConfigDict

from diffcam_jax.errors import UserError, suggestion
from diffcam_jax.train.trainer import Source, Trainer

TRAINERS = {
    "stylegan2": "stylegan2",
    "diffcam": "diffcam",
    "deghost": "deghost",
    "deghost/mobile": "deghost_mobile",
    "encoder/psp": "encoder_psp",
    "encoder/e4e": "encoder_e4e",
    "encoder/restyle": "encoder_restyle",
    "encoder/indomain": "encoder_indomain",
    "encoder/traditional": "encoder_traditional",
    "encoder/mobile": "encoder_mobile",
    "invertibility": "invertibility",
    "styleflow": "styleflow",
}


class Recipe(NamedTuple):
    """How a network is trained.

    Attributes:
        make_source: (config, batch size of this process, process, processes) -> its data.
        build: (config, data, device axis) -> its trainer.
    """

    make_source: Callable[..., Source]
    build: Callable[[ConfigDict, Source, str | None], Trainer]


def name_of(config: ConfigDict) -> str:
    """Returns the key of a configuration in `TRAINERS`.

    Raises:
        UserError: no such trainer, or no such kind of it; names the closest one.
    """
    kinds: dict[str, list[str]] = {}
    for name in TRAINERS:
        trainer, _, kind = name.partition("/")
        kinds.setdefault(trainer, []).append(kind)
    trainer, kind = config.trainer, config.model.get("kind", "")
    if trainer not in kinds:
        raise UserError(f"config.trainer={trainer!r} is unknown; {suggestion(trainer, kinds)}")
    if kind not in kinds[trainer]:
        named = filter(None, kinds[trainer])
        raise UserError(f"config.model.kind={kind!r} is unknown; {suggestion(kind, named)}")
    return f"{trainer}/{kind}" if kind else trainer


def find(config: ConfigDict) -> Recipe:
    """Finds the trainer that a configuration names.

    Raises:
        UserError: see `name_of`.
    """
    module = importlib.import_module(f"diffcam_jax.train.{TRAINERS[name_of(config)]}")
    return Recipe(module.make_source, module.build)
