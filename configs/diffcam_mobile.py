r"""Differential-activation classifier of the embedded generator, with spatially local evidence.

    python -m diffcam_jax.data.pairs --out PAIRS --count 352
    python train.py --config configs/diffcam_mobile.py:stage1 --workdir RUN \
        --config.data.folder=PAIRS
    ... the same with :stage2, then with :stage3, in the same RUN

Each stage makes the maps flatter. The default is the last stage alone. With a GPU leave the first
command out: `--config.data.source=online` renders config.data.faces faces at the start.
Pictures of 64 pixels take `--config.model.enlarge=4`, so that cells are two pixels wide.
`:paper` trains `nn.classifier.DiffClassifier` on pictures with the paper's settings (ResNet-101,
batch 6, 1000 steps, rate 1e-4), but not from ImageNet weights.

Source: Diff-CAM (2207.08134), section 3.3; the loss of single cells is this project's.
Expected: held-out accuracy 0.74 over 28 directions.
"""

from ml_collections import ConfigDict

from configs.base import base, check_mode, shrink

# Last step, weight of the cells' loss, vote for "no edit here", emphasis on the edited cells,
# probability of hiding the edit, learning rate.
STAGES = {
    "stage1": (700, 1.0, 6.0, 2.0, 0.6, 4e-3),
    "stage2": (1000, 4.0, 7.0, 2.0, 0.3, 4e-3),
    "stage3": (2300, 10.0, 10.0, 3.0, 0.0, 8e-3),
}


def get_config(mode: str = "") -> ConfigDict:
    """Returns the configuration of a mode."""
    check_mode(mode, *STAGES, "paper", "debug")
    steps, weight, none, emphasis, hide, rate = STAGES.get(mode, STAGES["stage3"])
    config = base(
        "diffcam_mobile",
        "diffcam",
        steps=steps,
        batch_size=24,
        log_every=10,
        sample_every=250,
        eval_every=250,
        eval_size=48,  # held-out samples, each with every edit
        checkpoint_every=100,
    )
    if mode in STAGES:
        config.stage = list(STAGES).index(mode) + 1  # a run may go on with the next stage

    config.data = ConfigDict()
    config.data.source = "cached"  # or "online"
    config.data.folder = ""  # of "cached"; "" is the pairs folder of the per-user cache
    config.data.directions = ""  # of "online": a safetensors file; "" is the shipped one
    config.data.generator = "mobile_stylegan_ffhq"  # of "online"; or "toy"
    config.data.size = 256
    config.data.faces = 1024  # of "local": train on so many at most

    config.model = ConfigDict()
    config.model.network = "local"  # or "resnet", with the fields of nn.classifier.DiffClassifier
    config.model.width = 160
    config.model.layers = 3
    config.model.enlarge = 1  # pictures, before cells of 8 x 8 pixels look at them
    config.pretrained = "mobilenet_v2"  # the trunk of "local"
    config.sign = 1  # official: features(T) - features(I')

    config.learning_rate = rate
    config.warmup = 50
    config.weight_decay = 0.05
    config.label_smoothing = 0.05

    config.cells = ConfigDict()  # of "local", see train.cells.CellConfig
    config.cells.weight = weight
    config.cells.emphasis = emphasis
    config.cells.none = none
    config.cells.hide = hide

    config.places = ConfigDict()  # where the edits act, see train.places.PlaceConfig
    config.places.whole = ("gender", "old", "yaw", "pitch", "light_side")
    config.places.pair = 0.3
    config.places.contrast = 0.85
    config.places.share = 0.7

    config.augment = ConfigDict()  # of "resnet"
    config.augment.flip = 0.5
    config.augment.shift = 16
    config.augment.colour = 0.2
    config.augment.blur = 0.2
    config.augment.occlude = 0.25
    config.augment.hide = 0.6  # undo the edit in random cells, so that masks cover all of it
    config.sided = ("yaw", "light_side")  # mirrored, these are another edit

    if mode == "paper":
        config.steps, config.batch_size = 1000, 6
        config.learning_rate, config.warmup = 1e-4, 0
        config.weight_decay = config.label_smoothing = 0.0
        config.model = ConfigDict({"network": "resnet", "depth": 101, "width": 64, "split": 10})
        config.model.strides = (1, 2, 2, 2)  # fewer give small pictures a finer map
        config.pretrained = ""
    if mode == "debug":
        shrink(config, batch_size=4, eval_size=2)
        config.warmup = 1
        config.data.source, config.data.generator = "online", "toy"
        config.data.size, config.augment.shift = 64, 4
        config.model.width, config.model.layers, config.pretrained, config.data.faces = 8, 2, "", 3
        config.model.stem, config.model.rows = 4, ((1, 4, 1, 1), (2, 4, 1, 2), (2, 4, 1, 2))
    return config
