"""StyleGAN2 with the constants of the official runs: 1912.04958 (1024 pixels), 2006.06676 (512 and
256).

    python -m diffcam_jax.data prepare --src FACES --name faces --size 1024 --align
    python train.py --config configs/stylegan2.py:1024 --workdir RUN --config.data.name=faces

    MODE    published for FFHQ
    1024    config-f: FID 2.84 after 25,000 thousand pictures (781,250 steps of 32), more than 9 days on 8 V100
    512     ADA's constants for 512: batch 64
    256     ADA's constants for 256: batch 64, half the widths from 64 pixels up

FID from 50,000 pictures. With few pictures take --config.ada=on. Where memory is short:
--config.accumulate=2, 4, ...; each part must hold 4 pictures or a multiple for each device. debug
trains four steps at 8 pixels on coloured shapes.
"""

from ml_collections import ConfigDict

# side: batch, R1's gamma, half-life of the average in thousands of pictures, learning rate, widths
SIZES = {
    "1024": (32, 10.0, 10.0, 2e-3, 2.0),
    "512": (64, 0.5, 20.0, 2.5e-3, 2.0),
    "256": (64, 1.0, 20.0, 2.5e-3, 1.0),
}


def get_config(mode: str = "1024") -> ConfigDict:
    mode = mode or "1024"
    if mode not in (*SIZES, "debug"):
        raise ValueError(f"mode {mode!r}: allowed are {', '.join(SIZES)} and debug")
    size = "256" if mode == "debug" else mode
    batch, gamma, half_life, rate, multiplier = SIZES[size]
    config = ConfigDict()
    config.name = f"stylegan2_{mode}"
    config.trainer = "stylegan2"
    config.seed = 0
    config.batch_size = batch
    config.steps = 25_000_000 // batch
    config.accumulate = 1
    config.devices = 0  # all
    config.precision = "float32"
    config.patience_nan = 20

    config.data = ConfigDict()
    config.data.source = "prepared"
    config.data.folder = ""
    config.data.name = ""
    config.data.size = int(size)
    config.data.flip = True

    config.model = ConfigDict()
    config.model.channel_multiplier = multiplier
    config.model.channel_max = 512
    config.model.mapping_layers = 8
    config.model.latent_size = 512

    config.learning_rate = rate
    config.style_mixing = 0.9
    config.r1_every = 16
    config.r1_gamma = gamma
    config.path_every = 4
    config.path_weight = 2.0
    config.ema_kimg = half_life
    config.ema_rampup = 0.05
    config.ada = "off"  # "on", or a fixed probability such as "0.2"
    config.ada_target = 0.6
    config.ada_kimg = 500.0  # thousands of pictures in which the probability can go from 0 to 1

    config.log_every = 50
    config.eval_every = 5000
    config.sample_every = 1000
    config.checkpoint_every = 1000
    config.keep = 2
    config.eval_size = 2000
    config.eval_fid = True

    if mode == "debug":
        config.steps, config.batch_size, config.eval_size, config.eval_fid = 4, 4, 6, False
        config.log_every, config.eval_every, config.sample_every, config.checkpoint_every = (
            1,
            2,
            2,
            2,
        )
        config.data.source, config.data.size = "toy", 8
        config.model.channel_max, config.model.mapping_layers, config.model.latent_size = 8, 2, 16
        config.r1_every, config.path_every, config.accumulate = 2, 2, 2
    return config
