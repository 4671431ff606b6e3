r"""Deghosting network around a StyleGAN2 prior (GLEAN): 128 pixels in, 256 or 1024 pixels out.

    python train.py --config configs/deghost.py --workdir RUN
    python train.py --config configs/deghost.py:official --workdir RUN --config.data.folder=FFHQ \
        --config.model.prior=STYLEGAN2 --config.networks.encoder=PSP \
        --config.networks.classifier=DIFFCAM --config.networks.directions=NPY_FOLDER

The default is thin and learns from samples of the embedded generator; `official` has the release's
constants (143.8 M trained and 30.4 M frozen parameters). `--config.variant=paper` switches the
losses and masks from the release to the paper; single fields override either variant.

Source: Diff-CAM (2207.08134), section 3.4; GLEAN (2012.00739).
Expected: 6.6 s a step and 3.5 GB on two cores (default); no run to the end has been made.
"""

from ml_collections import ConfigDict, config_dict

from configs.base import base, check_mode, pictures, shrink


def get_config(mode: str = "") -> ConfigDict:
    """Returns the configuration of a mode."""
    check_mode(mode, "official", "debug")
    config = base(
        "deghost" + (f"_{mode}" if mode else ""),
        "deghost",
        steps=20_000,
        batch_size=4,
        log_every=20,
        sample_every=500,
        eval_every=500,
    )
    # Pictures to blend: "generator", "folder" or "toy"; "prepared" takes finished blends as well.
    config.data = pictures("generator", 256, flip=False)
    config.data.psi = 0.8
    config.data.mixing = 0.3

    # What makes the blends: converted folders; "" is the embedded part, or no encoder.
    config.networks = ConfigDict()
    config.networks.generator = ""  # or "toy"; "" with drawn data is the generator of the data
    config.networks.encoder = ""
    config.networks.classifier = ""
    config.networks.directions = ""

    config.ghost = ConfigDict()
    config.ghost.strength = (0.5, 1.5)  # of the edit, uniform
    config.ghost.classifier_size = 256
    config.ghost.disturb = True  # samples need something that the generator cannot draw
    config.ghost.normalise = config_dict.placeholder(str)  # the variant's; "minmax" or "max"
    config.ghost.resize = config_dict.placeholder(str)  # the variant's; "nearest" or "bilinear"

    config.model = ConfigDict()
    config.model.in_size = 128
    config.model.out_size = 256
    config.model.channel_multiplier = 0.5
    config.model.channel_max = 128
    config.model.latent_size = 512
    config.model.mapping_layers = 8
    config.model.blocks = 4
    config.model.rrdb_width = 32
    config.model.growth = 16
    config.model.image_width = 32
    config.model.remat = False  # recompute the residual blocks in the backward pass: less memory
    # Folder of a StyleGAN2 of out_size pixels, whose widths replace those above; "" starts the
    # inner generator at random, which is then trained along.
    config.model.prior = ""
    config.model.train_prior = True
    config.model.discriminator = ""  # folder; "" starts a new one

    config.variant = "official"  # or "paper"
    config.pixel_weight = 1.0
    config.perceptual_weight = config_dict.placeholder(float)  # the variant's
    config.adversarial = config_dict.placeholder(str)  # the variant's; "nonsaturating" or "minimax"
    config.adversarial_weight = 0.01  # 0 trains without a discriminator
    config.r1_gamma = 1.0  # 0 leaves R1 out
    config.r1_every = 16
    config.learning_rate = 1e-4
    config.betas = (0.9, 0.99)
    config.ema = 0.999  # decay of the average that is exported; 0 exports the network itself

    if mode == "official":
        _official(config)
    if mode == "debug":
        _debug(config)
    return config


def _official(config: ConfigDict) -> None:
    config.steps = 200_000
    config.data.source, config.data.size = "folder", 1024
    config.ghost.strength, config.ghost.disturb = (1.0, 1.0), False
    config.model.update(
        {"out_size": 1024, "channel_multiplier": 2.0, "channel_max": 512, "train_prior": False}
    )
    config.model.update({"blocks": 23, "rrdb_width": 64, "growth": 32, "image_width": 64})
    config.r1_gamma, config.ema = 0.0, 0.0
    config.eval_every, config.sample_every, config.checkpoint_every = 5000, 5000, 1000
    config.eval_size = 16


def _debug(config: ConfigDict) -> None:
    shrink(config, batch_size=2, eval_size=4, log_every=2)
    config.data.source, config.data.size = "toy", 32
    config.networks.generator = "toy"
    config.ghost.classifier_size, config.ghost.disturb = 32, False
    config.model.update({"in_size": 16, "out_size": 32, "channel_max": 8, "train_prior": False})
    config.model.update({"latent_size": 8, "mapping_layers": 1})
    config.model.update({"blocks": 1, "rrdb_width": 8, "growth": 4, "image_width": 8})
    config.perceptual_weight = 0.0
    config.r1_every = 2
