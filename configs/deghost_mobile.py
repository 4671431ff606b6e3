r"""Small deghosting network of the embedded generator: encoder, frozen generator prior, decoder.

    python -m diffcam_jax.data draw --name drawn256 --count 1700 --size 256 --mixing 0.4 \
        --seed 31 --test-share 0.03
    python -m diffcam_jax.data.known_edits --faces drawn256 --count 1600 --held-out 48 --out PAIRS
    python train.py --config configs/deghost_mobile.py --workdir RUN --config.data.folder=PAIRS
    python -m benchmarks.deghosting --deghoster RUN

Retrain it after another encoder, classifier or blend: it removes the ghosts of just these.

Source: Diff-CAM (2207.08134), section 3.4, on edits whose correct result is known.
Expected: held-out PSNR in the region 21.76 -> 23.83, LPIPS-Alex 0.106 -> 0.089, in about an hour
on two cores (35 minutes of it drawing faces and making pairs); 2.24 M parameters.
"""

from ml_collections import ConfigDict

from configs.base import base, check_mode, shrink


def get_config(mode: str = "") -> ConfigDict:
    """Returns the configuration of a mode."""
    check_mode(mode, "debug")
    config = base(
        "deghost_mobile" + (f"_{mode}" if mode else ""),
        "deghost",
        steps=1000,
        batch_size=4,
        log_every=10,
        sample_every=250,
        eval_every=250,
        checkpoint_every=50,
    )
    config.generator = ""  # the prior: a folder, or "" for the embedded one
    config.data = ConfigDict()
    config.data.source = "known_edits"  # or "toy"
    config.data.folder = ""
    config.data.size = 256  # of toys

    config.model = ConfigDict()
    config.model.kind = "mobile"
    config.model.in_size = 256
    config.model.widths = (32, 64, 96, 128, 144, 160)
    config.model.prior_side = 32
    config.model.rank = 48

    config.loss = ConfigDict({"pixel": 5.0, "lpips": 1.0})
    config.crop = 128  # side of the square that LPIPS sees
    config.outside = 0.05  # weight of pixels that are not pasted into the photograph
    config.learning_rate = 1e-3
    config.betas = (0.9, 0.99)
    config.ema = 0.995  # decay of the average that is exported; 0 exports the network itself

    if mode == "debug":
        shrink(config, batch_size=2, eval_size=2, log_every=2)
        config.generator = config.data.source = "toy"
        config.data.size = config.model.in_size = 32
        config.model.widths, config.model.prior_side, config.model.rank = (8, 8, 8), 16, 4
        config.loss.lpips = 0.0
    return config
