r"""Small encoder of the embedded generator: MobileNetV2, a pyramid, one w and offsets of it.

    python -m diffcam_jax.data draw --name drawn256 --count 9612 --size 256 --mixing 0.4 \
        --test-share 0.0066583
    python train.py --config configs/encoder_mobile.py:pairs --workdir RUN
    python train.py --config configs/encoder_mobile.py:finetune --workdir RUN2 \
        --config.model.start=RUN
    python -m benchmarks.encoder_quality RUN2

`pairs` minimises the whitened error of codes at 128 pixels, `finetune` that of pictures at 256.

Source: this project; MobileNetV2 (1801.04381).
Expected: whitened error 0.167 after 3,000 steps of pairs; LPIPS-VGG 0.321 on generated faces and
0.494 on photographs after 1,000 steps of finetune; two hours on two cores; 5.7 M parameters.
"""

from ml_collections import ConfigDict

from configs.base import base, check_mode, pictures, shrink

MODES = ("pairs", "finetune", "debug")
ROWS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def get_config(mode: str = "pairs") -> ConfigDict:
    """Returns the configuration of a mode."""
    check_mode(mode or "pairs", *MODES)
    config = base("encoder_mobile", "encoder", steps=10_000, batch_size=16)
    config.generator = ""  # the embedded one
    config.identity = ""  # folder with ArcFace; "" takes the embedded SFace instead

    config.data = pictures("prepared", 128, name="drawn256", flip=False)
    config.data.photographic = ConfigDict()  # see data.photographic.Photographic
    config.data.photographic.update(
        {"align": 0.5, "light": 0.6, "objects": 0.5, "blur": 0.35, "noise": 0.4, "compress": 0.4}
    )
    config.data.photographic.update({"turn": 3.0, "zoom": 0.04, "shift": 0.02, "colour": 0.1})
    config.data.photographic.update({"largest": 0.45, "sigma": 0.008, "grain": 8.0, "quality": 30})

    config.model = ConfigDict()
    config.model.kind = "mobile"
    config.model.size = 128  # any multiple of 32; the parameters do not depend on it
    config.model.judged = 0  # side at which pictures are compared, where that is larger
    config.model.start = "mobilenet_v2"  # or the folder of a run, that of :pairs for :finetune
    config.model.channels = 128
    config.model.features = 320
    config.model.reduced = 40
    config.model.grid = 8
    config.model.rank = 48
    config.model.stem = 32
    config.model.rows = ROWS
    config.model.frozen = 3  # blocks; the widest maps stay as they are, for speed
    # True keeps the statistics of batch normalisation: a batch of few pictures gives poor ones.
    config.model.stored_norm = False
    # The rate falls to 0.3 of itself in every quarter of the run.
    config.optimiser = ConfigDict(
        {"name": "adam", "learning_rate": 1e-3, "b1": 0.9, "b2": 0.99, "eps": 1e-8, "decay": 0.3}
    )
    config.loss = ConfigDict(
        {"whitened": 1.0, "delta": 1e-4, "prior": 0.0, "l2": 0.0, "lpips": 0.0, "identity": 0.0}
    )

    if mode == "finetune":
        _finetune(config)
    if mode == "debug":
        _debug(config)
    return config


def _finetune(config: ConfigDict) -> None:
    config.steps, config.batch_size, config.accumulate = 1000, 4, 4
    config.model.judged = config.data.size = 256
    config.model.stored_norm = True
    config.optimiser.learning_rate = 3e-4
    config.eval_every = config.sample_every = 200
    config.checkpoint_every = 50
    config.loss.update({"whitened": 0.3, "prior": 0.01, "l2": 1.0, "lpips": 0.8, "identity": 0.3})


def _debug(config: ConfigDict) -> None:
    shrink(config, batch_size=4, eval_size=4)
    config.generator, config.data.source = "toy", "toy"
    config.data.size = config.model.size = 32
    config.model.start = ""
    config.model.rows = ((1, 8, 1, 1), (2, 8, 1, 2), (2, 8, 1, 2), (2, 8, 2, 2), (2, 8, 1, 2))
    config.model.stem = config.model.channels = config.model.features = config.model.reduced = 8
    config.model.grid, config.model.rank = 2, 4
