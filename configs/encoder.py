r"""Encoders for a frozen generator.

    python train.py --config configs/encoder.py:MODE --workdir RUN --config.data.folder=FACES \
        [--config.generator=DIR]

    MODE         source            official run
    psp          2008.00951        300,000 to 500,000 steps of 8, Ranger at 1e-4
    e4e          2102.02766        200,000 steps of 8; deltas from step 20,000, one every 2,000
    restyle      2104.02699        as psp, five passes in a step
    indomain     2004.00049        109,375 steps of 128, Adam at 1e-4, times 0.8 every quarter
    embedded     2004.00049        indomain for the embedded generator, 20 M parameters
    traditional  2004.00049, 3.1   indomain on pictures of the generator, without photographs

Each has MODE_debug; `debug` is that of psp. The networks are small; docs/training.md has the
official sizes and initialisation. Expected: 2.4 to 8.8 s a step of 4 on two cores.
"""

from ml_collections import ConfigDict, config_dict

from configs.base import base, pictures, shrink

MODES = ("psp", "e4e", "restyle", "indomain", "embedded", "traditional")
BODY = {"counts": (2, 2, 4, 2), "widths": (32, 64, 128, 256), "squeeze": 16}


def get_config(mode: str = "psp") -> ConfigDict:
    """Returns the configuration of a mode."""
    name, _, debug = {"": "psp", "debug": "psp_debug"}.get(mode, mode).partition("_")
    if name not in MODES or debug not in ("", "debug"):
        raise ValueError(
            f"mode {mode!r}: allowed are {', '.join(MODES)}, each with _debug, and debug"
        )
    config = base(
        f"encoder_{name}",
        "encoder",
        steps=200_000,
        batch_size=8,
        eval_every=2500,
        eval_size=64,
        checkpoint_every=1000,
    )
    config.generator = ""  # "" is the embedded one; a folder of converted weights, or "toy"
    config.identity = ""  # folder with ArcFace; "" takes the embedded SFace instead
    config.perceptual = ""  # of in-domain: folder with Caffe's VGG16; "" takes torchvision's
    config.data = pictures("folder", 256)

    config.model = ConfigDict()
    config.model.kind = "indomain" if name == "embedded" else name
    config.model.size = 256  # of the pictures that the encoder and the losses see
    config.model.start = ""  # folder with ArcFace, whose body the encoder is initialised with
    # Of the heads and a pyramid; None, the official choice, is the length of a code.
    config.model.channels = config_dict.placeholder(int)
    config.model.update(BODY)
    config.optimiser = _optimiser("ranger", 1e-4, 0.95, 0.999, 1e-5)
    config.loss = ConfigDict({"l2": 1.0, "lpips": 0.8, "identity": 0.1, "w_norm": 0.0})

    recipes = (_psp, _e4e, _restyle, _indomain, _embedded, _traditional)
    dict(zip(MODES, recipes, strict=True))[name](config)
    if debug:
        _debug(config)
    return config


def _optimiser(
    name: str, rate: float, b1: float, b2: float, eps: float, decay: float = 1.0
) -> ConfigDict:
    return ConfigDict(
        {"name": name, "learning_rate": rate, "b1": b1, "b2": b2, "eps": eps, "decay": decay}
    )


def _psp(config: ConfigDict) -> None:
    config.steps = 300_000
    config.model.heads = "pooled"  # small; "pyramid" is the official one
    config.model.pool = 7


def _e4e(config: ConfigDict) -> None:
    config.loss.update({"delta": 2e-4, "adversarial": 0.1})
    config.model.channels = 128
    config.model.widths = (32, 64, 128, 128)  # a pyramid's body ends with its channels
    config.stages = ConfigDict({"start": 20_000, "every": 2000})
    config.discriminator = ConfigDict(
        {"width": 512, "depth": 4, "pool": 50, "r1": 10.0, "r1_every": 16}
    )
    config.discriminator.optimiser = _optimiser("adam", 2e-5, 0.9, 0.999, 1e-8)


def _restyle(config: ConfigDict) -> None:
    config.steps = 300_000
    config.model.channels = 128
    config.model.passes = 5
    config.model.progressive = False  # rows are deltas from the first
    config.model.backbone = "irse"  # or "resnet": counts (3, 4, 6, 3), for everything but faces


def _indomain(config: ConfigDict) -> None:
    config.steps = 109_375
    config.batch_size = 16
    del config.model.counts, config.model.widths, config.model.squeeze, config.model.channels
    # True is the released network, whose last normalisation has a scale; False is that of the
    # training code, whose codes have unit variance, as the official generator's do.
    config.model.released = True
    # Official: 64 and 1024, or 512 where released is False.
    config.model.base, config.model.largest = 32, 512
    config.optimiser = _optimiser("adam", 1e-4, 0.9, 0.99, 1e-8, 0.8)
    # The paper prints 0.1 for the adversarial weight, the release has 0.08.
    config.loss = ConfigDict({"l2": 1.0, "vgg": 5e-5, "adversarial": 0.08})
    # Channels at the coarse end, and what `config_widths` multiplies by at the fine one; a
    # generator's own discriminator is used where it fits.
    config.discriminator = ConfigDict({"width": 512, "multiplier": 1.0, "r1": 10.0})
    config.discriminator.optimiser = _optimiser("adam", 1e-4, 0.9, 0.99, 1e-8, 0.8)


def _embedded(config: ConfigDict) -> None:
    _indomain(config)
    config.steps = 60_000
    config.model.base, config.model.largest = 16, 128  # nine tenths are the dense head of 18 rows
    config.discriminator.width = 256


def _traditional(config: ConfigDict) -> None:
    _indomain(config)
    del config.discriminator
    config.loss = ConfigDict({"code": 1.0})
    # With data.source "folder" the photographs only serve to measure by.
    config.data.source = "generator"
    config.data.folder = config.get_oneway_ref("generator")
    config.data.flip = False


def _debug(config: ConfigDict) -> None:
    shrink(config, batch_size=4, eval_size=4)
    config.generator = "toy"
    config.data.source, config.data.size, config.model.size = "toy", 16, 16
    for name in ("lpips", "identity", "vgg"):
        if name in config.loss:
            config.loss[name] = 0.0
    if "counts" in config.model:
        config.model.update(
            {"counts": (1, 1, 1, 1), "widths": (8, 8, 8, 8), "squeeze": 4, "channels": 8}
        )
    else:
        config.model.base, config.model.largest = 8, 16
    if "heads" in config.model:
        config.model.heads = "pyramid"
    if "passes" in config.model:
        config.model.passes = 2
    if "stages" in config:
        config.stages.start, config.stages.every = 1, 1
    if "discriminator" in config:
        config.discriminator.width = 16
