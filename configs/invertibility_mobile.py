"""The alignment network of the embedded generator and the shipped encoder: what a photograph shows
that the generator cannot draw.

    python -m diffcam_jax.data draw --name drawn512 --count 2200 --size 512 --mixing 0.4 --seed 12
    --test-share 0.03 python train.py --config configs/invertibility_mobile.py --workdir RUN python
    edit.py PHOTO --attribute smiling=1 --method both --aligner RUN

    python train.py --config configs/invertibility_mobile.py:debug --workdir RUN      # a minute, no file needed

Faces are the generator's, with objects in front whose place is known (`data.photographic`); what is
measured while training are hands, caps and microphones, which training never shows
(`data.occluders`). Another seed than the encoder's faces: those it reconstructs too well. 0.80
million parameters, 1.6 MB in half precision. After another encoder it is to be trained again.

The shipped one: 2540 steps, two hours on one core: IoU with held-out objects at the full size 0.52
at step 1400, 0.61 at 2000, 0.64 at 2300, and 0.67 after 160 steps up to level 128 and 80 up to 256.
Its first 1308 steps had optimiser.every=250. What helped most: objects of several parts, in the
colour of the face and with fine structure (`compound`, `skin`, `fine`), the pyramid, and time. No
loss looks at the picture: shifts act where the mask is 1, and there the photograph is kept; without
drawing it the gradient takes 0.39 s a picture instead of 0.94 on one core, a step 2.3 s, with the
finer levels 4.8 and 8.6.
"""

from ml_collections import ConfigDict


def get_config(mode: str = "") -> ConfigDict:
    if mode not in ("", "debug"):
        raise ValueError(f"mode {mode!r}: allowed is debug")
    config = ConfigDict()
    config.name = "invertibility_mobile"
    config.trainer = "invertibility"
    config.seed = 0
    config.steps = 2540
    config.batch_size = 4
    config.accumulate = 4  # a picture at a time: 9 GB at 256 pixels
    config.devices = 0  # all
    config.precision = "float32"
    config.patience_nan = 20

    config.generator = ""  # the embedded one
    config.encoder = ""  # the shipped one
    config.directions = ""  # the shipped ones
    config.identity = ""  # folder with ArcFace; the embedded SFace stands in
    config.perceptual = ""  # folder with VGG19; the embedded VGG16 stands in

    config.data = ConfigDict()
    config.data.source = "prepared"
    config.data.folder = ""
    config.data.name = "drawn512"
    config.data.size = 512
    config.data.flip = False  # a mirrored picture has another code
    config.data.masks = True
    config.data.photographic = ConfigDict(
        {"objects": 0.9, "largest": 0.6, "compound": 0.3, "skin": 0.3, "fine": 0.4, "round": 0.5}
    )

    config.model = ConfigDict()
    config.model.multiplier = 0.125
    config.model.cycles = 2
    config.model.scale = 0.08
    config.model.align_corners = True
    config.model.normalised = False
    config.model.pyramid = 64

    # From which step on, up to which level, and at which size pictures are drawn and judged: small
    # ones are many times cheaper.
    config.stages = ((0, 64, 64), (2300, 128, 128), (2460, 256, 256))
    # faces that the features' common parts are found on before the first step; 0 begins at random
    config.correlated = 32
    config.nearest = 0.3  # codes lie so far or farther from the known one to the encoder's
    config.edits = 0.5  # share of codes that are edited
    config.strengths = (-1.5, 1.5)

    config.loss = ConfigDict(
        {"pixel": 0.0, "identity": 0.0, "perceptual": 0.0, "style": 0.0, "adversarial": 0.0}
    )
    config.loss.update({"area": 0.0, "binary": 0.2, "truth": 1.0})
    config.areas = (0.3, 0.3, 0.2, 0.2, 0.2)
    config.adv_grad = "on"
    config.optimiser = ConfigDict(
        {"learning_rate": 1e-3, "b1": 0.9, "b2": 0.99, "decay": 0.7, "every": 600}
    )
    config.discriminator = ConfigDict(
        {
            "multiplier": 0.25,
            "width": 128,
            "optimiser": config.optimiser.copy_and_resolve_references(),
        }
    )
    config.ema = 0.98  # decay of the average that is exported

    config.log_every = 10
    config.sample_every = 200
    config.eval_every = 200
    config.eval_size = 30
    config.checkpoint_every = 50
    config.keep = 2

    if mode == "debug":
        config.name = "invertibility_mobile_debug"
        config.steps, config.batch_size, config.accumulate, config.eval_size = 4, 2, 1, 3
        config.generator = config.encoder = "toy"
        config.data.source, config.data.size = "toy", 32
        config.model.sides, config.model.multiplier, config.model.pyramid = (8, 16), 0.5, 4
        config.correlated = 2
        config.stages, config.areas = ((0, 8, 32), (2, 16, 32)), (0.3, 0.2, 0.2)
        config.loss.adversarial = 0.5
        config.discriminator.width = 8
        config.log_every = config.sample_every = config.eval_every = config.checkpoint_every = 2
    return config
