"""What the configurations of encoders and of alignment networks may hold; see `fields`."""

from diffcam_jax.command.rules import (
    Section,
    Table,
    above,
    decay,
    each,
    flag,
    maybe,
    one_of,
    optional,
    rising,
    side,
    some,
    text,
    whole,
)
from diffcam_jax.train.fields import BLOCKS, COMMON, FLOAT32_ONLY, PICTURES, SHARE, WEIGHT

_OPTIMISER = {
    "name": one_of("ranger", "adam"),
    "learning_rate": above(),
    "b1": decay(),
    "b2": decay(),
    "eps": above(),
    "decay": above(0, 1),
}
_OF_PICTURES = ("l2", "lpips", "identity", "vgg", "adversarial")
_OF_CODES = ("w_norm", "delta", "code", "whitened", "prior")
_ENCODER = {
    **COMMON,
    "generator": text(),
    "identity": text(),
    "perceptual": text(),
    "data": Section(PICTURES),
    "optimiser": Section(_OPTIMISER),
    "loss": Section({name: optional(WEIGHT) for name in (*_OF_PICTURES, *_OF_CODES)}),
}
_ANY_MODEL = {"kind": text(), "size": side(16), "start": text()}
_BODY = {
    **_ANY_MODEL,
    "counts": each(whole(1), 4),
    "widths": each(whole(1), 4),
    "squeeze": whole(1),
    "channels": maybe(whole(1), "the length of a code"),
}
PSP: Table = _ENCODER | {
    "model": Section(_BODY | {"heads": one_of("pooled", "pyramid"), "pool": whole(1)}),
}
E4E: Table = _ENCODER | {
    "model": Section(_BODY),
    "stages": Section({"start": whole(0), "every": whole(1)}),
    "discriminator": Section(
        {
            **dict.fromkeys(("width", "depth", "pool"), whole(1)),
            "r1": WEIGHT,
            "r1_every": whole(0, note="0 leaves R1 out"),
            "optimiser": Section(_OPTIMISER),
        }
    ),
}
RESTYLE: Table = _ENCODER | {
    "model": Section(
        _BODY | {"passes": whole(1), "progressive": flag(), "backbone": one_of("irse", "resnet")}
    ),
}
TRADITIONAL: Table = _ENCODER | {
    "model": Section(_ANY_MODEL | {"released": flag(), "base": whole(1), "largest": whole(1)}),
}
INDOMAIN: Table = TRADITIONAL | {
    "discriminator": Section(
        {
            "width": whole(1),
            "multiplier": above(),
            "r1": WEIGHT,
            "optimiser": Section(_OPTIMISER),
        }
    ),
}
ENCODER_MOBILE: Table = {name: rule for name, rule in _ENCODER.items() if name != "perceptual"} | {
    "model": Section(
        {
            **_ANY_MODEL,
            "size": whole(32),
            "judged": whole(0, note="0 compares at config.model.size"),
            **dict.fromkeys(("channels", "features", "reduced", "grid", "rank", "stem"), whole(1)),
            "rows": BLOCKS,
            "frozen": whole(0),
            "stored_norm": flag(),
        }
    ),
}

_STAIRS = {
    "learning_rate": above(),
    "b1": decay(),
    "b2": decay(),
    "decay": above(0, 1),
    "every": whole(1),
}
INVERTIBILITY: Table = {
    **FLOAT32_ONLY,
    **dict.fromkeys(("generator", "encoder", "directions", "identity", "perceptual"), text()),
    "data": Section(PICTURES),
    "model": Section(
        {
            "multiplier": above(),
            "cycles": whole(1),
            "scale": above(),
            "align_corners": flag(),
            "normalised": flag(),
            "pyramid": optional(whole(0, note="0 leaves it out")),
            "sides": optional(some(side(4))),
        }
    ),
    "stages": some(each(whole(0), 3)),
    "correlated": whole(0, note="0 starts at random"),
    "nearest": SHARE,
    "edits": SHARE,
    "strengths": rising(),
    "loss": Section(
        {name: optional(WEIGHT) for name in ("pixel", "identity", "perceptual", "style")}
        | {name: optional(WEIGHT) for name in ("adversarial", "area", "binary", "truth")}
    ),
    "areas": some(SHARE),
    "adv_grad": one_of("on", "official"),
    "optimiser": Section(_STAIRS),
    "discriminator": Section(
        {"multiplier": above(), "width": whole(1), "optimiser": Section(_STAIRS)}
    ),
    "ema": decay(),
}
