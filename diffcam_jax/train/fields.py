"""What the configurations of a training may hold: a table for each trainer.

0 switches an interval or a weight off, and is refused where it has no meaning. What depends on the
data or on networks is checked where these are opened. `encoder_fields` has the tables of encoders
and alignment networks; `settings` puts them together.
"""

from collections.abc import Sequence
from typing import Any

from diffcam_jax.command.rules import (
    Rule,
    Section,
    Table,
    above,
    decay,
    each,
    finite,
    flag,
    maybe,
    one_of,
    optional,
    real,
    side,
    some,
    text,
    whole,
)
from diffcam_jax.errors import UserError

_EVERY = whole(0, note="0 is never")
SHARE = real(0, 1)
WEIGHT = real(0, note="0 leaves it out")
BLOCKS = some(each(whole(1), 4))

COMMON: Table = {
    "name": text(),
    "trainer": text(),
    "seed": whole(0, 2**32 - 1),
    "steps": whole(1),
    "batch_size": whole(1),
    "accumulate": whole(1),
    "devices": whole(0, note="0 takes all"),
    "precision": one_of("float32", "bfloat16"),
    "checkpoint_every": _EVERY,
    "keep": whole(1),
    "eval_every": _EVERY,
    "sample_every": _EVERY,
    "log_every": _EVERY,
    "eval_size": whole(1),
    "patience_nan": whole(1),
}

FLOAT32_ONLY: Table = {**COMMON, "precision": one_of("float32")}

_PHOTOGRAPHIC = {
    **dict.fromkeys(("align", "light", "objects", "compound", "skin", "fine", "round"), SHARE),
    **dict.fromkeys(("blur", "noise", "compress", "shift", "colour", "sigma"), SHARE),
    "largest": real(0.1, 1),
    "turn": real(0, 180),
    "zoom": real(0, 0.9),
    "grain": real(0, 255),
    "quality": whole(1, 95),
}
# Of `data.sources`; which of them a source reads is written there.
PICTURES = {
    "source": one_of("prepared", "folder", "generator", "toy"),
    "size": optional(whole(0, note="0 takes prepared pictures as they are")),
    "folder": optional(text()),
    "name": optional(text()),
    "flip": optional(flag()),
    "masks": optional(flag()),
    "workers": optional(whole(0, note="0 is one thread for each processor")),
    "test_share": optional(real(0, 0.9)),
    "count": optional(whole(1)),
    "psi": optional(above(0, 2)),
    "mixing": optional(SHARE),
    "photographic": Section(
        {name: optional(rule) for name, rule in _PHOTOGRAPHIC.items()}, needed=False
    ),
}
_BETAS = each(decay(), 2)


def _is_ada(value: Any) -> bool:
    from diffcam_jax.train.stylegan2 import ada_probability  # only where it is trained

    try:
        return isinstance(value, str) and ada_probability(value) >= 0
    except UserError:
        return False


STYLEGAN2: Table = {
    **FLOAT32_ONLY,
    "eval_fid": flag(),
    "data": Section(PICTURES | {"size": side(8), "labels": optional(text())}),
    "model": Section(
        {
            "channel_multiplier": above(),
            "channel_max": whole(1),
            "mapping_layers": whole(1),
            "latent_size": whole(1),
            "num_classes": whole(0, note="0 is without labels"),
        }
    ),
    "learning_rate": above(),
    "style_mixing": SHARE,
    "r1_every": whole(0, note="0 leaves R1 out"),
    "r1_gamma": WEIGHT,
    "path_every": whole(0, note="0 leaves the path length penalty out"),
    "path_weight": WEIGHT,
    "ema_kimg": above(),
    "ema_rampup": above(),
    "anchor": Section(
        {"weight": WEIGHT, "lpips": WEIGHT, "steps": whole(0, note="0 begins with both networks")}
    ),
    "ada": Rule('"off", "on", or a fixed probability from 0 to 1 as text', _is_ada),
    "ada_target": real(0, 1),
    "ada_kimg": above(),
}

