"""The mobile DA classifier of the embedded generator: 2207.08134, section 3.3, with a small network from scratch.

    python -m diffcam_jax.data.pairs --out PAIRS --count 400
    python train.py --config configs/diffcam_mobile.py --workdir RUN --config.data.folder=PAIRS

With a GPU the first command can be left out: --config.data.source=online draws the pairs while training.
The shipped weights: 352 faces (304 trained on), 1200 steps with `--config.augment.hide=0 --config.steps=1200`, then the same workdir (run.json deleted, as
the configuration changes) with the defaults below up to step 1900; 0.994 held-out accuracy over ten directions, about 0.7 s a step on two idle cores, 31 minutes in all.

The official recipe for ResNet-101 from ImageNet weights is batch 6, 1000 steps, learning rate 1e-4, no warm-up, no
decay and no augmentation. `configs/diffcam_mobile.py:debug` runs in seconds with a toy generator and needs no file.
"""

from ml_collections import ConfigDict


def get_config(mode: str = "") -> ConfigDict:
    if mode not in ("", "debug"):
        raise ValueError(f"mode {mode!r}: allowed is debug")
    config = ConfigDict()
    config.name = "diffcam_mobile"
    config.trainer = "diffcam"
    config.seed = 0
    config.steps = 1900
    config.batch_size = 32
    config.accumulate = 1
    config.devices = 0  # all
    config.precision = "float32"
    config.patience_nan = 20
    config.eval_size = 48  # held-out samples, each with every edit

    config.data = ConfigDict()
    config.data.source = "cached"  # or "online"
    config.data.folder = ""  # of "cached"; empty is the pairs folder of the per-user cache
    config.data.directions = ""  # safetensors file; empty means the shipped ones ("online" only)
    config.data.generator = "mobile_stylegan_ffhq"  # or "toy" ("online" only)
    config.data.size = 256

    config.model = ConfigDict()
    config.model.depth = 18
    config.model.width = 24
    config.model.split = 1
    config.model.shrink = 2  # the network works at 128 ...
    config.model.strides = (1, 2, 1, 1)  # ... and stays at 1/8 of it: a 16x16 map
    config.sign = 1  # official: features(T) - features(I')

    config.learning_rate = 2e-3
    config.warmup = 100
    config.weight_decay = 0.05
    config.label_smoothing = 0.05

    config.augment = ConfigDict()
    config.augment.flip = 0.5
    config.augment.shift = 16
    config.augment.colour = 0.2
    config.augment.blur = 0.2
    config.augment.occlude = 0.25
    config.augment.hide = 0.6  # take the edit back here and there, so that masks cover all of it
    config.sided = ("yaw",)  # mirrored, these are another edit

    config.log_every = 10
    config.eval_every = 250
    config.sample_every = 250
    config.checkpoint_every = 100
    config.keep = 2

    if mode == "debug":
        config.steps, config.batch_size, config.warmup = 4, 4, 1
        config.log_every, config.eval_every, config.sample_every, config.checkpoint_every = 1, 2, 2, 2
        config.data.source, config.data.generator = "online", "toy"
        config.eval_size, config.data.size, config.augment.shift = 2, 64, 4
        config.model.width = 4
    return config
