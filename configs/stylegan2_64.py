"""StyleGAN2 at 64 pixels, small enough for a CPU: 1912.04958, with 2006.06676 as an option.

    python -m diffcam_jax.data prepare --src FACES --name faces --size 64
    python train.py --config configs/stylegan2_64.py --workdir RUN --config.data.name=faces

Other sizes are powers of two, --config.data.size=32; on a GPU take the official widths,
--config.model.channel_max=512 --config.model.channel_multiplier=2 --config.batch_size=32. With few
pictures (below some 20,000) take --config.ada=on. --config.data.source=generator needs no pictures:
it draws from the embedded generator.

"frechet" is a distance of thumbnails, cheap and comparable within a run only;
--config.eval_fid=True adds the FID proper, from as many pictures as are held out (published ones
take 50,000, and fewer give higher numbers). On two cores a step takes 0.5 s: 4,500 of them (72,000
pictures) reach FID 121 against 1,024 training pictures in 41 minutes, see docs/training.md.

`configs/stylegan2_64.py:debug` trains four steps at 8 pixels on coloured shapes. The constants of
the official runs at 256 to 1024 are in configs/stylegan2.py.
"""

from ml_collections import ConfigDict


def get_config(mode: str = "") -> ConfigDict:
    if mode not in ("", "debug"):
        raise ValueError(f"mode {mode!r}: allowed is debug")
    config = ConfigDict()
    config.name = "stylegan2_64"
    config.trainer = "stylegan2"
    config.seed = 0
    config.steps = 100_000
    config.batch_size = 16
    config.accumulate = 1
    config.devices = 0  # all
    config.precision = "float32"
    config.patience_nan = 20

    config.data = ConfigDict()
    config.data.source = "prepared"
    config.data.folder = ""
    config.data.name = ""
    config.data.size = 64
    config.data.flip = True

    config.model = ConfigDict()
    config.model.channel_multiplier = 0.125  # 32 channels at 64 pixels ...
    config.model.channel_max = 64  # ... and 64 below
    config.model.mapping_layers = 4
    config.model.latent_size = 512

    config.learning_rate = 2e-3
    config.style_mixing = 0.9
    config.r1_every = 16
    config.r1_gamma = 0.05  # ADA's rule: 0.0002 size^2 / batch
    config.path_every = 4
    config.path_weight = 2.0
    config.ema_kimg = 5.0  # ADA's rule: 10 batch / 32
    config.ema_rampup = 0.05
    config.ada = "off"  # "on", or a fixed probability such as "0.2"
    config.ada_target = 0.6
    config.ada_kimg = 500.0  # thousands of pictures in which the probability can go from 0 to 1

    config.log_every = 50
    config.eval_every = 1000
    config.sample_every = 500
    config.checkpoint_every = 500
    config.keep = 2
    config.eval_size = 1024
    config.eval_fid = False

    if mode == "debug":
        config.steps, config.batch_size, config.eval_size = 4, 4, 6
        config.log_every, config.eval_every, config.sample_every, config.checkpoint_every = (
            1,
            2,
            2,
            2,
        )
        config.data.source, config.data.size = "toy", 8
        config.model.channel_max, config.model.mapping_layers, config.model.latent_size = 8, 2, 16
        config.r1_every, config.path_every, config.ada = 2, 2, "on"
    return config
