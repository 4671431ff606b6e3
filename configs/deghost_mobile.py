"""The small deghosting network of the embedded generator: an encoder, the generator as a frozen
prior, a decoder, at 256 pixels.

    python -m diffcam_jax.data draw --name drawn256 --count 1700 --size 256 --mixing 0.4 --seed 31
    --test-share 0.03 python -m diffcam_jax.data.known_edits --faces drawn256 --count 1600
    --held-out 48 --out PAIRS python train.py --config configs/deghost_mobile.py --workdir RUN
    --config.data.folder=PAIRS python -m benchmarks.deghosting --deghoster RUN

    python train.py --config configs/deghost_mobile.py:debug --workdir RUN      # a minute, no file needed

What the network removes are the ghosts of the shipped encoder's reconstructions (`--encoder` takes
another). After another encoder, classifier or blend (`editor.PRODUCT_CONFIG`) it is better trained
again. 2.24 million parameters, 4.5 MB in half precision.

The shipped one: these commands; the rate of its first 410 steps was that of a longer run. Held-out
PSNR in the region 21.76 -> 23.83, LPIPS-Alex 0.106 -> 0.089, still falling; about an hour on two
cores, 35 minutes of it drawing faces and making pairs. The prior up to 64 pixels instead of 32
would double its part of a step.
"""

from ml_collections import ConfigDict


def get_config(mode: str = "") -> ConfigDict:
    if mode not in ("", "debug"):
        raise ValueError(f"mode {mode!r}: allowed is debug")
    config = ConfigDict()
    config.name = "deghost_mobile"
    config.trainer = "deghost"
    config.seed = 0
    config.steps = 1000
    config.batch_size = 4
    config.accumulate = 1
    config.devices = 0  # all
    config.precision = "float32"
    config.patience_nan = 20
    config.generator = ""  # the prior: a folder, or the embedded one

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
    config.crop = 128  # that LPIPS looks at
    config.outside = 0.05  # weight of pixels that the result does not touch
    config.learning_rate = 1e-3
    config.betas = (0.9, 0.99)
    config.ema = 0.995  # decay of the average that is exported; 0 exports the network itself

    config.log_every = 10
    config.sample_every = 250
    config.eval_every = 250
    config.eval_size = 32
    config.checkpoint_every = 50
    config.keep = 2

    if mode == "debug":
        config.name = "deghost_mobile_debug"
        config.steps, config.batch_size, config.eval_size = 4, 2, 2
        config.generator = config.data.source = "toy"
        config.data.size = config.model.in_size = 32
        config.model.widths, config.model.prior_side, config.model.rank = (8, 8, 8), 16, 4
        config.loss.lpips = 0.0
        config.log_every = config.sample_every = config.eval_every = config.checkpoint_every = 2
    return config
