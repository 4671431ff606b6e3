"""The mobile DA classifier of the embedded generator: 2207.08134, section 3.3, with a network whose
evidence stays where the edit acts.

    python -m diffcam_jax.data.pairs --out PAIRS --count 352
    python train.py --config configs/diffcam_mobile.py --workdir RUN --config.data.folder=PAIRS

With a GPU the first command can be left out: --config.data.source=online renders config.data.faces
faces at the start. The shipped weights: 352 faces (304 trained on), three stages in one workdir
(run.json deleted in between, as the configuration changes), each of which makes the maps flatter:
700 steps with `--config.steps=700 --config.cells.weight=1 --config.cells.none=6
--config.cells.emphasis=2 --config.cells.hide=0.6 --config.learning_rate=0.004`, on to 1000 with
`--config.steps=1000 --config.cells.weight=4 --config.cells.none=7 --config.cells.emphasis=2
--config.cells.hide=0.3 --config.learning_rate=0.004`, on to 1300 with the defaults below. About 0.2
core-seconds a step, and 40 at every start for the features of the faces. 0.854 held-out accuracy
over ten directions (0.994 before, with evidence from the whole picture); masks of 12 held-out faces
against face parsing: IoU 0.31, coverage 0.68 (0.13 and 0.69 before).

Pairs half of whose codes the encoder found in faces as photographs might show them (`--encoded 0.5`
makes such; tried with every second face) made no better masks: 192 faces, the same three stages,
bare masks on 11 photographs and 12 generated faces by `evaluate.py --config configs/eval/masks.py
--config.size=512 --config.masks.codes="('known','encoder')"
--config.masks.sources="('photographs','generated:12')"`: IoU 0.266 [0.245, 0.291] against 0.260
[0.238, 0.286] of what ships.

config.model.network="resnet" trains nn.classifier.DiffClassifier as the paper does, from its
pictures; with depth 101 from ImageNet weights the official recipe is batch 6, 1000 steps, learning
rate 1e-4, no warm-up, no decay and no augmentation. `configs/diffcam_mobile.py:debug` runs in
seconds with a toy generator and needs no file.
"""

from ml_collections import ConfigDict


def get_config(mode: str = "") -> ConfigDict:
    if mode not in ("", "debug"):
        raise ValueError(f"mode {mode!r}: allowed is debug")
    config = ConfigDict()
    config.name = "diffcam_mobile"
    config.trainer = "diffcam"
    config.seed = 0
    config.steps = 1300
    config.batch_size = 24
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
    config.data.faces = 1024  # at most so many are trained on ("local")

    config.model = ConfigDict()
    config.model.network = "local"  # or "resnet", with the fields of nn.classifier.DiffClassifier
    config.model.width = 160
    config.model.layers = 3
    config.pretrained = "mobilenet_v2"  # the trunk of "local"
    config.sign = 1  # official: features(T) - features(I')

    config.learning_rate = 8e-3
    config.warmup = 50
    config.weight_decay = 0.05
    config.label_smoothing = 0.05

    config.cells = ConfigDict()  # of "local", see train.cells.CellConfig
    config.cells.weight = 10.0
    config.cells.emphasis = 3.0
    config.cells.none = 10.0
    config.cells.hide = 0.0

    config.places = ConfigDict()  # where the edits act, see train.places.PlaceConfig
    config.places.whole = ("gender", "old", "yaw")
    config.places.pair = 0.3
    config.places.contrast = 0.85
    config.places.share = 0.7

    config.augment = ConfigDict()  # of "resnet"
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
        config.log_every, config.eval_every, config.sample_every, config.checkpoint_every = (
            1,
            2,
            2,
            2,
        )
        config.data.source, config.data.generator = "online", "toy"
        config.eval_size, config.data.size, config.augment.shift = 2, 64, 4
        config.model.width, config.model.layers, config.pretrained, config.data.faces = 8, 2, "", 3
        config.model.stem, config.model.rows = 4, ((1, 4, 1, 1), (2, 4, 1, 2), (2, 4, 1, 2))
    return config
