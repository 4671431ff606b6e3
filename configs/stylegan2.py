"""StyleGAN2 with the constants of the official runs, at 1024, 512 or 256 pixels.

    python -m diffcam_jax.data prepare --src FACES --name faces --size 1024 --align
    python train.py --config configs/stylegan2.py:1024 --workdir RUN --config.data.name=faces

With few pictures add `--config.ada=on`; where memory is short `--config.accumulate=2` or more, each
part a multiple of 4 pictures for each device. Pictures with classes train conditional networks with
`--config.model.num_classes=N`, see docs/training.md.

Source: StyleGAN2 (1912.04958), config F, at 1024 pixels; ADA (2006.06676) at 512 and 256.
Expected: FID 2.84 (50,000 pictures, FFHQ) at 1024 after 25,000 thousand pictures, that is 781,250
steps of 32 and more than nine days on eight V100 (published). `debug` takes four steps at 8 pixels.
"""

from ml_collections import ConfigDict

from configs.base import base, check_mode, pictures, shrink

# side: batch, R1's gamma, half-life of the average in thousands of pictures, learning rate, widths
SIZES = {
    "1024": (32, 10.0, 10.0, 2e-3, 2.0),
    "512": (64, 0.5, 20.0, 2.5e-3, 2.0),
    "256": (64, 1.0, 20.0, 2.5e-3, 1.0),
}


def get_config(mode: str = "1024") -> ConfigDict:
    """Returns the configuration of a mode."""
    check_mode(mode, *SIZES, "debug")
    mode = mode or "1024"
    size = "256" if mode == "debug" else mode
    batch, gamma, half_life, rate, multiplier = SIZES[size]
    config = stylegan2(f"stylegan2_{mode}", int(size), steps=25_000_000 // batch, batch_size=batch)
    config.model.channel_multiplier = multiplier
    config.learning_rate = rate
    config.r1_gamma = gamma
    config.ema_kimg = half_life
    if mode == "debug":
        shrink_stylegan2(config)
        config.accumulate = 2
    return config


def stylegan2(name: str, size: int, *, steps: int, batch_size: int) -> ConfigDict:
    """Creates a configuration of StyleGAN2 at full width.

    Args:
        name: of the configuration.
        size: side of the pictures.
        steps: length of the run.
        batch_size: pictures in a step.
    """
    config = base(
        name,
        "stylegan2",
        steps=steps,
        batch_size=batch_size,
        eval_every=5000,
        eval_size=2000,
        checkpoint_every=1000,
    )
    config.eval_fid = True  # FID proper, beside the distance of thumbnails
    config.data = pictures("prepared", size)
    config.data.labels = ""  # of a folder: "folders", a CSV or NVIDIA's dataset.json

    config.model = ConfigDict()
    config.model.channel_multiplier = 2.0
    config.model.channel_max = 512
    config.model.mapping_layers = 8
    config.model.latent_size = 512
    config.model.num_classes = 0  # of conditional networks; 0 is without labels

    config.learning_rate = 2e-3
    config.style_mixing = 0.9
    config.r1_every = 16
    config.r1_gamma = 10.0
    config.path_every = 4
    config.path_weight = 2.0
    config.ema_kimg = 10.0
    config.ema_rampup = 0.05
    # For small sets, see train.stylegan2_anchor: weight of its losses, 0 is none; of LPIPS among
    # them; and steps at the beginning without a discriminator.
    config.anchor = ConfigDict({"weight": 0.0, "lpips": 1.0, "steps": 0})
    config.ada = "off"  # "on", or a fixed probability such as "0.2"
    config.ada_target = 0.6
    config.ada_kimg = 500.0  # thousands of pictures in which the probability can go from 0 to 1
    return config


def shrink_stylegan2(config: ConfigDict) -> None:
    """Makes a configuration one of four steps at 8 pixels, on coloured shapes."""
    shrink(config, batch_size=4, eval_size=6)
    config.eval_fid = False
    config.data.source, config.data.size = "toy", 8
    config.model.channel_max, config.model.mapping_layers, config.model.latent_size = 8, 2, 16
    config.r1_every, config.path_every = 2, 2
