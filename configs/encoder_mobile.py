"""The small encoder of the embedded generator: MobileNetV2 from ImageNet, a pyramid, one w and
offsets of shared heads.

    python -m diffcam_jax.data draw --name drawn256 --count 9612 --size 256 --mixing 0.4
    --test-share 0.0066583 python train.py --config configs/encoder_mobile.py:pairs --workdir RUN
    python train.py --config configs/encoder_mobile.py:finetune --workdir RUN2
    --config.model.start=RUN python -m benchmarks.encoder_quality RUN2

    MODE        losses                                                   pictures     for
    pairs       whitened error of codes, no generator in the step        128 pixels   a CPU, hours
    finetune    pixels, LPIPS, identity through the generator, codes     256 pixels   a CPU, hours
    debug       pairs, a few steps with a toy generator                  32 pixels    any machine, no file

The pictures are the generator's, with style mixing in a part of them so that rows learn to differ,
changed as photographs differ from them (`data.photographic`). The shipped encoder: 3000 steps of
pairs with the rate of `--config.steps=10000`, where the held-out error is lowest on so few faces
(0.167; 0.125 on those trained on), then 1000 steps of finetune: LPIPS-VGG of held-out generated
faces 0.339 -> 0.321, of photographs 0.509 -> 0.494. Two hours beside other work, 35 minutes of it
drawing. Twice as many faces would be the next thing to try. About 5.7 M parameters, 11.4 MB in half
precision, in which the run's folder holds them. On a CPU the body's gradient takes 12
core-milliseconds a picture at 128 pixels with its first blocks frozen (all of its blocks: 19; at
256 pixels 118). With a GPU: draw 100,000, --config.model.size=256 --config.model.frozen=0
--config.batch_size=64 in pairs, then finetune with its steps.
"""

from ml_collections import ConfigDict

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
    if mode not in MODES:
        raise ValueError(f"mode {mode!r}: allowed are {', '.join(MODES)}")
    config = ConfigDict()
    config.name = "encoder_mobile"
    config.trainer = "encoder"
    config.seed = 0
    config.steps = 10_000
    config.batch_size = 16
    config.accumulate = 1
    config.devices = 0  # all
    config.precision = "float32"  # "bfloat16" acts on the encoder
    config.generator = ""  # the embedded one
    config.identity = ""  # folder with ArcFace; the embedded SFace stands in

    config.data = ConfigDict()
    config.data.source = "prepared"
    config.data.folder = ""
    config.data.name = "drawn256"
    config.data.size = 128
    config.data.flip = False  # a mirrored picture has another code
    config.data.photographic = ConfigDict(
        {
            "align": 0.5,
            "light": 0.6,
            "objects": 0.5,
            "blur": 0.35,
            "noise": 0.4,
            "compress": 0.4,
            "turn": 3.0,
            "zoom": 0.04,
            "shift": 0.02,
            "colour": 0.1,
            "largest": 0.45,
            "sigma": 0.008,
            "grain": 8.0,
            "quality": 30,
        }
    )

    config.model = ConfigDict()
    config.model.kind = "mobile"
    config.model.size = 128  # any multiple of 32; parameters of one side go on at another
    config.model.judged = 0  # side at which pictures are compared, where that is larger
    config.model.start = "mobilenet_v2"  # or the folder of a run, that of :pairs for :finetune
    config.model.channels = 128
    config.model.features = 320
    config.model.reduced = 40
    config.model.grid = 8
    config.model.rank = 48
    config.model.stem = 32
    config.model.rows = ROWS
    config.model.frozen = 3  # the widest maps stay as they are, for speed
    config.model.stored_norm = (
        False  # True keeps the statistics of batch normalisation: few pictures make bad ones
    )
    # The rate falls to 0.3 of itself in every quarter of the run.
    config.optimiser = ConfigDict(
        {"name": "adam", "learning_rate": 1e-3, "b1": 0.9, "b2": 0.99, "eps": 1e-8, "decay": 0.3}
    )
    config.loss = ConfigDict(
        {"whitened": 1.0, "delta": 1e-4, "prior": 0.0, "l2": 0.0, "lpips": 0.0, "identity": 0.0}
    )

    config.log_every = 50
    config.eval_every = 1000
    config.sample_every = 1000
    config.checkpoint_every = 500
    config.keep = 2
    config.eval_size = 32
    config.patience_nan = 20

    if mode == "finetune":
        config.steps, config.batch_size, config.accumulate = 1000, 4, 4
        config.model.judged = config.data.size = 256
        config.model.stored_norm = True
        config.optimiser.learning_rate = 3e-4
        config.eval_every = config.sample_every = 200
        config.checkpoint_every = 50
        config.loss.update(
            {
                "whitened": 0.3,
                "delta": 1e-4,
                "prior": 0.01,
                "l2": 1.0,
                "lpips": 0.8,
                "identity": 0.3,
            }
        )
    if mode == "debug":
        config.steps, config.batch_size, config.eval_size = 4, 4, 4
        config.log_every, config.eval_every, config.sample_every, config.checkpoint_every = (
            1,
            2,
            2,
            2,
        )
        config.generator, config.data.source = "toy", "toy"
        config.data.size = config.model.size = 32
        config.model.start = ""
        config.model.rows = ((1, 8, 1, 1), (2, 8, 1, 2), (2, 8, 1, 2), (2, 8, 2, 2), (2, 8, 1, 2))
        config.model.stem = config.model.channels = config.model.features = config.model.reduced = 8
        config.model.grid, config.model.rank = 2, 4
    return config
