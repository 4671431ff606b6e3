"""Checks the whole configuration of an evaluation before anything is measured."""

from pathlib import Path

from ml_collections import ConfigDict

from diffcam_jax.command import rules
from diffcam_jax.command.rules import (
    Section,
    Table,
    above,
    each,
    nonzero,
    one_of,
    some,
    text,
    whole,
)
from diffcam_jax.errors import UserError
from diffcam_jax.evaluation import PROTOCOLS
from diffcam_jax.files import domain

_NAMES = each(text())
_SOURCES = some(text())
FIELDS: Table = {
    "name": text(),
    "protocols": _NAMES,
    "seed": whole(0, 2**32 - 1),
    "devices": whole(0, note="0 takes all"),
    **dict.fromkeys(("generator", "encoder", "classifier", "deghoster", "aligner"), text()),
    **dict.fromkeys(("directions", "arcface", "folder", "prepared", "generator_class"), text()),
    "psi": above(0, 2),
    "size": whole(0, note="0 is the generator's own side"),
    "inversion_steps": whole(0, note="0 is each method's own number"),
    "pairs": _NAMES,
    "features": one_of("inception", "thumbnail"),
    "judge": one_of("faces", "channels"),
    "bootstrap": whole(0, note="0 gives no intervals"),
    "reconstruction": Section({"sources": _SOURCES, "methods": _NAMES}, needed=False),
    "editing": Section(
        {
            "sources": _SOURCES,
            "codes": _NAMES,
            "attributes": _NAMES,
            "strength": nonzero(),
            "share": above(0, 0.5),
            "limit": whole(0, note="0 takes all"),
            "systems": _NAMES,
            "variant": text(),
        },
        needed=False,
    ),
    "masks": Section(
        {
            "sources": _SOURCES,
            "codes": _NAMES,
            "attributes": _NAMES,
            "strength": nonzero(),
            "variant": text(),
        },
        needed=False,
    ),
    "in_domain": Section(
        {
            "sources": _SOURCES,
            "methods": _NAMES,
            "steps": whole(1),
            "attributes": _NAMES,
            "strength": nonzero(),
        },
        needed=False,
    ),
    "invertibility": Section(
        {
            "sources": _SOURCES,
            "method": text(),
            "attributes": _NAMES,
            "strength": nonzero(),
            "systems": _NAMES,
            "variant": text(),
            "edited_faces": whole(0),
        },
        needed=False,
    ),
    "directions_check": Section(
        {"samples": whole(0, note="0 draws the strip only"), "attributes": _NAMES}
        | {"faces": whole(1)},
        needed=False,
    ),
}


def check(config: ConfigDict) -> None:
    """Checks that every field is there, is known, and has a type and a value that make sense.

    Raises:
        UserError: says which field does not, and what to give.
    """
    rules.check(config, FIELDS, "configs/eval/all.py")
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


def of_domain(config: ConfigDict, folder: Path) -> None:
    """Names the networks of a domain, where the configuration names none.

    Raises:
        UserError: the folder holds no domain.
    """
    kind, places = domain.read(folder)
    for role, place in places.items():
        if role in config and not config[role]:
            config[role] = str(place)
    if not kind.parsing:  # what measures faces has nothing to say
        config.judge = "channels"
        config.pairs = tuple(name for name in config.pairs if name != "identity")