DIFFCAM: Table = {
    **FLOAT32_ONLY,
    "stage": optional(whole(1)),
    "data": Section(
        {
            "source": one_of("cached", "online"),
            "folder": text(),
            "directions": text(),
            "generator": text(),
            "size": whole(1),
            "faces": whole(1),
        }
    ),
    "model": Section(
        {
            "network": one_of("local", "resnet"),
            "width": optional(whole(1)),
            "layers": optional(whole(0)),
            "stem": optional(whole(1)),
            "rows": optional(BLOCKS),
            "depth": optional(one_of(18, 34, 50, 101)),
            "split": optional(whole(0)),
            "strides": optional(each(whole(1), 4)),
            "shrink": optional(whole(1)),
            "enlarge": optional(one_of(1, 2, 4, 8)),
        }
    ),
    "pretrained": text(),
    "sign": one_of(1, -1),
    "learning_rate": above(),
    "warmup": whole(0),
    "weight_decay": real(0),
    "label_smoothing": decay(),
    "cells": Section(
        {
            "weight": real(0),
            "emphasis": real(0),
            "none": finite(),
            "hide": SHARE,
            "sure": optional(SHARE),
        }
    ),
    "places": Section(
        {"whole": each(text()), "pair": SHARE, "contrast": real(0), "share": above(0, 1)}
    ),
    "augment": Section(
        {
            "flip": SHARE,
            "shift": whole(0),
            "colour": real(0),
            "blur": SHARE,
            "occlude": SHARE,
            "hide": SHARE,
        }
    ),
    "sided": each(text()),
}

DEGHOST: Table = {
    **COMMON,
    "data": Section(PICTURES | {"size": whole(1)}),
    "networks": Section(
        dict.fromkeys(("generator", "encoder", "classifier", "directions"), text())
    ),
    "ghost": Section(
        {
            "strength": each(above(), 2),
            "classifier_size": whole(1),
            "disturb": flag(),
            "normalise": maybe(one_of("minmax", "max"), "the variant's"),
            "resize": maybe(one_of("nearest", "bilinear"), "the variant's"),
        }
    ),
    "model": Section(
        {
            "in_size": side(4),
            "out_size": side(8),
            "channel_multiplier": above(),
            **dict.fromkeys(("channel_max", "latent_size", "mapping_layers", "blocks"), whole(1)),
            **dict.fromkeys(("rrdb_width", "growth", "image_width"), whole(1)),
            "remat": flag(),
            "prior": text(),
            "train_prior": flag(),
            "discriminator": text(),
        }
    ),
    "variant": one_of("official", "paper"),
    "pixel_weight": real(0),
    "perceptual_weight": maybe(WEIGHT, "the variant's"),
    "adversarial": maybe(one_of("nonsaturating", "minimax"), "the variant's"),
    "adversarial_weight": WEIGHT,
    "r1_gamma": WEIGHT,
    "r1_every": whole(0, note="0 leaves R1 out"),
    "learning_rate": above(),
    "betas": _BETAS,
    "ema": decay(),
}

DEGHOST_MOBILE: Table = {
    **FLOAT32_ONLY,
    "generator": text(),
    "data": Section({"source": one_of("known_edits", "toy"), "folder": text(), "size": whole(8)}),
    "model": Section(
        {
            "kind": text(),
            "in_size": side(8),
            "widths": some(whole(1)),
            "prior_side": side(4),
            "rank": whole(1),
        }
    ),
    "loss": Section({"pixel": WEIGHT, "lpips": WEIGHT}),
    "crop": whole(1),
    "outside": real(0),
    "learning_rate": above(),
    "betas": _BETAS,
    "ema": decay(),
}


def _is_edit(value: Any) -> bool:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) != 5:
        return False
    name, score, first, end, deviations = value
    return (
        all(text().fits(word) and word for word in (name, score))
        and whole(0).fits(first)
        and whole(1).fits(end)
        and first < end
        and above().fits(deviations)
    )


STYLEFLOW: Table = {
    **FLOAT32_ONLY,
    "generator": text(),
    "data": Section(
        {
            "folder": text(),
            "faces": whole(1),
            "psi": above(0, 2),
            "seed": whole(0, 2**32 - 2),
        }
    ),
    "conditions": some(text()),
    "edits": each(
        Rule("(name, score, first row, end row, rise in deviations), the rise above 0", _is_edit)
    ),
    "model": Section(
        {
            "axes": whole(0, note="0 takes codes as they are"),
            "widths": some(whole(1)),
            "blocks": whole(1),
        }
    ),
    "trace": one_of("hutchinson", "exact"),
    "learning_rate": above(),
    "warmup": whole(0),
    "weight_decay": real(0),
    "tries": whole(0, note="0 leaves the effect of edits unmeasured"),
}
