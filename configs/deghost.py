"""The deghosting network: 2207.08134, section 3.4, GLEAN (2012.00739) in miniature, or as released.

    python train.py --config configs/deghost.py --workdir RUN                                    # samples of the embedded generator
    python train.py --config configs/deghost.py:official --workdir RUN --config.networks.encoder=PSP --config.networks.classifier=DIFFCAM \
        --config.networks.directions=NPY_FOLDER --config.model.prior=STYLEGAN2 --config.data.folder=FFHQ
    python train.py --config configs/deghost.py:debug --workdir RUN                              # a minute, no file needed

default     128 -> 256 pixels, thin. Blends are made from samples of the embedded generator, with shapes in front of them that it
            cannot draw. A StyleGAN2 for a prior is not embedded: the inner generator starts at random and is trained along, until
            --config.model.prior names a folder (then add --config.model.train_prior=False).
            A step of four takes 6.6 s and 3.5 GB on two cores: the 20 000 of them want a GPU. No run to the end was made yet.
official    128 -> 1024 pixels, 143.8 M trained and 30.4 M frozen parameters, batch 4, 200 000 steps: the constants of the
            release, whose script could not run. Blends are made while training; the pairs that python -m
            diffcam_jax.data.ghosts writes beforehand, as the release does, are taken with --config.data.source=prepared.
            With one device of little memory: --config.accumulate=4 and --config.model.remat=True.

--config.variant=paper weighs the perceptual loss 0.8 instead of 0.01, plays the minimax game and makes masks as printed; each of
perceptual_weight, adversarial, ghost.normalise, ghost.resize overrides the variant alone.
"""

from ml_collections import ConfigDict, config_dict


def get_config(mode: str = "") -> ConfigDict:
    if mode not in ("", "official", "debug"):
        raise ValueError(f"mode {mode!r}: allowed are official and debug")
    config = ConfigDict()
    config.name = "deghost"
    config.trainer = "deghost"
    config.seed = 0
    config.steps = 20_000
    config.batch_size = 4
    config.accumulate = 1
    config.devices = 0  # all
    config.precision = "float32"
    config.patience_nan = 20

    config.data = ConfigDict()
    config.data.source = "generator"  # or "folder", "prepared", "toy"
    config.data.folder = (
        ""  # of "generator": a folder of converted weights; empty is the embedded one
    )
    config.data.name = ""
    config.data.psi = 0.8
    config.data.mixing = 0.3
    config.data.size = 256
    config.data.flip = False  # a mirrored picture is not what its code draws

    config.networks = (
        ConfigDict()
    )  # that make blends: converted folders; empty is the embedded part, or no encoder
    config.networks.generator = ""  # or "toy"; that of the data, where they are drawn
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
    config.model.remat = False  # jax.checkpoint around the residual blocks: less memory, one forward pass of them more
    config.model.prior = ""  # folder with a StyleGAN2 of out_size pixels; widths, latent_size and mapping_layers are then its own
    config.model.train_prior = True
    config.model.discriminator = ""  # folder; empty is a new one

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

    config.log_every = 20
    config.sample_every = 500
    config.eval_every = 500
    config.eval_size = 32
    config.checkpoint_every = 500
    config.keep = 2

    if mode == "official":
        config.name = "deghost_official"
        config.steps = 200_000
        config.data.source, config.data.size = "folder", 1024
        config.ghost.strength, config.ghost.disturb = (1.0, 1.0), False
        config.model.out_size, config.model.channel_multiplier, config.model.channel_max = (
            1024,
            2,
            512,
        )
        (
            config.model.blocks,
            config.model.rrdb_width,
            config.model.growth,
            config.model.image_width,
        ) = 23, 64, 32, 64
        config.model.train_prior = False
        config.r1_gamma, config.ema = 0.0, 0.0
        config.eval_every, config.sample_every, config.checkpoint_every, config.eval_size = (
            5000,
            5000,
            1000,
            16,
        )
    if mode == "debug":
        config.name = "deghost_debug"
        config.steps, config.batch_size = 4, 2
        config.data.source, config.data.size = "toy", 32
        config.networks.generator = "toy"
        config.ghost.classifier_size, config.ghost.disturb = 32, False
        config.model.in_size, config.model.out_size = 16, 32
        config.model.channel_multiplier, config.model.channel_max = 0.5, 8
        config.model.latent_size, config.model.mapping_layers = 8, 1
        (
            config.model.blocks,
            config.model.rrdb_width,
            config.model.growth,
            config.model.image_width,
        ) = 1, 8, 4, 8
        config.model.train_prior = False
        config.perceptual_weight = 0.0
        config.r1_every, config.eval_size = 2, 4
        config.log_every = config.sample_every = config.eval_every = config.checkpoint_every = 2
    return config
