"""StyleGAN2 at 64 pixels, small enough for a CPU.

    python -m diffcam_jax.data prepare --src FACES --name faces --size 64
    python train.py --config configs/stylegan2_64.py --workdir RUN --config.data.name=faces

`--config.data.source=generator` needs no pictures: it draws from the embedded generator. With fewer
than some 20,000 pictures add `--config.ada=on`; on a GPU take the official widths,
`--config.model.channel_max=512 --config.model.channel_multiplier=2 --config.batch_size=32`. The
"frechet" of an evaluation is a distance of thumbnails, comparable within a run only; the FID proper
takes `--config.eval_fid=True`.

Source: StyleGAN2 (1912.04958); ADA (2006.06676) as an option.
Expected: 0.5 s a step on two cores; FID 121 (1,024 pictures) after 4,500 steps, 41 minutes.
"""

from ml_collections import ConfigDict

from configs.base import check_mode
from configs.stylegan2 import shrink_stylegan2, stylegan2


def get_config(mode: str = "") -> ConfigDict:
    """Returns the configuration of a mode."""
    check_mode(mode, "debug")
    config = stylegan2("stylegan2_64", 64, steps=100_000, batch_size=16)
    config.model.channel_multiplier = 0.125  # 32 channels at 64 pixels ...
    config.model.channel_max = 64  # ... and 64 below
    config.model.mapping_layers = 4
    config.r1_gamma = 0.05  # ADA's rule: 0.0002 size^2 / batch
    config.ema_kimg = 5.0  # ADA's rule: 10 batch / 32
    config.eval_every, config.sample_every, config.checkpoint_every = 1000, 500, 500
    config.eval_size, config.eval_fid = 1024, False
    if mode == "debug":
        shrink_stylegan2(config)
        config.ada = "on"
    return config
