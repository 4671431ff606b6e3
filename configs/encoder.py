"""Encoders for a frozen generator: pSp, e4e, ReStyle, in-domain, and the baseline on synthetic
pairs.

    python train.py --config configs/encoder.py:MODE --workdir RUN --config.data.folder=FACES
    [--config.generator=DIR]

    MODE         source            official numbers
    psp          2008.00951        batch 8, 300,000 to 500,000 steps of Ranger at 1e-4
    e4e          2102.02766        batch 8, 200,000 steps of Ranger at 1e-4; deltas come in from step 20,000, one every 2,000
    restyle      2104.02699        as psp, five passes in a step
    indomain     2004.00049        batch 128 on 8 GPUs, 109,375 steps of Adam at 1e-4, x0.8 every quarter; adversarial 0.08 (paper: 0.1)
    embedded     2004.00049        indomain for the embedded generator: its 18 rows, 20 M parameters, what one GPU trains in a day
    traditional  2004.00049, 3.1   indomain on pictures of the generator, without photographs

MODE_debug, and debug for psp, train a few steps with a toy generator and need no file.

The pictures are aligned faces (`python -m diffcam_jax.data prepare --align`). The generator is the
embedded MobileStyleGAN, whose W+ has 18 rows of which 16 matter, or any converted one; the paper's
setting is indomain with --config.generator of its StyleGAN v1. The networks are small here: 14.6,
17.6 and 17.9 M parameters for psp, e4e and restyle, 87 M for indomain. The official ones (e4e: 267
M) are --config.model.counts="(3,4,14,3)" --config.model.widths="(64,128,256,512)"
--config.model.channels=512 (psp: --config.model.heads=pyramid as well), started from ArcFace by
--config.model.start=ARCFACE, with the identity loss on --config.identity=ARCFACE (both folders of
converted weights; without the latter the embedded SFace stands in); they want a GPU. traditional
draws its pictures from config.generator; with --config.data.source=folder the photographs serve to
measure by.

A step of batch 4 takes 2.4 s for psp, 2.8 s for e4e and 8.8 s for restyle on two cores, in 4 to 5.4
GB; a checkpoint of psp has 0.32 GB. A CPU does to see it learn; for the official number of steps
take a GPU.
"""

from ml_collections import ConfigDict, config_dict

MODES = ("psp", "e4e", "restyle", "indomain", "embedded", "traditional")
BODY = {"counts": (2, 2, 4, 2), "widths": (32, 64, 128, 256), "squeeze": 16}


def get_config(mode: str = "psp") -> ConfigDict:
    name, _, debug = {"": "psp", "debug": "psp_debug"}.get(mode, mode).partition("_")
    kind = "indomain" if name == "embedded" else name
    if name not in MODES or debug not in ("", "debug"):
        raise ValueError(
            f"mode {mode!r}: allowed are {', '.join(MODES)}, each with _debug, and debug"
        )
    config = ConfigDict()
    config.name = f"encoder_{name}"
    config.trainer = "encoder"
    config.seed = 0
    config.steps = 200_000
    config.batch_size = 8
    config.accumulate = 1
    config.devices = 0  # all
    config.precision = "float32"  # "bfloat16" acts on the encoder
    config.generator = ""  # the embedded one; a folder of converted weights, or "toy"
    config.identity = ""  # folder with ArcFace; the embedded SFace stands in
    config.perceptual = ""  # folder with Caffe's VGG16 (in-domain); the embedded VGG16 stands in

    config.data = ConfigDict()
    config.data.source = "folder"
    config.data.folder = ""
    config.data.name = ""
    config.data.size = 256
    config.data.flip = True

    config.model = ConfigDict()
    config.model.kind = kind
    config.model.size = 256  # of the pictures that the encoder and the losses see
    config.model.start = ""  # folder with ArcFace, whose body the encoder's begins as
    # Of the heads and a pyramid; None, as the official ones have it, is the length of a code.
    config.model.channels = config_dict.placeholder(int)
    config.model.update(BODY)
    config.optimiser = _optimiser("ranger", 1e-4, 0.95, 0.999, 1e-5)
    config.loss = ConfigDict({"l2": 1.0, "lpips": 0.8, "identity": 0.1, "w_norm": 0.0})

    config.log_every = 50
    config.eval_every = 2500
    config.sample_every = 1000
    config.checkpoint_every = 1000
    config.keep = 2
    config.eval_size = 64
    config.patience_nan = 20

    recipes = (_psp, _e4e, _restyle, _indomain, _embedded, _traditional)
    dict(zip(MODES, recipes, strict=True))[name](config)
    if debug:
        _shrink(config)
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
    # The arrangement of the released network, whose last normalisation has a factor; the one in the
    # training code gives codes of unit variance, as the official generator's are.
    config.model.released = True
    config.model.base, config.model.largest = (
        32,
        512,
    )  # official: 64 and 1024, 512 where released is False
    config.optimiser = _optimiser("adam", 1e-4, 0.9, 0.99, 1e-8, 0.8)
    config.loss = ConfigDict({"l2": 1.0, "vgg": 5e-5, "adversarial": 0.08})
    # Channels at the coarse end, and what `config_widths` multiplies by at the fine one; the
    # generator's own where it fits.
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
    config.data.source = "generator"
    config.data.folder = config.get_oneway_ref("generator")
    config.data.flip = False


def _shrink(config: ConfigDict) -> None:
    config.steps, config.batch_size, config.eval_size = 4, 4, 4
    config.log_every, config.eval_every, config.sample_every, config.checkpoint_every = 1, 2, 2, 2
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
